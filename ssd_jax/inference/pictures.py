"""Whatever is taken for an image -> a picture on a canvas, as the network's program wants it."""

import collections
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from ssd_jax.data import decode

MOST_READERS = 8  # threads that decode

ImageLike = str | PathLike[str] | bytes | np.ndarray | jax.Array | Image.Image


class Unreadable(NamedTuple):
    """An image that could not be read."""

    id: str
    reason: str


class Picture(NamedTuple):
    """An image ready for the network."""

    id: str  # the path as it was given, or "image 3" (from 1) of what has no name
    size: tuple[int, int]  # (height, width) of the original, upright
    pixels: np.ndarray  # [h, w, 3] uint8 RGB, reduced to fit the canvas


def read_picture(image: Any, canvas: tuple[int, int], *, number: int) -> Picture | Unreadable:
    """Decodes an image to fit a canvas, as the loader of an evaluation does.

    Args:
      image: a path, encoded bytes, a PIL image, or an array (of NumPy or JAX) uint8 [h, w, 3] RGB or [h, w] gray.
      canvas: (height, width); a larger image is reduced, keeping its aspect.
      number: its place among those given, from 1; names what has no path.

    Raises:
      TypeError: if it is nothing of this kind.
    """
    name = str(image) if isinstance(image, str | PathLike) else ""
    name = name or f"image {number}"
    if isinstance(image, str) and not image:
        return Unreadable(name, "its path is empty")
    try:
        source = _source(image)
        # Not the methods of Path, which raise an error of their own where a folder may not be entered.
        if isinstance(source, Path) and os.path.exists(source) and not os.path.isfile(source):
            return Unreadable(name, "no file")  # a pipe would be waited for
        pixels = decode.decode_image(source, limit=canvas)
        size = source.shape[:2] if isinstance(source, np.ndarray) else decode.read_header(source).upright
        return Picture(name, (int(size[0]), int(size[1])), pixels)
    except decode.ImageError as error:
        return Unreadable(name, str(error))


def _source(image: Any) -> bytes | Path | np.ndarray | Image.Image:
    if isinstance(image, str | PathLike):
        return Path(os.path.expanduser(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray | Image.Image):
        return image
    if isinstance(image, jax.Array):
        return np.asarray(image)
    raise TypeError(
        f"images: expected paths, PIL images, encoded bytes or uint8 arrays [h, w, 3], got {type(image).__name__}"
    )


def lay_out(pictures: list[Picture], canvas: tuple[int, int], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Lays pictures on canvases.

    Args:
      pictures: at most ``rows``.
      canvas: (height, width).
      rows: of the batch; those left over hold a black image of one pixel.

    Returns:
      [rows, Hc, Wc, 3] uint8 and sizes [rows, 2] int32.
    """
    canvases = np.zeros((rows, *canvas, 3), np.uint8)
    sizes = np.ones((rows, 2), np.int32)
    for row, picture in enumerate(pictures):
        height, width = picture.pixels.shape[:2]
        canvases[row, :height, :width] = picture.pixels
        sizes[row] = height, width
    return canvases, sizes


def read_ahead(images: Iterable[ImageLike], canvas: tuple[int, int], ahead: int) -> Iterator[Picture | Unreadable]:
    """Decodes images in threads, up to so many before they are asked for.

    Images of Pillow are decoded in the caller's thread, when they come: decoding one in two threads damages it
    (a list may hold it twice), and an iterator over the frames of a file gives the same image again and again.
    """
    readers = min(MOST_READERS, os.cpu_count() or 1, ahead)
    waiting: collections.deque[Future | Picture | Unreadable] = collections.deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="ssd_jax-picture")
    try:
        for number, image in enumerate(images, start=1):
            if isinstance(image, Image.Image):
                waiting.append(read_picture(image, canvas, number=number))
            else:
                waiting.append(pool.submit(read_picture, image, canvas, number=number))
            if len(waiting) == ahead:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(one: Future | Picture | Unreadable) -> Picture | Unreadable:
    return one.result() if isinstance(one, Future) else one


def in_batches(items: Iterator[Any], count: int) -> Iterator[list[Any]]:
    """Cuts an iterator into lists of so many items; the last may be shorter."""
    while batch := list(itertools.islice(items, count)):
        yield batch
