"""Expansion and IoU-constrained cropping: which rectangle of the world an output image shows.

Three frames occur, each with its origin in its upper left corner: the image (h x w pixels), the
expanded image (the image laid on a larger, mean-filled one), and the crop of the expanded image.

What is decided here (the pixels of a crop, whether an IoU is reached, whether a box is kept) is decided in int32, on
two grids: 1 / STEPS of a side of the expanded image, and 1 / SUBPIXELS of a pixel. Sides of expanded images must stay
below 2^15 pixels, so that a side times STEPS and a coordinate times 8 stay below 2^31.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssd_jax.augment import grid

STEPS = 1 << 15  # areas in squared steps are at most 2^30
SUBPIXELS = 1 << 12  # boxes of whole pixels are exact; others are moved by 1 / 8192 pixel at most
WHOLE = (0, 0, STEPS, STEPS)


class ExpansionDraws(NamedTuple):
    """What was drawn for the expansion of one image."""

    fired: jax.Array  # [] bool
    ratio: jax.Array  # [] float32 in [1, expand_max]: of each side, a multiple of 1 / STEPS
    size: jax.Array  # [2] int32 (height, width) of the expanded image; the image's own if not fired
    offset: jax.Array  # [2] int32 (y, x) of the image within the expanded image


class CropDraws(NamedTuple):
    """What was drawn for the crop of one image. Sampler 0 is the whole image, the last one any crop.

    Boxes are normalized to the expanded image, and multiples of 1 / STEPS.
    """

    candidates: jax.Array  # [S, 4] float32: first success of each sampler
    succeeded: jax.Array  # [S] bool
    sampler: jax.Array  # [] int32: the one picked
    box: jax.Array  # [4] float32: its candidate
    offset: jax.Array  # [2] int32 (y, x): upper left pixel of the crop in the expanded image
    size: jax.Array  # [2] int32 (height, width) of the crop in pixels, at least 1


def draw_expansion(
    key: jax.Array,
    size: jax.Array,  # [2] int32
    *,
    probability: float,
    max_ratio: float,
) -> ExpansionDraws:
    """Draws whether, how far and where.

    Raises:
        ValueError: for a maximum ratio outside [1, 256].
    """
    low, high = grid.interval("expand_max", (1.0, max_ratio), steps=STEPS, within=(1.0, 256.0))
    uniform = jax.random.uniform(key, (4,))
    ratio = grid.pick(uniform[0], low, high)
    fired = uniform[1] < probability
    expanded = jnp.where(fired, size * ratio // STEPS, size)
    offset = grid.pick(uniform[2:], 0, jnp.maximum(expanded - size - 1, 0))
    return ExpansionDraws(fired, grid.unsnap(ratio, STEPS), expanded, offset)


def draw_trials(
    key: jax.Array,
    shape: tuple[int, ...],
    *,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
) -> jax.Array:  # [*shape, 4] int32 xyxy in steps
    """Draws crop boxes within the unit square: scale, aspect ratio (then clamped), uniform place.

    Raises:
        ValueError: for scales outside [0, 1], aspect ratios outside [0.01, 100], or a range in the wrong order.
    """
    sides = grid.interval("crop_scale", scale, steps=STEPS, within=(0.0, 1.0))
    aspects = grid.interval("crop_aspect_ratio", aspect_ratio, steps=STEPS, within=(0.01, 100.0))
    uniform = jax.random.uniform(key, (4, *shape))
    # No product meets a sum until it has been rounded to whole steps: there is nothing to fuse.
    side = grid.unsnap(grid.pick(uniform[0], *sides), STEPS)
    aspect = grid.unsnap(grid.pick(uniform[1], *aspects), STEPS)
    aspect = jnp.minimum(jnp.maximum(aspect, side**2), 1 / side**2)  # keeps both sides within 1
    root = grid.unsnap(grid.snap(jnp.sqrt(aspect), STEPS), STEPS)  # XLA would make a / sqrt(b) a * rsqrt(b)
    width = grid.snap(jnp.minimum(side * root, 1), STEPS)
    height = grid.snap(jnp.minimum(side / root, 1), STEPS)
    left, top = grid.pick(uniform[2], 0, STEPS - width), grid.pick(uniform[3], 0, STEPS - height)
    return jnp.stack([left, top, left + width, top + height], axis=-1)


def select_crop(
    trials: jax.Array,  # [S - 1, T, 4] int32 of the samplers 1 .. S - 1
    pick: jax.Array,  # [] float32 in [0, 1)
    boxes: jax.Array,  # [M, 4] int32; both in steps of the expanded image
    valid: jax.Array,  # [M] bool
    *,
    min_ious: tuple[float, ...],  # [S - 2]
) -> tuple[jax.Array, jax.Array, jax.Array]:  # candidates [S, 4] int32, succeeded [S], sampler []
    """Takes each sampler's first accepted trial, then picks uniformly among samplers that have one.

    A trial is accepted if at least one valid box has IoU >= the sampler's minimum with it; the last
    sampler accepts any trial as soon as there is a valid box. The whole image always succeeds.
    """
    iou = _pairwise_iou(trials.reshape(-1, 4), boxes)
    best = jnp.max(jnp.where(valid, iou, -1), axis=1, initial=-1).reshape(trials.shape[:2])
    accepted = best >= jnp.array([*min_ious, 0], jnp.float32)[:, None]
    first = jnp.argmax(accepted, axis=1)
    found = jnp.take_along_axis(trials, first[:, None, None], axis=1)[:, 0]

    candidates = jnp.concatenate([jnp.array([WHOLE], jnp.int32), found])
    succeeded = jnp.concatenate([jnp.array([True]), jnp.any(accepted, axis=1)])
    count = jnp.sum(succeeded)
    rank = jnp.minimum(jnp.floor(pick * count).astype(jnp.int32), count - 1)
    sampler = jnp.argmax(jnp.cumsum(succeeded) > rank)
    return candidates, succeeded, sampler.astype(jnp.int32)


def draw_crop(
    key: jax.Array,
    size: jax.Array,  # [2] int32 of the expanded image
    boxes: jax.Array,  # [M, 4] int32 of :func:`expand_boxes`
    valid: jax.Array,  # [M] bool
    *,
    probability: float,
    min_ious: tuple[float, ...],
    trials: int,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
) -> CropDraws:
    """Draws the crop of one image; without valid boxes, or if it does not fire, the whole image."""
    key, trial_key = jax.random.split(key)
    fired, pick = jax.random.uniform(key, (2,))
    valid &= fired < probability
    proposals = draw_trials(trial_key, (len(min_ious) + 1, trials), scale=scale, aspect_ratio=aspect_ratio)
    objects = boxes * (STEPS // SUBPIXELS) // _xyxy(size)
    candidates, succeeded, sampler = select_crop(proposals, pick, objects, valid, min_ious=min_ious)
    box = candidates[sampler]
    offset, extent = crop_pixels(box, size)
    return CropDraws(grid.unsnap(candidates, STEPS), succeeded, sampler, grid.unsnap(box, STEPS), offset, extent)


def crop_pixels(
    box: jax.Array,  # [4] int32 in steps
    size: jax.Array,  # [2] int32 of the expanded image
) -> tuple[jax.Array, jax.Array]:  # offset [2], size [2] int32
    """Truncates a box to whole pixels as the original does, and to at least one pixel."""
    corners = box.reshape(2, 2)[:, ::-1] * size  # (low, high) x (y, x) in 1 / STEPS pixel
    offset = jnp.minimum(corners[0] // STEPS, size - 1)
    extent = jnp.maximum((corners[1] - corners[0]) // STEPS, 1)
    return offset, jnp.minimum(extent, size - offset)


def expand_boxes(
    boxes: jax.Array,  # [M, 4] float32 normalized to the image
    size: jax.Array,  # [2] int32
    expansion: ExpansionDraws,
) -> jax.Array:  # [M, 4] int32 in 1 / SUBPIXELS pixel of the expanded image
    """Moves boxes from the frame of the image to that of the expanded image, and onto the grid."""
    return grid.snap(boxes * _xyxy(size), SUBPIXELS) + _xyxy(expansion.offset) * SUBPIXELS


def crop_boxes(
    boxes: jax.Array,  # [M, 4] int32 of :func:`expand_boxes`
    size: jax.Array,  # [2] int32 of the expanded image
    crop: CropDraws,
) -> tuple[jax.Array, jax.Array]:  # [M, 4] float32 normalized to the crop and clipped, kept [M] bool
    """Moves boxes to the frame of the crop; keeps those whose center lies in it (inclusive).

    The center is compared with the box that was drawn, as in the original; the coordinates follow
    the whole pixels that are really cut out, so that boxes and pixels stay together.
    """
    drawn = grid.snap(crop.box, STEPS) * _xyxy(size)  # 1 / STEPS pixel
    center = (boxes[:, :2] + boxes[:, 2:]) * (STEPS // SUBPIXELS // 2)  # the sum is twice the center
    inside = jnp.all((center >= drawn[:2]) & (center <= drawn[2:]), axis=1)
    extent = _xyxy(crop.size) * SUBPIXELS
    moved = jnp.clip(boxes - _xyxy(crop.offset) * SUBPIXELS, 0, extent)
    has_area = jnp.all(moved[:, 2:] > moved[:, :2], axis=1)
    return grid.ratio(moved, extent), inside & has_area


def _pairwise_iou(a: jax.Array, b: jax.Array) -> jax.Array:  # [N, 4], [M, 4] int32 steps -> [N, M] float32
    """IoU of whole areas, which only the conversion to float32 and the division round: nothing to fuse."""
    low = jnp.maximum(a[:, None, :2], b[None, :, :2])
    high = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = _area(low, high)
    union = _area(a[:, :2], a[:, 2:])[:, None] + (_area(b[:, :2], b[:, 2:]) - shared)  # at most 2^30, as each area
    return shared.astype(jnp.float32) / jnp.maximum(union, 1).astype(jnp.float32)


def _area(low: jax.Array, high: jax.Array) -> jax.Array:  # [..., 2] int32, [..., 2] int32 -> [...]
    return jnp.prod(jnp.maximum(high - low, 0), axis=-1, dtype=jnp.int32)


def _xyxy(pair: jax.Array) -> jax.Array:  # [2] (y, x) -> [4] (x, y, x, y)
    return jnp.tile(pair[::-1], 2)
