"""The training step, written once for one device and mapped over all of them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssd_jax import augment, losses, matching, parallel
from ssd_jax.models import Model
from ssd_jax.optim import Optimizer
from ssd_jax.priors import inside
from ssd_jax.types import Batch


class TrainState(NamedTuple):
    """Everything that training changes; arrays only."""

    step: jax.Array  # [] int32: updates made
    params: Any
    model_state: Any  # batch statistics, or empty
    opt_state: Any
    ema: Any  # exponential moving average of params, or None


def evaluated_variables(state: TrainState) -> Any:
    """Returns the variables to evaluate: with the moving average of the parameters where one is kept."""
    return {"params": state.params if state.ema is None else state.ema, **state.model_state}


class StepMetrics(NamedTuple):
    """What one step tells; counts and losses are of the global batch."""

    loss: jax.Array  # [] the value that was differentiated
    location_loss: jax.Array  # [] per matched prior
    confidence_loss: jax.Array  # [] per matched prior
    positives: jax.Array  # [] matched priors
    negatives: jax.Array  # [] mined negatives
    gradient_norm: jax.Array  # []
    learning_rate: jax.Array  # []
    finite: jax.Array  # [] bool: False means the update was not made
    image_loss: jax.Array  # [B] un-normalized loss of each image: names the culprit if not finite


METRIC_SPECS = StepMetrics._make([parallel.REPLICATED] * 8 + [parallel.SPLIT])


def init_state(key: jax.Array, model: Model, optimizer: Optimizer, *, ema_decay: float = 0.0) -> TrainState:
    """Returns the state before the first step, with freshly initialized parameters."""
    variables = dict(model.init(key))
    params = variables.pop("params")
    ema = jax.tree.map(jnp.copy, params) if ema_decay else None
    return TrainState(jnp.int32(0), params, variables, optimizer.tx.init(params), ema)


def image_keys(seed: int, epoch: jax.Array, index: jax.Array) -> jax.Array:  # [B], [B] -> [B] keys
    """Returns the augmentation key of each image: a function of (seed, epoch, index) alone."""
    fold = jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), e), i))
    return fold(epoch, index)


def make_train_step(
    model: Model,
    priors: np.ndarray,  # [P, 4]
    optimizer: Optimizer,
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
    ema_decay: float = 0.0,
    axis_name: str | None = parallel.AXIS,
) -> Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]:
    """Makes step(state, batch) -> (state, metrics): augment, match, predict, mine, differentiate, update.

    The step differentiates this device's share of the loss and sums the gradients with one psum. A
    step whose loss or gradient is not finite leaves the state as it was and says so in its metrics.

    Args:
      model: of ``models.build`` with the same ``axis_name``.
      priors: of ``priors.default_boxes``.
      optimizer: of ``optim.make_optimizer``.
      seed: of the augmentation.
      output_size: (height, width) of the network's input.
      augment_options: of ``augment.augment``.
      match_options: of ``matching.match``.
      negative_ratio, empty_negatives: of ``losses.multibox_loss``.
      per, location_weight: of ``losses.normalize``.
      ignore_cross_boundary: whether default boxes that leave the image are neither positive nor
        negative (ignore_cross_boundary_bbox of the original; the paper's Table 3).
      ema_decay: of the moving average of the parameters; 0 = none.
      axis_name: the mapped axis, or None to run on one device without a map.
    """
    total = (lambda x: x) if axis_name is None else functools.partial(jax.lax.psum, axis_name=axis_name)
    prior_mask = jnp.asarray(inside(priors)) if ignore_cross_boundary else None
    augment_image = functools.partial(augment.augment, output_size=output_size, **augment_options)

    def match_image(boxes, labels, ignored, is_image):
        targets = matching.match(
            boxes, labels, jnp.asarray(priors), ignored=ignored, prior_mask=prior_mask, **match_options
        )
        return targets._replace(ignore=targets.ignore | ~is_image)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        keys = image_keys(seed, batch.epoch, batch.index)
        images, boxes, labels, ignored, _ = jax.vmap(augment_image)(
            keys, batch.canvas, batch.size, batch.boxes, batch.labels, batch.ignored
        )
        # The place of an image that could not be read holds one pixel; it must not be learned as background.
        is_image = jnp.max(batch.size, axis=1) > 1
        targets = jax.vmap(match_image)(boxes, labels, ignored, is_image)

        def local_loss(params):
            predictions, model_state = model.apply_train({"params": params, **state.model_state}, images)
            parts = losses.multibox_loss(
                predictions, targets, negative_ratio=negative_ratio, empty_negatives=empty_negatives
            )
            share = losses.normalize(parts, per=per, location_weight=location_weight, axis_name=axis_name)
            return share, (parts, model_state)

        (share, (parts, model_state)), gradients = jax.value_and_grad(local_loss, has_aux=True)(state.params)
        gradients, loss, counts = total((gradients, share, jax.tree.map(jnp.sum, parts)))

        updates, opt_state = optimizer.tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(params, state.ema, 1 - ema_decay) if ema_decay else None
        updated = TrainState(state.step + 1, params, model_state, opt_state, ema)

        gradient_norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm) & jnp.isfinite(optax.tree.norm(updates))
        matched = jnp.maximum(counts.positives, 1)
        metrics = StepMetrics(
            loss=loss,
            location_loss=counts.location / matched,
            confidence_loss=counts.confidence / matched,
            positives=counts.positives,
            negatives=counts.negatives,
            gradient_norm=gradient_norm,
            learning_rate=jnp.asarray(optimizer.schedule(state.step), jnp.float32),
            finite=finite,
            image_loss=parts.confidence + location_weight * parts.location,
        )
        return jax.tree.map(functools.partial(jnp.where, finite), updated, state), metrics

    return step


def compile_train_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Maps a step over the devices of the mesh; the state's memory is reused."""
    return parallel.data_parallel(
        step,
        mesh,
        in_specs=(parallel.REPLICATED, parallel.SPLIT),
        out_specs=(parallel.REPLICATED, METRIC_SPECS),
        donate=(0,),
    )
