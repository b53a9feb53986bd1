"""The ways of reading images that input.py times, each in passes over the same files."""

import contextlib
import functools
import io
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from benchmarks import classic
from ssd_jax import augment, data, objective, parallel
from ssd_jax.data import Source
from ssd_jax.types import Batch, Example

CANVAS = (500, 500)


class Rate(NamedTuple):
    """One pass over some images."""

    wall: float  # images a second
    processor: float  # images a second of processor time, all threads together


class First(Sequence):
    """The first images of a source, so that a pass goes over each of them once."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, min(count, len(source))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Example:
        return self._source[index]


class Subject(NamedTuple):
    """A source whose batches are timed."""

    source: First
    cache: str  # folder; "": none
    seconds: float  # that opening took


class Pass(NamedTuple):
    """How much is read in one pass."""

    batch_size: int
    batches: int

    @property
    def images(self) -> int:
        return self.batch_size * self.batches


def rate(images: int, run: Callable[[], object]) -> Rate:
    """Times what handles so many images."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Rate(images / (time.perf_counter() - wall), images / max(time.process_time() - processor, 1e-9))


def read_batches(
    subject: Subject, threads: int, extent: Pass, use: Callable[[Batch], object] = lambda batch: None
) -> Rate:
    """Reads training batches, from when the threads are busy, and uses each."""
    stream = data.make_loader(
        subject.source, batch_size=extent.batch_size, seed=0, canvas=CANVAS, num_threads=threads, cache=subject.cache
    )

    def run() -> None:
        for _ in range(extent.batches):
            use(next(stream))

    with contextlib.closing(stream):
        # What is cached is checked at its first reading, so its first epoch is not counted.
        for _ in range(threads + 1 + (extent.batches if subject.cache else 0)):
            next(stream)
        return rate(extent.images, run)


def read_with_pillow(source: First, extent: Pass) -> Rate:
    """Decodes images of a source one after the other."""
    images: list[Any] = [source[index % len(source)].image for index in range(extent.images)]  # files or bytes

    def run() -> None:
        for image in images:
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as file:
                np.asarray(file.convert("RGB"))

    return rate(len(images), run)


def make_augment(output_size: tuple[int, int]) -> Callable[[Batch], np.ndarray]:
    """Returns our augmentation of a batch, compiled for the CPU: -> images [B, H, W, 3] float32 on the host."""
    cpu = jax.devices("cpu")[0]

    @parallel.compile
    def run(batch: Batch) -> tuple[jax.Array, ...]:
        keys = objective.image_keys(0, batch.epoch, batch.index)
        one = functools.partial(augment.augment, output_size=output_size)
        return jax.vmap(one)(keys, batch.canvas, batch.size, batch.boxes, batch.labels, batch.ignored)[:4]

    return lambda batch: jax.device_get(run(jax.device_put(batch, cpu)))[0]


def read_classic(source: First, extent: Pass, output_size: tuple[int, int] | None) -> Rate:
    """Makes training batches the classic way; without output_size, images are only decoded."""
    random = np.random.default_rng(0)

    def run() -> None:
        for start in range(0, extent.images, extent.batch_size):
            examples = [source[index % len(source)] for index in range(start, start + extent.batch_size)]
            pictures = [classic.decode(example.image) for example in examples]  # pyright: ignore[reportArgumentType]
            if output_size is not None:
                given = zip(pictures, examples, strict=True)
                annotated = (classic.Annotated(picture, one.boxes, one.labels) for picture, one in given)
                np.stack([classic.augment(random, one, output_size).image for one in annotated])

    return rate(extent.images, run)
