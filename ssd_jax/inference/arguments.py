"""What a caller may give a detector: how many images at once, and in what they come."""

import numbers
from collections.abc import Iterable
from os import PathLike
from typing import Any

import jax
import numpy as np
from PIL import Image


def check_count(name: str, value: Any, most: int | None = None) -> None:
    """Raises an error if an argument is no number of images.

    Args:
      name: of the argument, for the message.
      value: what was given for it.
      most: the largest that is allowed; None = any.

    Raises:
      TypeError: if it is no whole number.
      ValueError: if it is below 1 or above the most.
    """
    if not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if int(value) < 1 or (most is not None and int(value) > most):
        raise ValueError(f"{name}: expected {'at least 1' if most is None else f'1 to {most}'}, got {value}")


def as_list(images: Any) -> list[Any]:
    """Returns the images of a list, a tuple or one array [n, h, w, 3]; anything else is one image."""
    if _is_array(images) and images.ndim == 4:
        return list(np.asarray(images))
    return list(images) if isinstance(images, list | tuple) else [images]


def as_several(images: Any) -> Iterable[Any]:
    """Returns what is to be iterated over.

    Raises:
      TypeError: if it is a single image: the letters of a path or the rows of an array would be taken for images.
    """
    if _is_array(images):
        if images.ndim != 4:
            raise TypeError(f"images: expected several, or one array [n, h, w, 3], got an array {list(images.shape)}")
        return np.asarray(images)
    if isinstance(images, str | PathLike | bytes | bytearray | memoryview | Image.Image):
        raise TypeError(f"images: expected several, such as a list, got a single one of type {type(images).__name__}")
    if not isinstance(images, Iterable):
        raise TypeError(f"images: expected something to iterate over, such as a list, got {type(images).__name__}")
    return images


def batch_sizes_of(batch_size: int, devices: int) -> tuple[int, ...]:
    """Returns the multiples of the devices by powers of two, up to the batch size."""
    largest = -(-batch_size // devices)
    sizes = [1]
    while 2 * sizes[-1] < largest:
        sizes.append(2 * sizes[-1])
    return tuple(devices * size for size in dict.fromkeys([*sizes, largest]))


def _is_array(images: Any) -> bool:
    return isinstance(images, np.ndarray | jax.Array)
