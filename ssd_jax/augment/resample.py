"""Resampling as two small matrix products, with the weights of OpenCV's five interpolations.

Expansion, crop, resize and flip act on rows and columns separately, and so do all five
interpolations. The whole geometry is therefore one weight matrix for the rows and one for the
columns, and choosing an interpolation at run time means choosing weights, not computing five images.

Source pixels are found in integers. Weights are multiples of 1 / 2048 and what stands between the two products is
rounded to 1 / 8 of a level. So every product and every partial sum fits into the 24 bits of float32, and the result
does not depend on the order in which a matrix product sums.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax.augment import grid

INTERPOLATIONS = ("linear", "area", "nearest", "cubic", "lanczos4")
LINEAR, AREA, NEAREST, CUBIC, LANCZOS4 = range(5)

_TAPS = tuple(range(-3, 5))  # source pixels around the one a kernel is based on: lanczos4 needs all
_CUBIC_SHARPNESS = -0.75  # OpenCV's A

# The absolute weights of one target pixel sum to at most 1.72 (lanczos4), so a level below 256 grows to at most
# 256 x 1.72 x 2^11 < 2^20 after the first product and to 256 x 1.72^2 x 2^3 x 2^11 < 2^24 after the second.
WEIGHT_STEPS = 1 << 11
LEVEL_STEPS = 1 << 3


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

    Their elements are multiples of 1 / WEIGHT_STEPS. Borders are replicated within the rectangle.
    Weights of pixels outside the image are zero, so a row sums to less than one where the rectangle
    shows fill.
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
    planes: tuple[jax.Array, jax.Array, jax.Array],  # [Hc, Wc] float32 each: whole numbers in [-255, 255], 0 = fill
    rows: jax.Array,  # [H, Hc] of :func:`axis_weights`
    columns: jax.Array,  # [W, Wc]
) -> jax.Array:  # [H, W, 3]
    """Returns rows @ plane @ columns^T for each color, in float32 proper (no TF32), exact but for one rounding between.

    The planes are laid below one another and the columns contracted first, so that the product reads
    them as they are: any reshape in between halves the speed of XLA's CPU code for the distortion.
    """
    height = planes[0].shape[0]
    precision = jax.lax.Precision.HIGHEST
    half = jnp.einsum("yx,wx->yw", jnp.concatenate(planes), columns, precision=precision)
    half = jnp.round(half * LEVEL_STEPS) / LEVEL_STEPS
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
    center = (2 * target + 1) * size - output  # of the target pixel's center, in 1 / (2 output) source pixels
    below = center // (2 * output)
    corner = target * size // output
    weights = jnp.asarray(_kernel_table(output))[interpolation, center - below * (2 * output)]

    # Area interpolation when enlarging: linear, but constant over all targets within one source pixel.
    beyond = jnp.maximum((target + 1) * size - (corner + 1) * output, 0) % size  # in 1 / size target pixels
    share = _quantize(beyond, size)[:, None]
    taps = jnp.array(_TAPS)
    areas = jnp.where(taps == 0, 1 - share, jnp.where(taps == 1, share, 0))

    base = jnp.where((interpolation == AREA) | (interpolation == NEAREST), corner, below)
    return base, jnp.where(interpolation == AREA, areas, weights)


def _kernel_table(output: int) -> np.ndarray:  # [5, 2 output, 8] float32
    """Returns the weights of each interpolation at each fraction of a source pixel that can occur.

    Pixel centers lie at multiples of 1 / (2 output) source pixels, so nothing is left to compute at run time, where
    programs could differ. "nearest" and "area" use the row of fraction 0.
    """
    fraction = np.arange(2 * output) / (2 * output)
    whole = np.zeros_like(fraction)
    kernels = (_linear(fraction), _linear(whole), _linear(whole), _cubic(fraction), _lanczos4(fraction))
    table = np.rint(np.stack(kernels) * WEIGHT_STEPS)
    # Each row is to sum to 1, so that a flat color stays as it is: what rounding has lost goes to the largest weight.
    largest = np.argmax(table, axis=-1)[..., None]
    lost = WEIGHT_STEPS - table.sum(axis=-1, keepdims=True)
    np.put_along_axis(table, largest, np.take_along_axis(table, largest, axis=-1) + lost, axis=-1)
    return (table / WEIGHT_STEPS).astype(np.float32)


def _distances(fraction: np.ndarray) -> np.ndarray:  # [N] -> [N, 8]
    return np.abs(fraction[:, None] - np.array(_TAPS))


def _linear(fraction: np.ndarray) -> np.ndarray:  # [N] -> [N, 8]
    return np.maximum(1 - _distances(fraction), 0)


def _cubic(fraction: np.ndarray) -> np.ndarray:  # [N] -> [N, 8]
    """Keys' cubic convolution."""
    a, x = _CUBIC_SHARPNESS, _distances(fraction)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _lanczos4(fraction: np.ndarray) -> np.ndarray:  # [N] -> [N, 8]
    """Windowed sinc over eight pixels, normalized to sum 1."""
    x = _distances(fraction)
    weights = np.sinc(x) * np.sinc(x / 4)
    return weights / np.sum(weights, axis=1, keepdims=True)


def _area_matrix(size: jax.Array, shift: jax.Array, *, canvas: int, output: int) -> jax.Array:
    """Weights [output, canvas]: the share of each source pixel in the cell of each target pixel.

    Rounded are the shares left of each edge between source pixels: their differences sum to exactly 1.
    """
    edges = (jnp.arange(canvas + 1) + shift) * output  # in 1 / output source pixels, where a cell is `size` long
    before = jnp.clip(edges - jnp.arange(output)[:, None] * size, 0, size)
    shares = _quantize(before, size)
    return shares[:, 1:] - shares[:, :-1]


def _quantize(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.round(grid.ratio(part, whole) * WEIGHT_STEPS) / WEIGHT_STEPS
