"""Resampling as two small matrix products, with the weights of OpenCV's five interpolations.

Expansion, crop, resize and flip act on rows and columns separately, and so do all five
interpolations. The whole geometry is therefore one weight matrix for the rows and one for the
columns, and choosing an interpolation at run time means choosing weights, not computing five images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

INTERPOLATIONS = ("linear", "area", "nearest", "cubic", "lanczos4")
LINEAR, AREA, NEAREST, CUBIC, LANCZOS4 = range(5)

_TAPS = tuple(range(-3, 5))  # source pixels around the one a kernel is based on: lanczos4 needs all
_CUBIC_SHARPNESS = -0.75  # OpenCV's A


class View(NamedTuple):
    """A rectangle of the (expanded) image, each member [2] int32 in (y, x) order."""

    image_size: jax.Array  # pixels of the image, which lies at the canvas's origin
    image_offset: jax.Array  # where the expanded image holds it
    offset: jax.Array  # upper left pixel of the rectangle in the expanded image
    size: jax.Array  # pixels of the rectangle


def interpolation_index(name: str, extra: tuple[str, ...] = ()) -> int:
    """Returns the position of `name` in INTERPOLATIONS; ValueError if it is none of them.

    The message names the choices, and those that the caller has taken care of (`extra`) too.
    """
    if name not in INTERPOLATIONS:
        raise ValueError(f"interpolation: expected one of {', '.join(INTERPOLATIONS + extra)}, got {name!r}")
    return INTERPOLATIONS.index(name)


def axis_weights(view: View, interpolation: jax.Array, *, canvas_size: tuple[int, int], output_size: tuple[int, int]):
    """Returns the matrices that resample a view: rows [H, Hc] and columns [W, Wc], float32.

    Borders are replicated within the rectangle. Weights of pixels outside the image are zero, so a
    row sums to less than one where the rectangle shows fill.
    """
    # OpenCV averages areas only if neither axis is enlarged, and else uses a variant of linear.
    averages = (interpolation == AREA) & jnp.all(view.size >= jnp.array(output_size))

    def one_axis(axis: int) -> jax.Array:
        size, canvas, output = view.size[axis], canvas_size[axis], output_size[axis]
        shift = view.image_offset[axis] - view.offset[axis]  # canvas -> rectangle coordinates
        taps = _tap_matrix(size, shift, interpolation, canvas=canvas, output=output)
        areas = _area_matrix(size, shift, canvas=canvas, output=output)
        inside = jnp.arange(canvas) < view.image_size[axis]
        return jnp.where(inside, jnp.where(averages, areas, taps), 0)

    return one_axis(0), one_axis(1)


def resample(
    planes: tuple[jax.Array, jax.Array, jax.Array],  # [Hc, Wc] float32 each, 0 = fill
    rows: jax.Array,  # [H, Hc]
    columns: jax.Array,  # [W, Wc]
) -> jax.Array:  # [H, W, 3]
    """Returns rows @ plane @ columns^T for each color, in float32 proper (no TF32).

    The planes are laid below one another and the columns contracted first, so that the product reads
    them as they are: any reshape in between halves the speed of XLA's CPU code for the distortion.
    """
    height = planes[0].shape[0]
    precision = jax.lax.Precision.HIGHEST
    half = jnp.einsum("yx,wx->yw", jnp.concatenate(planes), columns, precision=precision)
    half = half.reshape(3, height, columns.shape[0])
    return jnp.einsum("hy,cyw->hcw", rows, half, precision=precision).swapaxes(1, 2)


def _tap_matrix(size: jax.Array, shift: jax.Array, interpolation: jax.Array, *, canvas: int, output: int) -> jax.Array:
    """Weights [output, canvas] of the kernels that read a fixed number of source pixels."""
    base, weights = _taps(size, interpolation, output)
    position = jnp.arange(canvas) + shift  # of each canvas pixel in the rectangle
    matrix = jnp.zeros((output, canvas), jnp.float32)
    for column, tap in enumerate(_TAPS):
        source = jnp.clip(base + tap, 0, size - 1)  # replicates the border
        matrix += jnp.where(source[:, None] == position, weights[:, column, None], 0)
    return matrix


def _taps(size: jax.Array, interpolation: jax.Array, output: int) -> tuple[jax.Array, jax.Array]:
    """Base pixel [output] int32 and weights [output, 8] of the source pixels at base + _TAPS."""
    target = jnp.arange(output)
    scale = size / output
    center = (target + 0.5) * scale - 0.5
    below = jnp.floor(center)
    fraction = center - below
    corner = target * size // output  # floor(target * scale), exactly
    # Area interpolation when enlarging: linear, but constant over all targets within one source pixel.
    area_fraction = jnp.maximum((target + 1) - (corner + 1) / scale, 0)
    area_fraction -= jnp.floor(area_fraction)

    at_corner = (interpolation == AREA) | (interpolation == NEAREST)
    base = jnp.where(at_corner, corner, below.astype(jnp.int32))
    weights = jnp.stack(
        [
            _linear(fraction),
            _linear(area_fraction),
            _linear(jnp.zeros_like(fraction)),  # nearest
            _cubic(fraction),
            _lanczos4(fraction),
        ]
    )
    return base, weights[interpolation]


def _distances(fraction: jax.Array) -> jax.Array:  # [output] -> [output, 8]
    return jnp.abs(fraction[:, None] - jnp.array(_TAPS, jnp.float32))


def _linear(fraction: jax.Array) -> jax.Array:  # [output] -> [output, 8]
    return jnp.maximum(1 - _distances(fraction), 0)


def _cubic(fraction: jax.Array) -> jax.Array:  # [output] -> [output, 8]
    """Keys' cubic convolution."""
    a, x = _CUBIC_SHARPNESS, _distances(fraction)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return jnp.where(x <= 1, near, jnp.where(x < 2, far, 0))


def _lanczos4(fraction: jax.Array) -> jax.Array:  # [output] -> [output, 8]
    """Windowed sinc over eight pixels, normalized to sum 1."""
    x = _distances(fraction)
    weights = jnp.sinc(x) * jnp.sinc(x / 4)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _area_matrix(size: jax.Array, shift: jax.Array, *, canvas: int, output: int) -> jax.Array:
    """Weights [output, canvas]: the share of each source pixel in the cell of each target pixel."""
    low = jnp.arange(output)[:, None] * (size / output)
    high = jnp.minimum(low + size / output, size)
    position = jnp.arange(canvas) + shift
    overlap = jnp.minimum(position + 1, high) - jnp.maximum(position, low)
    return jnp.maximum(overlap, 0) / (high - low)
