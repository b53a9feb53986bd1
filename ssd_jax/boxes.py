"""Geometry of axis-aligned boxes: pure, shape-free functions on ``[..., 4]``.

Boxes are (xmin, ymin, xmax, ymax); the center form (cx, cy, w, h) is used only to encode and
decode. Any unit will do as long as it is one unit; the rest of the library uses [0, 1].
"""

import jax
import jax.numpy as jnp

VARIANCES = (0.1, 0.1, 0.2, 0.2)  # of (cx, cy, w, h): prior_variance of ssd_pascal.py


def center_to_corner(boxes: jax.Array) -> jax.Array:  # [..., 4] -> [..., 4]
    """Converts (cx, cy, w, h) to (xmin, ymin, xmax, ymax)."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([center - size / 2, center + size / 2], axis=-1)


def corner_to_center(boxes: jax.Array) -> jax.Array:  # [..., 4] -> [..., 4]
    """Converts (xmin, ymin, xmax, ymax) to (cx, cy, w, h)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def area(boxes: jax.Array) -> jax.Array:  # [..., 4] -> [...]
    """Returns the area; empty and reversed boxes have area 0."""
    size = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]


def clip(boxes: jax.Array) -> jax.Array:  # [..., 4] -> [..., 4]
    """Clips normalized boxes to the image, [0, 1]."""
    return jnp.clip(boxes, 0, 1)


def pairwise_intersection(a: jax.Array, b: jax.Array) -> jax.Array:  # [N, 4], [M, 4] -> [N, M]
    """Returns the area shared by each box of ``a`` and each box of ``b``."""
    low = jnp.maximum(a[:, None, :2], b[None, :, :2])
    high = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    return area(jnp.concatenate([low, high], axis=-1))


def pairwise_iou(a: jax.Array, b: jax.Array) -> jax.Array:  # [N, 4], [M, 4] -> [N, M]
    """Returns the intersection over union (Jaccard overlap, paper section 2.2) of each pair.

    A non-empty box has IoU exactly 1 with itself; an empty or reversed box has IoU 0 with
    everything. There is no epsilon, and gradients are finite everywhere.
    """
    shared = pairwise_intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    # The inner `where` keeps 0/0 out of the gradient of the outer one.
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def encode(
    boxes: jax.Array,  # [P, 4] xyxy
    priors: jax.Array,  # [P, 4] xyxy
    *,
    variances: tuple[float, float, float, float] = VARIANCES,
) -> jax.Array:  # [P, 4]
    """Encodes each box relative to its prior: (dcx / w, dcy / h, log w, log h) / variances.

    Paper equation 2, with the variances of the original code. Boxes and priors must have positive
    width and height: the offsets of an empty box are not finite.
    """
    box, prior = corner_to_center(boxes), corner_to_center(priors)
    shift = (box[..., :2] - prior[..., :2]) / prior[..., 2:]
    scale = jnp.log(box[..., 2:] / prior[..., 2:])
    return jnp.concatenate([shift, scale], axis=-1) / jnp.asarray(variances, shift.dtype)


def decode(
    offsets: jax.Array,  # [P, 4] (cx, cy, w, h)
    priors: jax.Array,  # [P, 4] xyxy
    *,
    variances: tuple[float, float, float, float] = VARIANCES,
) -> jax.Array:  # [P, 4] xyxy
    """Inverts :func:`encode`. The result is not clipped, as in the original code."""
    offsets = offsets * jnp.asarray(variances, offsets.dtype)
    prior = corner_to_center(priors)
    center = prior[..., :2] + offsets[..., :2] * prior[..., 2:]
    size = jnp.exp(offsets[..., 2:]) * prior[..., 2:]
    return center_to_corner(jnp.concatenate([center, size], axis=-1))
