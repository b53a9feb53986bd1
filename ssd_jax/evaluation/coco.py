"""The twelve figures of the COCO detection challenge, computed by pycocotools (the COCO API) itself.

Or, if it is asked for, by a library that gives the same bits faster: ``coco_engines`` runs either.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.evaluation import coco_engines, coco_files, gather, table
from ssd_jax.types import ImageDetections, ImageGroundTruth


class CocoResult(NamedTuple):
    """The twelve figures in the order of the API, then AP by class; nan where there are no objects.

    AP is the mean over classes and the IoU thresholds 0.50, 0.55, ..., 0.95; AR the mean over both
    of the recall within the best 1, 10 or 100 detections of each class and image. Small is an area
    below 32^2 pixels, large one of 96^2 and more.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    class_names: tuple[str, ...]  # C foreground classes
    class_ap: np.ndarray  # [C] float64
    class_ap50: np.ndarray  # [C] float64
    num_ground_truth: np.ndarray  # [C] int64, without crowds
    num_detections: np.ndarray  # [C] int64
    num_images: int
    engine: str  # library that computed the figures, and its version


FIGURES = CocoResult._fields[:12]
_TITLES = (
    "AP        IoU 0.50:0.95",
    "AP50      IoU 0.50",
    "AP75      IoU 0.75",
    "AP small  area < 32^2",
    "AP medium",
    "AP large  area > 96^2",
    "AR1       1 detection",
    "AR10      10 detections",
    "AR100     100 detections",
    "AR small  100 detections",
    "AR medium 100 detections",
    "AR large  100 detections",
)


def evaluate(
    detections: Sequence[ImageDetections],
    ground_truth: Sequence[ImageGroundTruth],
    *,
    class_names: Sequence[str],  # background first
    engine: str = "pycocotools",
) -> CocoResult:
    """Returns the COCO figures of detections in memory.

    Widths are xmax - xmin, without VOC's extra pixel. ``ignored`` boxes count as crowds: detections
    of which the crowd covers enough (intersection / detection) are neither right nor wrong. For
    figures to be compared with published COCO results use :func:`evaluate_dataset` or :func:`evaluate_json`.

    Args:
        detections: at most one entry an image; boxes in pixels of the original image.
        ground_truth: one entry an image, also for images without objects. ``areas`` sorts the objects into small,
            medium and large: COCO uses the area of the object's mask; where ``areas`` is None it is that of the box.
        class_names: every class by label, ``class_names[0] == "background"``.
        engine: "pycocotools"; "fast", another library with the same figures; or "auto", "fast" where it is installed.

    Raises:
        ValueError: there is no such engine, or the arrays of an image differ in length.
        InputError: the engine's library is missing, there is nothing to find, an image id is unknown or occurs twice,
            a label is not in class_names, or a number is not finite.
    """
    found, truth = gather.gather(detections, ground_truth, class_names=class_names)
    # The image's position and the label from 0 number both, which keeps the order that decides among equal scores.
    return _result(
        coco_engines.Annotations(
            truth.image, truth.labels - 1, _xyxy_to_xywh(truth.boxes), _flat_areas(ground_truth), truth.ignored
        ),
        coco_engines.Results(found.image, found.labels - 1, _xyxy_to_xywh(found.boxes), found.scores),
        tuple(class_names[1:]),
        num_images=len(ground_truth),
        engine=engine,
    )


def evaluate_json(
    annotations_path: str | PathLike[str],
    results: str | PathLike[str] | Sequence[Mapping[str, Any]],
    *,
    engine: str = "pycocotools",
) -> CocoResult:
    """Returns the COCO figures against an official annotation file, whose mask areas and crowds are used.

    Args:
        annotations_path: an ``instances_*.json``.
        results: detections in COCO's result format (image_id, category_id, bbox xywh, score), or the file of them.
        engine: as for :func:`evaluate`.

    Raises:
        ValueError: there is no such engine.
        InputError: the engine's library is missing, a file cannot be read or is not in COCO's format, there is nothing
            to find, or a result names an image or a category that the annotations do not have.
    """
    dataset = coco_files.read_annotations(annotations_path)
    return _evaluate(dataset, coco_files.read_results(results, dataset), engine)


