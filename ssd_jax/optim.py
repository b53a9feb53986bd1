"""The optimizer of the paper as an optax chain, from keyword arguments."""

import math
import re
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Optimizer(NamedTuple):
    """A gradient transformation and the learning rate it follows (for logging)."""

    tx: optax.GradientTransformation
    schedule: optax.Schedule


def make_schedule(
    *,
    learning_rate: float,
    schedule: str = "steps",
    boundaries: Sequence[int] = (),
    gamma: float = 0.1,
    num_steps: int = 0,
    warmup_steps: int = 0,
    warmup_factor: float = 0.1,
) -> optax.Schedule:
    """Makes a learning rate schedule: update number (from 0) -> learning rate.

    Args:
      learning_rate: peak learning rate.
      schedule: "steps" multiplies by ``gamma`` at each of ``boundaries`` (the paper's); "cosine"
        decays to 0 at ``num_steps``.
      boundaries: updates after which the rate drops; for "steps".
      gamma: factor of each drop.
      num_steps: length of the training; for "cosine".
      warmup_steps: updates of linear warm-up from ``warmup_factor * learning_rate``; the paper has none.
      warmup_factor: share of the rate at which the warm-up starts.

    Raises:
      ValueError: if a number is out of range, or the schedule unknown.
    """
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps: expected 0 or more, got {warmup_steps}")
    if not 0 <= warmup_factor <= 1:
        raise ValueError(f"warmup_factor: expected a share of the rate, in [0, 1], got {warmup_factor}")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma: expected a factor in (0, 1], got {gamma}")
    if schedule == "steps":
        if list(boundaries) != sorted(set(boundaries)) or min(boundaries, default=1) < 1:
            raise ValueError(f"boundaries: expected strictly increasing steps from 1 on, got {tuple(boundaries)}")
        main = optax.piecewise_constant_schedule(learning_rate, {int(b): gamma for b in boundaries})
    elif schedule == "cosine":
        if num_steps <= 0:
            raise ValueError(f"num_steps: the cosine schedule needs a positive length, got {num_steps}")
        main = optax.cosine_decay_schedule(learning_rate, num_steps)
    else:
        raise ValueError(f"schedule: expected 'steps' or 'cosine', got {schedule!r}")
    if not warmup_steps:
        return main

    def with_warmup(count):
        # The main schedule is not shifted: its boundaries stay where the recipe says.
        progress = jnp.minimum(count / warmup_steps, 1)
        return main(count) * (warmup_factor + (1 - warmup_factor) * progress)

    return with_warmup


KINDS = ("kernel", "bias", "scale", "norm")


def parameter_kinds(params: Any) -> Any:
    """Labels each parameter "kernel", "bias", "scale" (L2 normalization) or "norm" (batch normalization)."""

    def kind(path: tuple, _) -> str:
        *modules, leaf = (str(entry.key) for entry in path)
        if any(module.endswith("_bn") for module in modules):
            return "norm"
        if leaf in ("kernel", "bias", "scale"):
            return leaf
        raise ValueError(f"params: no decay rule for the parameter {'/'.join((*modules, leaf))}")

    return jax.tree_util.tree_map_with_path(kind, params)


def _is_decayed(params: Any) -> Any:
    return jax.tree.map(lambda kind: kind in ("kernel", "scale"), parameter_kinds(params))


def frozen_parameters(params: Any, names: Sequence[str]) -> Any:
    """Marks the parameters that are not to be trained: a tree of bool.

    A name stands for all layers that start with it, up to the end of a word: "conv1" for conv1_1,
    conv1_2 and their batch normalization, not for conv10_1. It is looked up in backbone and extras,
    and as the whole path, so that "heads" or "heads/fc7_mbox_loc" are names as well.

    Raises:
      ValueError: if a name stands for nothing, listing what there is.
    """
    if isinstance(names, str):
        raise ValueError(f"freeze: expected a tuple of names, got {names!r}")
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    paths = ["/".join(str(entry.key) for entry in path) for path, _ in leaves]
    marks = [False] * len(paths)
    for name in names:
        found = [_starts_with(path, name) for path in paths]
        if not any(found):
            known = ", ".join(dict.fromkeys(stem for path in paths for stem in _stems(path)))
            raise ValueError(f"freeze: expected names that layers start with, such as {known}; got {name!r}")
        marks = [mark or hit for mark, hit in zip(marks, found, strict=True)]
    return jax.tree.unflatten(structure, marks)


