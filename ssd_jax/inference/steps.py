"""The device's part of detecting and evaluating, and the way of its results back to pixels."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ssd_jax import augment, losses, parallel
from ssd_jax.models import Model
from ssd_jax.types import Batch, Detections, ImageDetections, LossParts, Predictions, Targets


class Evaluated(NamedTuple):
    """What an evaluation tells of each image of a batch."""

    detections: Detections  # [B, K, ...]
    losses: LossParts  # [B], not normalized; zeros where there is no image


class EvaluationSteps(NamedTuple):
    """The device's part of an evaluation, in two programs so that their times can be told apart."""

    predict: Callable  # (variables, Batch) -> Predictions [B, P, ...]: resize, network
    judge: Callable  # (Predictions, Batch) -> Evaluated: decode, suppress; match, loss


def make_detect_step(
    model: Model, detect: Callable, *, output_size: tuple[int, int], interpolation: str = "linear"
) -> Callable[[Any, Batch], Detections]:
    """Makes step(variables, batch) -> Detections [B, K, ...]: resize, predict, decode, suppress.

    Args:
      model: of ``models.build``.
      detect: detect(offsets, logits) of one image, as ``recipe.build_detect`` makes it.
      output_size: (height, width) of the network's input.
      interpolation: of the resize; the original tests with "linear".
    """
    predict = make_predict(model, output_size, interpolation)

    def step(variables: Any, batch: Batch) -> Detections:
        return jax.vmap(detect)(*predict(variables, batch.canvas, batch.size))

    return step


def make_evaluation_steps(
    model: Model,
    detect: Callable,
    targets: Callable[..., Targets],
    *,
    output_size: tuple[int, int],
    interpolation: str = "linear",
    **loss_options: Any,
) -> EvaluationSteps:
    """Makes the two programs of an evaluation: what the network says, and what is made of that.

    Args:
      model, detect, output_size, interpolation: as in :func:`make_detect_step`.
      targets: of ``objective.make_target_fn``.
      **loss_options: of ``losses.multibox_loss``.
    """

    def judge(predictions: Predictions, batch: Batch) -> Evaluated:
        wanted = jax.vmap(targets)(batch.boxes, batch.labels, batch.ignored, batch.valid)
        return Evaluated(jax.vmap(detect)(*predictions), losses.multibox_loss(predictions, wanted, **loss_options))

    predict = make_predict(model, output_size, interpolation)
    return EvaluationSteps(lambda variables, batch: predict(variables, batch.canvas, batch.size), judge)


def make_predict(
    model: Model, output_size: tuple[int, int], interpolation: str = "linear"
) -> Callable[[Any, jax.Array, jax.Array], Predictions]:
    """Makes predict(variables, canvas [B, Hc, Wc, 3] uint8, size [B, 2]) -> Predictions: resize, network."""
    resize = functools.partial(augment.resize, output_size=output_size, interpolation=interpolation)
    return lambda variables, canvas, size: model.apply(variables, jax.vmap(resize)(canvas, size))


def compile_detect_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Maps a step of :func:`make_detect_step` over the devices of the mesh."""
    return parallel.data_parallel(step, mesh, in_specs=(parallel.REPLICATED, parallel.SPLIT), out_specs=parallel.SPLIT)


def compile_evaluation_steps(steps: EvaluationSteps, mesh: jax.sharding.Mesh) -> EvaluationSteps:
    """Maps the steps of :func:`make_evaluation_steps` over the devices of the mesh."""
    split = parallel.SPLIT
    judge = parallel.data_parallel(steps.judge, mesh, in_specs=(split, split), out_specs=split)
    return EvaluationSteps(compile_detect_step(steps.predict, mesh), judge)


def to_pixels(detections: Detections, size: tuple[int, int], image_id: str) -> ImageDetections:
    """Converts the detections of one image (host arrays) to pixels, without the empty slots.

    Args:
      detections: boxes [K, 4], scores [K], labels [K].
      size: (height, width) of the original image.
      image_id: its id.
    """
    found = np.asarray(detections.labels) > 0
    scale = np.array([size[1], size[0], size[1], size[0]], np.float32)
    boxes = np.asarray(detections.boxes)[found] * scale
    return ImageDetections(image_id, boxes, np.asarray(detections.scores)[found], np.asarray(detections.labels)[found])
