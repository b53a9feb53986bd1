"""Checks what a metric is given and lays it out as flat arrays: one row a box, over all images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND, ImageDetections, ImageGroundTruth


class FlatDetections(NamedTuple):
    """All detections, in the order given: images in their order, boxes in theirs."""

    image: np.ndarray  # [D] int64: position of the image in the ground truth
    boxes: np.ndarray  # [D, 4] float64 xyxy, pixels
    scores: np.ndarray  # [D] float64
    labels: np.ndarray  # [D] int64, >= 1


class FlatGroundTruth(NamedTuple):
    """All annotated boxes, sorted by image."""

    image: np.ndarray  # [G] int64
    boxes: np.ndarray  # [G, 4] float64 xyxy, pixels
    labels: np.ndarray  # [G] int64, >= 1
    ignored: np.ndarray  # [G] bool


def gather(
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],
) -> tuple[FlatDetections, FlatGroundTruth]:
    """Returns both as flat float64 arrays, after every check that the metrics share.

    Args:
        detections: at most one entry an image; an image without an entry has no detections.
        ground_truth: one entry an image, also for images without boxes.
        class_names: every class by label, background first.

    Raises:
        ValueError: class_names does not start with the background, or the arrays of an image differ in length.
        InputError: there is nothing to find, an id is unknown or occurs twice, a label is not in class_names,
            or a number is not finite.
    """
    if len(class_names) < 2 or class_names[0] != BACKGROUND:
        raise ValueError(f"class_names must be {BACKGROUND!r} followed by at least one class, got {list(class_names)}")
    index = _positions([truth.id for truth in ground_truth], "ground truth")
    _positions([found.id for found in detections], "detections")
    unknown = [found.id for found in detections if found.id not in index]
    if unknown:
        raise InputError(
            f"detections: expected images of the ground truth ({len(index)} images), got {len(unknown)} unknown "
            f"image(s), the first {unknown[0]!r}"
        )
    flat_truth = _flatten_ground_truth(ground_truth, len(class_names))
    if not np.any(~flat_truth.ignored):
        raise InputError(
            f"ground truth: expected at least one object that counts (without it average precision is undefined), got "
            f"{len(index)} images with {len(flat_truth.ignored)} ignored (difficult or crowd) and no other objects"
        )
    return _flatten_detections(detections, index, len(class_names)), flat_truth


def _positions(ids: Sequence[str], what: str) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, name in enumerate(ids):
        if positions.setdefault(name, position) != position:
            raise InputError(f"{what}: expected each image once, got {name!r} twice")
    return positions


def _flatten_ground_truth(ground_truth: Sequence[ImageGroundTruth], num_classes: int) -> FlatGroundTruth:
    for truth in ground_truth:
        _check(truth.id, "ground truth", truth.boxes, truth.labels, truth.ignored, num_classes)
    return FlatGroundTruth(
        image=np.repeat(np.arange(len(ground_truth)), [len(truth.labels) for truth in ground_truth]),
        boxes=_concatenate([np.reshape(truth.boxes, (-1, 4)) for truth in ground_truth], (0, 4), np.float64),
        labels=_concatenate([truth.labels for truth in ground_truth], (0,), np.int64),
        ignored=_concatenate([truth.ignored for truth in ground_truth], (0,), np.bool_),
    )


def _flatten_detections(
    detections: Sequence[ImageDetections], index: dict[str, int], num_classes: int
) -> FlatDetections:
    for found in detections:
        _check(found.id, "detections", found.boxes, found.labels, found.scores, num_classes)
    images = np.asarray([index[found.id] for found in detections], np.int64)
    return FlatDetections(
        image=np.repeat(images, [len(found.labels) for found in detections]),
        boxes=_concatenate([np.reshape(found.boxes, (-1, 4)) for found in detections], (0, 4), np.float64),
        scores=_concatenate([found.scores for found in detections], (0,), np.float64),
        labels=_concatenate([found.labels for found in detections], (0,), np.int64),
    )


def _check(name: str, what: str, boxes: np.ndarray, labels: np.ndarray, other: np.ndarray, num_classes: int) -> None:
    """Checks one image; ``other`` is the scores of detections or the ignored flags of ground truth."""
    boxes, labels, other = np.asarray(boxes), np.asarray(labels), np.asarray(other)
    if boxes.shape != (len(labels), 4) and not boxes.size == len(labels) == 0 or other.shape != labels.shape:
        raise ValueError(
            f"{what} of image {name!r}: expected boxes [N, 4] and two arrays [N], got {boxes.shape}, {labels.shape} "
            f"and {other.shape}"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(other).all()):
        raise InputError(f"{what} of image {name!r}: expected finite numbers, got nan or infinity")
    outside = labels[(labels < 1) | (labels >= num_classes)]
    if outside.size:
        raise InputError(
            f"{what} of image {name!r}: expected labels 1 to {num_classes - 1} (the classes given), got {outside[0]}"
        )


def _concatenate(arrays: Sequence[np.ndarray], empty: tuple[int, ...], dtype: type) -> np.ndarray:
    """Concatenates also nothing at all."""
    return np.concatenate([np.empty(empty, dtype), *(np.asarray(array, dtype) for array in arrays)])
