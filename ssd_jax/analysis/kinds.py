"""What every detection is: right, or wrong in which way.

Hits are those of the VOC rule (``evaluation.voc.match``), so that the curves of the analysis are those
of the metric. What is wrong is told apart by Hoiem et al., section 2.2, as in their analyzeFalsePositives.m:
an object explains a false positive if their IoU is at least 0.1, its own class first, then similar classes, then the
others. Objects that do not count (difficult, crowd) explain false positives as all others do, as in their code.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ssd_jax.analysis.groups import similar_labels
from ssd_jax.analysis.types import Kind, Typed
from ssd_jax.evaluation import voc
from ssd_jax.evaluation.gather import FlatDetections, FlatGroundTruth

WEAK_IOU = 0.1


def type_detections(
    found: FlatDetections,
    truth: FlatGroundTruth,
    matchings: Sequence[voc.Matching],
    groups: Mapping[str, tuple[int, ...]],
) -> Typed:
    """Returns the kind of each detection and the object that explains it.

    Args:
        found: all detections.
        truth: all objects.
        matchings: ``voc.match`` of label 1, 2, ... at IoU 0.5.
        groups: labels of similar classes; a class may be in several groups.
    """
    typed = Typed(
        kind=np.full(len(found.labels), Kind.BACKGROUND.value),
        target=np.full(len(found.labels), -1),
        overlap=np.zeros(len(found.labels)),
    )
    for label, matching in enumerate(matchings, start=1):
        _take(typed, matching.order, matching.nearest, matching.overlap, ~matching.is_counted, Kind.IGNORED)
        _take(typed, matching.order, matching.nearest, matching.overlap, matching.is_hit, Kind.CORRECT)
        is_false = matching.is_counted & ~matching.is_hit
        is_near = is_false & (matching.overlap >= WEAK_IOU)
        _take(typed, matching.order, matching.nearest, matching.overlap, is_near, Kind.LOCALIZATION)

        is_similar = np.isin(truth.labels, list(similar_labels(groups, label)))
        is_other = (truth.labels != label) & ~is_similar
        rest = matching.order[is_false & ~is_near]
        for kind, among in ((Kind.SIMILAR, is_similar), (Kind.OTHER, is_other)):
            nearest, overlap = _nearest(found, rest, truth, np.flatnonzero(among))
            is_near = overlap >= WEAK_IOU
            _take(typed, rest, nearest, overlap, is_near, kind)
            rest = rest[~is_near]
    return typed


def _take(
    typed: Typed, rows: np.ndarray, target: np.ndarray, overlap: np.ndarray, where: np.ndarray, kind: Kind
) -> None:
    """Writes down what the detections of some rows are."""
    typed.kind[rows[where]] = kind
    typed.target[rows[where]] = target[where]
    typed.overlap[rows[where]] = overlap[where]


def _nearest(
    found: FlatDetections, rows: np.ndarray, truth: FlatGroundTruth, among: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # [N] int, [N] float64
    """Returns the row of the object, of those in ``among``, that each detection overlaps most, and the IoU."""
    best, overlap = voc.best_overlaps(found.image[rows], found.boxes[rows], truth.image[among], truth.boxes[among])
    return np.append(among, -1)[best], overlap
