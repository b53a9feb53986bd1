"""What all files of detections share: rows become the detections of images, ids are matched, content is checked."""

import difflib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.types import ImageDetections


class Rows(NamedTuple):
    """Detections of many images as they stand in a file."""

    image: np.ndarray  # [N] int64: position of the image
    boxes: np.ndarray  # [N, 4] float64 xyxy, pixels
    scores: np.ndarray  # [N] float64
    labels: np.ndarray  # [N] int64, >= 1


def to_images(rows: Rows, ids: Sequence[str]) -> list[ImageDetections]:
    """Returns one entry an id, in their order, also for images without detections.

    Within an image the best score comes first; equal ones are in the order of their labels, then of the rows. Boxes and
    scores are float32 if that holds every number of the rows, as it does for what this library has written. Others stay
    float64: with float32, COCO's AP of its own example (fakebbox100) would be 0.504 instead of 0.505, since boxes lie
    exactly on the thresholds of overlap.
    """
    order = np.lexsort((rows.labels, -rows.scores, rows.image))  # stable
    bounds = np.searchsorted(rows.image[order], np.arange(len(ids) + 1)).tolist()
    exact = all(np.array_equal(numbers, numbers.astype(np.float32)) for numbers in (rows.boxes, rows.scores))
    dtype = np.float32 if exact else np.float64
    boxes, scores = rows.boxes[order].astype(dtype), rows.scores[order].astype(dtype)
    labels = rows.labels[order].astype(np.int32)
    return [
        ImageDetections(name, boxes[start:end], scores[start:end], labels[start:end])
        for name, start, end in zip(ids, bounds, bounds[1:], strict=False)
    ]


def fits_float32(numbers: np.ndarray) -> np.ndarray:  # [...] -> [...] bool
    """Tells which numbers are finite and, so that products of them are, within the range of float32."""
    return np.abs(numbers) <= np.finfo(np.float32).max  # False of nan


def check_detections(detections: Sequence[ImageDetections], *, num_classes: int) -> None:
    """Refuses what cannot be stated in any format.

    Args:
      detections: to be stated.
      num_classes: with the background.

    Raises:
      ValueError: the arrays of an image differ in length.
      InputError: an image occurs twice, a label is unknown, or a number is not finite.
    """
    seen: set[str] = set()
    for found in detections:
        what, boxes = f"detections of image {found.id!r}", np.reshape(found.boxes, (-1, 4))
        if not len(boxes) == len(found.scores) == len(found.labels):
            raise ValueError(f"{what}: expected as many boxes as scores and labels, got {len(boxes)} boxes")
        if found.id in seen:
            raise InputError(f"detections: expected each image at most once in a list, got {found.id!r} twice")
        seen.add(found.id)
        if not (fits_float32(boxes).all() and fits_float32(np.asarray(found.scores)).all()):
            raise InputError(f"{what}: expected finite numbers, got nan or infinity")
        outside = [label for label in np.asarray(found.labels).tolist() if not 0 < label < num_classes]
        if outside:
            raise InputError(f"{what}: expected labels 1 to {num_classes - 1}, got {outside[0]}")


def check_corners(detections: Sequence[ImageDetections]) -> None:
    """Refuses boxes with reversed corners, which metrics take for misses without a word, but no file should hold."""
    for found in detections:
        boxes = np.reshape(found.boxes, (-1, 4))
        turned = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)]
        if len(turned):
            raise InputError(
                f"detections of image {found.id!r}: expected boxes with xmin <= xmax and ymin <= ymax, "
                f"got {turned[0].tolist()}"
            )


def match_ids(found: Sequence[str], ids: Sequence[str], *, place: Callable[[str], str], whose: str) -> list[int]:
    """Returns the position in ``ids`` of each image that a file has detections of.

    The file's id is the image's own, or the last part of it behind a slash where no other image has that part:
    official files say 000001 of VOC2007/000001.

    Args:
      found: the distinct ids of the file.
      ids: of the source.
      place: returns the file, and the line in it that first has an id, for messages.
      whose: the name of the source, for messages.

    Raises:
      InputError: an image is unknown, may be several, or goes by two ids.
    """
    own = {name: position for position, name in enumerate(ids)}
    short: dict[str, list[int]] = {}
    for position, name in enumerate(ids):
        short.setdefault(name.rpartition("/")[2], []).append(position)
    candidates = {name: [own[name]] if name in own else short.get(name, []) for name in found}
    unknown = [name for name in found if not candidates[name]]
    if unknown:
        hint = _hint(unknown[0], ids)
        raise unknown_images(unknown, len(found), ids, place=place(unknown[0]), whose=whose, example=ids[0], hint=hint)
    owners: dict[int, str] = {}
    for name, positions in candidates.items():
        if len(positions) > 1:
            several = " or ".join(repr(ids[position]) for position in positions[:2])
            raise InputError(f"{place(name)}: expected ids that mean one image, but {name!r} may be {several}")
        other = owners.setdefault(positions[0], name)
        if other != name:
            raise InputError(f"{place(name)}: expected one id an image, but {other!r} and {name!r} mean the same")
    return [candidates[name][0] for name in found]


OTHER_SPLIT = " (are the detections of another split?)"


def unknown_images(
    unknown: Sequence[object],
    count: int,
    ids: Sequence[str],
    *,
    place: str,
    whose: str,
    example: object,
    hint: str = OTHER_SPLIT,
) -> InputError:
    """Returns the error for detections of unknown images; it shows an example of each side.

    Args:
      unknown: what the file calls images that the source does not have.
      count: of all images in the file.
      ids: of the source.
      place: the file and the line that has the first of them.
      whose: the name of the source.
      example: what the file should call the first image.
      hint: to what may be wrong, in brackets.
    """
    if len(unknown) == count:
        counts = f"none of the {count} in the file is one of them, such as {unknown[0]!r}"
    else:
        counts = f"{len(unknown)} of the {count} in the file are unknown, the first {unknown[0]!r}"
    return InputError(
        f"{place}: expected images of {whose} ({len(ids)} images, such as {example!r}), but {counts}{hint}"
    )


def _hint(unknown: str, ids: Sequence[str]) -> str:
    """Says what would have to change in an id for it to fit."""
    known = {name.rpartition("/")[2] for name in ids} | set(ids)
    last = unknown.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0]
    if last in known:
        return f" (without the folder it would be {last!r})"
    if stem in known:
        return f" (without the extension it would be {stem!r})"
    if last.isdecimal():
        padded = [name for name in known if name.isdecimal() and int(name) == int(last)]
        padded = padded or [name for name in known if name.endswith(f"_{last.zfill(12)}")]  # COCO_val2014_000000000042
        if padded:
            return f" (it seems to be {padded[0]!r}, with other leading characters)"
    same = [name for name in known if name.casefold() == last.casefold()]
    return f" (upper and lower case differ: {same[0]!r})" if same else OTHER_SPLIT


def class_hint(name: str, class_names: Sequence[str]) -> str:
    """Returns " (did you mean 'boat'?)", or nothing if no class is similar."""
    folded = {known.casefold(): known for known in class_names}
    similar = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[similar[0]]!r}?)" if similar else ""
