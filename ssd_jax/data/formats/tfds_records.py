"""Datasets prepared by TensorFlow Datasets: ``voc/2007``, ``voc/2012`` and ``coco/2017``, without TensorFlow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.data import tfds
from ssd_jax.data.decode import ImageError, read_header
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError

SECRET = (("voc/2012", "test"), ("coco/2017", "test"))  # their objects are not published
DIGITS = 3  # decimals of a pixel to which boxes are rounded, see _objects


class _Part(NamedTuple):
    """One split of one dataset."""

    examples: Sequence[dict[str, Any]]  # as TFDS gives them; see _images for what is used
    class_names: tuple[str, ...]  # by label, which starts at 0
    prefix: str  # of its ids


def read(root: str, split: str, *, problems: Problems) -> Reading:
    """Reads datasets that ``python -m ssd_jax.commands.prepare`` (or TFDS itself) has prepared.

    All records are read once at the start, for the annotations and the sizes of the images; the
    images are read again when they are needed. The order is that of TFDS: shuffled once, and the
    same everywhere.

    Boxes are the pixels of the original annotation, rounded to 1/1000: TFDS keeps them as float32
    fractions of width and height. Of COCO, TFDS keeps only the integer part of an object's area, and no
    category numbers: COCO's figures by object size may differ a little from those against
    instances_val2017.json, which reports should use.

    Args:
      root: TFDS's data_dir.
      split: "NAME:SPLIT", several joined by "+", such as "voc/2007:trainval+voc/2012:trainval" (the
        paper's 07+12). NAME is one of ``tfds.NAMES``, SPLIT is train, validation or test, or for VOC
        trainval, which is train, then validation. With several parts the ids are prefixed by NAME. The
        test sets of voc/2012 and coco/2017 are images only.
      problems: the tally.

    Raises:
      InputError: a dataset is unknown, not prepared, or prepared in another format than ArrayRecord or
        TFRecord.
    """
    if not Path(root).is_dir():
        raise InputError(f"data root: expected the data_dir of TensorFlow Datasets, but {root} is not a folder")
    pairs = [_parse(text, split) for text in split.split("+")]
    opened = {name: _find(Path(root), name) for name, _ in pairs}
    parts: list[_Part] = []
    for name, part in pairs:
        for each in ("train", "validation") if part == "trainval" else (part,):
            prefix = f"{name}/" if len(pairs) > 1 else ""
            parts.append(_Part(opened[name].open(each), opened[name].class_names, prefix))
    secret = [pair in SECRET for pair in pairs]
    if any(secret) and not all(secret):
        raise InputError(f"data split: expected parts that all have annotations, or none; got {split!r}")
    classes = {prepared.class_names for prepared in opened.values()}
    return Reading(
        name=f"{root} {split}",
        images=_images(parts, problems),
        class_names=classes.pop() if len(classes) == 1 else (),
        load=_Images([part.examples for part in parts]),
        read_headers=False,  # done here, where each record is read anyway
        annotated=not any(secret),
        states_size=False,
    )


class _Images:
    """Fetches the encoded image at (part, row)."""

    def __init__(self, parts: list[Sequence[dict[str, Any]]]) -> None:
        self._parts = parts

    def __call__(self, place: tuple[int, int]) -> bytes:
        return self._parts[place[0]][place[1]]["image"]


def _images(parts: list[_Part], problems: Problems) -> Iterator[AnnotatedImage]:
    for number, part in enumerate(parts):
        for row in range(len(part.examples)):
            example = part.examples[row]
            name = part.prefix + Path(str(example["image/filename"], "utf-8")).stem
            try:
                # As stored, like the annotations: TensorFlow's decoder does not know EXIF.
                height, width = read_header(example["image"]).size
            except ImageError as error:
                problems.add("bad_image", name, str(error))
                continue
            yield AnnotatedImage(name, (number, row), _objects(part, example, height, width), (height, width))


def _objects(part: _Part, example: dict[str, Any], height: int, width: int) -> list[AnnotatedObject]:
    columns = example["objects"]
    boxes = np.asarray(columns["bbox"], np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]  # from yxyx; [] of no objects
    # float32 states a coordinate of a 10,000 px wide image to 0.0006 px: integers and the two decimals of COCO come
    # back exactly.
    boxes = (boxes * [width, height, width, height]).round(DIGITS)
    nothing = [0] * len(boxes)
    rows = zip(
        columns["label"],
        boxes.tolist(),
        columns.get("is_difficult", nothing),
        columns.get("is_crowd", nothing),
        columns.get("area", [None] * len(boxes)),
        strict=True,
    )
    return [
        AnnotatedObject(
            part.class_names[label],
            (box[0], box[1], box[2], box[3]),
            difficult=bool(difficult),
            crowd=bool(crowd),
            area=None if area is None else float(area),
        )
        for label, box, difficult, crowd, area in rows
    ]


def _parse(text: str, split: str) -> tuple[str, str]:
    """Separates "voc/2007:train" into dataset and split, and checks both."""
    name, _, part = text.strip().partition(":")
    known = ("train", "validation", "test", *(("trainval",) if name.startswith("voc/") else ()))
    if name not in tfds.NAMES or part not in known:
        raise InputError(
            f"data split: expected NAME:SPLIT joined by '+', with NAME one of {', '.join(tfds.NAMES)} and SPLIT one of "
            f"{', '.join(known)}; got {split!r}"
        )
    return name, part


def _find(root: Path, name: str) -> tfds.Prepared:
    prepared = tfds.find_prepared(root, name)
    if prepared is None:
        command = f"python -m ssd_jax.commands.prepare {name} --data_dir={root}"
        raise InputError(f"data root: {root} holds no prepared {name}; prepare it by {command}")
    return prepared
