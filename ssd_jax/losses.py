"""The training objective (paper section 2.2, equations 1-3) and hard negative mining."""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from ssd_jax.types import LossParts, Predictions, Targets

Normalizer = Literal["global", "device", "image"]


def top_k_mask(ranks: jax.Array, k: jax.Array) -> jax.Array:  # [P] int32 >= 0, [] -> [P] bool
    """Marks the ``k`` largest ranks; ties go to the lowest index.

    The k-th largest is found bit by bit with 31 counts, which is cheaper than a sort.
    """

    def refine(step: int, threshold: jax.Array) -> jax.Array:
        raised = threshold | (jnp.int32(1) << (30 - step))
        return jnp.where(jnp.sum(ranks >= raised) >= k, raised, threshold)

    threshold = jax.lax.fori_loop(0, 31, refine, jnp.int32(0))  # the largest that k ranks reach
    above, equal = ranks > threshold, ranks == threshold
    return above | (equal & (jnp.cumsum(equal) <= k - jnp.sum(above)))


def mine_hard_negatives(
    confidence_loss: jax.Array,  # [P] float32 >= 0
    positives: jax.Array,  # []
    candidates: jax.Array,  # [P] bool
    *,
    negative_ratio: float = 3.0,
    empty_negatives: int = 0,
) -> jax.Array:  # [P] bool
    """Selects the candidates of highest loss, ``negative_ratio`` for each positive, in one image.

    Their number is exactly min(floor(negative_ratio * positives), candidates), as in
    bbox_util.cpp:MineHardExamples (MAX_NEGATIVE); without any positive it is
    min(empty_negatives, candidates). The losses only rank; no gradient passes.
    """
    wanted = jnp.where(positives > 0, jnp.floor(negative_ratio * positives).astype(jnp.int32), empty_negatives)
    wanted = jnp.minimum(wanted, jnp.sum(candidates))
    # The bits of non-negative floats order as the floats do (NaN above all, so that it is not hidden).
    bits = jax.lax.bitcast_convert_type(jnp.abs(jax.lax.stop_gradient(confidence_loss)), jnp.int32)
    return top_k_mask(jnp.where(candidates, bits + 1, 0), wanted)


def _image_loss(
    predictions: Predictions, targets: Targets, *, negative_ratio: float, empty_negatives: int
) -> LossParts:
    """:func:`multibox_loss` of one image."""
    positive = targets.labels > 0
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(
        predictions.logits.astype(jnp.float32), targets.labels
    )  # [P]; for unmatched priors that is -log p(background), by which the original mines
    negative = mine_hard_negatives(
        cross_entropy,
        jnp.sum(positive),
        ~positive & ~targets.ignore,
        negative_ratio=negative_ratio,
        empty_negatives=empty_negatives,
    )
    smooth_l1 = optax.huber_loss(predictions.offsets.astype(jnp.float32), targets.offsets, delta=1.0).sum(axis=-1)
    return LossParts(
        location=jnp.sum(jnp.where(positive, smooth_l1, 0)),
        confidence=jnp.sum(jnp.where(positive | negative, cross_entropy, 0)),
        positives=jnp.sum(positive, dtype=jnp.int32),
        negatives=jnp.sum(negative, dtype=jnp.int32),
    )


def multibox_loss(
    predictions: Predictions, targets: Targets, *, negative_ratio: float = 3.0, empty_negatives: int = 0
) -> LossParts:
    """Computes the un-normalized loss of each image: smooth L1 and softmax cross-entropy.

    Smooth L1 is summed over the offsets of the positives; cross-entropy over the positives and the
    hard negatives mined in the same image. An image without positives contributes nothing, as in the
    original code (multibox_loss_layer.cpp), unless ``empty_negatives`` says otherwise.

    Args:
      predictions: offsets [..., P, 4] and logits [..., P, C] of one image or a batch.
      targets: of the same leading shape.
      negative_ratio: negatives for each positive.
      empty_negatives: negatives of an image without positives, so that pictures of background teach too.

    Returns:
      Sums of shape [...], float32, and counts, int32.

    Raises:
      ValueError: if a number of negatives is below 0.
    """
    _check_factor("negative_ratio", negative_ratio)
    if empty_negatives < 0:
        raise ValueError(f"empty_negatives must not be negative, got {empty_negatives}")
    one_image = functools.partial(_image_loss, negative_ratio=negative_ratio, empty_negatives=empty_negatives)
    for _ in range(targets.labels.ndim - 1):
        one_image = jax.vmap(one_image)
    return one_image(predictions, targets)


def _check_factor(name: str, value: float) -> None:
    if isinstance(value, int | float) and not 0 <= value < math.inf:  # what is traced cannot be asked
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value}")


def fraction(
    parts: LossParts, *, per: Normalizer = "global", location_weight: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Returns the loss as numerator and denominator, so that parts of a batch can be added up before the division.

    Whatever shares a batch is cut into, by devices or by micro-batches, the loss is the sum of their
    numerators over the sum of their denominators, at least 1 (paper equation 1).

    Args:
      parts: per-image sums [B] of one share of the batch.
      per: what the sums are divided by. "global": all matched priors of the batch (the paper's N).
        "device": the matched priors of the share, then averaged over the shares (what Caffe's
        normalization VALID does on several GPUs and over iter_size). "image": each image's own matched
        priors, then averaged over the images.
      location_weight: the paper's alpha, at least 0.

    Returns:
      Two float32 scalars. The denominator carries no gradient.

    Raises:
      ValueError: if ``per`` is unknown or ``location_weight`` below 0.
    """
    _check_factor("location_weight", location_weight)
    total = parts.confidence + location_weight * parts.location  # [B]
    matched = parts.positives.astype(jnp.float32)
    match per:
        case "global":
            return jnp.sum(total), jnp.sum(matched)
        case "device":
            return jnp.sum(total) / jnp.maximum(jnp.sum(matched), 1), jnp.float32(1)
        case "image":
            return jnp.sum(total / jnp.maximum(matched, 1)), jnp.float32(total.size)
    raise ValueError(f"per: expected 'global', 'device' or 'image', got {per!r}")


def normalize(
    parts: LossParts, *, per: Normalizer = "global", location_weight: float = 1.0, axis_name: str | None = None
) -> jax.Array:
    """Combines the per-image parts into the scalar to differentiate (paper equation 1).

    Under a mapped axis the result is this device's share: the sum over devices is the loss, and the
    sum of the shares' gradients is its gradient. Counts carry no gradient.

    Args:
      parts, per, location_weight: as in :func:`fraction`; the share is this device's.
      axis_name: the mapped axis over which the batch is split, if any.

    Returns:
      float32 scalar.

    Raises:
      ValueError: as :func:`fraction`.
    """
    numerator, denominator = fraction(parts, per=per, location_weight=location_weight)
    if axis_name is not None:
        denominator = jax.lax.psum(denominator, axis_name)
    return numerator / jnp.maximum(denominator, 1)
