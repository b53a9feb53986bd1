"""Detection over a whole source: the loop that evaluation runs on."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from ssd_jax import parallel
from ssd_jax.inference.steps import Evaluated, EvaluationSteps, to_pixels
from ssd_jax.types import Batch, ImageDetections, LossParts

T = TypeVar("T")


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
