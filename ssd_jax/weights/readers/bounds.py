"""Limits of what a foreign file may claim, and the one sentence about a file that cannot be read.

What a file claims is compared with these limits, and with the bytes that are there, before memory is
allocated by it: memory stays within a small multiple of the file's size.
"""

import contextlib
import math
import os
import stat
from collections.abc import Iterator, Sequence

from ssd_jax.errors import InputError

MAX_TENSORS = 100_000  # arrays of one file; ResNet-152 has 932
MAX_NAME = 1_000  # letters
MAX_AXES = 32  # of NumPy's 64; weights have 5 at most
MAX_EXPANSION = 8  # arrays together may be so many times as large as the file: compressed, or views of one storage
MAX_NUMBERS = 2**40  # of an array; NumPy counts bytes in 63 bits
_SLACK = 2**20  # bytes that any file may claim, however small it is


def regular_file(path: str | os.PathLike[str], expected: str) -> int:
    """Returns the size of a file in bytes.

    Args:
      path: the file.
      expected: what it is to be, with its article: "a .npz file".

    Raises:
      InputError: it is absent, or no ordinary file (a pipe would be waited for, a device never ends).
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: expected {expected}, got {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: expected {expected}, got a folder or a device")
    return status.st_size


@contextlib.contextmanager
def one_sentence(path: str | os.PathLike[str], expected: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns ValueError, OSError and further kinds of errors into one InputError that begins with the file's name."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: expected {expected}, but it cannot be read ({error.strerror or error})") from error
    except (ValueError, *kinds) as error:
        raise InputError(f"{path}: expected {expected}, but {' '.join(str(error).split())}") from error


def check_name(name: str, what: str) -> str:
    """Returns a name if it may be printed and is not endless; raises ValueError otherwise."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"the {what} is empty, too long or not printable: {ascii(name[:80])}")
    return name


def check_shape(shape: Sequence[int], name: str) -> int:
    """Returns how many numbers an array has.

    Axes of length 0 count as 1 against the limit, since NumPy refuses some shapes even without numbers.

    Raises:
      ValueError: there are too many axes, or one of them is negative or too long.
    """
    if len(shape) > MAX_AXES:
        raise ValueError(f"{name!r} has {len(shape)} axes, expected at most {MAX_AXES}")
    if any(size < 0 for size in shape) or math.prod(max(size, 1) for size in shape) > MAX_NUMBERS:
        raise ValueError(f"{name!r} has the shape {str(tuple(shape))[:80]}, which no array can have")
    return math.prod(shape)


def check_expansion(claimed: int, size: int) -> None:
    """Raises ValueError if arrays claim far more bytes than their file has.

    Args:
      claimed: bytes of the arrays.
      size: bytes of the file.
    """
    if claimed > MAX_EXPANSION * size + _SLACK:
        raise ValueError(f"it claims {claimed:,} bytes of arrays, too many for a file of {size:,}")
