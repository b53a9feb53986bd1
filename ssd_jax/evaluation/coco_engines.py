"""The libraries that compute COCO's figures: pycocotools, which defines them, and hotcoco, which is faster.

hotcoco (Rust, MIT license, the extra "fast") gives every bit of pycocotools' figures and of its precisions; tests and
docs/evaluation.md say on what that was compared. Both are imported on use.
"""

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.errors import InputError

ENGINES = ("pycocotools", "fast", "auto")
FAST_VERSIONS = ((1, 3), (2,))  # of hotcoco: from the first, which was compared, to before the second
FAST_REQUIREMENT = "hotcoco>=1.3,<2"


class Annotations(NamedTuple):
    """What is to be found. Images and categories are numbered from 0 in the order of their ids, as the API has them."""

    image: np.ndarray  # [G] int64
    category: np.ndarray  # [G] int64
    boxes: np.ndarray  # [G, 4] float64 xywh, pixels
    areas: np.ndarray  # [G] float64, pixels^2: small, medium or large
    crowd: np.ndarray  # [G] bool


class Results(NamedTuple):
    """What was found, numbered like the annotations."""

    image: np.ndarray  # [D] int64
    category: np.ndarray  # [D] int64
    boxes: np.ndarray  # [D, 4] float64 xywh, pixels
    scores: np.ndarray  # [D] float64


class Computed(NamedTuple):
    """What a library says; -1 where there are no objects."""

    figures: np.ndarray  # [12] float64, in the order of the API
    precision: np.ndarray  # [T, R, C] float64: at IoU thresholds and recalls, for objects of all sizes
    engine: str  # library and version


def choose(engine: str) -> str:
    """Returns the library that an engine means: "pycocotools" or "hotcoco".

    Args:
        engine: "pycocotools"; "fast", which is hotcoco; or "auto", which is hotcoco where a version is installed that
            was compared, else pycocotools.

    Raises:
        ValueError: there is no such engine.
        InputError: "fast" is asked for and not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "pycocotools":
        return engine
    version = _version("hotcoco")
    fits = version is not None and FAST_VERSIONS[0] <= _major_minor(version) < FAST_VERSIONS[1]
    if engine == "fast" and not fits:
        got = "which is not installed" if version is None else f"got {version}"
        raise InputError(f"coco engine 'fast' needs {FAST_REQUIREMENT}, {got}: pip install '{FAST_REQUIREMENT}'")
    return "hotcoco" if fits else "pycocotools"


def _version(package: str) -> str | None:
    try:
        importlib.import_module(package)
        return metadata.version(package)
    except ImportError:  # PackageNotFoundError is one
        return None


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in version.split(".")[:2])


def compute(truth: Annotations, found: Results, *, num_images: int, num_categories: int, engine: str) -> Computed:
    """Returns COCO's figures for boxes; nothing is printed.

    Args:
        truth: the annotations.
        found: the results.
        num_images: also those without annotations.
        num_categories: also those without annotations.
        engine: of ENGINES.

    Raises:
        ValueError: there is no such engine.
        InputError: the library is not installed.
    """
    library = choose(engine)
    images, categories = ([{"id": number} for number in range(count)] for count in (num_images, num_categories))
    with contextlib.redirect_stdout(io.StringIO()):
        run = (_hotcoco if library == "hotcoco" else _pycocotools)(images, categories, truth, found)
        run.evaluate()
        run.accumulate()
        run.summarize()
    # [IoU thresholds, recalls, categories, sizes, detections an image]
    precision = np.asarray(run.eval["precision"])[:, :, :, 0, -1]
    return Computed(np.asarray(run.stats), precision, f"{library} {metadata.version(library)}")


def _pycocotools(images: list[Any], categories: list[Any], truth: Annotations, found: Results) -> Any:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError(
            "COCO metrics need the package pycocotools, which is not installed: pip install pycocotools"
        ) from error
    shared = {"images": images, "categories": categories}
    areas = found.boxes[:, 2] * found.boxes[:, 3]
    objects = _entries(truth.image, truth.category, truth.boxes, area=truth.areas, iscrowd=truth.crowd.astype(int))
    guesses = _entries(found.image, found.category, found.boxes, area=areas, score=found.scores)
    return COCOeval(
        _indexed(COCO(), {**shared, "annotations": objects}),
        _indexed(COCO(), {**shared, "annotations": [{**entry, "iscrowd": 0} for entry in guesses]}),
        "bbox",
    )


def _entries(image: np.ndarray, category: np.ndarray, boxes: np.ndarray, **others: np.ndarray) -> list[dict[str, Any]]:
    """Returns annotations as the API wants them: plain Python values, ids from 1, since 0 means "unmatched" to it."""
    columns = {"image_id": image, "category_id": category, "bbox": boxes, **others}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{"id": number, **dict(zip(columns, row, strict=True))} for number, row in enumerate(rows, start=1)]


def _indexed(api: Any, dataset: Mapping[str, Any]) -> Any:
    """Hands a dataset to an empty COCO object, which otherwise reads it from a file."""
    api.dataset = dataset
    api.createIndex()
    return api


def _hotcoco(images: list[Any], categories: list[Any], truth: Annotations, found: Results) -> Any:
    library = importlib.import_module("hotcoco")
    objects = library.COCO.from_arrays(
        images,
        [{**category, "name": str(category["id"])} for category in categories],
        truth.image,
        truth.category,
        truth.boxes,
        area=truth.areas,
        iscrowd=truth.crowd,
    )
    rows = np.column_stack([found.image, found.boxes, found.scores, found.category])  # float64 [D, 7]
    return library.COCOeval(objects, objects.load_res(rows), "bbox")


def from_dataset(
    dataset: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> tuple[Annotations, Results, list[str]]:
    """Returns annotations and results as columns, and the names of the categories.

    Annotations of unknown images and categories are left out, as the API leaves them out. They may lack the area (that
    of the box) and whether they are a crowd (no).

    Args:
        dataset: the lists images, annotations and categories of an ``instances_*.json``.
        results: entries of COCO's result format, of known images and categories.
    """
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    images, categories = _ranks([image["id"] for image in dataset["images"]]), _ranks(names)
    entries = [
        entry for entry in dataset["annotations"] if entry["image_id"] in images and entry["category_id"] in categories
    ]
    boxes = _boxes(entries)
    areas = [entry.get("area") for entry in entries]
    stated = np.array([area is not None for area in areas], bool)
    truth = Annotations(
        image=_column([images[entry["image_id"]] for entry in entries]),
        category=_column([categories[entry["category_id"]] for entry in entries]),
        boxes=boxes,
        areas=np.where(stated, np.array([area or 0 for area in areas], np.float64), boxes[:, 2] * boxes[:, 3]),
        crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in entries], bool),
    )
    found = Results(
        image=_column([images[entry["image_id"]] for entry in results]),
        category=_column([categories[entry["category_id"]] for entry in results]),
        boxes=_boxes(results),
        scores=np.array([entry["score"] for entry in results], np.float64),
    )
    return truth, found, [names[category] for category in categories]


def _ranks(ids: Any) -> dict[Any, int]:
    """Returns the place of each id in their order, in which the API takes images (for equal scores) and categories."""
    return {number: place for place, number in enumerate(np.unique(list(ids)).tolist())}


def _boxes(entries: Sequence[Mapping[str, Any]]) -> np.ndarray:  # [N, 4]
    return np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)


def _column(numbers: Sequence[int]) -> np.ndarray:  # [N]
    return np.array(numbers, np.int64)
