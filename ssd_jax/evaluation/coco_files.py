"""COCO's annotations and results: reads, writes and checks what the COCO API would not, or would only assert."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ssd_jax import files
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco_rows, detection_rows
from ssd_jax.types import ImageDetections

_ANNOTATION_KEYS = ("images", "annotations", "categories")


def read_annotations(path: str | PathLike[str]) -> dict[str, Any]:
    """Returns the content of an ``instances_*.json``; raises InputError if it is not one or has no objects."""
    dataset = coco_rows.parse_json(str(path), _read(Path(path), "annotations"), "annotations")
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
    detections: Sequence[ImageDetections], image_ids: Mapping[str, Any], category_ids: Sequence[int | None]
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
    detection_rows.check_detections(detections, num_classes=len(category_ids))
    results = []
    for found in detections:
        if found.id not in image_ids:
            raise InputError(f"detections: expected images with a COCO id, got {found.id!r}")
        columns = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        for (x1, y1, x2, y2), score, label in columns:
            if category_ids[label] is not None:
                box = [x1, y1, x2 - x1, y2 - y1]
                number, category = image_ids[found.id], category_ids[label]
                results.append({"image_id": number, "category_id": category, "bbox": box, "score": score})
    return results


def write(
    path: str | PathLike[str],
    detections: Sequence[ImageDetections],
    image_ids: Mapping[str, Any],
    category_ids: Sequence[int | None],
) -> None:
    """Writes a COCO result file; as :func:`as_results`, but reversed corners are refused."""
    detection_rows.check_corners(detections)
    files.write_text(path, to_text(as_results(detections, image_ids, category_ids)))


def to_text(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns results as JSON, one a line."""
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # json.dumps would make one for each
    return "[" + ",\n".join(map(encode, results)) + "]\n"


def read_results(
    results: str | PathLike[str] | Sequence[Mapping[str, Any]], dataset: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns a copy of the results, or of the file of them, after checking each against the annotations.

    The API ignores results of an unknown category without a word; here they are refused. A file may not hold boxes of
    negative size either.
    """
    if isinstance(results, str | PathLike):
        name, entries = str(results), coco_rows.parse_json(str(results), _read(Path(results), "results"), "results")
    else:
        name, entries = "results", results
    entries = coco_rows.check_entries(name, entries)
    if isinstance(results, str | PathLike):
        coco_rows.check_sizes(name, entries)
    images = {image["id"] for image in dataset["images"]}
    categories = {category["id"] for category in dataset["categories"]}
    for row, entry in enumerate(entries):
        if entry["image_id"] not in images:
            raise InputError(
                f"{name}: result {row}: expected images of the annotations, got image_id {entry['image_id']!r}"
            )
        category = entry["category_id"]
        if category not in categories:
            raise InputError(
                f"{name}: result {row}: expected categories of the annotations, got category_id {category!r}"
            )
    # Only what boxes need: the API writes into its input, and a stray "segmentation" would change its course.
    return [{key: entry[key] for key in coco_rows.KEYS} for entry in entries]


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file of COCO {what} ({error.strerror})") from error
