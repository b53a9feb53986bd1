"""A zip archive of plain files and NumPy arrays, read with bounds: nothing is believed that the bytes do not show."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

ARRAY = ".npy"
MAX_MEMBERS = 10_000  # files in an archive; ResNet-152 has 932 arrays
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same content gives the same bytes


def pack(plain: Mapping[str, bytes], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns an archive of files and of arrays, uncompressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in plain.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + ARRAY, _EPOCH), member.getbuffer())
    return buffer.getvalue()


class Members:
    """The files of an archive, to be taken by name; ValueError or zipfile.BadZipFile if something is wrong."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        """Compares what the archive claims with the size of the file in bytes, before anything is allocated by it."""
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS or len({info.filename for info in infos}) != len(infos):
            raise ValueError(f"expected at most {MAX_MEMBERS} files of different names in it, got {len(infos)}")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                raise ValueError(f"{ascii(info.filename[:80])} is compressed or encrypted")
        if sum(info.file_size for info in infos) > size:
            raise ValueError("it claims more bytes than it has")
        self._archive, self._infos = archive, {info.filename: info for info in infos}

    def take(self, name: str, limit: int) -> bytes:
        """Returns a file of at most so many bytes; its checksum is compared."""
        if name not in self._infos:
            raise ValueError(f"{name} is missing")
        if self._infos[name].file_size > limit:
            raise ValueError(f"{name} has {self._infos[name].file_size} bytes, expected at most {limit}")
        return self._archive.read(self._infos[name])

    def array(self, name: str, expected: Any) -> np.ndarray:
        """Returns an array that has the shape and the dtype of ``expected``."""
        shape, dtype = tuple(expected.shape), np.dtype(expected.dtype)
        header = 10_000  # NumPy's own limit
        data = self.take(name + ARRAY, header + int(np.prod(shape, dtype=object)) * dtype.itemsize)
        file = io.BytesIO(data)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not in NumPy's format 1.0")
        found, fortran, found_dtype = np.lib.format.read_array_header_1_0(file)
        if found != shape or found_dtype != dtype or fortran:
            raise ValueError(f"{name} is {found_dtype} {found}, but the program takes {dtype} {shape}")
        return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
