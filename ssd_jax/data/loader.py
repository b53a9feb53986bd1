"""From a source to batches: each batch is a function of the step alone; Grain computes it ahead of time.

Nothing depends on the number of threads, worker processes or hosts, and the only state is the step:
an interrupted stream continues with ``start_step``.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ssd_jax.data.assemble import Assembler, OnceLog, Policy
from ssd_jax.data.cache import Cache, open_cache
from ssd_jax.data.watch import Batches, Stream, WatchedBatches
from ssd_jax.data.workers import Workers
from ssd_jax.errors import InputError
from ssd_jax.types import Batch, Example

ENDLESS = 2**40  # steps; Grain wants a length
OnError = Literal["skip", "stop"]


class TrainBatches:
    """step -> this process's rows of the global batch of that step."""

    def __init__(self, assembler: Assembler, *, batch_size: int, seed: int, shard: tuple[int, int]) -> None:
        self._assembler, self._batch_size, self._seed = assembler, batch_size, seed
        self._rows = _rows(batch_size, shard)
        self.name = assembler.name

    def __call__(self, step: int, before: Callable[[int], None]) -> Batch:
        with _named(self.describe(step)):
            return self._assembler.assemble(self.indices(step), [epoch for epoch, _ in self._positions(step)], before)

    def describe(self, step: int) -> str:
        """Returns the name that the step has in the logs of training, which count from 1."""
        return f"training step {step + 1}"

    def indices(self, step: int) -> list[int]:
        """Returns the positions in the source of this process's images."""
        length = len(self._assembler.source)
        return [int(shuffled(self._seed, epoch, length)[place]) for epoch, place in self._positions(step)]

    def _positions(self, step: int) -> list[tuple[int, int]]:
        """Returns of each row its epoch and its place within it."""
        return [divmod(step * self._batch_size + row, len(self._assembler.source)) for row in self._rows]


class EvalBatches:
    """step -> this process's rows of that step, in the source's order, and which of them stand for images."""

    def __init__(self, assembler: Assembler, *, batch_size: int, shard: tuple[int, int]) -> None:
        self._assembler, self._batch_size = assembler, batch_size
        self._rows = _rows(batch_size, shard)
        self.name = assembler.name

    def __len__(self) -> int:
        return math.ceil(len(self._assembler.source) / self._batch_size)

    def __call__(self, step: int, before: Callable[[int], None]) -> tuple[Batch, np.ndarray]:
        indices: list[int | None] = list(self.indices(step))
        indices += [None] * (len(self._rows) - len(indices))
        with _named(self.describe(step)):
            batch = self._assembler.assemble(indices, [0] * len(indices), before)
        return batch, np.array([index is not None for index in indices])

    def describe(self, step: int) -> str:
        """Returns the name of the step, counted from 1."""
        return f"evaluation batch {step + 1} of {len(self)}"

    def indices(self, step: int) -> list[int]:
        """Returns the positions in the source of this process's images; of the last batch there may be fewer."""
        places = [step * self._batch_size + row for row in self._rows]
        return [place for place in places if place < len(self._assembler.source)]


