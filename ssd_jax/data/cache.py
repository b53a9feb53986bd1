"""Decoded images kept on disk: later epochs and later runs copy memory instead of decoding.

The pixels are exactly those of ``decode_image``, reduced to fit the canvas and not padded. Each
source has a folder of its own within the cache, of shards of at least 1024 images. A shard bears
the fingerprint of all that its pixels depend on; one that is missing, damaged or stale is built
before the first batch, so an interrupted build goes on at its first unfinished shard.
"""

import hashlib
import logging
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import features

from ssd_jax.data.cache_files import file_size, open_shard, remove_leftovers, write_shard
from ssd_jax.data.decode import ImageError, decode_image, fitted_size
from ssd_jax.errors import InputError
from ssd_jax.types import Example

logger = logging.getLogger("ssd_jax.data")

DECODING = 1  # to be raised whenever decode_image returns other pixels than before
SHARD_IMAGES = 1024  # 0.5 GB at 500x375; a build that is interrupted loses less than one shard
MOST_SHARDS = 256  # of a source: each keeps a file open in each process, and 1024 is a usual limit
AHEAD = 64  # images decoded before they are written


class Plan(NamedTuple):
    """One shard as it should be."""

    path: Path
    fingerprint: bytes  # 16 bytes
    rows: range  # of the source
    file_bytes: int  # about, where an image is not of the annotated size

    @property
    def ready(self) -> bool:
        """Whether the file is there, with this fingerprint and undamaged entries."""
        return open_shard(self.path, self.fingerprint, len(self.rows)) is not None


class Cache:
    """pixels(index, example), from the shards; what they do not hold is decoded. Picklable."""

    def __init__(self, plans: Sequence[Plan], canvas: tuple[int, int]) -> None:
        """Maps the shards into memory."""
        self._plans, self._canvas = tuple(plans), canvas
        self._open()

    def __call__(self, index: int, example: Example) -> np.ndarray:  # uint8 [h, w, 3], read-only
        """Returns the pixels of an image.

        Raises:
          ImageError: it cannot be decoded; its slot is empty then, so that the reason is found anew.
        """
        number, row = divmod(index, len(self._plans[0].rows))
        shard = self._shards[number]
        pixels = None if shard is None else shard.pixels(row)
        if shard is not None and not self._checked[number][row]:  # once a process: a disk can forget
            if not shard.sound(row):
                pixels = self._discard(number, example)
            self._checked[number][row] = True
        return decode_image(example.image, example.size, limit=self._canvas) if pixels is None else pixels

    def _discard(self, number: int, example: Example) -> None:
        """Gives a shard up that does not hold what was written; the next run builds it anew."""
        path = self._plans[number].path
        logger.warning("%s is damaged (%s); its images are decoded, and the next run builds it anew", path, example.id)
        self._shards[number] = None
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s is damaged and must be deleted by hand: %s", path, error.strerror)

    def _open(self) -> None:
        self._shards = [open_shard(plan.path, plan.fingerprint, len(plan.rows)) for plan in self._plans]
        self._checked = [bytearray(len(plan.rows)) for plan in self._plans]
        lost = self._shards.count(None)
        if lost:
            logger.warning("%d shards of %s are gone; their images are decoded", lost, self._plans[0].path.parent)

    def __getstate__(self) -> tuple[Any, ...]:  # a worker process maps the files itself
        return self._plans, self._canvas

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._plans, self._canvas = state
        self._open()


def open_cache(source: Sequence[Example], canvas: tuple[int, int], folder: str | Path, *, start: float = 0.0) -> Cache:
    """Returns the cache of a source, after building what is missing of it.

    Args:
      source: anything with ``__len__`` and ``__getitem__``. Its images are files (recognized by
        path, length and time of the last change), or bytes or arrays (read and hashed each time
        the cache is opened).
      canvas: (height, width) that the images are reduced to.
      folder: where caches are kept; created if absent. Several sources may share it: each has a
        folder of its own there, told apart by ``source.name``, or without one by the first id.
      start: fraction of the shards to begin the build after: processes that share a folder and
        start at different places divide the work.

    Raises:
      InputError: the folder cannot be written, or its disk is too small.
    """
    home = Path(folder).expanduser() / _home_name(source, canvas)
    plans = make_plans(source, canvas, home)
    remove_leftovers(home, {plan.path.name for plan in plans})
    missing = [plan for plan in plans if not plan.ready]
    if missing:
        first = int(start * len(missing))
        try:
            _build(source, canvas, plans, missing[first:] + missing[:first])
        except OSError as error:
            raise InputError(
                f"loader cache: expected a folder with room for decoded images, cannot write to {home}: "
                f"{error.strerror or error}"
            ) from error
    return Cache(plans, canvas)


