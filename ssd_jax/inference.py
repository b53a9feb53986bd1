"""Detection over a whole source: the loop that evaluation runs on."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from ssd_jax import augment, losses, parallel
from ssd_jax.models import Model
from ssd_jax.types import Batch, Detections, ImageDetections, LossParts, Predictions, Targets

T = TypeVar("T")


class Evaluated(NamedTuple):
    """What an evaluation tells of each image of a batch."""

    detections: Detections  # [B, K, ...]
    losses: LossParts  # [B], not normalized; zeros where there is no image


class EvaluationSteps(NamedTuple):
    """The device's part of an evaluation, in two programs so that their times can be told apart."""

    predict: Callable  # (variables, Batch) -> Predictions [B, P, ...]: resize, network
    judge: Callable  # (Predictions, Batch) -> Evaluated: decode, suppress; match, loss


class Seconds(NamedTuple):
    """Where the time of an evaluation went."""

    total: float
    waiting: float  # for decoded images
    batch: tuple[float, float] | None  # of one batch: network, post-processing; None: there was only one batch


class EvaluatedSource(NamedTuple):
    """What an evaluation tells of a whole source."""

    detections: list[ImageDetections]  # of each image, in the order of the source
    losses: LossParts  # [N]
    seconds: Seconds


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

    return EvaluationSteps(_make_predict(model, output_size, interpolation), judge)


def _make_predict(
    model: Model, output_size: tuple[int, int], interpolation: str
) -> Callable[[Any, Batch], Predictions]:
    resize = functools.partial(augment.resize, output_size=output_size, interpolation=interpolation)
    return lambda variables, batch: model.apply(variables, jax.vmap(resize)(batch.canvas, batch.size))


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


def evaluate_source(
    steps: EvaluationSteps,
    variables: Any,
    batches: Iterable[tuple[Batch, np.ndarray]],
    source: Any,
    mesh: jax.sharding.Mesh,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_images: Callable[[int], object] = lambda count: None,
) -> EvaluatedSource | None:
    """Detects the objects of every image of a source, and computes the loss of each.

    The devices of all processes share the work; every process gets the whole result.

    Args:
      steps: of :func:`make_evaluation_steps`, compiled by :func:`compile_evaluation_steps`.
      variables: of the model.
      batches: of ``data.make_eval_loader``: pairs of this process's rows of a batch and which of them
        are images.
      source: tells the original size and the id of each image.
      mesh: of ``parallel.data_mesh``.
      should_stop: asked once a batch; every process has to get the same answer.
      on_images: told, batch by batch, how many images have been finished.

    Returns:
      Detections and losses in the order of the source, or None if stopped before the end.
    """
    begin = time.perf_counter()
    detections: list[ImageDetections | None] = [None] * len(source)
    parts = LossParts._make(np.zeros(len(source), dtype) for dtype in ("float32", "float32", "int32", "int32"))
    waiting = _Waiting(batches)
    batch_seconds: tuple[float, float] | None = None

    def dispatched() -> Iterator[tuple[Evaluated, jax.Array, jax.Array]]:
        nonlocal batch_seconds
        for number, (batch, valid) in enumerate(waiting):
            local, valid = parallel.split((batch, valid), mesh)
            if number == 1:  # the first compiles; of this one the parts are waited for
                evaluated, batch_seconds = _timed(steps, variables, local)
            else:
                evaluated = steps.judge(steps.predict(variables, local), local)
            yield evaluated, local.index, valid

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
        on_images(int(np.sum(valid)))
    seconds = Seconds(time.perf_counter() - begin, waiting.seconds, batch_seconds)
    return EvaluatedSource([found for found in detections if found is not None], parts, seconds)


def _timed(steps: EvaluationSteps, variables: Any, batch: Batch) -> tuple[Evaluated, tuple[float, float]]:
    """Evaluates a batch and returns the seconds of its network and of its post-processing."""
    jax.block_until_ready(batch)
    begin = time.perf_counter()
    predictions = jax.block_until_ready(steps.predict(variables, batch))
    predicted = time.perf_counter()
    evaluated = jax.block_until_ready(steps.judge(predictions, batch))
    return evaluated, (predicted - begin, time.perf_counter() - predicted)


class _Waiting(Iterator[T]):
    """Counts the ``seconds`` that were waited for the items of an iterable."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.seconds = 0.0

    def __next__(self) -> T:
        begin = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - begin


def _one_late(items: Iterator[T]) -> Iterator[T]:
    """Yields each item when the next one has been made: the device works on it while the host reads this one."""
    pending: list[T] = []
    for item in items:
        yield from pending
        pending = [item]
    yield from pending
