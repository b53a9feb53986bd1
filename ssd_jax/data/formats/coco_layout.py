"""Which files belong to a split of COCO, and in which folder its images lie."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ssd_jax.errors import InputError

ANNOTATIONS = "annotations"
ALIASES = {"trainval35k": ("train2014", "valminusminival2014"), "minival": ("minival2014",)}
# Splits of the 2014 files, and those of 2017 with exactly the same images: detectron/datasets/data/README.md of
# facebookresearch/Detectron, which also links to the archive.
SAME_IN_2017 = {"trainval35k": "train2017", "minival": "val2017", "minival2014": "val2017"}
MINIVAL_ARCHIVE = "dl.fbaipublicfiles.com/detectron/coco/coco_annotations_minival.tgz"


class CocoPart(NamedTuple):
    """One annotation file."""

    root: Path  # of the data
    name: str  # as in the split
    path: Path
    annotated: bool  # False: images only


def parse_split(root: Path, split: str) -> list[CocoPart]:
    """Splits "NAME+FILE.json+..." into its parts, aliases resolved, and checks that their files exist."""
    if not root.is_dir():
        raise InputError(f"data root: expected a folder with COCO annotations, but {root} is not a folder")
    parts = []
    for text in (text.strip() for text in split.split("+")):
        if not text:
            raise InputError(
                f"data split: expected names such as train2017 or .json files joined by '+', got {split!r}"
            )
        parts += [_find(root, name, asked=text) for name in ALIASES.get(text, (text,))]
    if len({part.annotated for part in parts}) > 1:
        raise InputError(f"data split {split!r}: expected parts that all have annotations, or that all have none")
    return parts


def _find(root: Path, name: str, asked: str) -> CocoPart:
    if name.endswith(".json"):
        path = root / name
        part = CocoPart(root, name, path, annotated=not path.name.startswith("image_info_"))
        if path.is_file():
            return part
        raise InputError(f"data split {name!r}: there is no file {path}{_hint(root)}")
    for kind, annotated in (("instances", True), ("image_info", False)):
        path = root / ANNOTATIONS / f"{kind}_{name}.json"
        if path.is_file():
            return CocoPart(root, name, path, annotated)
    raise InputError(_absence(root, name, asked))


def _absence(root: Path, name: str, asked: str) -> str:
    twin, file = SAME_IN_2017.get(asked), root / ANNOTATIONS / f"instances_{name}.json"
    if twin and (root / ANNOTATIONS / f"instances_{twin}.json").is_file():
        return (
            f"data split {asked!r}: there is no file {file}, but instances_{twin}.json is there: "
            f"{twin} holds the same images as {asked}, so take {twin!r}"
        )
    if name in ("minival2014", "valminusminival2014"):
        return f"data split {asked!r}: there is no file {file}; it comes from {MINIVAL_ARCHIVE}"
    return f"data split {asked!r}: there is no file {file}{_hint(root)}"


def _hint(root: Path) -> str:
    """Names what could be meant."""
    named = (re.fullmatch(r"(?:instances|image_info)_(.+)\.json", path.name) for path in (root / ANNOTATIONS).glob("*"))
    found = sorted({match[1] for match in named if match})
    if not found:
        files = [path for pattern in ("*.json", "*/*.json", "*/*/*.json") for path in sorted(root.glob(pattern))[:8]]
        found = [path.relative_to(root).as_posix() for path in files]
    return f" (there is: {', '.join(found[:8])})" if found else ""


def find_images(part: CocoPart, names: Sequence[str], images: str = "") -> list[Path | None]:
    """Returns the file of each image; None where it is absent.

    Of the folders of :func:`image_folders` the first that holds any of the images is taken. Folders
    are listed, once each; asking for each of 118,287 files would take long on a network disk.

    Args:
      part: of the split.
      names: file names as the annotations state them; they may begin with folders.
      images: a folder, relative to root or absolute, that is looked at instead.

    Raises:
      InputError: not one of the images is found.
    """
    found: dict[str, Path] = {}
    holds, looked_at = _lister(), []
    for year, group in _by_prefix(names).items():
        folders = [part.root / images] if images else image_folders(part, year)
        looked_at += folders
        for folder in folders:
            present = {name: folder / name for name in group if holds(folder / name)}
            if present:
                found |= present
                break
    if names and not found:
        places = ", ".join(str(folder) for folder in dict.fromkeys(looked_at))
        hint = "" if images else "; --config.data.coco.images=FOLDER says where they lie"
        raise InputError(
            f"data split {part.name!r}: none of its {len(names)} images, such as {names[0]}, is in {places}{hint}"
        )
    return [found.get(name) for name in names]


def image_folders(part: CocoPart, prefix: str = "") -> list[Path]:
    """Returns the folders in which images are looked for, in this order.

    ``root/SET``, ``root/images/SET``, the folder of the annotation file, ``root/images``, ``root``.
    SET is the annotation file's name without instances_ or image_info_ (val2017; test2017 for
    test-dev2017), then ``prefix``.
    """
    root, name = part.root, re.sub(r"^(instances|image_info)_", "", part.path.stem)
    sets = [re.sub(r"^test-dev(\d{4})$", r"test\1", name), *([prefix] if prefix else [])]
    named = [folder / item for item in sets for folder in (root, root / "images")]
    return list(dict.fromkeys([*named, part.path.parent, root / "images", root]))


def _by_prefix(names: Sequence[str]) -> dict[str, list[str]]:
    """Groups file names such as COCO_val2014_000000000042.jpg by the folder they name, others under ""."""
    groups: dict[str, list[str]] = {}
    for name in names:
        match = re.match(r"COCO_([a-z]+\d{4})_", name)
        groups.setdefault(match[1] if match else "", []).append(name)
    return groups


def _lister() -> Callable[[Path], bool]:
    """Returns a function that tells whether a file exists and lists each folder once."""
    listings: dict[str, frozenset[str]] = {}

    def holds(path: Path) -> bool:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = frozenset(os.listdir(folder) if os.path.isdir(folder) else ())
        return name in listings[folder]

    return holds
