"""The kept detections of some classes, best first: what trends, curves, calibration and remedies read."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.analysis.types import Kind, Typed
from ssd_jax.evaluation import voc
from ssd_jax.evaluation.gather import FlatDetections, FlatGroundTruth


class Ranking(NamedTuple):
    """Detections that are right or wrong (not IGNORED), by falling score, equal scores in the order given."""

    kind: np.ndarray  # [K] int64, of KEPT
    scores: np.ndarray  # [K] float64, falling
    nearest: np.ndarray  # [K] int64: the object of its own class that is overlapped most; -1: none in the image
    overlap: np.ndarray  # [K] float64: IoU with it
    nearest_counts: np.ndarray  # [K] bool: there is such an object, and it counts (is not difficult)
    num_objects: int  # that count

    @property
    def is_hit(self) -> np.ndarray:  # [K] bool
        return self.kind == Kind.CORRECT


def rank(
    labels: Sequence[int],
    *,
    found: FlatDetections,
    truth: FlatGroundTruth,
    typed: Typed,
    matchings: Sequence[voc.Matching],
) -> Ranking:
    """Puts the kept detections of some classes in one order.

    Args:
        labels: the classes; their detections are pooled by score.
        found: all detections.
        truth: all objects.
        typed: what the detections are.
        matchings: ``voc.match`` of label 1, 2, ...
    """
    order, nearest, overlap = (
        np.concatenate([getattr(matchings[label - 1], field) for label in labels])
        for field in ("order", "nearest", "overlap")
    )
    by_score = np.lexsort((order, -found.scores[order]))
    by_score = by_score[typed.kind[order[by_score]] != Kind.IGNORED]
    order, nearest = order[by_score], nearest[by_score]
    return Ranking(
        kind=typed.kind[order],
        scores=found.scores[order],
        nearest=nearest,
        overlap=overlap[by_score],
        nearest_counts=(nearest >= 0) & ~truth.ignored[nearest],
        num_objects=int(np.sum(np.isin(truth.labels, labels) & ~truth.ignored)),
    )
