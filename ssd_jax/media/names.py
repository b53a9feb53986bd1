"""Names for annotated copies: those of the originals where the format allows it, and each only once."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath

from ssd_jax.errors import InputError
from ssd_jax.media import kinds, pictures
from ssd_jax.media.inputs import Found

KEPT_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")  # the others cannot hold H.264, or are rarely played with it


def plan(files: Sequence[Found], folder: Path) -> list[Path]:
    """Returns where the annotated copy of each file goes.

    A copy in another format gets a second extension (``a.gif.png``), so that ``a.gif`` and ``a.png`` remain two; a
    name that is taken, as of files in several folders given, gets a number (``a-2.jpg``). Names that differ only
    in case count as the same, since on some systems they are.
    """
    taken: set[str] = set()
    targets = []
    for file in files:
        name = PurePath(f"{file.name}{added_extension(file.name)}")
        number, free = 1, name
        while _key(free) in taken:
            number += 1
            free = name.with_name(f"{name.stem}-{number}{name.suffix}")
        taken |= {_key(free), _key(PurePath(f"{free}{pictures.LARGE}"))}
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


def _key(name: PurePath) -> str:
    return unicodedata.normalize("NFC", str(name)).casefold()
