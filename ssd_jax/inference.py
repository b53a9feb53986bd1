"""Detection over a whole source: the loop that evaluation runs on."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from ssd_jax import augment, losses, parallel
from ssd_jax.models import Model
from ssd_jax.types import Batch, Detections, ImageDetections, LossParts, Predictions, Targets

T = TypeVar("T")


class Evaluated(NamedTuple):
    """What the evaluation step tells of each image of a batch."""

    detections: Detections  # [B, K, ...]
    losses: LossParts  # [B], not normalized; zeros where there is no image


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
    predict = _make_predict(model, output_size, interpolation)

    def step(variables: Any, batch: Batch) -> Detections:
        return jax.vmap(detect)(*predict(variables, batch))

    return step


def make_evaluation_step(
    model: Model,
    detect: Callable,
    targets: Callable[..., Targets],
    *,
    output_size: tuple[int, int],
    interpolation: str = "linear",
    **loss_options: Any,
) -> Callable[[Any, Batch], Evaluated]:
    """Makes step(variables, batch) -> Evaluated: what is detected, and the loss of the same predictions.

    Args:
      model, detect, output_size, interpolation: as in :func:`make_detect_step`.
      targets: of ``objective.make_target_fn``.
      **loss_options: of ``losses.multibox_loss``.
    """
    predict = _make_predict(model, output_size, interpolation)

    def step(variables: Any, batch: Batch) -> Evaluated:
        predictions = predict(variables, batch)
        wanted = jax.vmap(targets)(batch.boxes, batch.labels, batch.ignored, batch.valid)
        return Evaluated(jax.vmap(detect)(*predictions), losses.multibox_loss(predictions, wanted, **loss_options))

    return step


def _make_predict(
    model: Model, output_size: tuple[int, int], interpolation: str
) -> Callable[[Any, Batch], Predictions]:
    resize = functools.partial(augment.resize, output_size=output_size, interpolation=interpolation)
    return lambda variables, batch: model.apply(variables, jax.vmap(resize)(batch.canvas, batch.size))


def compile_detect_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Maps a step of this module over the devices of the mesh."""
    return parallel.data_parallel(step, mesh, in_specs=(parallel.REPLICATED, parallel.SPLIT), out_specs=parallel.SPLIT)


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


def evaluate_source(
    step: Callable,
    variables: Any,
    batches: Iterable[tuple[Batch, np.ndarray]],
    source: Any,
    mesh: jax.sharding.Mesh,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[list[ImageDetections], LossParts] | None:
    """Detects the objects of every image of a source, and computes the loss of each.

    The devices of all processes share the work; every process gets the whole result.

    Args:
      step: of :func:`make_evaluation_step`, compiled by :func:`compile_detect_step`.
      variables: of the model.
      batches: of ``data.make_eval_loader``: pairs of this process's rows of a batch and which of them
        are images.
      source: tells the original size and the id of each image.
      mesh: of ``parallel.data_mesh``.
      should_stop: asked once a batch; every process has to get the same answer.

    Returns:
      Detections and losses [N], in the order of the source, or None if stopped before the end.
    """
    detections: list[ImageDetections | None] = [None] * len(source)
    parts = LossParts._make(np.zeros(len(source), dtype) for dtype in ("float32", "float32", "int32", "int32"))

    def dispatched() -> Iterator[tuple[Evaluated, jax.Array, jax.Array]]:
        for batch, valid in batches:
            local, valid = parallel.split((batch, valid), mesh)
            yield step(variables, local), local.index, valid

    for results in _one_late(dispatched()):
        if should_stop():
            return None
        # Rows come in the order of the mesh, which need not be that of the processes: their index tells.
        evaluated, index, valid = parallel.gather(results, mesh)
        for row in np.flatnonzero(valid):
            place, found = int(index[row]), jax.tree.map(lambda array, row=row: array[row], evaluated)
            example = source[place]
            detections[place] = to_pixels(found.detections, example.size, example.id)
            for total, part in zip(parts, found.losses, strict=True):
                total[place] = part
    return [found for found in detections if found is not None], parts


def _one_late(items: Iterator[T]) -> Iterator[T]:
    """Yields each item when the next one has been made: the device works on it while the host reads this one."""
    pending: list[T] = []
    for item in items:
        yield from pending
        pending = [item]
    yield from pending
