"""How much average precision each kind of error costs: AP once the errors of that kind are mended, minus AP."""

import math

import numpy as np

from ssd_jax.analysis.ranking import Ranking
from ssd_jax.analysis.types import REMEDIES, Kind
from ssd_jax.evaluation import voc


def gains(ranking: Ranking) -> dict[str, float]:  # a key for each of REMEDIES
    """Returns the AP (area) gained by each remedy alone; nan without objects.

    Localization: a misplaced detection hits the object that it overlaps most, unless another detection hits that
    object, which has the better claim even with a worse score; then it is removed, as are those on difficult objects.
    Missed: nan if no object is hit, since nothing is left to be found. Gains do not add up: errors hide each other.
    """
    if ranking.num_objects == 0:
        return dict.fromkeys(REMEDIES, math.nan)
    is_hit, everything = ranking.is_hit, np.ones(len(ranking.kind), bool)
    num_hits = int(is_hit.sum())
    before = _ap(is_hit, everything, ranking.num_objects)
    put_right = is_hit | _put_right(ranking)
    after = {
        "localization": _ap(put_right, put_right | (ranking.kind != Kind.LOCALIZATION), ranking.num_objects),
        "similar": _ap(is_hit, ranking.kind != Kind.SIMILAR, ranking.num_objects),
        "other": _ap(is_hit, ranking.kind != Kind.OTHER, ranking.num_objects),
        "background": _ap(is_hit, ranking.kind != Kind.BACKGROUND, ranking.num_objects),
        "false positives": _ap(is_hit, is_hit, ranking.num_objects),
        "missed": _ap(is_hit, everything, num_hits) if num_hits else math.nan,
    }
    return {name: after[name] - before for name in REMEDIES}


def _put_right(ranking: Ranking) -> np.ndarray:  # [K] bool
    """Marks the first misplaced detection on each object that counts and is not hit."""
    is_candidate = (
        (ranking.kind == Kind.LOCALIZATION)
        & ranking.nearest_counts
        & ~np.isin(ranking.nearest, ranking.nearest[ranking.is_hit])
    )
    return voc.first_occurrences(np.where(is_candidate, ranking.nearest, -1)) & is_candidate


def _ap(is_hit: np.ndarray, is_kept: np.ndarray, num_objects: int) -> float:
    hits = np.cumsum(is_hit[is_kept])
    return voc.area_ap(voc.PrecisionRecall(hits / np.arange(1, len(hits) + 1), hits / num_objects))
