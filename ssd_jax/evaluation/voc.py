"""Average precision by the rules of the PASCAL VOC devkit (VOCevaldet.m, VOCap.m).

Widths and heights count both border pixels (xmax - xmin + 1). A detection belongs to the object of
its class and image that it overlaps most, difficult ones included; it counts only if that overlap
is strictly greater than the threshold. Detections of difficult objects are neither right nor
wrong; a second detection of one object is wrong. docs/evaluation.md compares the variants.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.evaluation import gather, table
from ssd_jax.types import ImageDetections, ImageGroundTruth

# 0:0.1:1 as the devkit's floating point has it: the fourth is 0.1 * 3 > 3 / 10, so a recall of exactly 3 in 10 does
# not reach it (likewise 6 and 7). With k / 10 the pottedplants of the VOC2007 oracle would differ by 0.001.
ELEVEN_RECALLS = 0.1 * np.arange(11)
PAIRS_AT_ONCE = 1 << 19  # of a detection and an object, whose IoU is computed at once; about 200 bytes each


class VocResult(NamedTuple):
    """Figures of each class, aligned with class_names (background excluded), and their means.

    A class with objects but no detections has AP 0. A class without objects (difficult ones do not
    count) has AP and recall nan and is left out of the means.
    """

    class_names: tuple[str, ...]  # C foreground classes: label k is class_names[k - 1]
    ap_11point: np.ndarray  # [C] float64: mean of the best precision at recalls 0, 0.1, ..., 1 (VOC2007)
    ap_area: np.ndarray  # [C] float64: area under the monotone precision envelope (VOC2010 and later)
    recall: np.ndarray  # [C] float64: share of the objects found, whatever the score
    num_ground_truth: np.ndarray  # [C] int64: objects, without the difficult ones
    num_difficult: np.ndarray  # [C] int64
    num_detections: np.ndarray  # [C] int64
    num_images: int
    iou_threshold: float

    @property
    def map_11point(self) -> float:
        """Mean of ap_11point over the classes that have objects."""
        return float(np.nanmean(self.ap_11point))

    @property
    def map_area(self) -> float:
        """Mean of ap_area over the classes that have objects."""
        return float(np.nanmean(self.ap_area))


class PrecisionRecall(NamedTuple):
    """The curve of one class: a point after each detection that counts, best score first."""

    precision: np.ndarray  # [N] float64
    recall: np.ndarray  # [N] float64, non-decreasing


class Matching(NamedTuple):
    """What the detections of one class hit, best score first and equal scores in the order given."""

    order: np.ndarray  # [N] int64: their rows among all detections
    nearest: np.ndarray  # [N] int64: row of the object of the class that is overlapped most; -1: none in the image
    overlap: np.ndarray  # [N] float64: IoU with it
    is_hit: np.ndarray  # [N] bool: the first detection on an object that counts
    is_counted: np.ndarray  # [N] bool; False: on a difficult object, hence neither right nor wrong


def evaluate(
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],  # background first
    iou_threshold: float = 0.5,
) -> VocResult:
    """Returns the average precision of each class by both rules of the devkit.

    Equal scores rank in the order given (images, then boxes), as in the devkit. Time and memory
    grow with the number of (detection, object) pairs of the same class and image.

    Args:
        detections: at most one entry an image, in any order; boxes in pixels of the original image.
        ground_truth: one entry an image, also for images without objects; ``ignored`` is VOC's "difficult".
        class_names: every class by label, ``class_names[0] == "background"``.
        iou_threshold: a detection counts if its overlap is greater, in [0, 1).

    Raises:
        ValueError: an option is out of range, or the arrays of an image differ in length.
        InputError: there is nothing to find, an image id is unknown or occurs twice, a label is not in
            class_names, or a number is not finite.
    """
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"iou_threshold must be in [0, 1), got {iou_threshold}")
    found, truth = gather.gather(detections, ground_truth, class_names=class_names)
    labels = range(1, len(class_names))
    objects = np.array([np.sum((truth.labels == label) & ~truth.ignored) for label in labels])
    matchings = (match(found, truth, label, iou_threshold=iou_threshold) for label in labels)
    curves = [precision_recall(matching, int(count)) for matching, count in zip(matchings, objects, strict=True)]
    return VocResult(
        class_names=tuple(class_names[1:]),
        ap_11point=np.array([eleven_point_ap(curve) for curve in curves]),
        ap_area=np.array([area_ap(curve) for curve in curves]),
        recall=np.array([curve.recall.max(initial=0) if not _undefined(curve) else np.nan for curve in curves]),
        num_ground_truth=objects,
        num_difficult=np.array([np.sum((truth.labels == label) & truth.ignored) for label in labels]),
        num_detections=np.array([np.sum(found.labels == label) for label in labels]),
        num_images=len(ground_truth),
        iou_threshold=iou_threshold,
    )


def eleven_point_ap(curve: PrecisionRecall) -> float:
    """Returns the mean, over recalls 0, 0.1, ..., 1, of the best precision at that recall or beyond (VOC2007)."""
    if _undefined(curve):
        return float("nan")
    reached = curve.recall >= ELEVEN_RECALLS[:, None]  # [11, N]
    return float(np.mean(np.max(np.where(reached, curve.precision, 0), axis=1, initial=0)))


def area_ap(curve: PrecisionRecall) -> float:
    """Returns the area under the precision envelope, the best precision at each recall or beyond (VOC2010)."""
    if _undefined(curve):
        return float("nan")
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float(np.sum(np.diff(curve.recall, prepend=0) * envelope))


def _undefined(curve: PrecisionRecall) -> bool:
    """Tells whether the class has no objects: the curve is then one point of nan."""
    return bool(np.isnan(curve.recall).any())


def match(
    found: gather.FlatDetections, truth: gather.FlatGroundTruth, label: int, *, iou_threshold: float = 0.5
) -> Matching:
    """Decides which detections of one class hit an object; both arguments as ``gather.gather`` returns them."""
    mine, theirs = np.flatnonzero(found.labels == label), np.flatnonzero(truth.labels == label)
    order = mine[np.argsort(-found.scores[mine], kind="stable")]
    best, overlap = best_overlaps(found.image[order], found.boxes[order], truth.image[theirs], truth.boxes[theirs])
    nearest = np.append(theirs, -1)[best]
    target = np.where(overlap > iou_threshold, nearest, -1)  # -1: overlaps nothing enough
    is_counted = (target < 0) | ~truth.ignored[target]  # what hits a difficult object drops out of the curve
    is_hit = first_occurrences(target) & (target >= 0) & is_counted
    return Matching(order=order, nearest=nearest, overlap=overlap, is_hit=is_hit, is_counted=is_counted)


def precision_recall(matching: Matching, num_objects: int) -> PrecisionRecall:
    """Returns the curve of a class with so many objects that count; a single point of nan if there are none."""
    if num_objects == 0:
        return PrecisionRecall(np.full(1, np.nan), np.full(1, np.nan))
    hits = np.cumsum(matching.is_hit[matching.is_counted])
    return PrecisionRecall(precision=hits / np.arange(1, len(hits) + 1), recall=hits / num_objects)


def first_occurrences(values: np.ndarray) -> np.ndarray:  # [N] -> [N] bool
    """Marks each value where it comes first."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def best_overlaps(
    images: np.ndarray,  # [D] int: image of each detection
    boxes: np.ndarray,  # [D, 4] float64
    truth_images: np.ndarray,  # [G] int, sorted
    truth_boxes: np.ndarray,  # [G, 4] float64
) -> tuple[np.ndarray, np.ndarray]:  # [D] int, [D] float64
    """Returns, for each detection, the object of its image with the largest IoU, and that IoU.

    IoU follows the devkit's pixel rule (:func:`paired_iou`). Ties go to the object listed first; an image without
    objects gives index -1 and IoU 0.
    """
    count = np.searchsorted(truth_images, images, side="right") - np.searchsorted(truth_images, images, side="left")
    if count.sum() > PAIRS_AT_ONCE and len(images) > 1:  # by halves, to bound the memory
        half = len(images) // 2
        first = best_overlaps(images[:half], boxes[:half], truth_images, truth_boxes)
        second = best_overlaps(images[half:], boxes[half:], truth_images, truth_boxes)
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    detection, candidate = pairs_within_images(images, truth_images)
    iou = paired_iou(boxes[detection], truth_boxes[candidate])

    best, overlap = np.full(len(images), -1), np.zeros(len(images))
    has_pairs = count > 0
    if has_pairs.any():
        overlap[has_pairs] = np.maximum.reduceat(iou, (np.cumsum(count) - count)[has_pairs])
        is_best = iou == overlap[detection]
        owners, position = np.unique(detection[is_best], return_index=True)
        best[owners] = candidate[is_best][position]
    return best, overlap


