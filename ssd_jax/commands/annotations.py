"""Annotations to evaluate detections against; the images need not be there."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssd_jax import data
from ssd_jax.data.formats.folder import image_files
from ssd_jax.data.part import parse_part
from ssd_jax.errors import InputError

KINDS = tuple(kind for kind in data.KINDS if kind not in ("folder", "shapes"))
_COCO_LISTS = ("images", "annotations", "categories")


def open_annotations(
    path: str | Path, split: str = "", *, kind: str | None = None, class_names: Sequence[str] = (), **options: Any
) -> Any:
    """Opens the annotations that ``--annotations`` and ``--split`` name.

    Where images exist, the source gives them; where they do not, their sizes have to be stated. What is wrong in
    the annotations is repaired or left out as ever and told in ``problems``.

    Args:
      path: a COCO annotation file, a CSV table, or the root of any layout that ``data.make_source`` reads.
      split: as of ``data.make_source``; of a file at most a part such as "[:80%]".
      kind: the format, one of ``KINDS``; None: by what lies there.
      class_names: the classes in the order of their labels; (): those stated or found.
      **options: of the format's reader and of ``data.make_source``.

    Returns:
      The source.

    Raises:
      InputError: nothing of the kind is there, it cannot be read, or there is no object that counts.
    """
    place = Path(path).expanduser()
    if not os.path.exists(place):
        raise InputError(
            f"--annotations: expected a COCO JSON file or the folder of a dataset, but there is no {place}"
        )
    if kind is not None and kind not in KINDS:
        raise InputError(f"--annotations: expected one of the formats {', '.join(KINDS)}, got {kind!r}")
    if os.path.isfile(place):
        root, kind, split = _of_file(place, kind, split)
    else:
        root, kind = place, kind or _recognize(place, split)
        if not split:
            raise InputError(f"--split: expected the part of {place} that the detections belong to ({kind}), got none")
    if kind == "yolo" and not image_files(root):
        raise InputError(
            f"--annotations: YOLO's labels are fractions of the width and height of their images, so these are needed, "
            f"but there is no image in {root}"
        )
    source = _make_source(kind, root, split, class_names=class_names, **options)
    if not any((~entry.ignored).any() for entry in data.ground_truth(source)):
        kept = "which states no objects" if not getattr(source, "annotated", True) else "where none counts"
        raise InputError(f"--annotations: expected annotated objects to evaluate against, got {source.name}, {kept}")
    return source


def _make_source(kind: str, root: Path, split: str, **options: Any) -> Any:
    try:
        return data.make_source(kind=kind, root=str(root), split=split, image_files="optional", **options)
    except InputError as error:  # the library does not know what its arguments are called on the command line
        message = re.sub("^data (split|class_names)", r"--\1", str(error)).replace("data root", "--annotations", 1)
        raise InputError(message.replace("--config.data.", "--")) from error


def _of_file(path: Path, kind: str | None, split: str) -> tuple[Path, str, str]:
    """Returns root, kind and split of an annotation file."""
    try:
        whole, part = parse_part(split)
    except InputError as error:
        raise InputError(str(error).replace("data split", "--split", 1)) from error
    if whole.strip():
        raise InputError(
            f"--split: expected none, or a part such as [:80%], since --annotations is the file {path}; got {split!r}"
        )
    found = {".json": "coco", ".csv": "csv"}.get(path.suffix.lower())
    if found is None or kind not in (None, found):
        wanted = "a COCO JSON file (.json) or a CSV table (.csv)" if found is None else f"a folder of kind {kind}"
        raise InputError(f"--annotations: expected {wanted}, or the folder of a dataset, got the file {path}")
    if found == "coco":
        _check_coco(path)
    # With the folder above annotations/ as root, the images are found where COCO has them.
    root = path.absolute().parent
    root = root.parent if found == "coco" and root.name == "annotations" else root
    return root, found, f"{path.absolute().relative_to(root).as_posix()}{part}"


def split_of_file(path: str | Path) -> str:
    """Returns what COCO calls the images of an annotation file, "val2017" of instances_val2017.json; "" of others."""
    match = re.fullmatch(r"(?:instances|image_info)_([\w-]+)\.json", Path(path).name)
    return match[1] if match else ""


def _check_coco(path: Path) -> None:
    """Says so if a file of detections is given for one of annotations, which is easily done."""
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise InputError(f"--annotations: {path} cannot be read ({error.strerror})") from error
    if start.startswith(b"["):
        raise InputError(
            f"--annotations: expected COCO annotations, an object with the lists {', '.join(_COCO_LISTS)}, but {path} "
            "is a list, as files of detections are"
        )


def _recognize(root: Path, split: str) -> str:
    """Returns the format of a folder.

    Raises:
      InputError: it looks like none, or like several.
    """
    found = [kind for kind, test in _TESTS.items() if test(root, split)]
    if "ilsvrc" in found:  # whose Annotations/ is no sign of VOC
        found = [kind for kind in found if kind != "voc"]
    if len(found) == 1:
        return found[0]
    kinds = ", ".join(found or KINDS)
    said = f"{root} looks like several: {kinds}" if found else f"{root} looks like none of {kinds}"
    raise InputError(f"--annotations: expected a folder of one format, but {said}; --kind=KIND says which")


def _is_voc(root: Path, split: str) -> bool:
    folders = [text.strip().rpartition("/")[0] for text in split.split("+")]
    return any(os.path.isdir(root / folder / "Annotations") for folder in folders) or any(root.glob("*/Annotations"))


def _is_coco(root: Path, split: str) -> bool:
    listed = [*root.glob("annotations/instances_*.json"), *root.glob("annotations/image_info_*.json")]
    return bool(listed) or any(path.suffix == ".json" for path in _named(root, split))


def _is_csv(root: Path, split: str) -> bool:
    return any(path.suffix == ".csv" for path in _named(root, split))


def _named(root: Path, split: str) -> list[Path]:
    """Returns the files that the parts of a split name, with or without ".csv"."""
    texts = [text.strip() for text in parse_part(split)[0].split("+")]
    return [path for text in texts for path in (root / text, root / f"{text}.csv") if os.path.isfile(path)]


def _is_yolo(root: Path, split: str) -> bool:
    names = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "labels", "obj.names")
    return any(os.path.exists(root / name) for name in names) or any(root.glob("*/labels"))


def _is_ilsvrc(root: Path, split: str) -> bool:
    return os.path.isdir(root / "Annotations/DET")


def _is_tfds(root: Path, split: str) -> bool:
    return ":" in parse_part(split)[0]  # "voc/2007:test"


_TESTS: dict[str, Callable[[Path, str], bool]] = {
    "voc": _is_voc,
    "coco": _is_coco,
    "ilsvrc": _is_ilsvrc,
    "yolo": _is_yolo,
    "csv": _is_csv,
    "tfds": _is_tfds,
}
