"""What a source of images is, how to make one, and its ground truth in pixels."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ssd_jax.data.problems import Problems
from ssd_jax.data.shapes import ShapesSource
from ssd_jax.data.voc import VocSource
from ssd_jax.errors import InputError
from ssd_jax.types import Example, ImageGroundTruth

KINDS = {"voc": VocSource, "shapes": ShapesSource}


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


def make_source(*, kind: str, split: str, root: str = "", class_names: Sequence[str] = (), **options) -> Source:
    """Makes the source that a recipe's data section describes.

    Args:
      kind: "voc" (folders in the layout of PASCAL VOC) or "shapes" (rendered, no files needed).
      split: which part; see :class:`VocSource` and :class:`ShapesSource`.
      root: the folder; unused by "shapes".
      class_names: the classes in the order of their labels, with or without "background" first;
        (): those found in the annotations.
      **options: keyword arguments of the source's class, which documents them.

    Raises:
      InputError: the data cannot be used; the message names the file or the argument.
    """
    if kind not in KINDS:
        raise InputError(f"data kind must be one of {', '.join(KINDS)}; got {kind!r}")
    return KINDS[kind](root=root, split=split, class_names=tuple(class_names), **options)


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
