"""What a source holds: objects a class, difficult and crowd ones, empty images, sizes of images and boxes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.types import Example

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


class Annotations(NamedTuple):
    """All annotations of a source in flat arrays: G objects of N images."""

    class_names: tuple[str, ...]  # background first
    ids: tuple[str, ...]  # [N]
    sizes: np.ndarray  # [N, 2] int64 (height, width), pixels
    image: np.ndarray  # [G] int64: position of the object's image in the source
    boxes: np.ndarray  # [G, 4] float32, normalized xyxy
    labels: np.ndarray  # [G] int32, >= 1
    difficult: np.ndarray  # [G] bool
    crowd: np.ndarray  # [G] bool

    def learned(self, *, difficult: str = "train", crowd: str = "drop") -> np.ndarray:  # [G] bool
        """Returns which objects training learns under a policy of ``data.make_loader``, where a crowd never is.

        Args:
          difficult: "train", "ignore" or "drop".
          crowd: "ignore" or "drop"; either way it is not learned.
        """
        if difficult not in ("train", "ignore", "drop"):
            raise ValueError(f"difficult must be 'train', 'ignore' or 'drop', got {difficult!r}")
        if crowd not in ("ignore", "drop"):
            raise ValueError(f"crowd must be 'ignore' or 'drop', got {crowd!r}")
        return ~self.crowd & (~self.difficult | (difficult == "train"))


class Counts(NamedTuple):
    """What there is how often; C foreground classes."""

    class_names: tuple[str, ...]  # without background
    images_with: np.ndarray  # [C] int64: images that hold the class at least once
    objects: np.ndarray  # [C] int64, difficult and crowd ones included
    difficult: np.ndarray  # [C] int64
    crowd: np.ndarray  # [C] int64
    num_images: int
    num_objects: int
    num_empty: int  # images without any object
    boxes_per_image: tuple[tuple[str, int], ...]  # (objects, images with so many): ("0", 3), ("1", 90), ("3-4", 7)
    sizes: tuple[tuple[int, int], ...]  # (height, width) of the smallest, the median and the largest image, by area
    box_sides: tuple[tuple[int, float, float], ...]  # (percentile, share of the image's width, of its height)


def collect(source: Sequence[Example], progress: Callable[[int], None] | None = None) -> Annotations:
    """Reads all annotations of a source, once; no image is decoded.

    Args:
      source: anything with ``__len__``, ``__getitem__`` and ``class_names``.
      progress: called with the number of images read so far.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    ids, sizes = [], []
    for index in range(len(source)):
        example = source[index]
        boxes = np.asarray(example.boxes, np.float32).reshape(-1, 4)
        parts.append((boxes, example.labels, example.difficult, example.crowd, np.full(len(boxes), index)))
        ids.append(example.id)
        sizes.append(example.size)
        if progress is not None:
            progress(index + 1)
    boxes, labels, difficult, crowd, image = zip(*parts, strict=True) if parts else [()] * 5
    return Annotations(
        class_names=tuple(source.class_names),  # pyright: ignore[reportAttributeAccessIssue]
        ids=tuple(ids),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        image=_joined(image, np.int64),
        boxes=_joined(boxes, np.float32).reshape(-1, 4),
        labels=_joined(labels, np.int32),
        difficult=_joined(difficult, np.bool_),
        crowd=_joined(crowd, np.bool_),
    )


def count(annotations: Annotations) -> Counts:
    """Counts classes, images and boxes."""
    num_images, num_classes = len(annotations.ids), len(annotations.class_names)
    objects_of = np.bincount(annotations.image, minlength=num_images)  # [N]
    pairs = np.unique(np.stack([annotations.image, annotations.labels], axis=1), axis=0)  # each image and class once

    def per_class(labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=num_classes)[1:num_classes]

    return Counts(
        class_names=annotations.class_names[1:],
        images_with=per_class(pairs[:, 1]),
        objects=per_class(annotations.labels),
        difficult=per_class(annotations.labels[annotations.difficult]),
        crowd=per_class(annotations.labels[annotations.crowd]),
        num_images=num_images,
        num_objects=len(annotations.labels),
        num_empty=int((objects_of == 0).sum()),
        boxes_per_image=_histogram(objects_of),
        sizes=_typical_sizes(annotations.sizes),
        box_sides=_side_percentiles(annotations.boxes),
    )


def _joined(parts: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(part, dtype).reshape(-1) for part in parts)])


def _histogram(values: np.ndarray) -> tuple[tuple[str, int], ...]:  # [N] int
    """Counts in bins 0, 1, 2, 3-4, 5-8, 9-16, ...; those between the first and the last that occur are all listed."""
    rows, low, high = [], 0, 0
    while low <= values.max(initial=-1):
        rows.append((f"{low}" if low == high else f"{low}-{high}", int(((values >= low) & (values <= high)).sum())))
        low, high = high + 1, max(1, 2 * high)
    first = next((k for k, (_, images) in enumerate(rows) if images), 0)
    return tuple(rows[first:])


def _typical_sizes(sizes: np.ndarray) -> tuple[tuple[int, int], ...]:  # [N, 2]
    if not len(sizes):
        return ()
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    return tuple((int(h), int(w)) for h, w in sizes[order[[0, len(order) // 2, -1]]])


def _side_percentiles(boxes: np.ndarray) -> tuple[tuple[int, float, float], ...]:  # [G, 4]
    if not len(boxes):
        return ()
    widths, heights = (np.percentile(side, PERCENTILES) for side in (boxes[:, 2:] - boxes[:, :2]).T)
    return tuple((p, float(w), float(h)) for p, w, h in zip(PERCENTILES, widths, heights, strict=True))
