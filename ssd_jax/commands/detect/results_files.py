"""Detections as JSON of our own, and as the files of VOC and COCO that evaluate.py and others read."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd_jax import media
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco_files, comp4_files, detection_files
from ssd_jax.inference import DetectedObjects
from ssd_jax.types import ImageDetections

SPLIT = "detect"  # in the names of comp4 files


def as_entry(found: DetectedObjects) -> dict[str, Any]:
    """Returns size and objects of an image, best first; numbers have the digits that single out their float32."""
    objects = [
        {"label": int(label), "name": name, "score": _shortest(score), "box": [_shortest(side) for side in box]}
        for label, name, score, box in zip(found.labels, found.names, found.scores, found.boxes, strict=True)
    ]
    height, width = found.size
    return {"width": width, "height": height, "objects": objects}


def check_comp4(ids: Sequence[str], class_names: Sequence[str]) -> None:
    """Raises InputError if comp4 files cannot be written of these images and classes; before there is work to lose."""
    for name in ids:
        if name != name.strip() or "\n" in name:
            raise InputError(
                "--write=comp4: expected names of images that can stand in a line of text, without line breaks and "
                f"without spaces at their ends, got {name!r}"
            )
    comp4_files.to_texts([], class_names, split=SPLIT)


def write_comp4(folder: Path, kept: Sequence[ImageDetections], class_names: Sequence[str]) -> None:
    """Writes a file a class into a folder of its own."""
    comp4_files.write(folder / detection_files.COMP4, kept, class_names, split=SPLIT)


def write_coco(folder: Path, kept: Sequence[ImageDetections], class_names: Sequence[str], ids: Sequence[str]) -> None:
    """Writes COCO results: categories are the labels; images are numbers if all names are, as COCO names them.

    Args:
      folder: that exists.
      kept: what was found.
      class_names: background first.
      ids: of all images that were to be looked at, so that those left out change nothing.
    """
    numbers = [int(name) if name.isdecimal() and name.isascii() else None for name in ids]
    are_numbers = None not in numbers and len(set(numbers)) == len(numbers)
    image_numbers = dict(zip(ids, numbers if are_numbers else ids, strict=True))
    coco_files.write(folder / detection_files.RESULTS, kept, image_numbers, (None, *range(1, len(class_names))))


def image_ids(files: Sequence[media.Found]) -> list[str]:
    """Returns what VOC and COCO call each image: its relative path without extension where that is unique.

    Else it keeps the extension, and if even that is not unique, as of two folders given, it is the path as found. If
    such a path is what another image is called, all are called by their paths.
    """
    short = [file.name.with_suffix("").as_posix() for file in files]
    names = [file.name.as_posix() for file in files]
    counts = collections.Counter(short), collections.Counter(names)
    ids = [
        one if counts[0][one] == 1 else name if counts[1][name] == 1 else file.shown
        for one, name, file in zip(short, names, files, strict=True)
    ]
    return ids if len(set(ids)) == len(ids) else [file.shown for file in files]


def _shortest(number: Any) -> float:
    return float(str(number))  # str of a float32 has as many digits as it takes
