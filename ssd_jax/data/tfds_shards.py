"""Random access to TFRecord files, the format in which TFDS prepares datasets unless told otherwise.

A record is its length (8 bytes, little-endian), a checksum of the length (4), the data, and a checksum
of the data (4). The files are walked through once for the places of the records; the checksums are
not looked at.
"""

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ssd_jax.errors import InputError

HEAD, TAIL = 12, 4  # bytes


class _Place(NamedTuple):
    path: str
    offset: int
    length: int


class RecordFiles:
    """The records of some files, in their order. Picklable; each access opens its file, so threads may share it."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]], lengths: Sequence[int]) -> None:
        """Finds the records.

        Args:
          paths: of the files.
          lengths: how many records each should hold.

        Raises:
          InputError: a file is missing, cut off, or holds another number of records.
        """
        self._places: list[_Place] = []
        for path, length in zip([os.fspath(path) for path in paths], lengths, strict=True):
            try:
                places = _find_records(path)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: expected a TFRecord file ({error})") from error
            if len(places) != length:
                raise InputError(f"{path}: expected {length} records, got {len(places)}")
            self._places += places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> bytes:
        place = self._places[row]
        with open(place.path, "rb") as file:
            file.seek(place.offset)
            return file.read(place.length)


def _find_records(path: str) -> list[_Place]:
    places, size = [], os.path.getsize(path)
    with open(path, "rb") as file:
        while head := file.read(HEAD):
            offset = file.tell()
            end = offset + struct.unpack("<Q", head[:8])[0] + TAIL if len(head) == HEAD else size + 1
            if end > size:
                raise ValueError(f"it is cut off at byte {size}")
            places.append(_Place(path, offset, end - TAIL - offset))
            file.seek(end)
    return places
