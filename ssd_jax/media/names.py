"""Names for annotated copies: those of the originals where the format allows it, and each only once."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath

from ssd_jax.errors import InputError
from ssd_jax.media import kinds, pictures
from ssd_jax.media.inputs import Found

KEPT_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")  # the others cannot hold H.264, or are rarely played with it

_LONGEST = 255  # bytes of a file's name


def plan(files: Sequence[Found], folder: Path) -> list[Path]:
    """Returns where the annotated copy of each file goes.

    A copy in another format gets a second extension (``a.gif.png``), so that ``a.gif`` and ``a.png`` remain two; a
    name that is taken, as of files in several folders given, gets a number (``a-2.jpg``). Names that differ only
    in case count as the same, since on some systems they are. One that would be too long is cut before its extension.
    """
    taken: set[str] = set()
    targets = []
    for file in files:
        name = PurePath(f"{file.name}{added_extension(file.name)}")
        number, free = 1, _fitting(name)
        while _keys(free) & taken:
            number += 1
            free = _fitting(name, f"-{number}")
        taken |= _keys(free)
        targets.append(folder / free)
    return targets


def added_extension(name: PurePath) -> str:
    """Returns what is appended to a name because the copy has another format; "" if it keeps its own."""
    if kinds.is_video(name):
        return "" if kinds.extension(name) in KEPT_CONTAINERS else ".mp4"
    return "" if kinds.extension(name) in pictures.FORMATS else ".png"


def check_inputs_stay(files: Sequence[Found], targets: Sequence[Path]) -> None:
    """Raises InputError if a copy would take the place of one of the files."""
    inputs = {os.path.realpath(file.path) for file in files}
    for target in targets:
        if os.path.realpath(target) in inputs:
            raise InputError(
                f"{target.parent}: expected another folder to write to, since {target.name} there is one of the "
                "files to look at and would be overwritten"
            )


def _fitting(name: PurePath, addition: str = "") -> PurePath:
    """Returns a name with something added before its extension, cut there to the length that systems allow."""
    stem = name.stem
    while len(os.fsencode(f"{stem}{addition}{name.suffix}")) > _LONGEST:
        stem = stem[:-1]
    return name.with_name(f"{stem}{addition}{name.suffix}")


def _keys(name: PurePath) -> set[str]:
    """Returns what a copy may be called, in a form that is the same for names that are one on some system."""
    return {unicodedata.normalize("NFC", f"{name}{added}").casefold() for added in ("", pictures.LARGE)}
