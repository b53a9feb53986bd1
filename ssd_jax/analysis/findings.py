"""Puts the findings together: of each class, of groups of classes, and of all."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.analysis import curves, remedies, sensitivity, trends
from ssd_jax.analysis.confusion import confusion
from ssd_jax.analysis.groups import default_groups, labels_of_groups
from ssd_jax.analysis.kinds import type_detections
from ssd_jax.analysis.ranking import Ranking, rank
from ssd_jax.analysis.types import REMEDIES, Analysis, ClassAnalysis, Kind, Typed
from ssd_jax.evaluation import gather, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth


class _Case(NamedTuple):
    """What all findings are drawn from."""

    found: gather.FlatDetections
    truth: gather.FlatGroundTruth
    typed: Typed
    matchings: tuple[voc.Matching, ...]  # of label 1, 2, ...
    values: Mapping[str, np.ndarray]  # property -> [G], of every object
    normal_count: float


def analyze(
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],
    groups: Mapping[str, Sequence[str]] | None = None,
    confusion_threshold: float | None = None,
    normal_count: float | None = None,
) -> Analysis:
    """Finds out what the detections are, in which way they are wrong, and what that costs.

    Hits and average precisions are those of ``evaluation.voc`` at IoU 0.5, on any data: boxes are measured by VOC's
    pixel rule, and crowds are treated as VOC's difficult objects.

    Args:
        detections: at most one entry an image; boxes in pixels of the original image.
        ground_truth: one entry an image, also for images without objects.
        class_names: every class by label, ``class_names[0] == "background"``.
        groups: name -> classes that are similar; a class may be in several groups. None: ``default_groups``.
        confusion_threshold: score from which detections enter the confusion matrix. None: that of the best F1 over all
            classes together, because a score means something else with every detector.
        normal_count: N of normalized precision, the number of objects that every class and bin is taken to have. None:
            the mean over the classes that have any. Hoiem's code takes 0.15 times the number of images.

    Raises:
        ValueError: an option is out of range, or the arrays of an image differ in length.
        InputError: there is nothing to find, an image or class is unknown or named twice, or a number is not finite.
    """
    if confusion_threshold is not None and math.isnan(confusion_threshold):
        raise ValueError("confusion_threshold must be a number, got nan")
    if normal_count is not None and not 0 < normal_count < math.inf:
        raise ValueError(f"normal_count must be positive and finite, got {normal_count}")
    found, truth = gather.gather(detections, ground_truth, class_names=class_names)
    members = labels_of_groups(default_groups(class_names) if groups is None else groups, class_names)
    labels = tuple(range(1, len(class_names)))
    matchings = tuple(voc.match(found, truth, label) for label in labels)
    typed = type_detections(found, truth, matchings, members)
    objects = truth.labels[~truth.ignored]
    case = _Case(
        found=found,
        truth=truth,
        typed=typed,
        matchings=matchings,
        values=sensitivity.properties(truth),
        normal_count=len(objects) / len(np.unique(objects)) if normal_count is None else normal_count,
    )
    classes = tuple(_of_class(case, label, class_names[label]) for label in labels)
    everything = _rank(case, labels)
    if confusion_threshold is None:
        confusion_threshold = curves.best_operating_point(everything).threshold
    is_missed = ~truth.ignored
    is_missed[typed.target[typed.kind == Kind.CORRECT]] = False
    return Analysis(
        class_names=tuple(class_names),
        groups=members,
        classes=classes,
        group_findings=tuple(
            _of_several(_rank(case, some), name, some, case, classes) for name, some in members.items()
        ),
        overall=_of_several(everything, "all", labels, case, classes),
        confusion=confusion(found, truth, num_classes=len(class_names), threshold=confusion_threshold),
        typed=typed,
        missed=np.flatnonzero(is_missed),
        detections=found,
        truth=truth,
        num_images=len(ground_truth),
        normal_count=case.normal_count,
    )


def _rank(case: _Case, labels: Sequence[int]) -> Ranking:
    return rank(labels, found=case.found, truth=case.truth, typed=case.typed, matchings=case.matchings)


def _of_class(case: _Case, label: int, name: str) -> ClassAnalysis:
    ranking = _rank(case, (label,))
    objects = np.flatnonzero((case.truth.labels == label) & ~case.truth.ignored)
    points = voc.precision_recall(case.matchings[label - 1], ranking.num_objects)
    area, aspect_ratio = (
        sensitivity.sensitivity(ranking, objects, values, name=name, normal_count=case.normal_count)
        for name, values in case.values.items()
    )
    return ClassAnalysis(
        **_counted(case, (label,)),
        **_pooled(ranking),
        name=name,
        labels=(label,),
        ap_11point=voc.eleven_point_ap(points),
        ap_area=voc.area_ap(points),
        area=area,
        aspect_ratio=aspect_ratio,
        gains=remedies.gains(ranking),
        curve=curves.curve(ranking),
        best=curves.best_operating_point(ranking),
    )


def _of_several(
    ranking: Ranking, name: str, labels: tuple[int, ...], case: _Case, classes: Sequence[ClassAnalysis]
) -> ClassAnalysis:
    """Pools the detections of some classes, and takes the mean of what is only defined for one class."""
    members = [classes[label - 1] for label in labels]
    return ClassAnalysis(
        **_counted(case, labels),
        **_pooled(ranking),
        name=name,
        labels=labels,
        ap_11point=_mean(member.ap_11point for member in members),
        ap_area=_mean(member.ap_area for member in members),
        area=sensitivity.mean_sensitivity([member.area for member in members]),
        aspect_ratio=sensitivity.mean_sensitivity([member.aspect_ratio for member in members]),
        gains={remedy: _mean(member.gains[remedy] for member in members) for remedy in REMEDIES},
        curve=None,
        best=None,
    )


def _counted(case: _Case, labels: tuple[int, ...]) -> dict[str, Any]:
    """Returns the fields of ``ClassAnalysis`` that count detections and objects."""
    ignored = case.truth.ignored[np.isin(case.truth.labels, labels)]
    kinds = np.bincount(case.typed.kind[np.isin(case.found.labels, labels)], minlength=len(Kind))
    return {
        "num_objects": int(np.sum(~ignored)),
        "num_difficult": int(np.sum(ignored)),
        "num_detections": int(kinds.sum()),
        "counts": {kind: int(kinds[kind]) for kind in Kind},
    }


def _pooled(ranking: Ranking) -> dict[str, Any]:
    """Returns the fields of ``ClassAnalysis`` that mean the same for one class and for several."""
    return {
        "trend": trends.trend(ranking),
        "false_positives": trends.distribution(ranking),
        "calibration": curves.calibration(ranking),
    }


def _mean(figures: Iterable[float]) -> float:
    """Returns the mean of the figures that are defined; nan if none is."""
    defined = [figure for figure in figures if not math.isnan(figure)]
    return float(np.mean(defined)) if defined else math.nan