@contextlib.contextmanager
def _named(step: str) -> Iterator[None]:
    """Says of what a user can mend in which step it happened."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{step}: {error}") from error


@functools.lru_cache(maxsize=4)  # a batch may span epochs, and threads run ahead
def shuffled(seed: int, epoch: int, length: int) -> np.ndarray:  # [length] int64
    """Returns the order in which an epoch visits the source: a function of its arguments alone."""
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch]))
    return np.random.Generator(bits).permutation(length)


def padded_boxes(source: Sequence[Example]) -> int:
    """Returns M: the most boxes of any image of the source, rounded up to a multiple of 8, at least 8.

    A source without ``max_boxes`` is read through once.
    """
    most = getattr(source, "max_boxes", None)
    if most is None:
        most = max(len(source[index].labels) for index in range(len(source)))
    return max(8, math.ceil(most / 8) * 8)


def skipped(batch: Batch) -> list[int]:
    """Returns the positions in the source of those images of a training batch that could not be read, each once."""
    return np.unique(np.asarray(batch.index)[~np.asarray(batch.valid)]).tolist()


def make_loader(
    source: Sequence[Example],
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    canvas: tuple[int, int] = (500, 500),
    max_boxes: int | None = None,
    difficult: str = "train",
    crowd: str = "drop",
    num_threads: int = 8,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    on_error: OnError = "skip",
    timeout_s: float = 600.0,
    cache: str | Path | Cache = "",
) -> Stream:
    """Returns the endless stream of training batches from a step on.

    Every epoch visits each example once, in an order given by (seed, epoch). Batches run across
    the ends of epochs, so none is smaller, and a source may be smaller than the batch.

    Args:
      source: anything with ``__len__`` and ``__getitem__`` -> Example.
      batch_size: images of the global batch, over all processes.
      seed: of the order, a non-negative integer.
      start_step: number of the first batch returned.
      canvas: (height, width) that images are laid on; larger ones are reduced to fit.
      max_boxes: rows of ground truth; None or 0: ``padded_boxes(source)``.
      difficult: VOC's difficult boxes are learned ("train"), masked ("ignore") or left out ("drop").
      crowd: COCO's crowd boxes are masked ("ignore") or left out ("drop").
      num_threads: batches decoded at the same time; 0: none ahead of time.
      num_workers: processes, each with its own threads; 0: decode in this process.
      shard: (index, count) of this process. It gets ``batch_size / count`` consecutive rows, so the
        processes' batches in their order make up the global one.
      on_error: what an image is that cannot be read, because its file or record is missing or damaged: "skip"
        leaves its row empty (``valid`` False, no boxes, size 1x1; see :func:`skipped`) and names it in one
        warning; "stop" ends the stream. ``assemble.MISTAKES`` are no such images and surface as they are.
      timeout_s: seconds that reading one batch may take; 0: any time.
      cache: folder in which decoded images are kept for later epochs and runs; "": none. What it
        lacks is built before this returns; the batches are the same. Or what ``open_cache`` returned, which
        saves looking at every file again. See :mod:`ssd_jax.data.cache`.

    Returns:
      An iterator with ``close()``, which ends its threads and processes. It raises InputError, with the
      step and the images concerned, for what ``on_error="stop"`` says, for a hundred unreadable images in a row,
      for a reader that is stuck longer than ``timeout_s``, and for a worker process that has died.

    Raises:
      InputError: the cache cannot be written.
    """
    if start_step < 0 or seed < 0:
        raise ValueError(f"start_step and seed must not be negative, got {start_step} and {seed}")
    assembler = Assembler(source, canvas, max_boxes or padded_boxes(source), Policy(difficult, crowd), on_error)
    batches = TrainBatches(assembler, batch_size=batch_size, seed=seed, shard=shard)
    if cache:
        assembler.pixels = _pixels(cache, assembler, shard)
    return _iterate(batches, range(start_step, ENDLESS), num_threads, num_workers, timeout_s)


def make_eval_loader(
    source: Sequence[Example],
    *,
    batch_size: int,
    canvas: tuple[int, int] = (500, 500),
    max_boxes: int | None = None,
    difficult: str = "ignore",
    crowd: str = "ignore",
    num_threads: int = 8,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    on_error: OnError = "skip",
    timeout_s: float = 600.0,
    cache: str | Path | Cache = "",
    log: OnceLog | None = None,
) -> Stream:
    """Returns each image once, in the source's order: pairs (Batch, valid [b] bool).

    The second ``valid`` tells which rows stand for an image of the source: False only for the empty images that fill
    up the last batch. It is not ``Batch.valid``, which is False also for an image that cannot be read: that one
    counts in the metric, as an image without detections.

    With several processes all get the same number of batches. Arguments as in :func:`make_loader`; streams that
    share a ``log`` name an unreadable image once among them.
    """
    policy = Policy(difficult, crowd)
    assembler = Assembler(source, canvas, max_boxes or padded_boxes(source), policy, on_error, log)
    batches = EvalBatches(assembler, batch_size=batch_size, shard=shard)
    if cache:
        assembler.pixels = _pixels(cache, assembler, shard)
    return _iterate(batches, range(len(batches)), num_threads, num_workers, timeout_s)


def _pixels(cache: str | Path | Cache, assembler: Assembler, shard: tuple[int, int]) -> Cache:
    if isinstance(cache, Cache):
        return cache
    return open_cache(assembler.source, assembler.canvas, cache, start=shard[0] / shard[1])


def _rows(batch_size: int, shard: tuple[int, int]) -> range:
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard must be (index, count) with 0 <= index < count, got {shard}")
    if batch_size < 1 or batch_size % count:
        raise ValueError(f"batch_size must be a positive multiple of the {count} processes, got {batch_size}")
    share = batch_size // count
    return range(index * share, (index + 1) * share)


def _iterate(batches: Batches, steps: range, num_threads: int, num_workers: int, timeout_s: float) -> Stream:
    if num_threads < 0 or num_workers < 0 or timeout_s < 0:
        got = f"{num_threads}, {num_workers} and {timeout_s}"
        raise ValueError(f"num_threads, num_workers and timeout_s must not be negative, got {got}")
    import grain  # 2 s to import, and absent where only the device is measured

    # Threads work on whole batches, so that many and one more to take are as far as it pays to run ahead.
    ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads + 1 if num_threads else 0)
    watched = WatchedBatches(batches, timeout_s)
    dataset = grain.MapDataset.range(steps.start, steps.stop).map(watched).to_iter_dataset(ahead)
    workers = None
    if num_workers:
        _parse_flags()
        workers = Workers(num_workers)
        options = grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=1)
        dataset = dataset.mp_prefetch(options, worker_init_fn=workers.start)
    return Stream(iter(dataset), batches, watched, steps, timeout_s, workers)


def _parse_flags() -> None:
    """Lets Grain start processes in programs that do not use absl flags (notebooks, tests)."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