def pairs_within_images(images: np.ndarray, truth_images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all pairs (detection, object) [P] of one image: those of detection 0, then of detection 1, ...

    Args:
        images: [D] int, image of each detection.
        truth_images: [G] int, sorted.
    """
    start = np.searchsorted(truth_images, images, side="left")
    count = np.searchsorted(truth_images, images, side="right") - start
    detection = np.repeat(np.arange(len(images)), count)
    return detection, np.arange(len(detection)) - np.repeat(np.cumsum(count) - count - start, count)


def paired_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # [N, 4], [N, 4] -> [N]
    """Returns the IoU of each pair of boxes with VOC's pixel widths, xmax - xmin + 1; reversed boxes give 0."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]) + 1
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]) + 1
    shared = np.where((width > 0) & (height > 0), width * height, 0)
    area_a, area_b = ((box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1) for box in (a, b))
    union = np.where(shared > 0, area_a + area_b - shared, 1)
    return shared / union


def as_table(result: VocResult) -> str:
    """Returns the figures of each class and both means as aligned text of several lines."""
    header = ("class", "objects", "difficult", "detections", "recall", "VOC07 11-point", "area")
    counts = zip(result.num_ground_truth, result.num_difficult, result.num_detections, strict=True)
    figures = zip(result.recall, result.ap_11point, result.ap_area, strict=True)
    rows = [
        (name, *map(str, count), *map(table.number, figure))
        for name, count, figure in zip(result.class_names, counts, figures, strict=True)
    ]
    totals = (result.num_ground_truth.sum(), result.num_difficult.sum(), result.num_detections.sum())
    means = (float(np.nanmean(result.recall)), result.map_11point, result.map_area)
    mean = ("mean AP (mAP)", *map(str, totals), *map(table.number, means))
    text = table.align(header, rows, footer=[mean])
    without = _classes_without_objects(result)
    if without:
        text += f"\nnot in the means, because no object is annotated: {', '.join(without)}"
    return text


def as_dict(result: VocResult) -> dict[str, Any]:
    """Returns the figures as plain Python values that JSON can hold; an undefined figure is None."""
    columns = zip(
        result.class_names,
        result.ap_11point,
        result.ap_area,
        result.recall,
        result.num_ground_truth,
        result.num_difficult,
        result.num_detections,
        strict=True,
    )
    return {
        "metric": "VOC average precision",
        "iou_threshold": result.iou_threshold,
        "num_images": result.num_images,
        "mean_ap": {"voc07_11point": result.map_11point, "area": result.map_area},
        "classes_without_objects": _classes_without_objects(result),
        "classes": {
            name: {
                "voc07_11point": table.json_number(eleven),
                "area": table.json_number(area),
                "recall": table.json_number(recall),
                "num_ground_truth": int(objects),
                "num_difficult": int(difficult),
                "num_detections": int(detected),
            }
            for name, eleven, area, recall, objects, difficult, detected in columns
        },
    }


def _classes_without_objects(result: VocResult) -> list[str]:
    pairs = zip(result.class_names, result.num_ground_truth, strict=True)
    return [name for name, count in pairs if count == 0]
