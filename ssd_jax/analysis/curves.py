"""Precision and recall of one class, the score threshold with the best F1, and how far scores are probabilities."""

import math

import numpy as np

from ssd_jax.analysis.ranking import Ranking
from ssd_jax.analysis.types import Calibration, Curve, OperatingPoint

EDGES = np.arange(11) / 10


def curve(ranking: Ranking) -> Curve:
    """Returns precision and recall after each kept detection; the recall is nan without objects."""
    hits = np.cumsum(ranking.is_hit)
    recall = hits / ranking.num_objects if ranking.num_objects else np.full(len(hits), np.nan)
    return Curve(precision=hits / np.arange(1, len(hits) + 1), recall=recall, scores=ranking.scores)


def best_operating_point(ranking: Ranking) -> OperatingPoint:
    """Returns the threshold with the best F1, the highest of several; nan without objects or detections.

    F1 is the harmonic mean of precision and recall, 2 hits / (detections + objects). A threshold keeps all detections
    of one score or none, so only the last of equal scores is a choice.
    """
    if ranking.num_objects == 0 or len(ranking.scores) == 0:
        return OperatingPoint(math.nan, math.nan, math.nan, math.nan)
    last = np.append(np.flatnonzero(np.diff(ranking.scores)), len(ranking.scores) - 1)
    hits = np.cumsum(ranking.is_hit)[last]
    f1 = 2 * hits / (last + 1 + ranking.num_objects)
    best = int(np.argmax(f1))
    return OperatingPoint(
        threshold=float(ranking.scores[last[best]]),
        precision=float(hits[best] / (last[best] + 1)),
        recall=float(hits[best] / ranking.num_objects),
        f1=float(f1[best]),
    )


def calibration(ranking: Ranking) -> Calibration:
    """Returns the precision of the detections in ten ranges of the score; a bin includes its lower edge.

    Nothing is counted if a score lies outside [0, 1]: such scores are no probabilities.
    """
    scores, is_hit = ranking.scores, ranking.is_hit
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        scores, is_hit = scores[:0], is_hit[:0]
    bins = np.minimum(np.searchsorted(EDGES, scores, side="right") - 1, len(EDGES) - 2)
    counts, score_sums, hits = (
        np.bincount(bins, weights=weights, minlength=len(EDGES) - 1) for weights in (None, scores, is_hit)
    )
    divisor = np.where(counts > 0, counts, np.nan)
    mean_score, precision = score_sums / divisor, hits / divisor
    error = np.nansum(np.abs(hits - score_sums)) / counts.sum() if counts.any() else math.nan
    return Calibration(
        edges=EDGES.copy(), counts=counts, mean_score=mean_score, precision=precision, expected_error=float(error)
    )
