"""COCO's annotations and results: reads, writes and checks what the COCO API would not, or would only assert."""

import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ssd_jax.errors import InputError
from ssd_jax.types import ImageDetections

_ANNOTATION_KEYS = ("images", "annotations", "categories")
_RESULT_KEYS = ("image_id", "category_id", "bbox", "score")


def read_annotations(path: str | PathLike[str]) -> dict[str, Any]:
    """Returns the content of an ``instances_*.json``; raises InputError if it is not one or has no objects."""
    dataset = _read_json(Path(path), "annotations")
    if not isinstance(dataset, dict) or not all(isinstance(dataset.get(key), list) for key in _ANNOTATION_KEYS):
        raise InputError(f"{path}: expected COCO annotations, an object with the lists {', '.join(_ANNOTATION_KEYS)}")
    check_objects(dataset, str(path))
    return dataset


def check_objects(dataset: Mapping[str, Any], name: str) -> None:
    """Raises InputError if annotations hold no object that counts."""
    if all(annotation.get("iscrowd", 0) for annotation in dataset["annotations"]):
        raise InputError(
            f"{name}: expected at least one object that is not a crowd (without it average precision is undefined), "
            f"got {len(dataset['images'])} images with {len(dataset['annotations'])} crowds"
        )


def as_results(
    detections: Sequence[ImageDetections], image_ids: Mapping[str, int], category_ids: Sequence[int | None]
) -> list[dict[str, Any]]:
    """Returns detections as entries of a COCO result file, which JSON can hold.

    Args:
        detections: boxes in pixels of the original image.
        image_ids: COCO's number of each image, such as ``source.image_ids``.
        category_ids: COCO's number of each label, such as ``source.category_ids``; detections of labels
            without one (None) are left out, since COCO has no such category.

    Raises:
        InputError: an image or a label is unknown, an image occurs twice, or a number is not finite.
    """
    seen: set[str] = set()
    results = []
    for found in detections:
        if found.id not in image_ids or found.id in seen:
            raise InputError(f"detections: expected each image at most once and with a COCO id, got {found.id!r}")
        seen.add(found.id)
        columns = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        for (x1, y1, x2, y2), score, label in columns:
            if not 0 < label < len(category_ids):
                raise InputError(
                    f"detections of image {found.id!r}: expected labels 1 to {len(category_ids) - 1}, got {label}"
                )
            if not all(map(math.isfinite, (x1, y1, x2, y2, score))):
                raise InputError(f"detections of image {found.id!r}: expected finite numbers, got nan or infinity")
            if category_ids[label] is not None:
                box = [x1, y1, x2 - x1, y2 - y1]
                number, category = image_ids[found.id], category_ids[label]
                results.append({"image_id": number, "category_id": category, "bbox": box, "score": score})
    return results


def read_results(
    results: str | PathLike[str] | Sequence[Mapping[str, Any]], dataset: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns a copy of the results, or of the file of them, after checking each against the annotations.

    The API ignores results of an unknown category without a word; here they are refused.
    """
    if isinstance(results, str | PathLike):
        name, entries = str(results), _read_json(Path(results), "results")
    else:
        name, entries = "results", results
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InputError(f"{name}: expected a list of COCO results, each with {', '.join(_RESULT_KEYS)}")
    images = {image["id"] for image in dataset["images"]}
    categories = {category["id"] for category in dataset["categories"]}
    for row, entry in enumerate(entries):
        missing = [key for key in _RESULT_KEYS if key not in entry]
        if missing:
            raise InputError(f"{name}: expected {', '.join(_RESULT_KEYS)} in each, result {row} lacks {missing[0]!r}")
        if entry["image_id"] not in images:
            raise InputError(f"{name}: expected images of the annotations, got image_id {entry['image_id']!r}")
        if entry["category_id"] not in categories:
            raise InputError(
                f"{name}: expected categories of the annotations, got category_id {entry['category_id']!r}"
            )
    # Only what boxes need: the API writes into its input, and a stray "segmentation" would change its course.
    return [{key: entry[key] for key in _RESULT_KEYS} for entry in entries]


def _read_json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a readable file of COCO {what} ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: expected JSON with COCO {what}, got something else ({error})") from error
