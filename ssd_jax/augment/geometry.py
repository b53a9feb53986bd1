"""Expansion and IoU-constrained cropping: which rectangle of the world an output image shows.

Three frames occur, each with its origin in its upper left corner: the image (h x w pixels), the
expanded image (the image laid on a larger, mean-filled one), and the crop of the expanded image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssd_jax import boxes as box_ops

WHOLE = (0.0, 0.0, 1.0, 1.0)


class ExpansionDraws(NamedTuple):
    """What was drawn for the expansion of one image."""

    fired: jax.Array  # [] bool
    ratio: jax.Array  # [] float32 in [1, expand_max]: of each side
    size: jax.Array  # [2] int32 (height, width) of the expanded image; the image's own if not fired
    offset: jax.Array  # [2] int32 (y, x) of the image within the expanded image


class CropDraws(NamedTuple):
    """What was drawn for the crop of one image. Sampler 0 is the whole image, the last one any crop."""

    candidates: jax.Array  # [S, 4] float32: first success of each sampler, normalized to the expanded image
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
    """Draws whether, how far and where."""
    uniform = jax.random.uniform(key, (4,))
    ratio = 1 + uniform[0] * (jnp.float32(max_ratio) - 1)
    fired = uniform[1] < probability
    expanded = jnp.where(fired, jnp.floor(size * ratio).astype(jnp.int32), size)
    offset = jnp.floor(uniform[2:] * (expanded - size)).astype(jnp.int32)
    return ExpansionDraws(fired, ratio, expanded, offset)


def draw_trials(
    key: jax.Array,
    shape: tuple[int, ...],
    *,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
) -> jax.Array:  # [*shape, 4] xyxy
    """Draws crop boxes within the unit square: scale, aspect ratio (then clamped), uniform place."""
    uniform = jax.random.uniform(key, (4, *shape))
    side = scale[0] + uniform[0] * jnp.float32(scale[1] - scale[0])
    aspect = aspect_ratio[0] + uniform[1] * jnp.float32(aspect_ratio[1] - aspect_ratio[0])
    aspect = jnp.minimum(jnp.maximum(aspect, side**2), 1 / side**2)  # keeps both sides within 1
    width = jnp.minimum(side * jnp.sqrt(aspect), 1)
    height = jnp.minimum(side / jnp.sqrt(aspect), 1)
    left, top = uniform[2] * (1 - width), uniform[3] * (1 - height)
    return jnp.stack([left, top, left + width, top + height], axis=-1)


def select_crop(
    trials: jax.Array,  # [S - 1, T, 4] of the samplers 1 .. S - 1
    pick: jax.Array,  # [] float32 in [0, 1)
    boxes: jax.Array,  # [M, 4] in the expanded frame
    valid: jax.Array,  # [M] bool
    *,
    min_ious: tuple[float, ...],  # [S - 2]
) -> tuple[jax.Array, jax.Array, jax.Array]:  # candidates [S, 4], succeeded [S], sampler []
    """Takes each sampler's first accepted trial, then picks uniformly among samplers that have one.

    A trial is accepted if at least one valid box has IoU >= the sampler's minimum with it; the last
    sampler accepts any trial as soon as there is a valid box. The whole image always succeeds.
    """
    iou = box_ops.pairwise_iou(trials.reshape(-1, 4), boxes)
    best = jnp.max(jnp.where(valid, iou, -1), axis=1, initial=-1).reshape(trials.shape[:2])
    accepted = best >= jnp.array([*min_ious, 0], jnp.float32)[:, None]
    first = jnp.argmax(accepted, axis=1)
    found = jnp.take_along_axis(trials, first[:, None, None], axis=1)[:, 0]

    candidates = jnp.concatenate([jnp.array([WHOLE], jnp.float32), found])
    succeeded = jnp.concatenate([jnp.array([True]), jnp.any(accepted, axis=1)])
    count = jnp.sum(succeeded)
    rank = jnp.minimum(jnp.floor(pick * count).astype(jnp.int32), count - 1)
    sampler = jnp.argmax(jnp.cumsum(succeeded) > rank)
    return candidates, succeeded, sampler.astype(jnp.int32)


def draw_crop(
    key: jax.Array,
    size: jax.Array,  # [2] int32 of the expanded image
    boxes: jax.Array,  # [M, 4] in the expanded frame
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
    candidates, succeeded, sampler = select_crop(proposals, pick, boxes, valid, min_ious=min_ious)
    box = candidates[sampler]
    offset, extent = crop_pixels(box, size)
    return CropDraws(candidates, succeeded, sampler, box, offset, extent)


def crop_pixels(
    box: jax.Array,  # [4] normalized
    size: jax.Array,  # [2] int32 of the expanded image
) -> tuple[jax.Array, jax.Array]:  # offset [2], size [2] int32
    """Truncates a box to whole pixels as the original does, and to at least one pixel."""
    corners = box.reshape(2, 2)[:, ::-1] * size  # (low, high) x (y, x)
    offset = jnp.minimum(corners[0].astype(jnp.int32), size - 1)
    extent = jnp.maximum((corners[1] - corners[0]).astype(jnp.int32), 1)
    return offset, jnp.minimum(extent, size - offset)


def expand_boxes(
    boxes: jax.Array,  # [M, 4] normalized to the image
    size: jax.Array,  # [2] int32
    expansion: ExpansionDraws,
) -> jax.Array:  # [M, 4] normalized to the expanded image
    """Moves boxes from the frame of the image to that of the expanded image."""
    return (boxes * _xyxy(size) + _xyxy(expansion.offset)) / _xyxy(expansion.size)


def crop_boxes(
    boxes: jax.Array,  # [M, 4] normalized to the expanded image
    size: jax.Array,  # [2] int32 of the expanded image
    crop: CropDraws,
) -> tuple[jax.Array, jax.Array]:  # [M, 4] normalized to the crop and clipped, kept [M] bool
    """Moves boxes to the frame of the crop; keeps those whose center lies in it (inclusive).

    The center is compared with the box that was drawn, as in the original; the coordinates follow
    the whole pixels that are really cut out, so that boxes and pixels stay together.
    """
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = jnp.all((center >= crop.box[:2]) & (center <= crop.box[2:]), axis=1)
    moved = box_ops.clip((boxes * _xyxy(size) - _xyxy(crop.offset)) / _xyxy(crop.size))
    return moved, inside & (box_ops.area(moved) > 0)


def _xyxy(pair: jax.Array) -> jax.Array:  # [2] (y, x) -> [4] (x, y, x, y)
    return jnp.tile(pair[::-1], 2)
