"""What is minimized: from a batch and parameters to the loss, before it is normalized and differentiated."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import augment, losses, matching
from ssd_jax.models import Model
from ssd_jax.priors import inside
from ssd_jax.types import Batch, LossParts, Predictions, Targets


class LossAux(NamedTuple):
    """What a share of the loss is accompanied by."""

    denominator: jax.Array  # [] of ``losses.fraction``
    parts: LossParts  # of each image, [B]
    model_state: Any
    predictions: Predictions


def image_keys(seed: int, epoch: jax.Array, index: jax.Array) -> jax.Array:  # [B], [B] -> [B] keys
    """Returns the augmentation key of each image: a function of (seed, epoch, index) alone."""
    fold = jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), e), i))
    return fold(epoch, index)


def make_target_fn(
    priors: np.ndarray,  # [P, 4]
    *,
    match_options: Mapping[str, Any],
    ignore_cross_boundary: bool = False,
) -> Callable[..., Targets]:
    """Makes targets(boxes [M, 4], labels [M], ignored [M], is_image []) -> Targets of one image.

    Args:
      priors: of ``priors.default_boxes``.
      match_options: of ``matching.match``.
      ignore_cross_boundary: whether default boxes that leave the image are neither positive nor
        negative (ignore_cross_boundary_bbox of the original; the paper's Table 3).
    """
    prior_mask = jnp.asarray(inside(priors)) if ignore_cross_boundary else None

    def targets(boxes: jax.Array, labels: jax.Array, ignored: jax.Array, is_image: jax.Array) -> Targets:
        found = matching.match(
            boxes, labels, jnp.asarray(priors), ignored=ignored, prior_mask=prior_mask, **match_options
        )
        # The place of an image that could not be read is empty; it must not be learned as background.
        return found._replace(ignore=found.ignore | ~is_image)

    return targets


def make_loss_fn(
    model: Model,
    priors: np.ndarray,  # [P, 4]
    *,
    seed: int,
    output_size: tuple[int, int],
    augment_options: Mapping[str, Any],
    match_options: Mapping[str, Any],
    negative_ratio: float = 3.0,
    empty_negatives: int = 0,
    per: losses.Normalizer = "global",
    location_weight: float = 1.0,
    ignore_cross_boundary: bool = False,
) -> Callable[[Any, Any, Batch], tuple[jax.Array, LossAux]]:
    """Makes loss(params, model_state, batch) -> (numerator, LossAux): augment, match, predict, mine.

    The numerator is that of ``losses.fraction``: the loss of this share of the batch before it is normalized.

    Args:
      model: of ``models.build``.
      priors, match_options, ignore_cross_boundary: of :func:`make_target_fn`.
      seed: of the augmentation.
      output_size: (height, width) of the network's input.
      augment_options: of ``augment.augment``.
      negative_ratio, empty_negatives: of ``losses.multibox_loss``.
      per, location_weight: of ``losses.fraction``.
    """
    augment_image = functools.partial(augment.augment, output_size=output_size, **augment_options)
    targets_of = make_target_fn(priors, match_options=match_options, ignore_cross_boundary=ignore_cross_boundary)

    def loss(params: Any, model_state: Any, batch: Batch) -> tuple[jax.Array, LossAux]:
        keys = image_keys(seed, batch.epoch, batch.index)
        images, boxes, labels, ignored, _ = jax.vmap(augment_image)(
            keys, batch.canvas, batch.size, batch.boxes, batch.labels, batch.ignored
        )
        targets = jax.vmap(targets_of)(boxes, labels, ignored, batch.valid)
        predictions, model_state = model.apply_train({"params": params, **model_state}, images)
        parts = losses.multibox_loss(
            predictions, targets, negative_ratio=negative_ratio, empty_negatives=empty_negatives
        )
        numerator, denominator = losses.fraction(parts, per=per, location_weight=location_weight)
        return numerator, LossAux(denominator, parts, model_state, predictions)

    return loss
