"""Which files of a VOC-layout folder belong to a split."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssd_jax.errors import InputError

LISTS = Path("ImageSets", "Main")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")  # the first one found is used


class VocPart(NamedTuple):
    """One folder and one of its lists."""

    folder: Path
    name: str  # of the list, or "all"
    prefix: str  # of its ids


def parse_split(root: Path, split: str, *, annotated: bool = True) -> list[VocPart]:
    """Splits "FOLDER/NAME+..." into its parts and checks that their folders exist."""
    if not root.is_dir():
        raise InputError(f"data root: expected a folder in VOC layout, but {root} is not a folder")
    texts = [text.strip() for text in split.split("+")]
    parts = []
    for text in texts:
        folder, _, name = text.rpartition("/")
        if not name:
            raise InputError(f"data split: expected [FOLDER/]NAME joined by '+', got {split!r}")
        part = VocPart(root / folder if folder else root, name, f"{folder or root.name}/" if len(texts) > 1 else "")
        for needed in ("Annotations", "JPEGImages") if annotated else ("JPEGImages",):
            if not (part.folder / needed).is_dir():
                raise InputError(f"data split {text!r}: {part.folder} has no folder {needed}{_hint(part.folder)}")
        parts.append(part)
    return parts


def _hint(folder: Path) -> str:
    """Names folders of VOC layout up to two levels below, for a root given too high or a split without folder."""
    found = sorted(path.parent.relative_to(folder) for path in folder.glob("*/Annotations"))
    found += sorted(path.parent.relative_to(folder) for path in folder.glob("*/*/Annotations"))
    return f" (but there is {', '.join(map(str, found[:3]))})" if found else ""


def _files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from sorted(Path(entry.path) for entry in entries if not entry.name.startswith("."))


def annotation_stems(folder: Path) -> set[str]:
    """Returns the names, without ".xml", of the annotations of a folder."""
    return {path.stem for path in _files(folder / "Annotations") if path.suffix == ".xml"}


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Returns the images of a folder by their names without extension."""
    found: dict[str, Path] = {}
    for path in _files(folder / "JPEGImages"):
        if path.suffix.lower() in EXTENSIONS:
            found[path.stem] = min(path, found.get(path.stem, path), key=_rank)
    return found


def _rank(path: Path) -> int:
    return EXTENSIONS.index(path.suffix.lower())


def read_list(part: VocPart) -> list[str]:
    """Returns the names in a part's list, in the list's order."""
    path = part.folder / LISTS / f"{part.name}.txt"
    if part.name == "all" and not path.exists():
        return sorted(annotation_stems(part.folder))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        folder = part.folder / LISTS
        names = sorted(file.stem for file in folder.glob("*.txt")) if folder.is_dir() else []
        there = f"there are: {', '.join(names[:8])}" if names else "there are no lists"
        hint = f"{there}; 'all' takes every annotation"
        raise InputError(f"data split {part.name!r}: cannot read the list {path} ({hint})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
