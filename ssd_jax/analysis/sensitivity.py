"""How much size and shape of the objects matter: Figures 4 and 6 of the SSD paper.

Hoiem et al., section 2.3: classes and bins with different numbers of objects N_j cannot be compared by precision, which
rises with N_j. Normalized precision takes every class and bin to have the same number N,

    P_N(c) = R(c) N / (R(c) N + F(c)),

with the recall R and the false positives F among the detections of at least the score c. As in their
averagePrecisionNormalized.m, normalized AP is the mean over the objects of the best P_N at the object's rank or
beyond, 0 for a missed one; the standard error is that of this mean.
"""

import math

import numpy as np

from ssd_jax.analysis.ranking import Ranking
from ssd_jax.analysis.types import Bin, Sensitivity
from ssd_jax.evaluation.gather import FlatGroundTruth

PROPERTIES = {
    "area": ("XS", "S", "M", "L", "XL"),
    "aspect ratio": ("XT", "T", "M", "W", "XW"),
}
CUTS = (1, 3, 7, 9)  # tenths of the objects, in the order of the property: bins of 10, 20, 40, 20 and 10 percent


def properties(truth: FlatGroundTruth) -> dict[str, np.ndarray]:  # each [M] float64
    """Returns the area (pixels^2) and width / height of each object, in VOC's widths: xmax - xmin + 1.

    A reversed box, which no detection can hit, is taken for one of one pixel on that side.
    """
    width, height = np.maximum(truth.boxes[:, 2:] - truth.boxes[:, :2] + 1, 1).T
    return {"area": width * height, "aspect ratio": width / height}


def sensitivity(
    ranking: Ranking, objects: np.ndarray, values: np.ndarray, *, name: str, normal_count: float
) -> Sensitivity:
    """Returns the normalized AP of one class in each bin of a property.

    Hits on objects of the other bins are left out; every false positive counts in every bin, as in the original code
    (analyzeTrueDetections.m).

    Args:
        ranking: the detections of one class.
        objects: [M] int64, rows of the objects of the class that count.
        values: [G] float64, the property of every object.
        name: of the property, a key of ``PROPERTIES``.
        normal_count: N, the number of objects that every bin is taken to have.
    """
    bin_of = assign_bins(values[objects])
    bins = []
    for k, bin_name in enumerate(PROPERTIES[name]):
        inside = objects[bin_of == k]
        ap, error = _normalized_ap(ranking, inside, normal_count)
        low, high = (values[inside].min(), values[inside].max()) if len(inside) else (math.nan, math.nan)
        bins.append(Bin(bin_name, float(low), float(high), len(inside), ap, error))
    return Sensitivity(property=name, bins=tuple(bins), overall=_normalized_ap(ranking, objects, normal_count)[0])


def assign_bins(values: np.ndarray) -> np.ndarray:  # [M] float64 -> [M] int64 in [0, 5)
    """Returns the bin of each object: the lowest tenth, then two, four, two and one tenths.

    The first bin reaches to the value of rank M / 10 (rounded half up), and so on. Equal values share the lower bin, so
    bins can be smaller than their share, or empty.
    """
    ordered = np.sort(values)
    ranks = [(len(values) * tenths + 5) // 10 for tenths in CUTS]
    limits = [ordered[rank - 1] if rank > 0 else -math.inf for rank in ranks]
    return np.sum(values[:, None] > np.array(limits), axis=1)


def _normalized_ap(ranking: Ranking, objects: np.ndarray, normal_count: float) -> tuple[float, float]:
    """Returns normalized AP of some objects and its standard error; nan without objects, the error also with one."""
    if len(objects) == 0:
        return math.nan, math.nan
    is_hit = ranking.is_hit & np.isin(ranking.nearest, objects)
    takes_part = is_hit | ~ranking.is_hit
    is_hit = is_hit[takes_part]
    found = np.cumsum(is_hit) * normal_count / len(objects)
    precision = found / (found + np.cumsum(~is_hit))
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    of_objects = np.zeros(len(objects))  # in the order in which they are hit, then the missed ones
    of_objects[: np.sum(is_hit)] = best_beyond[is_hit]
    error = of_objects.std(ddof=1) / math.sqrt(len(objects)) if len(objects) > 1 else math.nan
    return float(of_objects.mean()), float(error)


def mean_sensitivity(parts: list[Sensitivity]) -> Sensitivity:
    """Returns the mean over classes, bin by bin, of those that have objects in the bin.

    Each class has ranges of its own, so the ranges given here overlap. The error is that of a mean of independent
    figures.
    """
    bins = [_mean_bin([part.bins[k] for part in parts]) for k in range(len(parts[0].bins))]
    overall = [part.overall for part in parts if not math.isnan(part.overall)]
    return Sensitivity(parts[0].property, tuple(bins), float(np.mean(overall)) if overall else math.nan)


def _mean_bin(parts: list[Bin]) -> Bin:
    filled = [part for part in parts if part.num_objects > 0]
    if not filled:
        return parts[0]
    return Bin(
        name=filled[0].name,
        low=min(part.low for part in filled),
        high=max(part.high for part in filled),
        num_objects=sum(part.num_objects for part in filled),
        ap=float(np.mean([part.ap for part in filled])),
        error=math.sqrt(sum(part.error**2 for part in filled)) / len(filled),
    )
