"""What a source of images is, how to make one, and its ground truth in pixels."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ssd_jax.data.formats import coco, csv_table, folder, ilsvrc, tfds_records, voc, yolo
from ssd_jax.data.part import parse_part
from ssd_jax.data.problems import Problems
from ssd_jax.data.records import RecordSource
from ssd_jax.data.shapes.source import ShapesSource
from ssd_jax.data.statements import AnnotatedImage
from ssd_jax.errors import InputError
from ssd_jax.types import Example, ImageGroundTruth

READERS = {  # kind -> reader of its format; each documents its options and its splits
    "voc": voc.read,
    "coco": coco.read,
    "ilsvrc": ilsvrc.read,
    "yolo": yolo.read,
    "csv": csv_table.read,
    "tfds": tfds_records.read,
    "folder": folder.read,
}
KINDS = (*READERS, "shapes")
IMAGELESS = ("voc", "coco", "ilsvrc", "csv")  # formats that may state the sizes of images


class Source(Protocol):
    """An ordered collection of annotated images; it must be picklable.

    The loaders accept anything with ``__len__`` and ``__getitem__``; the attributes are what the
    commands print and derive from. A source may further have ``ground_truth(i)``, which returns
    the annotation in pixels as it stands in the file.
    """

    class_names: tuple[str, ...]  # [0] == "background"
    name: str  # one line, for printing
    max_boxes: int  # of any one image
    problems: Problems  # what was repaired or left out

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def make_source(
    *,
    kind: str,
    split: str,
    root: str = "",
    class_names: Sequence[str] = (),
    unknown: str = "error",
    negatives: str = "",
    image_files: str = "required",
    **options,
) -> Source:
    """Makes the source that a recipe's data section describes.

    Args:
      kind: the format, one of ``READERS``, or "shapes" (rendered, no files needed).
      split: which part; what it may be is said by the reader's docstring. "SPLIT[:80%]" and
        "SPLIT[80%:]" divide its images by a hash of their ids (see :mod:`ssd_jax.data.part`).
      root: the folder; unused by "shapes".
      class_names: the classes in the order of their labels, with or without "background" first;
        (): those stated by the format, or found in the annotations.
      unknown: objects of a class not in ``class_names``: "error" refuses, "drop" leaves them out.
      negatives: a folder of images without objects, added behind those of the split ("[:80%]" divides them too);
        none of them may be an image of the split that has objects.
      image_files: "required"; or "optional": what the annotations say suffices, where the format can state the size
        of an image (``IMAGELESS``). An example of an absent image names the file that it would be.
      **options: keyword arguments of the reader, which documents them.

    Raises:
      InputError: the data cannot be used; the message names the file or the argument.
    """
    if kind == "shapes":
        if negatives:
            raise InputError(f"data negatives: shapes are rendered and take no folder, got {negatives!r}")
        return ShapesSource(root=root, split=split, class_names=tuple(class_names), **options)
    if kind not in READERS:
        raise InputError(f"data kind: expected one of {', '.join(KINDS)}; got {kind!r}")
    if image_files not in ("required", "optional"):
        raise InputError(f"data image_files: expected 'required' or 'optional', got {image_files!r}")
    optional = image_files == "optional" and kind in IMAGELESS
    if optional:
        options["image_files"] = image_files
    problems = Problems()
    whole, part = parse_part(split)
    reading = READERS[kind](root, whole, problems=problems, **options)
    if negatives:
        images = _with_negatives(reading.images, folder.negatives(negatives, problems=problems), reading.name)
        reading = reading._replace(images=images, name=f"{reading.name} and negatives of {negatives}")
    return RecordSource(
        reading, problems=problems, class_names=class_names, unknown=unknown, part=part, images_needed=not optional
    )


def _with_negatives(
    images: Iterable[AnnotatedImage], negatives: Sequence[AnnotatedImage], name: str
) -> Iterator[AnnotatedImage]:
    """Yields the images, then the negatives.

    Raises:
      InputError: a negative is the same file as one of the images with objects.
    """
    with_objects: set[str] = set()
    for image in images:
        if image.objects and isinstance(image.image, Path):
            with_objects.add(os.path.realpath(image.image))
        yield image
    for negative in negatives:
        if os.path.realpath(negative.image) in with_objects:
            raise InputError(
                f"data negatives: expected images without objects, but {negative.image} has some in {name}"
            )
    yield from negatives


def ground_truth(source: Sequence[Example]) -> list[ImageGroundTruth]:
    """Returns the annotation of every image of the source, in its order, for evaluation.

    Boxes are in pixels of the annotation's frame; the ids equal ``Example.id``. Difficult and
    crowd boxes are ``ignored``.
    """
    exact = getattr(source, "ground_truth", None)
    if exact is not None:
        return [exact(index) for index in range(len(source))]
    return [pixel_ground_truth(source[index]) for index in range(len(source))]


def pixel_ground_truth(example: Example) -> ImageGroundTruth:
    """Scales an example's boxes to pixels, rounded to 1/1000 px.

    float32 states a coordinate of a 10,000 px wide image to 0.0006 px, so the rounding gives back
    integers (and most decimal fractions) exactly.
    """
    height, width = example.size
    boxes = np.asarray(example.boxes, np.float64).reshape(-1, 4) * [width, height, width, height]
    ignored = np.asarray(example.difficult, bool) | np.asarray(example.crowd, bool)
    return ImageGroundTruth(example.id, boxes.round(3), np.asarray(example.labels, np.int32), ignored)
