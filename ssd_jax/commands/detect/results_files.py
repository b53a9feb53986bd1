"""Detections as JSON of our own, and as the files of VOC and COCO that evaluate.py and others read."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd_jax import media
from ssd_jax.evaluation import coco_files, comp4_files, detection_files
from ssd_jax.inference import DetectedObjects
from ssd_jax.types import ImageDetections

SPLIT = "detect"  # in the names of comp4 files

Kept = Sequence[tuple[media.Found, ImageDetections]]


def as_entry(found: DetectedObjects) -> dict[str, Any]:
    """Returns size and objects of an image, best first; numbers have the digits that single out their float32."""
    objects = [
        {"label": int(label), "name": name, "score": _shortest(score), "box": [_shortest(side) for side in box]}
        for label, name, score, box in zip(found.labels, found.names, found.scores, found.boxes, strict=True)
    ]
    height, width = found.size
    return {"width": width, "height": height, "objects": objects}


def write_comp4(folder: Path, kept: Kept, class_names: Sequence[str]) -> None:
    """Writes a file a class into a folder of its own; images are called as :func:`image_ids` says."""
    ids = image_ids([file for file, _ in kept])
    detections = [found._replace(id=name) for name, (_, found) in zip(ids, kept, strict=True)]
    comp4_files.write(folder / detection_files.COMP4, detections, class_names, split=SPLIT)


def write_coco(folder: Path, kept: Kept, class_names: Sequence[str]) -> None:
    """Writes COCO results: categories are the labels; images are numbers if all their names are, as COCO names them."""
    ids = image_ids([file for file, _ in kept])
    detections = [found._replace(id=name) for name, (_, found) in zip(ids, kept, strict=True)]
    numbers = [int(name) if name.isdecimal() and name.isascii() else None for name in ids]
    are_numbers = None not in numbers and len(set(numbers)) == len(numbers)
    image_numbers = dict(zip(ids, numbers if are_numbers else ids, strict=True))
    coco_files.write(folder / detection_files.RESULTS, detections, image_numbers, (None, *range(1, len(class_names))))


def image_ids(files: Sequence[media.Found]) -> list[str]:
    """Returns what VOC and COCO call each image: its relative path without extension where that is unique.

    Else it keeps the extension, and if even that is not unique, as of two folders given, it is the path as found.
    """
    short = [file.name.with_suffix("").as_posix() for file in files]
    names = [file.name.as_posix() for file in files]
    counts = collections.Counter(short), collections.Counter(names)
    return [
        one if counts[0][one] == 1 else name if counts[1][name] == 1 else file.shown
        for one, name, file in zip(short, names, files, strict=True)
    ]


def _shortest(number: Any) -> float:
    return float(str(number))  # str of a float32 has as many digits as it takes
