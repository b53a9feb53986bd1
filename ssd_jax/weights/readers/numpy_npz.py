"""Arrays of NumPy: ``.npz`` archives, without pickles."""

import os
import struct
import zipfile
import zlib
from tokenize import TokenError
from typing import BinaryIO

import ml_dtypes
import numpy as np

from ssd_jax.weights.readers.bounds import (
    MAX_TENSORS,
    check_expansion,
    check_name,
    check_shape,
    one_sentence,
    regular_file,
)
from ssd_jax.weights.readers.tensors import TensorFile

EXPECTED = "a .npz file of NumPy arrays"
_MAX_DIRECTORY = 4 * 2**20  # bytes; zipfile makes objects of ten times that
_ENCRYPTED = 1
_DAMAGED = (  # what damaged files make zipfile and numpy.lib.format raise, besides ValueError and OSError
    *(zipfile.BadZipFile, zlib.error, TokenError, struct.error),
    *(ArithmeticError, EOFError, LookupError, MemoryError, RuntimeError, SyntaxError, TypeError),
)
_SHOWN = 200  # letters of a reason: some quote the file
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BFLOAT16 = np.dtype("V2")  # how NumPy writes ml_dtypes.bfloat16, whose name it does not know


class _File:
    """A file that refuses long reads: zipfile reads a directory in one piece, however long it says it is."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size = file, size
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Reads at most ``size`` bytes, by default all; zipfile leaves it out only within 64 KiB of the end."""
        left = max(self._size - self.tell(), 0)  # room would be made for as many as are asked for
        length = left if size < 0 else min(size, left)
        if length > _MAX_DIRECTORY:
            raise ValueError(f"its directory claims {length:,} bytes, expected at most {_MAX_DIRECTORY:,}")
        return self._file.read(length)


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads the arrays of an archive that numpy.savez or numpy.savez_compressed wrote.

    Nothing is executed: pickled objects are refused, as is any type but real numbers of up to eight bytes. No array
    is made before the headers of all have been checked against the sizes in the archive, and their sum
    against the file (:func:`ssd_jax.weights.readers.bounds.check_expansion`).

    Returns:
      format "NumPy"; tensors by their names without ".npy", in the order of the archive, in the byte order of
      this machine; two bytes without a type are bfloat16, which NumPy writes that way.

    Raises:
      InputError: the file is absent or no such archive.
    """
    size = regular_file(path, EXPECTED)
    with one_sentence(path, EXPECTED), open(path, "rb") as file:
        try:
            return TensorFile("NumPy", _read(file, size))
        except (ValueError, *_DAMAGED) as error:
            raise ValueError(str(error)[:_SHOWN] or type(error).__name__) from error


def _read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(_File(file, size)) as archive:  # pyright: ignore[reportArgumentType]  # all that zipfile asks for
        members = _members(archive)
        check_expansion(sum(member.file_size for member in members.values()), size)
        for name, member in members.items():
            _check_header(archive, member, name)
        return {name: _array(archive, member, name) for name, member in members.items()}


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if not 0 < len(entries) <= MAX_TENSORS:
        raise ValueError(f"it has {len(entries):,} members, expected 1 to {MAX_TENSORS:,}")
    members = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename:
            raise ValueError(f"its member {entry.filename[:80]!r} is no array (.npy)")
        check_name(name, "name of an array")
        if name in members:
            raise ValueError(f"two arrays are called {name!r}")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is encrypted or compressed otherwise than by numpy.savez_compressed")
        members[name] = entry
    return members


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """Refuses an array that is not of numbers, or does not fill its member to the last byte."""
    with archive.open(member) as stream:
        try:
            # A KeyError: version (3, 0) is for names of fields alone.
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        except (ValueError, *_DAMAGED) as error:  # NumPy's own words advise to allow pickles
            raise ValueError(f"{name!r} does not begin with a header of NumPy's format, version 1.0 or 2.0") from error
        numbers = dtype.kind in "fiub" and dtype.itemsize <= 8 and not dtype.shape
        if not numbers and dtype != _BFLOAT16:
            raise ValueError(f"{name!r} has the type {str(dtype)[:60]!r}, expected real numbers of at most 8 bytes")
        expected = stream.tell() + check_shape(shape, name) * dtype.itemsize
        if expected != member.file_size:
            raise ValueError(f"{name!r} has {member.file_size:,} bytes, and its header asks for {expected:,}")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # also makes zipfile compare the checksum
            raise ValueError(f"{name!r} goes on behind its array")
    if array.dtype == _BFLOAT16:
        return array.view(ml_dtypes.bfloat16)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
