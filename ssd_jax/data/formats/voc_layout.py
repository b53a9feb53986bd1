"""Which files of a VOC-layout folder belong to a split."""

import os
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from ssd_jax.data.decode import EXTENSIONS
from ssd_jax.errors import InputError

LISTS = Path("ImageSets", "Main")
ANNOTATION = ".xml"
UNIONS = {  # the paper's names of what it trains on: section 3.1, and the captions of Tables 1 and 4
    "07": "VOC2007/trainval",
    "07+12": "VOC2007/trainval+VOC2012/trainval",
    "07++12": "VOC2007/trainval+VOC2007/test+VOC2012/trainval",
}
_FLAGGED = re.compile(r"(?P<name>.*\S)\s+(?P<flag>-1|0|1)")  # a line of a list of one class, as cat_train.txt


class VocPart(NamedTuple):
    """One folder and one of its lists."""

    folder: Path
    name: str  # of the list, or "all"
    prefix: str  # of its ids


def parse_split(root: Path, split: str, *, annotated: bool = True, images: bool = True) -> list[VocPart]:
    """Splits "FOLDER/NAME+..." (or one of ``UNIONS``) into its parts and checks that the folders needed exist."""
    if not root.is_dir():
        raise InputError(f"data root: expected a folder in VOC layout, but {root} is not a folder")
    texts = [text.strip() for text in _expand(root, split).split("+")]
    folders = [name for name, needed in (("Annotations", annotated), ("JPEGImages", images)) if needed]
    parts = []
    for text in texts:
        folder, _, name = text.rpartition("/")
        if not name:
            raise InputError(f"data split: expected [FOLDER/]NAME joined by '+', got {split!r}")
        part = VocPart(root / folder if folder else root, name, f"{folder or root.name}/" if len(texts) > 1 else "")
        for needed in folders:
            if not (part.folder / needed).is_dir():
                raise InputError(
                    f"data split {text!r}: {part.folder} has no folder {needed}{_hint(root, part, needed)}"
                )
        parts.append(part)
    return parts


def _expand(root: Path, split: str) -> str:
    """Replaces a name of ``UNIONS`` by what it stands for, unless a list of the folder itself is called so."""
    known = split.strip() in UNIONS and not (root / LISTS / "07.txt").exists()
    return UNIONS[split.strip()] if known else split


def _hint(root: Path, part: VocPart, needed: str) -> str:
    """Says what may be meant: a root given too high or too low, a split without folder, a test set."""
    found = sorted(path.parent.relative_to(part.folder) for path in part.folder.glob("*/Annotations"))
    found += sorted(path.parent.relative_to(part.folder) for path in part.folder.glob("*/*/Annotations"))
    if found:
        return f" (but there is {', '.join(map(str, found[:3]))})"
    if part.folder != root and (root / "JPEGImages").is_dir():
        return f" (but root itself holds JPEGImages: point it at the folder above, {root.absolute().parent})"
    if needed == "Annotations" and (part.folder / "JPEGImages").is_dir():
        return " (images alone, such as a test set, are read with --config.data.voc.annotations=none)"
    kinds = {".csv": "csv", ".yaml": "yolo", ".json": "coco"}
    other = next((kinds[path.suffix] for path in sorted(part.folder.glob("*")) if path.suffix in kinds), "")
    return f" (other formats than VOC's need --config.data.kind={other or '...'}; see docs/data.md)"


def _files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from sorted(Path(entry.path) for entry in entries if not entry.name.startswith("."))


def annotations_by_stem(folder: Path) -> dict[str, Path]:
    """Returns the annotation files of a folder by their names without extension, sorted by name."""
    found: dict[str, Path] = {}
    for path in _files(folder / "Annotations"):
        if path.suffix.lower() == ANNOTATION:
            found[path.stem] = path  # of a.XML and a.xml, the latter: capitals sort first
    return found


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Returns the images of a folder by their names without extension."""
    found: dict[str, Path] = {}
    for path in _files(folder / "JPEGImages"):
        if path.suffix.lower() in EXTENSIONS:
            found[path.stem] = min(path, found.get(path.stem, path), key=_rank)
    return found


def _rank(path: Path) -> int:
    return EXTENSIONS.index(path.suffix.lower())


def list_names(part: VocPart, known: Container[str]) -> list[str] | None:
    """Returns the names in a part's list, in its order; None for "all" (if no list is called so).

    ``known`` holds the names of the images and annotations there are. A line that is not one of
    them may carry an extension, a path before it, or, behind it, the flag of a list of one class:
    1 or 0 (only difficult objects) is taken, -1 (none of the class) is not.

    Raises:
      InputError: there is no such list, or it is not UTF-8 text.
    """
    path = part.folder / LISTS / f"{part.name}.txt"
    if part.name == "all" and not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        folder = part.folder / LISTS
        names = sorted(file.stem for file in folder.glob("*.txt")) if folder.is_dir() else []
        there = f"there are: {', '.join(names[:8])}" if names else "there are no lists"
        hint = f"{there}; 'all' takes every annotation"
        raise InputError(f"data split {part.name!r}: cannot read the list {path} ({hint})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"data split {part.name!r}: the list {path} is not UTF-8 text") from error
    names = (_name(line.strip(), known) for line in text.splitlines() if line.strip())
    return [name for name in names if name is not None]


def _name(line: str, known: Container[str]) -> str | None:
    """Returns the name that a line stands for; None if its flag is -1."""
    plain = _plain(line, known)
    flagged = _FLAGGED.fullmatch(line)
    if plain in known or flagged is None:  # a name may well end in " 1" itself
        return plain
    return None if flagged["flag"] == "-1" else _plain(flagged["name"], known)


def _plain(entry: str, known: Container[str]) -> str:
    """Takes extension and path away from an entry that is not a known name as it stands."""
    if entry in known:
        return entry
    stem, dot, extension = entry.rpartition(".")
    name = stem if f"{dot}{extension}".lower() in (*EXTENSIONS, ANNOTATION) else entry
    last = re.split(r"[/\\]", name)[-1]
    return last if last in known else name
