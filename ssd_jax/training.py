"""The training step, written once for one device and mapped over all of them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssd_jax import objective, parallel
from ssd_jax.models import Model
from ssd_jax.optim import Optimizer
from ssd_jax.types import Batch, LossParts


class TrainState(NamedTuple):
    """Everything that training changes; arrays only."""

    step: jax.Array  # [] int32: updates made
    params: Any
    model_state: Any  # batch statistics, or empty
    opt_state: Any
    ema: Any  # exponential moving average of params, or None
    halted: jax.Array  # [] bool: a step was not finite and no further one is to be made


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
    update_norm: jax.Array  # [] of what was (or, if not finite, would have been) added to the parameters
    learning_rate: jax.Array  # []
    finite: jax.Array  # [] bool: False means the update was not made
    image_loss: jax.Array  # [B] un-normalized loss of each image: names the culprit if not finite


class _Sums(NamedTuple):
    """What is added up over micro-batches and devices."""

    gradients: Any  # of the un-normalized loss
    numerator: jax.Array  # []
    denominator: jax.Array  # []
    counts: LossParts  # sums over images


METRIC_SPECS = StepMetrics._make([parallel.REPLICATED] * 9 + [parallel.SPLIT])


def init_state(key: jax.Array, model: Model, optimizer: Optimizer, *, ema_decay: float = 0.0) -> TrainState:
    """Returns the state before the first step, with freshly initialized parameters."""
    return state_of(model.init(key), optimizer, ema_decay=ema_decay)


def state_of(variables: Any, optimizer: Optimizer, *, ema_decay: float = 0.0, step: int = 0) -> TrainState:
    """Returns the state of a training that goes on from these variables, with a fresh optimizer."""
    model_state = dict(variables)
    params = model_state.pop("params")
    ema = jax.tree.map(jnp.copy, params) if ema_decay else None
    return TrainState(jnp.int32(step), params, model_state, optimizer.tx.init(params), ema, jnp.bool_(False))


def make_train_step(
    model: Model,
    priors: np.ndarray,  # [P, 4]
    optimizer: Optimizer,
    *,
    accumulation_steps: int = 1,
    ema_decay: float = 0.0,
    halt: bool = False,
    location_weight: float = 1.0,
    axis_name: str | None = parallel.AXIS,
    **loss_options: Any,
) -> Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]:
    """Makes step(state, batch) -> (state, metrics): differentiate the loss, sum, normalize, update.

    Each device differentiates the un-normalized loss of its share; gradients and counts are summed, over
    micro-batches and then over devices with one psum, and divided once. So a batch gives the same update
    however it is cut (but for batch normalization, whose statistics are those of a micro-batch on all
    devices, and for ``per="device"``). A step whose loss, gradient or update is not finite leaves the
    state as it was and says so in its metrics.

    Args:
      model: of ``models.build`` with the same ``axis_name``.
      priors: of ``priors.default_boxes``.
      optimizer: of ``optim.make_optimizer``.
      accumulation_steps: micro-batches that a device's rows are cut into, one after the other, for batches
        whose activations do not fit its memory. Each is a share in the sense of ``losses.fraction``.
      ema_decay: of the moving average of the parameters; 0 = none.
      halt: whether a step that is not finite also holds back those after it, so that the host, which
        learns of it a step late, finds the state that led to it.
      location_weight: of ``losses.fraction``.
      axis_name: the mapped axis, or None to run on one device without a map.
      **loss_options: of :func:`ssd_jax.objective.make_loss_fn`.

    Raises:
      ValueError: at trace time, if the rows of a device cannot be cut into ``accumulation_steps``.
    """
    total = (lambda x: x) if axis_name is None else functools.partial(jax.lax.psum, axis_name=axis_name)
    loss_fn = objective.make_loss_fn(model, priors, location_weight=location_weight, **loss_options)
    differentiate = jax.value_and_grad(loss_fn, has_aux=True)

    def micro_step(params: Any, carry: tuple[_Sums | None, Any], batch: Batch) -> tuple[tuple[_Sums, Any], LossParts]:
        """Adds the sums of a micro-batch to those before it; the statistics of the model go from one to the next."""
        sums, model_state = carry
        (numerator, aux), gradients = differentiate(params, model_state, batch)
        found = _Sums(gradients, numerator, aux.denominator, jax.tree.map(jnp.sum, aux.parts))
        return (found if sums is None else jax.tree.map(jnp.add, sums, found), aux.model_state), aux.parts

    def accumulate(state: TrainState, batch: Batch) -> tuple[_Sums, Any, LossParts]:
        one = functools.partial(micro_step, state.params)
        if accumulation_steps == 1:
            (sums, model_state), parts = one((None, state.model_state), batch)
            return sums, model_state, parts
        micro_batches = _cut(batch, accumulation_steps)
        (shapes, _), _ = jax.eval_shape(one, (None, state.model_state), jax.tree.map(lambda x: x[0], micro_batches))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        (sums, model_state), parts = jax.lax.scan(one, (zeros, state.model_state), micro_batches)
        return sums, model_state, jax.tree.map(jnp.ravel, parts)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        sums, model_state, parts = accumulate(state, batch)
        sums = total(sums)
        scale = 1 / jnp.maximum(sums.denominator, 1)
        gradients, loss = jax.tree.map(lambda x: x * scale, (sums.gradients, sums.numerator))

        updates, opt_state = optimizer.tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(params, state.ema, 1 - ema_decay) if ema_decay else None

        gradient_norm, update_norm = optax.tree.norm(gradients), optax.tree.norm(updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm) & jnp.isfinite(update_norm)
        matched = jnp.maximum(sums.counts.positives, 1)
        metrics = StepMetrics(
            loss=loss,
            location_loss=sums.counts.location / matched,
            confidence_loss=sums.counts.confidence / matched,
            positives=sums.counts.positives,
            negatives=sums.counts.negatives,
            gradient_norm=gradient_norm,
            update_norm=update_norm,
            learning_rate=jnp.asarray(optimizer.schedule(state.step), jnp.float32),
            finite=finite,
            image_loss=parts.confidence + location_weight * parts.location,
        )
        updated = TrainState(state.step + 1, params, model_state, opt_state, ema, state.halted)
        state = jax.tree.map(functools.partial(jnp.where, finite & ~state.halted), updated, state)
        return state._replace(halted=state.halted | (~finite & halt)), metrics

    return step


def _cut(batch: Batch, parts: int) -> Batch:
    """Cuts the rows of a batch into consecutive micro-batches: [B, ...] -> [parts, B / parts, ...]."""
    rows = batch.index.shape[0]
    if parts < 1 or rows % parts:
        raise ValueError(f"accumulation_steps: expected a divisor of the {rows} images of a device, got {parts}")
    return jax.tree.map(lambda x: x.reshape(parts, rows // parts, *x.shape[1:]), batch)


def compile_train_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Maps a step over the devices of the mesh; the state's memory is reused."""
    return parallel.data_parallel(
        step,
        mesh,
        in_specs=(parallel.REPLICATED, parallel.SPLIT),
        out_specs=(parallel.REPLICATED, METRIC_SPECS),
        donate=(0,),
    )