def evaluate_dataset(
    dataset: dict[str, Any], results: Sequence[Mapping[str, Any]], *, engine: str = "pycocotools"
) -> CocoResult:
    """Returns the COCO figures against annotations in COCO's own format, such as ``source.coco_dataset()``.

    Args:
        dataset: the lists images, annotations and categories of an ``instances_*.json``.
        results: detections in COCO's result format, such as :func:`coco_files.as_results` gives.
        engine: as for :func:`evaluate`.

    Raises:
        ValueError: there is no such engine.
        InputError: the engine's library is missing, there is nothing to find, or a result names an unknown image or
            category.
    """
    coco_files.check_objects(dataset, "ground truth")
    return _evaluate(dataset, coco_files.read_results(results, dataset), engine)


def _evaluate(dataset: Mapping[str, Any], results: Sequence[Mapping[str, Any]], engine: str) -> CocoResult:
    truth, found, names = coco_engines.from_dataset(dataset, results)
    num_images = len({image["id"] for image in dataset["images"]})
    return _result(truth, found, tuple(names), num_images=num_images, engine=engine)


def _result(
    truth: coco_engines.Annotations,
    found: coco_engines.Results,
    class_names: tuple[str, ...],
    *,
    num_images: int,
    engine: str,
) -> CocoResult:
    count = len(class_names)
    computed = coco_engines.compute(truth, found, num_images=num_images, num_categories=count, engine=engine)
    return CocoResult(
        *(_defined(float(figure)) for figure in computed.figures),
        class_names=class_names,
        class_ap=_class_means(computed.precision),
        class_ap50=_class_means(computed.precision[:1]),
        num_ground_truth=np.bincount(truth.category[~truth.crowd], minlength=count),
        num_detections=np.bincount(found.category, minlength=count),
        num_images=num_images,
        engine=computed.engine,
    )


def _defined(figure: float) -> float:
    """Returns nan where the API says -1: no object of that kind."""
    return float("nan") if figure < 0 else figure


def _class_means(precision: np.ndarray) -> np.ndarray:  # [T, R, C] -> [C]
    return np.array([_defined(column.mean()) for column in np.moveaxis(precision, -1, 0)])


def _xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:  # [N, 4] -> [N, 4]
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _flat_areas(ground_truth: Sequence[ImageGroundTruth]) -> np.ndarray:  # [G] over all images
    return np.concatenate([np.empty(0), *(_areas(truth) for truth in ground_truth)])


def _areas(truth: ImageGroundTruth) -> np.ndarray:  # [G] float64
    boxes = np.asarray(truth.boxes, np.float64).reshape(-1, 4)
    if truth.areas is None:
        return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas = np.asarray(truth.areas, np.float64)
    if areas.shape != (len(boxes),):
        raise ValueError(f"areas of image {truth.id!r}: expected one a box [{len(boxes)}], got {areas.shape}")
    return areas


def as_table(result: CocoResult) -> str:
    """Returns the AP of each class and the twelve figures as aligned text of several lines."""
    columns = zip(
        result.class_names,
        result.num_ground_truth,
        result.num_detections,
        result.class_ap,
        result.class_ap50,
        strict=True,
    )
    rows = [
        (name, str(objects), str(detected), table.number(ap), table.number(ap50))
        for name, objects, detected, ap, ap50 in columns
    ]
    totals = (str(result.num_ground_truth.sum()), str(result.num_detections.sum()))
    mean = ("mean", *totals, table.number(result.ap), table.number(result.ap50))
    classes = table.align(("class", "objects", "detections", "AP", "AP50"), rows, footer=[mean])
    figures = [(title, table.number(figure)) for title, figure in zip(_TITLES, result[:12], strict=True)]
    return f"{classes}\n\n{table.align(('COCO', ''), figures)}\ncomputed by {result.engine}"


def as_dict(result: CocoResult) -> dict[str, Any]:
    """Returns the figures as plain Python values that JSON can hold; an undefined figure is None."""
    columns = zip(
        result.class_names,
        result.class_ap,
        result.class_ap50,
        result.num_ground_truth,
        result.num_detections,
        strict=True,
    )
    return {
        "metric": "COCO bounding boxes",
        "engine": result.engine,
        "num_images": result.num_images,
        **{name: table.json_number(figure) for name, figure in zip(FIGURES, result[:12], strict=True)},
        "classes": {
            name: {
                "ap": table.json_number(ap),
                "ap50": table.json_number(ap50),
                "num_ground_truth": int(objects),
                "num_detections": int(detected),
            }
            for name, ap, ap50, objects, detected in columns
        },
    }