def _starts_with(path: str, name: str) -> bool:
    part, _, layer = path.partition("/")
    places = (path,) if part == "heads" else (path, layer)
    return bool(name) and any(re.match(rf"{re.escape(name)}(?![A-Za-z0-9])", place) for place in places)


def _stems(path: str) -> tuple[str, ...]:
    part, _, layer = path.partition("/")
    return (part,) if part == "heads" else (part, re.split("[_/]", layer)[0])


def make_optimizer(
    *,
    algorithm: str = "caffe_sgd",
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    bias_multiplier: float = 2.0,
    clip_norm: float = 0.0,
    freeze: Sequence[str] = (),
    **schedule_options,
) -> Optimizer:
    """Makes an optimizer; the defaults train as the original does (sgd_solver.cpp and ssd_pascal.py).

    Weight decay acts on kernels and on the L2 scale, not on biases or batch normalization; biases
    learn at ``bias_multiplier`` times the rate.

    Args:
      algorithm: "caffe_sgd": v = momentum * v + rate * (g + decay * w), w -= v. "sgd" keeps the rate
        out of the velocity, w -= rate * v: the two differ for some steps after the rate drops.
        "adamw": Adam with decoupled decay. From scratch with batch normalization it learns much
        faster than the other two, whose rate is bounded by the heads: they see features of norm 20.
      momentum: of the velocity v; of Adam's first moment.
      weight_decay: L2 coefficient; for "adamw" the share of the weight subtracted at rate 1.
      bias_multiplier: rate of the biases relative to the kernels (Caffe's lr_mult 2).
      clip_norm: largest global norm of the gradient, before decay; 0 = no clipping (the paper's).
      freeze: layers that stay as they are (see :func:`frozen_parameters`): no gradient, decay or
        velocity, and no share in the norm that ``clip_norm`` bounds. It is about parameters: batch
        normalization of a frozen layer goes on normalizing by the batch and averaging its statistics.
        The paper freezes nothing.
      **schedule_options: of :func:`make_schedule`.

    Raises:
      ValueError: if a number is out of range, or the algorithm or schedule unknown.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
    factors = {"weight_decay": weight_decay, "bias_multiplier": bias_multiplier, "clip_norm": clip_norm}
    for argument, value in factors.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{argument}: expected a finite number of at least 0, got {value}")
    schedule = make_schedule(**schedule_options)
    rates: dict[Hashable, optax.GradientTransformation] = {
        kind: optax.scale(bias_multiplier if kind == "bias" else 1.0) for kind in KINDS
    }
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    decay = optax.add_decayed_weights(weight_decay, mask=_is_decayed)
    per_kind = optax.partition(rates, parameter_kinds)
    rate, velocity = optax.scale_by_learning_rate(schedule, flip_sign=False), optax.trace(decay=momentum)
    chains = {
        "caffe_sgd": (decay, per_kind, rate, velocity),
        "sgd": (decay, per_kind, velocity, rate),
        "adamw": (optax.scale_by_adam(b1=momentum), decay, per_kind, rate),
    }
    if algorithm not in chains:
        raise ValueError(f"algorithm: expected one of {', '.join(chains)}, got {algorithm!r}")
    tx = optax.chain(clip, *chains[algorithm], optax.scale(-1.0))
    if freeze:

        def groups(params: Any) -> Any:
            return jax.tree.map(lambda frozen: "frozen" if frozen else "trained", frozen_parameters(params, freeze))

        tx = optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, groups)
    return Optimizer(tx, schedule)
