"""One shard of decoded images in one file, written so that a crash at any moment leaves no wrong one.

Layout: ``HEAD``, one ``ENTRY`` an image, then the pixels of the images, uint8 [h, w, 3], end to end.
"""

import contextlib
import os
import secrets
import struct
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

MAGIC = b"ssdjax-1"
HEAD = struct.Struct("<8s16sII")  # magic, fingerprint, number of images, CRC-32 of the three and of the entries
CHECKED = struct.Struct("<8s16sI")  # those three
ENTRY = np.dtype([("start", "<u8"), ("height", "<u4"), ("width", "<u4"), ("crc", "<u4")])  # height 0: no pixels
PARTIAL = ".partial"  # ending of a file that is being written
ABANDONED = 600  # seconds without a write, after which such a file belongs to no living process


class Shard(NamedTuple):
    """An open shard; its pixels are mapped, not read."""

    entries: np.ndarray  # [N] ENTRY
    content: np.ndarray  # [bytes of the file] uint8

    def pixels(self, row: int) -> np.ndarray | None:  # uint8 [h, w, 3]
        """Returns a read-only view of an image; None if none is stored."""
        start, height, width = (int(self.entries[name][row]) for name in ("start", "height", "width"))
        return self.content[start : start + height * width * 3].reshape(height, width, 3) if height else None

    def sound(self, row: int) -> bool:
        """Tells whether the pixels of an image are those that were written; reads them all."""
        pixels = self.pixels(row)
        return pixels is None or zlib.crc32(pixels.data) == self.entries["crc"][row]


def file_size(count: int, pixel_bytes: int) -> int:
    """Returns the bytes of the file of so many images with so many bytes of pixels in all."""
    return HEAD.size + count * ENTRY.itemsize + pixel_bytes


def open_shard(path: Path, fingerprint: bytes, count: int) -> Shard | None:
    """Maps a shard into memory.

    Returns:
      None if there is no such file, or it is not the one with this fingerprint and number of
      images: its length, its head or its entries are damaged. Damage among the pixels is noticed
      by ``Shard.sound`` alone.
    """
    try:
        content = np.asarray(np.memmap(path, np.uint8, "r"))
    except (OSError, ValueError):  # ValueError: an empty file
        return None
    if len(content) < file_size(count, 0):
        return None
    entries = content[HEAD.size : file_size(count, 0)].copy().view(ENTRY)
    if content[: HEAD.size].tobytes() != _head(fingerprint, entries):
        return None
    pixel_bytes = 3 * int((entries["height"].astype(np.int64) * entries["width"]).sum())
    return Shard(entries, content) if len(content) == file_size(count, pixel_bytes) else None


def write_shard(path: Path, fingerprint: bytes, count: int, images: Iterable[np.ndarray | None]) -> None:
    """Writes a shard of so many images, each uint8 [h, w, 3] or None, one after the other.

    Raises:
      OSError: the disk is full, the folder cannot be written, ...; nothing is left of the file.
    """
    entries = np.zeros(count, ENTRY)
    start = file_size(count, 0)
    with _replacing(path) as file:
        file.seek(start)
        for row, pixels in enumerate(images):
            if pixels is not None:
                pixels = np.ascontiguousarray(pixels)
                file.write(pixels.data)
                entries[row] = (start, *pixels.shape[:2], zlib.crc32(pixels.data))
                start += pixels.nbytes
        file.seek(0)
        file.write(_head(fingerprint, entries) + entries.tobytes())


def remove_leftovers(folder: Path, names: Collection[str]) -> None:
    """Deletes the shards of a folder that are none of these files, and what killed processes left half-written."""
    for path in folder.glob("*"):  # nothing if there is no such folder
        with contextlib.suppress(OSError):  # another process was faster, or the folder is read-only
            extra = path.suffix == ".shard" and path.name not in names
            if extra or (path.suffix == PARTIAL and time.time() - path.stat().st_mtime > ABANDONED):
                path.unlink()


def _head(fingerprint: bytes, entries: np.ndarray) -> bytes:
    values = MAGIC, fingerprint, len(entries)
    return HEAD.pack(*values, zlib.crc32(CHECKED.pack(*values) + entries.tobytes()))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file under a name of its own; it takes its place at once and whole, when it is safely on the disk."""
    partial = path.with_name(f"{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a new name survive a loss of power, where the system can do that to a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
