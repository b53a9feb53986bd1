"""The whole augmentation of one image, and the plain resize that evaluation uses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssd_jax.augment import geometry, photometric
from ssd_jax.augment.resample import INTERPOLATIONS, View, axis_weights, interpolation_index, resample

RANDOM = "random"


class Draws(NamedTuple):
    """All that chance decides about one image: feed it to another implementation to compare the pixels."""

    distortion: photometric.DistortionDraws
    expansion: geometry.ExpansionDraws
    crop: geometry.CropDraws
    interpolation: jax.Array  # [] int32: position in INTERPOLATIONS
    flip: jax.Array  # [] bool


def augment(
    key: jax.Array,
    canvas: jax.Array,  # [Hc, Wc, 3] uint8 RGB
    size: jax.Array,  # [2] int32 (height, width)
    boxes: jax.Array,  # [M, 4] float32
    labels: jax.Array,  # [M] int32
    ignored: jax.Array,  # [M] bool
    *,
    output_size: tuple[int, int] = (300, 300),
    mean: tuple[float, float, float] = (123.0, 117.0, 104.0),
    **options,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, Draws]:
    """Distorts, expands, crops, resizes and flips one image with its boxes, as the paper trains (section 2.2).

    Args:
        key: the only source of randomness.
        canvas: the image in its upper left `size` pixels; what lies outside is never looked at.
        size: height and width of the image within the canvas.
        boxes: normalized to the image.
        labels: 0 = padding.
        ignored: boxes that follow the image but do not count as objects for the crop samplers.
        output_size: (height, width) of the result; the image is warped to it.
        mean: RGB color of the expansion's fill, rounded to whole levels.
        **options: what is drawn and how often; see :func:`draw`.

    Returns:
        The image [H, W, 3] float32, whole numbers in [0, 255]; boxes, labels and ignored in their
        slots, where a box that was lost has label 0 and zeros; and the draws.

    Raises:
        ValueError: for a misspelt interpolation, an option out of range or a canvas that is not uint8 [Hc, Wc, 3].
        TypeError: for an option that :func:`draw` does not know.
    """
    # The barrier keeps compilers from fusing the draws into the loop over pixels, once for each of them.
    draws = jax.lax.optimization_barrier(draw(key, size, boxes, labels, ignored, **options))
    image = transform_image(canvas, size, draws, output_size=output_size, mean=mean)
    return image, *transform_boxes(size, boxes, labels, ignored, draws), draws


def draw(
    key: jax.Array,
    size: jax.Array,  # [2] int32
    boxes: jax.Array,  # [M, 4]
    labels: jax.Array,  # [M]
    ignored: jax.Array,  # [M]
    *,
    distort_probability: float = 0.5,
    brightness: float = 32.0,
    contrast: tuple[float, float] = (0.5, 1.5),
    saturation: tuple[float, float] = (0.5, 1.5),
    hue: float = 18.0,
    expand_probability: float = 0.5,
    expand_max: float = 4.0,
    crop_probability: float = 1.0,
    crop_min_ious: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9),
    crop_trials: int = 50,
    crop_scale: tuple[float, float] = (0.3, 1.0),
    crop_aspect_ratio: tuple[float, float] = (0.5, 2.0),
    flip_probability: float = 0.5,
    interpolation: str = RANDOM,
) -> Draws:
    """Draws everything that is random about one image. The defaults are those of the original code.

    Args:
        key: the only source of randomness.
        size, boxes, labels, ignored: as in :func:`augment`; the crop depends on them.
        distort_probability: of each photometric operation by itself.
        brightness: largest shift of RGB, at most 255.
        contrast, saturation: ranges of the factors, within [0, 128].
        hue: largest shift of H in OpenCV's unit of 2 degrees, at most 255.
        expand_probability, expand_max: how often, and the largest ratio of the sides, within [1, 256].
        crop_probability: of running the crop samplers at all (the original always does).
        crop_min_ious: one sampler each, beside "whole image" and "any crop".
        crop_trials: of each sampler, at least 1.
        crop_scale, crop_aspect_ratio: ranges, within [0, 1] and [0.01, 100]; scale is the root of the
            crop's share of the area.
        flip_probability: of a horizontal flip.
        interpolation: one of INTERPOLATIONS, or "random" for a uniform choice among them.

    Raises:
        ValueError: for a misspelt interpolation or an option out of range.
    """
    if crop_trials < 1:
        raise ValueError(f"crop_trials: expected at least 1, got {crop_trials}")
    distort_key, expand_key, crop_key, rest_key = jax.random.split(key, 4)
    flip, choice = jax.random.uniform(rest_key, (2,))
    if interpolation == RANDOM:
        # floor(choice x 5), as a sum: XLA's CPU compiler would repeat a conversion to int32 for each weight.
        index = jnp.sum(choice * len(INTERPOLATIONS) >= jnp.arange(1, len(INTERPOLATIONS)), dtype=jnp.int32)
    else:
        index = jnp.int32(interpolation_index(interpolation, extra=(RANDOM,)))
    size = jnp.maximum(size, 1)
    expansion = geometry.draw_expansion(expand_key, size, probability=expand_probability, max_ratio=expand_max)
    return Draws(
        distortion=photometric.draw_distortion(
            distort_key,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            probability=distort_probability,
        ),
        expansion=expansion,
        crop=geometry.draw_crop(
            crop_key,
            expansion.size,
            geometry.expand_boxes(boxes, size, expansion),
            (labels > 0) & ~ignored,
            probability=crop_probability,
            min_ious=tuple(crop_min_ious),
            trials=crop_trials,
            scale=crop_scale,
            aspect_ratio=crop_aspect_ratio,
        ),
        interpolation=index,
        flip=flip < flip_probability,
    )


def transform_image(
    canvas: jax.Array,  # [Hc, Wc, 3] uint8
    size: jax.Array,  # [2] int32
    draws: Draws,
    *,
    output_size: tuple[int, int],
    mean: tuple[float, float, float] = (123.0, 117.0, 104.0),
) -> jax.Array:  # [H, W, 3] float32, whole numbers in [0, 255]
    """Applies the draws to the pixels: distortion, then expansion, crop, resize and flip at once."""
    view = View(jnp.maximum(size, 1), draws.expansion.offset, draws.crop.offset, draws.crop.size)
    rows, columns = axis_weights(view, draws.interpolation, canvas_size=_canvas_size(canvas), output_size=output_size)
    columns = jnp.where(draws.flip, columns[::-1], columns)
    distorted = photometric.distort(_planes(canvas), draws.distortion)
    # The fill is what a weight of zero leaves behind, so that the distortion cannot touch it.
    fill = jnp.round(jnp.array(mean, jnp.float32))
    red, green, blue = (plane - level for plane, level in zip(distorted, fill, strict=True))
    return _to_levels(resample((red, green, blue), rows, columns) + fill)


def transform_boxes(
    size: jax.Array,  # [2] int32
    boxes: jax.Array,  # [M, 4]
    labels: jax.Array,  # [M]
    ignored: jax.Array,  # [M]
    draws: Draws,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # boxes [M, 4], labels [M], ignored [M]
    """Applies the draws to the boxes; a box that is lost leaves an empty slot."""
    expanded = geometry.expand_boxes(boxes, jnp.maximum(size, 1), draws.expansion)
    moved, kept = geometry.crop_boxes(expanded, draws.expansion.size, draws.crop)
    kept &= labels > 0
    mirrored = jnp.stack([1 - moved[:, 2], moved[:, 1], 1 - moved[:, 0], moved[:, 3]], axis=1)
    moved = jnp.where(draws.flip, mirrored, moved)
    return jnp.where(kept[:, None], moved, 0), jnp.where(kept, labels, 0), kept & ignored


def resize(
    canvas: jax.Array,  # [Hc, Wc, 3] uint8
    size: jax.Array,  # [2] int32
    *,
    output_size: tuple[int, int],
    interpolation: str = "linear",
) -> jax.Array:  # [H, W, 3] float32, whole numbers in [0, 255]
    """Warps the image to `output_size` as OpenCV does: what evaluation and detection see.

    Linear interpolation has half-pixel centers, replicated borders and no antialiasing.

    Raises:
        ValueError: for a misspelt interpolation or a canvas that is not uint8 [Hc, Wc, 3].
    """
    size = jnp.maximum(size, 1)
    origin = jnp.zeros((2,), jnp.int32)
    rows, columns = axis_weights(
        View(size, origin, origin, size),
        jnp.int32(interpolation_index(interpolation)),
        canvas_size=_canvas_size(canvas),
        output_size=output_size,
    )
    red, green, blue = (plane.astype(jnp.float32) for plane in _planes(canvas))
    return _to_levels(resample((red, green, blue), rows, columns))


def _canvas_size(canvas: jax.Array) -> tuple[int, int]:
    if canvas.ndim != 3 or canvas.shape[2] != 3 or canvas.dtype != jnp.uint8:
        raise ValueError(f"canvas: expected uint8 [height, width, 3], got {canvas.dtype} {list(canvas.shape)}")
    return canvas.shape[0], canvas.shape[1]


def _planes(canvas: jax.Array) -> photometric.Planes:
    canvas = canvas.astype(jnp.int32)
    return canvas[..., 0], canvas[..., 1], canvas[..., 2]


def _to_levels(image: jax.Array) -> jax.Array:
    # The original holds uint8 after its resize; cubic and lanczos4 overshoot.
    return jnp.clip(jnp.round(image), 0, 255)
