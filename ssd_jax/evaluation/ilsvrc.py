"""Average precision by the rules of ILSVRC DET: eval_detection.m of the ILSVRC2014 development kit.

As VOC (``voc``), but the overlap that an object asks for falls below 0.5 where it is small, since a box that is a few
pixels off then misses much of it; a detection takes the best of the objects that are still free; and an overlap of
exactly the threshold counts. docs/evaluation.md lists each point with its source.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.evaluation import gather, table, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth

IOU_THRESHOLD = 0.5  # defaultIOUthr
PIXEL_TOLERANCE = 10  # pixelTolerance: 5 on each side


class IlsvrcResult(NamedTuple):
    """Figures of each class, aligned with class_names (background excluded).

    A class with objects but no detections has AP 0. A class without objects has AP and recall nan and
    is left out of the mean.
    """

    class_names: tuple[str, ...]  # C foreground classes: label k is class_names[k - 1]
    ap: np.ndarray  # [C] float64: area under the monotone precision envelope
    recall: np.ndarray  # [C] float64: share of the objects found, whatever the score
    num_ground_truth: np.ndarray  # [C] int64: objects that count
    num_ignored: np.ndarray  # [C] int64: flagged objects, neither hit nor miss
    num_detections: np.ndarray  # [C] int64: without those on the blacklist
    num_images: int

    @property
    def mean_ap(self) -> float:
        """Mean of ap over the classes that have objects."""
        return float(np.nanmean(self.ap))


def evaluate(
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],  # background first
    blacklist: Collection[tuple[str, int]] = (),
) -> IlsvrcResult:
    """Returns the average precision of each class.

    Equal scores rank by the image's place in the ground truth, then in the order given, as in the
    development kit, which numbers the images.

    Args:
        detections: at most one entry an image, in any order; boxes in pixels of the original image.
        ground_truth: one entry an image, also for images without objects. ``ignored`` objects are no objects, and
            a detection that hits no other object, but one of these, is neither right nor wrong.
        class_names: every class by label, ``class_names[0] == "background"``.
        blacklist: pairs (image id, label) that do not count: their objects and detections are left out. Pairs of
            other images are skipped, since the kit's list is that of the whole validation set.

    Raises:
        ValueError: a label of the blacklist is not in class_names, or the arrays of an image differ in length.
        InputError: there is nothing to find, an image id is unknown or occurs twice, a label is not in
            class_names, or a number is not finite.
    """
    found, truth = gather.gather(detections, ground_truth, class_names=class_names)
    if blacklist:
        found, truth = _without_blacklist(found, truth, blacklist, [entry.id for entry in ground_truth], class_names)
    labels = range(1, len(class_names))
    objects = np.array([np.sum((truth.labels == label) & ~truth.ignored) for label in labels])
    curves = [_class_curve(found, truth, label) for label in labels]
    recalls = [curve.recall.max(initial=0) for curve in curves]
    return IlsvrcResult(
        class_names=tuple(class_names[1:]),
        ap=np.array([voc.area_ap(curve) for curve in curves]),
        recall=np.where(objects > 0, recalls, np.nan),
        num_ground_truth=objects,
        num_ignored=np.array([np.sum((truth.labels == label) & truth.ignored) for label in labels]),
        num_detections=np.array([np.sum(found.labels == label) for label in labels]),
        num_images=len(ground_truth),
    )


def overlap_thresholds(boxes: np.ndarray) -> np.ndarray:  # [G, 4] xyxy, pixels -> [G]
    """Returns the IoU that each object asks for: min(0.5, w h / ((w + 10) (h + 10))).

    Widths and heights count both border pixels. It is 0.5 for a square of 25 pixels and more.
    """
    width = np.maximum(boxes[:, 2] - boxes[:, 0] + 1, 0)
    height = np.maximum(boxes[:, 3] - boxes[:, 1] + 1, 0)
    enlarged = (width + PIXEL_TOLERANCE) * (height + PIXEL_TOLERANCE)
    return np.minimum(IOU_THRESHOLD, width * height / enlarged)


def _without_blacklist(
    found: gather.FlatDetections,
    truth: gather.FlatGroundTruth,
    blacklist: Collection[tuple[str, int]],
    ids: Sequence[str],
    class_names: Sequence[str],
) -> tuple[gather.FlatDetections, gather.FlatGroundTruth]:
    outside = [label for _, label in blacklist if not 0 < label < len(class_names)]
    if outside:
        raise ValueError(f"blacklist: expected labels 1 to {len(class_names) - 1}, got {outside[0]}")
    place = {name: position for position, name in enumerate(ids)}
    pairs = [place[name] * len(class_names) + label for name, label in blacklist if name in place]

    def kept(boxes: Any) -> Any:
        rows = ~np.isin(boxes.image * len(class_names) + boxes.labels, pairs)
        return type(boxes)(*(column[rows] for column in boxes))

    left = kept(truth)
    if not np.any(~left.ignored):
        raise InputError(
            f"blacklist: expected at least one object that it leaves, got {len(blacklist)} pairs of image and class "
            f"that take all {len(truth.labels)}"
        )
    return kept(found), left


def _class_curve(found: gather.FlatDetections, truth: gather.FlatGroundTruth, label: int) -> voc.PrecisionRecall:
    rows = np.flatnonzero(found.labels == label)
    rows = rows[np.lexsort((found.image[rows], -found.scores[rows]))]  # stable
    mine = truth.labels == label
    objects, ignored = np.flatnonzero(mine & ~truth.ignored), np.flatnonzero(mine & truth.ignored)
    if not len(objects):
        return voc.PrecisionRecall(np.full(1, np.nan), np.full(1, np.nan))
    is_hit = first_free(*_candidates(found, rows, truth, objects), num_detections=len(rows))
    is_counted = np.ones(len(rows), bool)
    is_counted[_candidates(found, rows, truth, ignored)[0]] = False
    hits = np.cumsum(is_hit[is_counted | is_hit])
    return voc.PrecisionRecall(precision=hits / np.arange(1, len(hits) + 1), recall=hits / len(objects))


def _candidates(
    found: gather.FlatDetections, rows: np.ndarray, truth: gather.FlatGroundTruth, objects: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs (position in rows, position in objects) [P] that overlap enough.

    In the order of the rows, and for each of them the best overlap first; equal ones in the order annotated.
    """
    images, truth_images = found.image[rows], truth.image[objects]
    per_image = np.bincount(truth_images, minlength=images.max(initial=-1) + 1)
    if per_image[images].sum() > voc.PAIRS_AT_ONCE and len(rows) > 1:  # by halves, to bound the memory
        half = len(rows) // 2
        first, second = (_candidates(found, part, truth, objects) for part in (rows[:half], rows[half:]))
        return np.concatenate([first[0], second[0] + half]), np.concatenate([first[1], second[1]])
    detection, candidate = voc.pairs_within_images(images, truth_images)
    iou = voc.paired_iou(found.boxes[rows][detection], truth.boxes[objects][candidate])
    # Without the first condition a reversed box, whose threshold is 0, would be hit from everywhere.
    enough = (iou > 0) & (iou >= overlap_thresholds(truth.boxes[objects])[candidate])
    detection, candidate, iou = detection[enough], candidate[enough], iou[enough]
    order = np.lexsort((-iou, detection))  # stable
    return detection[order], candidate[order]


