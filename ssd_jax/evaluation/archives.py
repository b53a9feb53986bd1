"""Files of a folder or an archive, read into memory: nothing is extracted, and no link is followed."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ssd_jax.errors import InputError

LIMIT = 2**30  # bytes that an archive may unpack to: results of 40,000 images with 200 boxes each are half of it
ENTRIES = 200_000  # that are looked at
DEPTH = 4  # folders below the one given: results/VOC2012/Main has two
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # how a zip begins; the latter, if it is empty
_PACKERS: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_TAR = slice(257, 262), b"ustar"
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)
# NotImplementedError: an unknown compression; RuntimeError: a password is needed.
_DAMAGE += (NotImplementedError, RuntimeError)


def is_archive(path: Path) -> bool:
    """Tells by its first bytes whether a file is a zip, a tar or something packed, whatever it is called."""
    start = _start(path)
    return start.startswith((*_ZIP, *_PACKERS)) or start[_TAR[0]] == _TAR[1]


def _start(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_files(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the content of those files of a folder or an archive whose names are wanted, by their paths within.

    Of an archive only regular files count. The names in it are labels and never become paths of files.

    Args:
      path: a folder, of which ``DEPTH`` levels are looked at, or an archive (see :func:`is_archive`).
      wanted: asked with the last part of each path.

    Raises:
      InputError: something cannot be read, or there is more than ``LIMIT`` or ``ENTRIES``.
    """
    try:
        if path.is_dir():
            names = (name for name in _walk(path) if wanted(os.path.basename(name)))
            return {name: (path / name).read_bytes() for name in names if (path / name).is_file()}
        return dict(_read_zip(path, wanted) if _start(path).startswith(_ZIP) else _read_tar(path, wanted))
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        kind = "folder" if path.is_dir() else "whole tar or zip archive"
        raise InputError(f"{path}: expected a readable {kind}, but reading it fails ({reason})") from error


def _walk(folder: Path) -> Iterator[str]:
    """Yields the paths of the files within a folder, sorted."""
    count = 0
    for place, folders, files in os.walk(folder, onerror=_raise):
        inner = Path(place).relative_to(folder)
        folders[:] = sorted(folders) if len(inner.parts) < DEPTH else []
        count += len(files)
        _check(folder, count, 0)
        yield from ((inner / name).as_posix() for name in sorted(files))


def _raise(error: OSError) -> None:
    raise error


def _read_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    # Unpacked up to the limit before anything in it is believed: a header may state any length.
    with _opener(path)(path, "rb") as file:
        content = file.read(LIMIT + 1)
    _check(path, 0, len(content))
    total = 0
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for count, member in enumerate(archive, 1):
            if member.isfile() and wanted(os.path.basename(member.name)):
                total += member.size
                _check(path, count, total)  # of a sparse file the size is more than what lies there
                stream = archive.extractfile(member)
                yield member.name, stream.read() if stream else b""


def _opener(path: Path) -> Callable:
    start = _start(path)
    return next((packer for magic, packer in _PACKERS.items() if start.startswith(magic)), open)


def _read_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    total = 0
    with zipfile.ZipFile(path) as archive:
        for count, member in enumerate(archive.infolist(), 1):
            _check(path, count, total)
            if not member.is_dir() and wanted(os.path.basename(member.filename)):
                with archive.open(member) as file:
                    content = file.read(LIMIT - total + 1)  # whatever the header says of its length
                total += len(content)
                _check(path, count, total)
                yield member.filename, content


def _check(path: Path, entries: int, size: int) -> None:
    if entries > ENTRIES or size > LIMIT:
        raise InputError(
            f"{path}: expected result files, at most {ENTRIES:,} and {LIMIT >> 20:,} MiB of them, but there is more"
        )


def make_tar_gz(contents: Mapping[str, bytes]) -> bytes:
    """Returns a .tar.gz of files by their paths, the same bytes whenever and by whomever it is made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)  # no owner, and the time 0
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    packer = zlib.compressobj(level=9, wbits=31)  # 31: with gzip's header, in which zlib states no time and no name
    return packer.compress(buffer.getvalue()) + packer.flush()


def make_zip(contents: Mapping[str, bytes]) -> bytes:
    """Returns a .zip of files by their paths, the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the first that the format can state
            member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3  # 3: Unix, wherever it is made
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return buffer.getvalue()
