"""From raw predictions to detections: decode, per-class non-maximum suppression, top-k; static shapes."""

import jax
import jax.numpy as jnp

from ssd_jax import boxes as box_ops
from ssd_jax.types import Detections

NMS_BLOCK = 512  # boxes suppressed at a time: bounds memory to NMS_BLOCK * N overlaps
CLASS_BLOCK = 8  # classes suppressed at a time in detect: 200 classes x 32 images would need 4 GB at once


def _suppress_block(overlaps: jax.Array, valid: jax.Array) -> jax.Array:  # [T, T] bool, [T] -> [T]
    """Greedy suppression among boxes sorted best first; ``overlaps[i, j]``: i is above the threshold with j.

    A box is kept if no kept better box overlaps it. Starting from "all are kept" and applying this
    rule until nothing changes settles at least one more box each round, in rank order, so the fixed
    point is the greedy result; chains of suppression are short, so the rounds are few.
    """
    better = jnp.triu(overlaps, k=1)  # only a better-ranked box suppresses

    def apply_rule(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        keep, _ = state
        updated = valid & ~jnp.any(better & keep[:, None], axis=0)
        return updated, jnp.any(updated != keep)

    return jax.lax.while_loop(lambda state: state[1], apply_rule, (valid, jnp.array(True)))[0]


def _nms_sorted(boxes: jax.Array, valid: jax.Array, iou_threshold: float) -> jax.Array:  # [N, 4], [N] -> [N]
    """Exact greedy suppression of boxes sorted best first, block by block."""
    total = boxes.shape[0]
    if total <= NMS_BLOCK:
        return _suppress_block(box_ops.pairwise_iou(boxes, boxes) > iou_threshold, valid)

    blocks = -(-total // NMS_BLOCK)
    padding = blocks * NMS_BLOCK - total
    boxes, keep = jnp.pad(boxes, ((0, padding), (0, 0))), jnp.pad(valid, (0, padding))

    def settle(block: jax.Array, keep: jax.Array) -> jax.Array:
        start = block * NMS_BLOCK
        own = jax.lax.dynamic_slice_in_dim(boxes, start, NMS_BLOCK)
        overlaps = box_ops.pairwise_iou(own, boxes) > iou_threshold  # [T, N]
        among = jax.lax.dynamic_slice_in_dim(overlaps, start, NMS_BLOCK, axis=1)
        own_keep = _suppress_block(among, jax.lax.dynamic_slice_in_dim(keep, start, NMS_BLOCK))
        later = jnp.arange(keep.size) >= start + NMS_BLOCK
        keep = keep & ~(later & jnp.any(overlaps & own_keep[:, None], axis=0))
        return jax.lax.dynamic_update_slice_in_dim(keep, own_keep, start, axis=0)

    return jax.lax.fori_loop(0, blocks, settle, keep)[:total]


def nms(
    boxes: jax.Array,  # [N, 4]
    scores: jax.Array,  # [N]
    *,
    iou_threshold: float,
    valid: jax.Array | None = None,  # [N] bool
) -> jax.Array:  # [N] bool
    """Exact greedy non-maximum suppression.

    Boxes are visited by descending score, ties by lowest index; a box is kept if its IoU with every
    box kept before it is at most ``iou_threshold``. Rows that are not valid or not finite are never
    kept and suppress nothing.

    Args:
      boxes: xyxy in any unit.
      scores: any float.
      iou_threshold: largest IoU that two kept boxes may have.
      valid: rows to consider; all by default.

    Returns:
      Which rows are kept, in the order of the input.
    """
    finite = jnp.isfinite(scores) & jnp.isfinite(boxes).all(axis=-1)
    valid = finite if valid is None else finite & valid
    order = jnp.argsort(jnp.where(valid, scores, -jnp.inf), descending=True, stable=True)
    sorted_boxes = jnp.where(valid[order, None], boxes[order], 0)
    keep = _nms_sorted(sorted_boxes, valid[order], iou_threshold)
    return jnp.zeros(scores.shape, bool).at[order].set(keep)


def detect(
    offsets: jax.Array,  # [P, 4]
    logits: jax.Array,  # [P, C]
    priors: jax.Array,  # [P, 4]
    *,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    pre_nms_top_k: int = 400,
    max_detections: int = 200,
    clip_first: bool = False,
    variances: tuple[float, float, float, float] = box_ops.VARIANCES,
) -> Detections:
    """Turns the predictions of one image into detections (detection_output_layer.cpp).

    Softmax; then for each foreground class the boxes that score above ``score_threshold``, the best
    ``pre_nms_top_k`` of them, greedy suppression at ``iou_threshold``; then the best
    ``max_detections`` over all classes. Ties go to the lowest prior within a class and to the lowest
    class between classes. Boxes are clipped to the image after suppression; with ``clip_first`` before
    it, as in torchvision (detection/ssd.py), so that overlap outside of the image does not count. The
    result of an image does not depend on the rest of the batch.

    Returns:
      Detections with K = max_detections rows, best first; empty slots are zeros.

    Raises:
      ValueError: if ``pre_nms_top_k`` or ``max_detections`` is below 1, a threshold outside of [0, 1], or
        ``clip_first`` not a bool.
    """
    for name, value in {"score_threshold": score_threshold, "iou_threshold": iou_threshold}.items():
        if isinstance(value, int | float) and not 0 <= value <= 1:  # what is traced cannot be asked
            raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
    for name, value in {"pre_nms_top_k": pre_nms_top_k, "max_detections": max_detections}.items():
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if not isinstance(clip_first, bool):  # the text "False" would be true
        raise ValueError(f"clip_first: expected True or False, got {clip_first!r}")
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    boxes = box_ops.decode(offsets.astype(jnp.float32), priors, variances=variances)
    finite = jnp.isfinite(boxes).all(axis=-1)
    boxes = jnp.where(finite[:, None], boxes, 0)
    boxes = box_ops.clip(boxes) if clip_first else boxes
    # NaN compares false, so a prior whose logits are not finite drops out here.
    scores = jnp.where((probabilities > score_threshold) & finite[:, None], probabilities, 0)[:, 1:].T  # [C-1, P]
    top_k = min(pre_nms_top_k, scores.shape[1])

    def detect_class(class_scores: jax.Array) -> tuple[jax.Array, jax.Array]:  # [P] -> [K], [K]
        top_scores, index = jax.lax.top_k(class_scores, top_k)
        keep = _nms_sorted(boxes[index], top_scores > 0, iou_threshold)
        return jnp.where(keep, top_scores, 0), index

    kept_scores, kept_index = jax.lax.map(detect_class, scores, batch_size=CLASS_BLOCK)  # [C-1, K]
    best_scores, position = jax.lax.top_k(kept_scores.ravel(), min(max_detections, kept_scores.size))
    found = best_scores > 0
    labels = jnp.where(found, position // top_k + 1, 0).astype(jnp.int32)
    best_boxes = jnp.where(found[:, None], box_ops.clip(boxes[kept_index.ravel()[position]]), 0)
    missing = max_detections - best_scores.shape[0]
    return Detections(
        jnp.pad(best_boxes, ((0, missing), (0, 0))), jnp.pad(best_scores, (0, missing)), jnp.pad(labels, (0, missing))
    )
