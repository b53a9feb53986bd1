"""Bytes of a file as they are, and names out of it as they may be printed."""

from io import BufferedReader

import numpy as np


def read_bytes(file: BufferedReader, start: int, count: int) -> np.ndarray:  # uint8 [count]
    """Reads bytes into an array without a copy; the caller has compared their number with the file's size.

    Raises:
      ValueError: the file ends before all the same.
    """
    array = np.empty(count, np.uint8)
    file.seek(start)
    if count and file.readinto(array.data) != count:
        raise ValueError("it ends early")
    return array


def shown(text: str) -> str:
    """Returns a name out of a file for a message: in quotes, escaped, cut."""
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")
