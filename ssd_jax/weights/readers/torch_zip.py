"""Files of PyTorch since 1.6: a zip archive of a pickle and of storages.

The layout is that of torch/serialization.py and caffe2/serialize/inline_container.cc::

    NAME/data.pkl      what was saved; storages stand in it by their keys
    NAME/data/KEY      the bytes of a storage
    NAME/byteorder     "little" or "big" (since 2.1; before: little)
    NAME/version       of the format, 3 today

Nothing is compressed, so that there can be no zip bomb: a compressed entry is refused.
"""

import os
import struct
import zipfile
import zlib
from io import BufferedReader

import numpy as np

from ssd_jax.weights.readers import torch_pickle
from ssd_jax.weights.readers.bounds import one_sentence, regular_file
from ssd_jax.weights.readers.raw import read_bytes, shown
from ssd_jax.weights.readers.tensors import TensorFile
from ssd_jax.weights.readers.torch_arrays import make_arrays
from ssd_jax.weights.readers.torch_state import find_state
from ssd_jax.weights.readers.torch_values import Storage

EXPECTED = "a PyTorch file (zip)"
MAX_VERSION = 10  # PyTorch's kMaxSupportedFileFormatVersion
_MAX_DIRECTORY = 1 << 24  # bytes, of 100 and more an entry; zipfile makes objects of several times that
_LOCAL = struct.Struct("<4s5H3L2H")  # header before the data of an entry: signature ... length of name, of extra field
_ENCRYPTED = 1


class _Reads:
    """A file as zipfile wants it, that refuses to read at once as much as only a damaged directory asks for."""

    def __init__(self, file: BufferedReader, size: int):
        self._file, self._size = file, size
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        if count > _MAX_DIRECTORY:
            raise ValueError("its directory claims to be larger than that of any such file")
        return self._file.read(min(count, self._size) if count >= 0 else min(_MAX_DIRECTORY, self._size))


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads the tensors of a file that ``torch.save`` wrote; nothing in it is executed.

    Checksums are compared where the file has them (``torch.serialization.set_crc32_options(False)`` leaves them out).

    Args:
      path: of the file.

    Returns:
      format "PyTorch (zip)"; the arrays are read-only, and views of the same storage share memory. The metadata are
      those of :func:`ssd_jax.weights.readers.torch_state.find_state`.

    Raises:
      InputError: the file is absent, damaged, no such file, or holds more than tensors and plain values.
    """
    size = regular_file(path, EXPECTED)
    kinds = (zipfile.BadZipFile, NotImplementedError, struct.error, OverflowError)
    with one_sentence(path, EXPECTED, *kinds), open(path, "rb") as file:
        archive = _Archive(file, size)
        machine = torch_pickle.Machine(archive.read("data.pkl", torch_pickle.MAX_BYTES).tobytes())
        state = find_state(machine.load())
        swapped = archive.is_big_endian()
        arrays = make_arrays(state.tensors, lambda storage: _run(archive, storage, swapped), size)
    return TensorFile("PyTorch (zip)", arrays, state.metadata)


def _run(archive: "_Archive", storage: Storage, swapped: bool) -> np.ndarray:
    """Returns the bytes of a storage, its numbers little-endian; ``swapped``: in the file they are not."""
    run = archive.read(f"data/{storage.key}", storage.nbytes)
    if run.size != storage.nbytes:
        raise ValueError(f"its storage {shown(storage.key)} has {run.size:,} bytes instead of {storage.nbytes:,}")
    if swapped and storage.untyped:
        raise ValueError("its numbers are big-endian, and it does not tell of which kind")
    if swapped and storage.dtype.itemsize > 1:
        run.view(f"u{storage.dtype.itemsize}").byteswap(inplace=True)
    return run


class _Archive:
    """The entries of a zip archive that stores them as they are."""

    def __init__(self, file: BufferedReader, size: int):
        self._file, self._size = file, size
        with zipfile.ZipFile(_Reads(file, size)) as archive:  # pyright: ignore[reportArgumentType]  # all that zipfile asks
            self._entries = {entry.filename: entry for entry in archive.infolist()}
            if len(self._entries) != len(archive.infolist()):
                raise ValueError("it has two entries of one name")
        if any(name.endswith("/constants.pkl") for name in self._entries):
            raise ValueError("it is a program of TorchScript (torch.jit.save), not a state dict")
        for entry in self._entries.values():
            _check_entry(entry)
        if sum(entry.file_size for entry in self._entries.values()) > size:
            raise ValueError("its entries claim more bytes than it has")
        roots = [name.removesuffix("data.pkl") for name in self._entries if name.endswith("/data.pkl")]
        if len(roots) != 1 or roots[0].count("/") != 1:
            raise ValueError("it has no entry data.pkl in one folder")
        self._root = roots[0]
        version = self.read("version", 20).tobytes().strip()
        if not version.isdigit() or not 1 <= int(version) <= MAX_VERSION:
            raise ValueError(f"it has the version {version!r} of the format, expected 1 to {MAX_VERSION}")

    def is_big_endian(self) -> bool:
        if f"{self._root}byteorder" not in self._entries:
            return False
        order = self.read("byteorder", 20).tobytes()
        if order not in (b"little", b"big"):
            raise ValueError(f"its byte order is {order!r} instead of little or big")
        return order == b"big"

    def read(self, name: str, limit: int) -> np.ndarray:  # uint8
        """Returns an entry of at most ``limit`` bytes."""
        entry = self._entries.get(self._root + name)
        if entry is None:
            raise ValueError(f"it has no entry {shown(name)}")
        if entry.file_size > limit:
            raise ValueError(f"its entry {shown(name)} has {entry.file_size:,} bytes, expected at most {limit:,}")
        # Not by zipfile, which would copy the data twice and cannot do without checksums.
        header = _LOCAL.unpack(read_bytes(self._file, entry.header_offset, _LOCAL.size).tobytes())
        start = entry.header_offset + _LOCAL.size + header[-2] + header[-1]
        if header[0] != b"PK\x03\x04" or start + entry.file_size > self._size:
            raise ValueError(f"its entry {shown(name)} is not where its directory says")
        data = read_bytes(self._file, start, entry.file_size)
        if entry.CRC and zlib.crc32(data.data) != entry.CRC:
            raise ValueError(f"its entry {shown(name)} is damaged (its checksum differs)")
        return data


def _check_entry(entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.split("/")
    if ".." in parts or "" in parts or "\\" in entry.filename:
        raise ValueError(f"it has an entry {shown(entry.filename)}, which leads out of a folder")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"its entry {shown(entry.filename)} is compressed, which torch.save never does")
    if entry.flag_bits & _ENCRYPTED or entry.header_offset < 0:
        raise ValueError(f"its entry {shown(entry.filename)} is encrypted or outside of the file")
