"""Assignment of ground truth to priors (paper section 2.2, "Matching strategy"), one image at a time."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssd_jax import boxes as box_ops
from ssd_jax.types import Targets

MIN_OVERLAP = 1e-6  # pairs at or below it never match: MatchBBox in bbox_util.cpp


class _Pairing(NamedTuple):
    """State of the bipartite matching: for each ground truth its prior, for each prior its ground truth."""

    prior_of: jax.Array  # [M] int32, -1 = none yet
    truth_of: jax.Array  # [P] int32, -1 = free
    progress: jax.Array  # [] bool: the last round added a pair


def bipartite_match(overlap: jax.Array) -> jax.Array:  # [P, M] -> [P]
    """Pairs priors and ground truth greedily by the globally largest overlap.

    The original repeats: take the best pair among free priors and free ground truth, ties by lowest
    prior, then lowest ground truth. A pair that is the best of both its row and its column (among
    what is free) will be taken before any rival of either, so all such pairs can be taken at once:
    the same result in a few rounds instead of M.

    Args:
      overlap: [P, M]; pairs at or below ``MIN_OVERLAP`` are never taken.

    Returns:
      int32 [P]: the ground truth of each prior, -1 for none.
    """
    num_priors, num_truths = overlap.shape
    truths = jnp.arange(num_truths)

    def take_mutual_bests(state: _Pairing) -> _Pairing:
        free = jnp.where((state.truth_of >= 0)[:, None] | (state.prior_of >= 0)[None, :], 0, overlap)
        best_prior = jnp.argmax(free, axis=0)  # [M]
        candidates = free[best_prior]  # [M, M]: the row of each one's best prior
        mutual = (jnp.argmax(candidates, axis=1) == truths) & (candidates[truths, truths] > MIN_OVERLAP)
        slots = jnp.where(mutual, best_prior, num_priors)  # out of bounds = dropped
        return _Pairing(
            jnp.where(mutual, best_prior, state.prior_of).astype(jnp.int32),
            state.truth_of.at[slots].set(truths, mode="drop"),
            mutual.any(),
        )

    start = _Pairing(jnp.full(num_truths, -1, jnp.int32), jnp.full(num_priors, -1, jnp.int32), jnp.array(True))
    return jax.lax.while_loop(lambda state: state.progress, take_mutual_bests, start).truth_of


def match(
    boxes: jax.Array,  # [M, 4]
    labels: jax.Array,  # [M]
    priors: jax.Array,  # [P, 4]
    *,
    ignored: jax.Array | None = None,  # [M] bool
    prior_mask: jax.Array | None = None,  # [P] bool
    iou_threshold: float = 0.5,
    negative_overlap: float = 0.5,
    variances: tuple[float, float, float, float] = box_ops.VARIANCES,
) -> Targets:
    """Assigns each prior its class and offsets, exactly as the original code (bbox_util.cpp:MatchBBox).

    First the exact greedy bipartite matching gives each ground truth one prior, best pair first; then
    each free prior whose best IoU reaches ``iou_threshold`` takes that ground truth. Ties go to the
    lowest prior, then the lowest ground truth. Empty, reversed and non-finite boxes match nothing.

    Args:
      boxes: ground truth, padded to M rows.
      labels: int, 0 = padding.
      priors: default boxes.
      ignored: ground truth that is neither learned nor punished (crowds, difficult by policy): free
        priors with intersection / prior area >= ``iou_threshold`` become neither positive nor negative.
      prior_mask: False takes a prior out of training: neither matched nor negative.
      iou_threshold: least IoU of the second stage, in (0, 1].
      negative_overlap: unmatched priors whose best IoU reaches it are not negatives (``neg_overlap``); in (0, 1].
      variances: of :func:`ssd_jax.boxes.encode`; positive.

    Raises:
      ValueError: if an option is out of range.
    """
    for name, value in {"iou_threshold": iou_threshold, "negative_overlap": negative_overlap}.items():
        if isinstance(value, int | float) and not 0 < value <= 1:  # what is traced cannot be asked
            raise ValueError(f"{name}: expected an IoU in (0, 1], got {value}")
    if len(variances) != 4 or any(isinstance(v, int | float) and not 0 < v < math.inf for v in variances):
        raise ValueError(f"variances: expected 4 positive numbers, of cx, cy, w and h, got {variances}")
    if labels.shape[0] == 0:  # an image without objects; the reductions below need at least one row
        boxes, labels, ignored = jnp.zeros((1, 4)), jnp.zeros(1, jnp.int32), None
    real = (labels > 0) & jnp.isfinite(boxes).all(axis=-1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
    # What is None is left out, not made of constants: XLA folds those for up to a minute (100 objects, 32 images).
    learned = real if ignored is None else real & ~ignored
    boxes = jnp.where(real[:, None], boxes, 0)  # an empty box overlaps nothing

    iou = box_ops.pairwise_iou(priors, boxes)  # [P, M]
    iou = jnp.where(learned[None, :] & (iou > MIN_OVERLAP), iou, 0)
    iou = iou if prior_mask is None else jnp.where(prior_mask[:, None], iou, 0)
    best_truth, best_iou = jnp.argmax(iou, axis=1), jnp.max(iou, axis=1, initial=0)
    forced = bipartite_match(iou)
    matched = jnp.where(forced >= 0, forced, best_truth)  # [P]
    positive = (forced >= 0) | ((best_iou >= iou_threshold) & (best_iou > 0))

    ignore = best_iou >= negative_overlap
    if prior_mask is not None:
        ignore |= ~prior_mask
    if ignored is not None:
        cover = box_ops.pairwise_intersection(priors, jnp.where(ignored[:, None], boxes, 0))
        ignore |= ((cover >= iou_threshold * box_ops.area(priors)[:, None]) & (cover > 0)).any(axis=1)
    ignore &= ~positive

    # Where nothing is matched the prior encodes itself: finite, and replaced by zeros.
    targets = jnp.where(positive[:, None], boxes[matched], priors)
    offsets = jnp.where(positive[:, None], box_ops.encode(targets, priors, variances=variances), 0)
    return Targets(offsets, jnp.where(positive, labels[matched], 0).astype(jnp.int32), ignore)
