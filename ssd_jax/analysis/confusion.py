"""What objects are taken for: a confusion matrix with the background as class 0."""

import numpy as np

from ssd_jax.analysis.types import Confusion
from ssd_jax.evaluation import voc
from ssd_jax.evaluation.gather import FlatDetections, FlatGroundTruth

STRONG_IOU = 0.5


def confusion(found: FlatDetections, truth: FlatGroundTruth, *, num_classes: int, threshold: float) -> Confusion:
    """Pairs detections of at least the threshold with objects of any class, and counts the classes of each pair.

    Best score first, a detection takes the object that it overlaps most of those still free, if by more than 0.5. One
    that finds none is left out if it overlaps an object that does not count (difficult, crowd) by more than 0.5; else
    it is on nothing, a second detection of an object included. So the row of a class sums to its objects, and all
    columns but the first to the detections that are not left out.

    Args:
        found: all detections.
        truth: all objects.
        num_classes: with the background.
        threshold: score from which detections take part; nan: none do.
    """
    rows = np.flatnonzero(found.scores >= threshold)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    detection, candidate = _close_pairs(found, rows, truth)
    counts_as_object = ~truth.ignored[candidate]
    takes, taken = _match_greedily(detection[counts_as_object], candidate[counts_as_object])

    is_free = np.ones(len(rows), bool)
    is_free[detection[~counts_as_object]] = False
    is_free[takes] = False
    is_missed = ~truth.ignored
    is_missed[taken] = False
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (truth.labels[taken], found.labels[rows[takes]]), 1)
    counts[0] = np.bincount(found.labels[rows[is_free]], minlength=num_classes)
    counts[:, 0] = np.bincount(truth.labels[is_missed], minlength=num_classes)
    return Confusion(threshold=threshold, counts=counts)


def _close_pairs(
    found: FlatDetections, rows: np.ndarray, truth: FlatGroundTruth
) -> tuple[np.ndarray, np.ndarray]:  # [P] position in rows, [P] object
    """Returns the pairs of IoU > 0.5, by position in ``rows``, then by falling IoU, then by object."""
    images = found.image[rows]
    count = np.searchsorted(truth.image, images, side="right") - np.searchsorted(truth.image, images, side="left")
    detection, candidate, overlap = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    # In parts, to bound the memory; rows of any image, hence of about as many pairs each.
    for part in np.array_split(np.arange(len(rows)), 1 + count.sum() // voc.PAIRS_AT_ONCE):
        pair, near = voc.pairs_within_images(images[part], truth.image)
        iou = voc.paired_iou(found.boxes[rows[part[pair]]], truth.boxes[near])
        is_close = iou > STRONG_IOU
        detection.append(part[pair[is_close]])
        candidate.append(near[is_close])
        overlap.append(iou[is_close])
    detections, candidates = np.concatenate(detection), np.concatenate(candidate)
    order = np.lexsort((candidates, -np.concatenate(overlap), detections))
    return detections[order], candidates[order]


def _match_greedily(detection: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives each detection, in the order of the pairs, its first candidate that is free; returns who takes which."""
    taken: dict[int, int] = {}
    served = -1  # pairs of a detection are consecutive
    for one, other in zip(detection.tolist(), candidate.tolist(), strict=True):
        if one != served and other not in taken:
            taken[other] = served = one
    return np.array(list(taken.values()), np.int64), np.array(list(taken), np.int64)