def make_plans(source: Sequence[Example], canvas: tuple[int, int], home: Path) -> list[Plan]:
    """Divides a source into shards, in its order, and computes their fingerprints."""
    size = SHARD_IMAGES
    while len(source) > size * MOST_SHARDS:
        size *= 2
    common = f"{DECODING} {tuple(canvas)} Pillow {PIL.__version__} {features.version('libjpeg_turbo')}"

    def plan(start: int) -> Plan:
        rows = range(start, min(start + size, len(source)))
        digest, pixel_bytes = hashlib.blake2b(common.encode(), digest_size=16), 0
        for index in rows:
            example = source[index]
            height, width = fitted_size(example.size, canvas)
            pixel_bytes += 3 * height * width
            digest.update(repr((example.id, tuple(map(int, example.size)), identify(example.image))).encode())
        path = home / f"{start // size:05d}.shard"
        return Plan(path, digest.digest(), rows, file_size(len(rows), pixel_bytes))

    with ThreadPoolExecutor() as pool:  # files on a network answer slowly, and hashing leaves the lock
        return list(pool.map(plan, range(0, len(source), size)))


def identify(image: bytes | Path | np.ndarray) -> tuple[Any, ...]:
    """Returns what changes when the image does; a file is not opened."""
    if isinstance(image, np.ndarray):
        return image.shape, image.dtype.str, hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
    if isinstance(image, bytes):
        return len(image), hashlib.blake2b(image, digest_size=16).digest()
    try:
        status = os.stat(image)
    except OSError:
        return os.path.abspath(image), "missing"
    return os.path.abspath(image), status.st_size, status.st_mtime_ns


def _home_name(source: Sequence[Example], canvas: tuple[int, int]) -> str:
    name = getattr(source, "name", "") or f"examples from {source[0].id}"  # two of one name would take turns
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[-60:].strip('-')}-{canvas[0]}x{canvas[1]}-{digest}"


def _build(source: Sequence[Example], canvas: tuple[int, int], plans: Sequence[Plan], missing: Sequence[Plan]) -> None:
    import tqdm  # absent where only the device is measured

    home, count = plans[0].path.parent, sum(len(plan.rows) for plan in missing)
    home.mkdir(parents=True, exist_ok=True)
    _announce(home, plans, missing)
    _check_room(home, missing)

    def decode(index: int) -> np.ndarray | None:
        example = source[index]
        try:
            return decode_image(example.image, example.size, limit=canvas)
        except ImageError:
            return None  # an empty slot, which is tried again at each reading

    begin, shown = time.perf_counter(), sys.stderr.isatty()
    with ThreadPoolExecutor() as pool, tqdm.tqdm(total=count, unit="image", disable=not shown, smoothing=0.1) as bar:
        for plan in missing:
            if plan.ready:  # another process was faster
                bar.update(len(plan.rows))
            else:
                images = _in_order(pool, decode, plan.rows, bar.update)
                write_shard(plan.path, plan.fingerprint, len(plan.rows), images)
    logger.info("cache %s: complete after %.0f s", home, time.perf_counter() - begin)


def _announce(home: Path, plans: Sequence[Plan], missing: Sequence[Plan]) -> None:
    count, size = sum(len(plan.rows) for plan in missing), sum(plan.file_bytes for plan in missing)
    unusable = sum(plan.path.exists() for plan in missing)
    reason = f" ({unusable} of its {len(plans)} shards are stale or damaged)" if unusable else ""
    logger.info("cache %s: decoding %d images, %s%s", home, count, _size(size), reason)


def _check_room(home: Path, missing: Sequence[Plan]) -> None:
    replaced = sum(plan.path.stat().st_size for plan in missing if plan.path.exists())
    needed, free = sum(plan.file_bytes for plan in missing) - replaced, shutil.disk_usage(home).free
    if free < needed:
        raise InputError(
            f"loader cache: expected {_size(needed)} free for decoded images in {home}, found {_size(free)}"
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[int], Any], items: Iterable[int], done: Callable[[], Any]
) -> Iterator[Any]:
    """Yields function(item) for each item in order, computed in parallel but no more than ``AHEAD`` ahead."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > AHEAD:
            yield pending.popleft().result()
            done()
    while pending:
        yield pending.popleft().result()
        done()
