"""What a person gives to look at -> files, each with a relative name for what is written of it."""

import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from ssd_jax.data import decode
from ssd_jax.errors import InputError
from ssd_jax.media import kinds

STDIN = "-"


class Found(NamedTuple):
    """An image or a video to look at."""

    path: Path  # absolute
    shown: str  # as it was given, or found in what was given
    name: PurePath  # relative, without "..": to the folder given, the glob's, or what all files of a list share
    is_video: bool


class Listing(NamedTuple):
    """What there is to look at."""

    files: list[Found]  # in the order given, folders by name; each file once
    problems: list[tuple[str, str]]  # (path, reason) of what could not be listed
    own: int  # files left out because they lie in the folder that is written to


class _Place(NamedTuple):
    """A file of one of the things given, and what its name is relative to."""

    shown: str
    base: str
    is_chosen: bool  # named by the user, not found by a search


def find(
    given: Sequence[str], *, written_to: Path | None = None, read_stdin: Callable[[], bytes] = lambda: b""
) -> Listing:
    """Lists the images and videos that are meant by paths of files, folders, globs and "-".

    Folders are searched with all folders in them, links included, but no hidden files or folders; they and globs
    give files with the extensions of images and videos. A file that is named is taken whatever it is called. "-" is
    a list on stdin, a path a line (or separated by zero bytes, as ``find -print0`` does); blank lines are skipped.

    Args:
      given: as typed; "~" is the home folder.
      written_to: what lies in it is left out of folders, globs and lists, unless these lie in it themselves.
      read_stdin: returns all of stdin.

    Raises:
      InputError: one of them does not exist, or there is no file at all.
    """
    problems: list[tuple[str, str]] = []
    own: set[str] = set()
    files: dict[str, Found] = {}
    for text in given:
        for place in _places(text, problems, read_stdin):
            path = os.path.abspath(place.shown)
            real = os.path.join(
                _real(os.path.dirname(path)), os.path.basename(path)
            )  # "**" goes round in linked folders
            if written_to is not None and not place.is_chosen and _is_own(path, place.base, written_to):
                own.add(real)
            elif real not in files:
                name = PurePath(os.path.relpath(path, place.base))
                files[real] = Found(Path(path), place.shown, name, kinds.is_video(path))
    if not files:
        raise InputError(f"{_quoted(given)}: expected images or videos, {_why_none(problems, len(own))}")
    return Listing(list(files.values()), problems, len(own))


def camera_number(given: Sequence[str]) -> int | None:
    """Returns the number of the camera that is meant, such as 0; None if files are.

    Raises:
      InputError: a camera is given along with something else.
    """
    cameras = [text for text in given if text.isdecimal() and text.isascii() and not os.path.lexists(text)]
    if cameras and len(given) > 1:
        raise InputError(f"camera {cameras[0]}: expected a camera alone, got {_quoted(given)}")
    return int(cameras[0]) if cameras else None


def _places(
    text: str, problems: list[tuple[str, str]], read_stdin: Callable[[], bytes], *, is_listed: bool = False
) -> Iterator[_Place]:
    """Yields the files that one of the things given means."""
    if text == STDIN and not is_listed:
        yield from _listed(read_stdin(), problems)
        return
    path = text if is_listed else os.path.expanduser(text)
    if os.path.isdir(path):
        for shown in _walk(path, set(), problems):
            yield _Place(shown, os.path.abspath(path), is_chosen=False)
    elif os.path.lexists(path):
        yield _Place(path, os.path.dirname(os.path.abspath(path)), is_chosen=not is_listed)
    elif is_listed:
        problems.append((path, "there is no such file"))
    elif glob.has_magic(path):
        base = _fixed_part(path)
        for shown in sorted(glob.iglob(path, recursive=True)):
            for found in _walk(shown, set(), problems) if os.path.isdir(shown) else [shown]:
                if kinds.is_known(found):
                    yield _Place(found, base, is_chosen=False)
    else:
        raise InputError(
            f"{text or repr(text)}: expected an image, a video, a folder, a glob, - (a list on stdin) or "
            "the number of a camera, but there is no such file"
        )


def _listed(content: bytes, problems: list[tuple[str, str]]) -> Iterator[_Place]:
    """Yields the files of a list; their names are relative to the folder that all of them lie in."""
    separator = b"\0" if b"\0" in content else b"\n"
    lines = [os.fsdecode(line.removesuffix(b"\r")) for line in content.split(separator) if line.strip()]
    places = [place for line in lines for place in _places(line, problems, lambda: b"", is_listed=True)]
    folders = {os.path.dirname(os.path.abspath(place.shown)) for place in places}
    try:
        shared = os.path.commonpath(folders) if folders else ""
    except ValueError:  # several drives of Windows
        shared = ""
    for place in places:
        yield place._replace(base=shared or place.base)


def _walk(folder: str, seen: set[tuple[int, int]], problems: list[tuple[str, str]]) -> Iterator[str]:
    """Yields the images and videos in a folder and those in it, by name; no folder twice, so that links may loop."""
    try:
        state = os.stat(folder)
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        problems.append((folder, f"this folder cannot be read ({error.strerror})"))
        return
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _walk(path, seen, problems)
        elif kinds.is_known(path):
            yield path


def _fixed_part(pattern: str) -> str:
    """Returns the folder of a glob, absolute: what stands before its first wildcard."""
    parts = PurePath(os.path.abspath(pattern)).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return str(PurePath(*parts[:fixed]))


def _is_own(path: str, base: str, written_to: Path) -> bool:
    """Whether a file lies in the folder that is written to, and was found from outside of it."""
    folder = _real(str(written_to))
    return _is_within(_real(os.path.dirname(path)), folder) and not _is_within(_real(base), folder)


@functools.lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _why_none(problems: Sequence[tuple[str, str]], own: int) -> str:
    if problems:
        return f"but found none ({problems[0][0]}: {problems[0][1]})"
    if own:
        return f"but found only {own:,} in the folder that is written to"
    return f"but found none ({_names(decode.EXTENSIONS)}; {_names(kinds.VIDEO_EXTENSIONS)})"


def _names(extensions: Iterable[str]) -> str:
    return " ".join(extensions)


def _quoted(given: Sequence[str]) -> str:
    shown = [repr(text) if not text or " " in text else text for text in given[:3]]
    return ", ".join([*shown, *(["..."] if len(given) > 3 else [])])
