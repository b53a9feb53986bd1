"""What the analysis of a detector's errors finds out; ``analyze`` fills it in, the report shows it.

Detections and objects are named by their row in the flat arrays of :mod:`ssd_jax.evaluation.gather`,
images by their position in the ground truth. A figure that is not defined is nan.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ssd_jax.evaluation.gather import FlatDetections, FlatGroundTruth


class Kind(enum.IntEnum):
    """What a detection is, after Hoiem et al., "Diagnosing Error in Object Detectors", ECCV 2012, section 2."""

    CORRECT = 0
    LOCALIZATION = 1  # of the right class, but misplaced (0.1 <= IoU <= 0.5) or a second detection of one object
    SIMILAR = 2  # on an object of a class of the same group
    OTHER = 3  # on an object of any other class
    BACKGROUND = 4  # on nothing that is annotated
    IGNORED = 5  # on an object that does not count (difficult, crowd): neither right nor wrong, not kept


KEPT = tuple(kind for kind in Kind if kind is not Kind.IGNORED)
FALSE = tuple(kind for kind in KEPT if kind is not Kind.CORRECT)


class Typed(NamedTuple):
    """What every detection is; aligned with ``FlatDetections``."""

    kind: np.ndarray  # [D] int64, of Kind
    target: np.ndarray  # [D] int64: the object that it hits, or is mistaken for or misplaced on; -1: none
    overlap: np.ndarray  # [D] float64: IoU with that object, 0 where there is none


class Trend(NamedTuple):
    """What the best detections are, as more of them are taken (Figure 3 of the SSD paper, upper row)."""

    ratio: np.ndarray  # [N] float64, rising: kept detections taken / objects; 0.125 to 8
    fractions: np.ndarray  # [N, 5] float64: share of each kind of KEPT among those taken; rows sum to 1; nan: too few
    recall_strong: np.ndarray  # [N] float64: share of the objects found with IoU > 0.5; that of all where too few
    recall_weak: np.ndarray  # [N] float64: the same with IoU > 0.1


class Distribution(NamedTuple):
    """What the worst false positives are (Figure 3, lower row): shares among the best-scored N of them."""

    counts: np.ndarray  # [N] int64: 25, 50, ..., as far as there are so many
    fractions: np.ndarray  # [N, 4] float64: share of each kind of FALSE


class Bin(NamedTuple):
    """Normalized AP on some of the objects of a class; of several classes their mean, the ranges of which overlap."""

    name: str  # "XS", "S", "M", "L", "XL" or "XT", "T", "M", "W", "XW"
    low: float  # smallest property (pixels^2, or width / height) of its objects; nan without objects
    high: float  # largest
    num_objects: int
    ap: float  # normalized AP; nan without objects
    error: float  # its standard error; nan also with one object


class Sensitivity(NamedTuple):
    """How much a property of the objects matters (Figures 4 and 6 of the SSD paper)."""

    property: str  # "area" or "aspect ratio"
    bins: tuple[Bin, ...]
    overall: float  # normalized AP of all objects


class Curve(NamedTuple):
    """Precision and recall of one class; a point after each kept detection, best score first."""

    precision: np.ndarray  # [N] float64
    recall: np.ndarray  # [N] float64; nan without objects
    scores: np.ndarray  # [N] float64, falling


class OperatingPoint(NamedTuple):
    """What a score threshold gives; ``threshold`` is the one with the best F1."""

    threshold: float  # keep detections with at least this score
    precision: float
    recall: float
    f1: float


class Calibration(NamedTuple):
    """How often detections of a score are right; bins of equal width in [0, 1]. Empty if a score lies outside."""

    edges: np.ndarray  # [B + 1] float64
    counts: np.ndarray  # [B] int64: kept detections
    mean_score: np.ndarray  # [B] float64; nan where there are none
    precision: np.ndarray  # [B] float64
    expected_error: float  # mean of |precision - mean score|, weighted by the counts


class Confusion(NamedTuple):
    """What objects are taken for by detections above a score; class 0 is the background."""

    threshold: float  # score from which detections take part
    counts: np.ndarray  # [C + 1, C + 1] int64: [object's class, detection's class]; [k, 0] missed, [0, k] on nothing


class ClassAnalysis(NamedTuple):
    """The findings on one class, or on several taken together (a group, all)."""

    name: str
    labels: tuple[int, ...]  # >= 1
    num_objects: int  # that count
    num_difficult: int
    num_detections: int
    counts: Mapping[Kind, int]  # of all detections, IGNORED included
    trend: Trend
    false_positives: Distribution
    ap_11point: float  # of several classes: the mean over those with objects
    ap_area: float
    area: Sensitivity  # of several classes: the mean over them, bin by bin
    aspect_ratio: Sensitivity
    calibration: Calibration
    gains: Mapping[str, float]  # remedy, of REMEDIES -> gain in ap_area; of several classes: the mean
    curve: Curve | None  # None: several classes
    best: OperatingPoint | None


# What would be mended -> in words.
REMEDIES = {
    "localization": "misplaced boxes are put right, second detections of an object removed",
    "similar": "confusions with similar classes are removed",
    "other": "confusions with other classes are removed",
    "background": "detections of background are removed",
    "false positives": "all false positives are removed",
    "missed": "objects that no detection hits are left out",
}


class Analysis(NamedTuple):
    """Everything that is known of a detector's results on one data set."""

    class_names: tuple[str, ...]  # background first
    groups: Mapping[str, tuple[int, ...]]  # name -> labels of similar classes; a class may be in several
    classes: tuple[ClassAnalysis, ...]  # classes[k - 1] is label k
    group_findings: tuple[ClassAnalysis, ...]  # aligned with groups
    overall: ClassAnalysis
    confusion: Confusion
    typed: Typed
    missed: np.ndarray  # [M] int64: objects that count and that no detection hits
    detections: FlatDetections
    truth: FlatGroundTruth
    num_images: int
    normal_count: float  # N of normalized precision: so many objects every class and bin is taken to have