def first_free(detection: np.ndarray, candidate: np.ndarray, *, num_detections: int) -> np.ndarray:  # [D] bool
    """Gives each detection in turn the first of its objects that no earlier one took; tells which got one.

    Args:
        detection: [P] int, non-decreasing: 0 is the detection with the best score.
        candidate: [P] int, an object of it, the preferred one first.
        num_detections: D.
    """
    is_hit, taken = np.zeros(num_detections, bool), set()
    for row, choice in zip(detection.tolist(), candidate.tolist(), strict=True):
        if not is_hit[row] and choice not in taken:
            is_hit[row] = True
            taken.add(choice)
    return is_hit


def as_table(result: IlsvrcResult) -> str:
    """Returns the figures of each class and their mean as aligned text of several lines."""
    header = ("class", "objects", "ignored", "detections", "recall", "ILSVRC AP")
    counts = (result.num_ground_truth, result.num_ignored, result.num_detections)
    rows = [
        (name, *map(str, row[:3]), *map(table.number, row[3:]))
        for name, *row in zip(result.class_names, *counts, result.recall, result.ap, strict=True)
    ]
    means = map(table.number, (float(np.nanmean(result.recall)), result.mean_ap))
    mean = ("mean AP (mAP)", *(str(count.sum()) for count in counts), *means)
    text = table.align(header, rows, footer=[mean])
    without = _classes_without_objects(result)
    if without:
        text += f"\nnot in the means, because no object is annotated: {', '.join(without)}"
    return text


def as_dict(result: IlsvrcResult) -> dict[str, Any]:
    """Returns the figures as plain Python values that JSON can hold; an undefined figure is None."""
    columns = zip(
        result.class_names,
        result.ap,
        result.recall,
        result.num_ground_truth,
        result.num_ignored,
        result.num_detections,
        strict=True,
    )
    return {
        "metric": "ILSVRC DET average precision",
        "num_images": result.num_images,
        "mean_ap": result.mean_ap,
        "classes_without_objects": _classes_without_objects(result),
        "classes": {
            name: {
                "ap": table.json_number(ap),
                "recall": table.json_number(recall),
                "num_ground_truth": int(objects),
                "num_ignored": int(ignored),
                "num_detections": int(detected),
            }
            for name, ap, recall, objects, ignored, detected in columns
        },
    }


def _classes_without_objects(result: IlsvrcResult) -> list[str]:
    return [name for name, count in zip(result.class_names, result.num_ground_truth, strict=True) if count == 0]
