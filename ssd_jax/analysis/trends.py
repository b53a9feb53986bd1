"""How the kinds of detections develop with their rank: Figure 3 of the SSD paper."""

import numpy as np

from ssd_jax.analysis.kinds import WEAK_IOU
from ssd_jax.analysis.ranking import Ranking
from ssd_jax.analysis.types import FALSE, KEPT, Distribution, Trend
from ssd_jax.evaluation import voc

RATIOS = 2.0 ** (np.arange(-6, 7) / 2)  # 0.125 to 8 by factors of the root of 2; the paper's ticks are every other one
TOP = 25 * 2 ** np.arange(8)  # 25 to 3200, as in detectionAnalysisScript.m


def trend(ranking: Ranking) -> Trend:
    """Returns the share of each kind among the best detections, and the recall they reach.

    The number taken is the ratio times the number of objects, rounded, at least 1. Where there are not so many, the
    shares are nan, and the recall stays at that of all detections. Weakly, an object is found by a detection of its
    class that overlaps it more than any other object of the class, and by more than 0.1. Without objects all is nan.
    """
    if ranking.num_objects == 0:
        nothing = np.full(len(RATIOS), np.nan)
        return Trend(RATIOS.copy(), np.full((len(RATIOS), len(KEPT)), np.nan), nothing, nothing.copy())
    taken = np.maximum(1, np.floor(RATIOS * ranking.num_objects + 0.5).astype(np.int64))
    is_found_weakly = ranking.nearest_counts & (ranking.overlap > WEAK_IOU)
    finds_first = voc.first_occurrences(np.where(is_found_weakly, ranking.nearest, -1)) & is_found_weakly
    return Trend(
        ratio=RATIOS.copy(),
        fractions=_shares(ranking.kind, KEPT, taken),
        recall_strong=_counts_up_to(ranking.is_hit, taken) / ranking.num_objects,
        recall_weak=_counts_up_to(finds_first, taken) / ranking.num_objects,
    )


def distribution(ranking: Ranking) -> Distribution:
    """Returns the share of each kind among the best-scored false positives."""
    kinds = ranking.kind[~ranking.is_hit]
    counts = TOP[len(kinds) >= TOP]
    return Distribution(counts=counts, fractions=_shares(kinds, FALSE, counts))


def _shares(kinds: np.ndarray, of: tuple[int, ...], taken: np.ndarray) -> np.ndarray:  # -> [len(taken), len(of)]
    """Returns the share of each kind among the first ``taken`` of ``kinds``; nan where there are fewer."""
    counts = np.stack([_counts_up_to(kinds == kind, taken) for kind in of], axis=1)
    return np.where(taken[:, None] <= len(kinds), counts / taken[:, None], np.nan)


def _counts_up_to(flags: np.ndarray, taken: np.ndarray) -> np.ndarray:  # -> [len(taken)] int64
    """Returns how many of the first ``taken`` flags are set; of all where there are fewer."""
    return np.append(0, np.cumsum(flags))[np.minimum(taken, len(flags))]
