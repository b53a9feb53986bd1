"""VOC's average precision at IoU thresholds from 0.5 to 0.95: how tightly the boxes fit.

The rules are those of ``voc``, threshold by threshold; COCO's AP averages over the same ten, but matches, measures and
samples otherwise (docs/evaluation.md).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.evaluation import gather, table, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth

# k / 100 is the double next to each decimal; 0.5 + 0.05 * 7 lies above 0.85 by the last bit, and the 0.9 of
# numpy.linspace(0.5, 0.95, 10), as the COCO API has it, below 0.9.
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


class ThresholdsResult(NamedTuple):
    """Average precision of each class (background excluded) at each threshold; nan for a class without objects.

    The means leave such classes out. A class with objects but no detections has AP 0.
    """

    class_names: tuple[str, ...]  # C foreground classes: label k is class_names[k - 1]
    iou_thresholds: tuple[float, ...]  # T
    ap_11point: np.ndarray  # [C, T] float64
    ap_area: np.ndarray  # [C, T] float64
    num_ground_truth: np.ndarray  # [C] int64: objects, without the difficult ones
    num_images: int

    @property
    def map_11point(self) -> np.ndarray:  # [T]
        """Mean of ap_11point over the classes that have objects, at each threshold."""
        return _class_means(self.ap_11point)

    @property
    def map_area(self) -> np.ndarray:  # [T]
        """Mean of ap_area over the classes that have objects, at each threshold."""
        return _class_means(self.ap_area)

    @property
    def mean_11point(self) -> float:
        """Mean of map_11point over the thresholds."""
        return float(self.map_11point.mean())

    @property
    def mean_area(self) -> float:
        """Mean of map_area over the thresholds."""
        return float(self.map_area.mean())


def _class_means(ap: np.ndarray) -> np.ndarray:  # [C, T] -> [T]
    # Column by column: over an axis NumPy adds in another order, and the last bit would not be that of voc's mean.
    return np.array([np.nanmean(column) for column in ap.T])


def evaluate(
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],  # background first
    iou_thresholds: Sequence[float] = THRESHOLDS,
) -> ThresholdsResult:
    """Returns the average precision of each class by both rules of the VOC devkit, at each threshold.

    At each threshold the figures are those of :func:`voc.evaluate`. Overlaps are computed once, since the object
    that a detection belongs to does not depend on the threshold.

    Args:
        detections: as for :func:`voc.evaluate`, like the ground truth and the names.
        ground_truth: ``ignored`` is VOC's "difficult".
        class_names: every class by label, ``class_names[0] == "background"``.
        iou_thresholds: a detection counts if its overlap is greater; at least one, each in [0, 1).

    Raises:
        ValueError: an option is out of range, or the arrays of an image differ in length.
        InputError: there is nothing to find, an image id is unknown or occurs twice, a label is not in
            class_names, or a number is not finite.
    """
    if not iou_thresholds or not all(0 <= threshold < 1 for threshold in iou_thresholds):
        raise ValueError(f"iou_thresholds must be at least one number in [0, 1), got {list(iou_thresholds)}")
    found, truth = gather.gather(detections, ground_truth, class_names=class_names)
    labels = range(1, len(class_names))
    objects = [int(np.sum((truth.labels == label) & ~truth.ignored)) for label in labels]
    figures = np.array(
        [
            _class_figures(voc.match(found, truth, label), truth.ignored, count, iou_thresholds)
            for label, count in zip(labels, objects, strict=True)
        ]
    )  # [C, T, 2]
    return ThresholdsResult(
        class_names=tuple(class_names[1:]),
        iou_thresholds=tuple(iou_thresholds),
        ap_11point=figures[..., 0],
        ap_area=figures[..., 1],
        num_ground_truth=np.array(objects),
        num_images=len(ground_truth),
    )


def _class_figures(
    matching: voc.Matching, ignored: np.ndarray, num_objects: int, iou_thresholds: Sequence[float]
) -> list[tuple[float, float]]:  # [T] of (11-point, area)
    curves = [
        voc.precision_recall(at_threshold(matching, ignored, threshold), num_objects) for threshold in iou_thresholds
    ]
    return [(voc.eleven_point_ap(curve), voc.area_ap(curve)) for curve in curves]


def at_threshold(matching: voc.Matching, ignored: np.ndarray, iou_threshold: float) -> voc.Matching:
    """Returns what :func:`voc.match` would have at another threshold.

    Args:
        matching: of one class, at any threshold.
        ignored: [G] bool, of all objects (``truth.ignored``).
        iou_threshold: a detection counts if its overlap is greater.
    """
    target = np.where(matching.overlap > iou_threshold, matching.nearest, -1)
    is_counted = (target < 0) | ~ignored[target]
    is_hit = voc.first_occurrences(target) & (target >= 0) & is_counted
    return matching._replace(is_hit=is_hit, is_counted=is_counted)


def as_table(result: ThresholdsResult) -> str:
    """Returns, for each rule, the AP of each class at each threshold and the means, as aligned text."""
    rules = (("VOC07 11-point", result.ap_11point, result.map_11point), ("area", result.ap_area, result.map_area))
    text = "\n\n".join(_rule_table(result, *rule) for rule in rules)
    without = _classes_without_objects(result)
    if without:
        text += f"\nnot in the means over classes, because no object is annotated: {', '.join(without)}"
    return text


def _rule_table(result: ThresholdsResult, title: str, ap: np.ndarray, means: np.ndarray) -> str:
    header = (f"{title}, IoU >", *(f"{threshold:.2f}" for threshold in result.iou_thresholds), "mean")
    rows = [_row(name, values) for name, values in zip(result.class_names, ap, strict=True)]
    return table.align(header, rows, footer=[_row("mean AP (mAP)", means)])


def _row(name: str, values: np.ndarray) -> tuple[str, ...]:
    return (name, *map(table.number, values), table.number(values.mean()))


def as_dict(result: ThresholdsResult) -> dict[str, Any]:
    """Returns the figures as plain Python values that JSON can hold; an undefined figure is None."""
    columns = zip(result.class_names, result.ap_11point, result.ap_area, result.num_ground_truth, strict=True)
    return {
        "metric": "VOC average precision over IoU thresholds",
        "num_images": result.num_images,
        "iou_thresholds": list(result.iou_thresholds),
        "mean_ap": {"voc07_11point": result.mean_11point, "area": result.mean_area},
        "mean_ap_by_threshold": {
            "voc07_11point": _json_numbers(result.map_11point),
            "area": _json_numbers(result.map_area),
        },
        "classes_without_objects": _classes_without_objects(result),
        "classes": {
            name: {
                "voc07_11point": _json_numbers(eleven),
                "area": _json_numbers(area),
                "num_ground_truth": int(objects),
            }
            for name, eleven, area, objects in columns
        },
    }


def _json_numbers(values: np.ndarray) -> list[float | None]:
    return [table.json_number(value) for value in values]


def _classes_without_objects(result: ThresholdsResult) -> list[str]:
    return [name for name, count in zip(result.class_names, result.num_ground_truth, strict=True) if count == 0]
