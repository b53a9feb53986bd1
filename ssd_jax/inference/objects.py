"""What a detector finds in an image."""

from typing import NamedTuple

import jax
import numpy as np

from ssd_jax.inference.pictures import Picture
from ssd_jax.inference.steps import to_pixels
from ssd_jax.types import Detections


class DetectedObjects(NamedTuple):
    """What was found in an image, in its own pixels, best first."""

    id: str  # the path as it was given, or "image 3" (from 1) of what has no name
    size: tuple[int, int]  # (height, width) of the image, upright: its EXIF orientation is applied
    boxes: np.ndarray  # [K, 4] float32 xyxy, pixels
    scores: np.ndarray  # [K] float32
    labels: np.ndarray  # [K] int32, >= 1
    names: tuple[str, ...]  # [K] of the classes


def objects_in(found: Detections, row: int, picture: Picture, class_names: tuple[str, ...]) -> DetectedObjects:
    """Returns what was found in a picture, of host arrays [B, K, ...] and its row in them."""
    objects = to_pixels(jax.tree.map(lambda array: array[row], found), picture.size, picture.id)
    names = tuple(class_names[label] for label in objects.labels)
    return DetectedObjects(picture.id, picture.size, objects.boxes, objects.scores, objects.labels, names)


def above(found: DetectedObjects, score_threshold: float) -> DetectedObjects:
    """Returns the objects that score at least so much."""
    count = int(np.count_nonzero(found.scores >= score_threshold))  # they come best first
    return found._replace(
        boxes=found.boxes[:count],
        scores=found.scores[:count],
        labels=found.labels[:count],
        names=found.names[:count],
    )
