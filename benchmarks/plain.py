"""The peers of post-processing and matching: plain NumPy, as one writes it down from the rules, one image at a time."""

from typing import NamedTuple

import numpy as np

VARIANCES = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
MIN_OVERLAP = 1e-6  # pairs at or below it never match: MatchBBox in bbox_util.cpp


class Found(NamedTuple):
    """Detections of one image, best first."""

    boxes: np.ndarray  # [K, 4] xyxy in [0, 1]
    scores: np.ndarray  # [K]
    labels: np.ndarray  # [K]


class Matched(NamedTuple):
    """What each prior is to learn."""

    offsets: np.ndarray  # [P, 4]
    labels: np.ndarray  # [P]; 0 = background


def detect(
    offsets: np.ndarray,  # [P, 4]
    logits: np.ndarray,  # [P, C]
    priors: np.ndarray,  # [P, 4]
    *,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    pre_nms_top_k: int = 400,
    max_detections: int = 200,
) -> Found:
    """Softmax; a class after the other: threshold, the best, greedy suppression; then the best of all classes."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    boxes = decode(offsets, priors)
    index, scores, labels = [], [], []
    for label in range(1, logits.shape[1]):
        candidates = np.flatnonzero(probabilities[:, label] > score_threshold)
        order = np.argsort(-probabilities[candidates, label], kind="stable")[:pre_nms_top_k]
        candidates = candidates[order]
        kept = candidates[nms(boxes[candidates], iou_threshold)]
        index.append(kept)
        scores.append(probabilities[kept, label])
        labels.append(np.full(len(kept), label))
    all_scores = np.concatenate(scores)
    best = np.argsort(-all_scores, kind="stable")[:max_detections]
    clipped = boxes[np.concatenate(index)[best]].clip(0, 1)
    return Found(clipped, all_scores[best], np.concatenate(labels)[best])


def nms(boxes: np.ndarray, iou_threshold: float) -> list[int]:  # [N, 4], best first -> rows that are kept
    """Keeps the best box, drops those that overlap it by more than the threshold, and so on with the rest."""
    areas = area(boxes)
    kept, rest = [], np.arange(len(boxes))
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = area(np.concatenate([low, high], axis=1))
        rest = rest[shared <= iou_threshold * (areas[best] + areas[rest] - shared)]
    return kept


def match(
    boxes: np.ndarray,  # [G, 4], objects only
    labels: np.ndarray,  # [G]
    priors: np.ndarray,  # [P, 4]
    *,
    iou_threshold: float = 0.5,
) -> Matched:
    """Each object takes a prior, the best pair first; then each free prior takes its best object, if good enough."""
    low = np.maximum(priors[:, None, :2], boxes[None, :, :2])
    high = np.minimum(priors[:, None, 2:], boxes[None, :, 2:])
    shared = area(np.concatenate([low, high], axis=-1))
    iou = shared / (area(priors)[:, None] + area(boxes)[None] - shared)  # [P, G]
    owner = np.full(len(priors), -1)
    free = iou.copy()
    for _ in range(len(boxes)):
        prior, truth = np.unravel_index(np.argmax(free), free.shape)
        if free[prior, truth] <= MIN_OVERLAP:
            break
        owner[prior] = truth
        free[prior], free[:, truth] = 0, 0
    best = iou.argmax(axis=1)
    takes = (owner < 0) & (iou[np.arange(len(priors)), best] >= iou_threshold)
    owner[takes] = best[takes]
    positive = owner >= 0
    offsets = np.zeros(priors.shape, np.float32)
    offsets[positive] = encode(boxes[owner[positive]], priors[positive])
    return Matched(offsets, np.where(positive, labels[owner], 0))


def area(boxes: np.ndarray) -> np.ndarray:  # [..., 4] -> [...]
    """Returns the area; empty and reversed boxes have area 0."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def encode(boxes: np.ndarray, priors: np.ndarray) -> np.ndarray:  # [P, 4], [P, 4] -> [P, 4]
    """Returns the offsets of boxes from priors (paper equation 2, with the variances of the original code)."""
    size, prior_size = boxes[:, 2:] - boxes[:, :2], priors[:, 2:] - priors[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - priors[:, :2] - priors[:, 2:]) / 2 / prior_size
    return np.concatenate([shift, np.log(size / prior_size)], axis=1) / VARIANCES


def decode(offsets: np.ndarray, priors: np.ndarray) -> np.ndarray:  # [P, 4], [P, 4] -> [P, 4]
    """Inverts :func:`encode`."""
    offsets = offsets * VARIANCES
    prior_size = priors[:, 2:] - priors[:, :2]
    center = (priors[:, :2] + priors[:, 2:]) / 2 + offsets[:, :2] * prior_size
    half = np.exp(offsets[:, 2:]) * prior_size / 2
    return np.concatenate([center - half, center + half], axis=1)
