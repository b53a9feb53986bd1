"""Random detections and ground truth for comparing metrics with slow references: small, and full of special cases."""

import numpy as np

from ssd_jax.types import ImageDetections, ImageGroundTruth

NAMES = ("background", "cat", "dog", "cow")


def random_case(seed, *, max_objects=6, max_detections=12):
    """Returns (detections, ground truth) of one to five images with classes 1 to 3, at least one object counts.

    Common are: equal scores, whole coordinates (equal overlaps, overlaps of exactly a threshold), copies of objects as
    detections, once and several times, difficult objects, boxes over the borders of an image of 60 x 60 pixels, images
    without objects, without detections or without an entry, and classes without either.
    """
    rng = np.random.default_rng(seed)
    whole, levels, classes = rng.random() < 0.6, rng.choice([2, 5, 1000]), rng.integers(1, 4)
    detections, truth = [], []
    for k in range(rng.integers(1, 6)):
        boxes = random_boxes(rng, rng.integers(0, max_objects + 1), whole)
        labels = rng.integers(1, classes + 1, len(boxes))
        truth.append(ImageGroundTruth(f"i{k}", boxes, labels, rng.random(len(boxes)) < 0.25))
        if rng.random() < 0.1:
            continue  # no entry
        others = random_boxes(rng, rng.integers(0, max_detections + 1), whole)
        found_labels = rng.integers(1, 4, len(others))
        if len(boxes):
            copies = rng.random(len(others)) < 0.7
            chosen = rng.integers(0, len(boxes), copies.sum())
            shift = rng.integers(-2, 3, (len(chosen), 4)) * (rng.random((len(chosen), 1)) < 0.6)
            others[copies], found_labels[copies] = boxes[chosen] + shift, labels[chosen]
        scores = rng.integers(0, levels + 1, len(others)) / levels
        detections.append(ImageDetections(f"i{k}", others, scores, found_labels))
    if all(entry.ignored.all() for entry in truth):
        truth.append(ImageGroundTruth("last", np.array([[0.0, 0, 9, 9]]), np.array([1]), np.array([False])))
    return detections, truth


def random_boxes(rng, count, whole):
    """Returns [count, 4] corners, some of them beyond (0, 0) and (60, 60)."""
    corners = rng.uniform(-10, 50, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 30, (count, 2))], axis=1)
    return np.round(boxes) if whole else boxes
