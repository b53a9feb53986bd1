"""From what annotation files state to what a source holds: sizes are checked, boxes repaired."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.data.decode import Header, ImageError, choose_frame, read_header
from ssd_jax.data.problems import Problems
from ssd_jax.data.repair import Box, repair_box
from ssd_jax.data.statements import AnnotatedImage, Reading
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND

SAMPLE = 32  # images whose headers are read although their stated sizes are believed
SIZELESS = "has no size in its annotation, and there is no image to read it from"
FRACTION = 1.5  # coordinates that do not exceed it are no pixels of an image worth looking at


class Record(NamedTuple):
    """What a source remembers of one image."""

    id: str
    image: Any
    size: tuple[int, int]  # (height, width)
    boxes: np.ndarray  # [G, 4] float64 xyxy, pixels
    names: tuple[str, ...]  # [G] class names
    difficult: np.ndarray  # [G] bool
    crowd: np.ndarray  # [G] bool
    areas: np.ndarray  # [G] float64, pixels^2


def with_background(class_names: Sequence[str]) -> tuple[str, ...]:
    """Puts "background" in front of given class names; () stays ()."""
    names = tuple(class_names[1:] if tuple(class_names[:1]) == (BACKGROUND,) else class_names)
    if BACKGROUND in names or len(set(names)) != len(names) or not all(names):
        raise InputError(f"data class_names: expected distinct names, {BACKGROUND!r} at most first; got {class_names}")
    return (BACKGROUND, *names) if names else ()


def judge(reading: Reading, problems: Problems, *, images_needed: bool = True) -> list[Record]:
    """Returns what can be used of each image, in the reading's order, an image once.

    An image that stands in several lists or tables gets the objects of all of them; one that
    another image took the id of is left out.

    Args:
      reading: of the format.
      problems: the tally.
      images_needed: False: an image is opened only if nothing else states its size.

    Raises:
      InputError: no image can be used.
    """
    records: dict[str, Record | None] = {}  # None: seen, and unusable
    for stated in reading.images:
        if stated.id in records:
            before, after = records[stated.id], _merged(records[stated.id], stated, problems)
            more = len(after.names) - len(before.names) if after and before else 0
            problems.add("duplicate", stated.id, f"{more} more objects" if more else "")
            records[stated.id] = after
        else:
            size = _usable_size(stated, reading, problems, images_needed)
            records[stated.id] = None if size is None else _usable_objects(stated, size, problems)
    usable = [record for record in records.values() if record is not None]
    if not usable:
        found = f"none can be used: {'; '.join(problems.lines())}" if problems else "none is listed"
        if any(entry.detail == SIZELESS for entry in problems.entries.get("missing_image", ())):
            found += f"; the first {SIZELESS}"
        raise InputError(f"{reading.name}: expected annotated images, but {found}")
    if images_needed and not reading.read_headers:
        _check_sample(usable, reading)
    _check_pixels(usable, reading)
    return usable


def _check_sample(records: Sequence[Record], reading: Reading) -> None:
    """Opens a few images of a reading whose sizes are believed, to refuse one of which nothing can be used."""
    reasons = []
    for index in np.unique(np.linspace(0, len(records) - 1, SAMPLE).round().astype(int)):
        try:
            choose_frame(read_header(open_image(records[index].image, reading.load)), records[index].size)
            return
        except ImageError as error:
            reasons.append(f"{records[index].id}: {error}")
    if reasons:
        raise InputError(f"{reading.name}: none of {len(reasons)} images tried can be used ({reasons[0]})")


def _check_pixels(records: Sequence[Record], reading: Reading) -> None:
    """Refuses boxes that are fractions of the image where pixels are expected: they would be specks in a corner."""
    boxes = np.concatenate([record.boxes for record in records])
    smallest = min(min(record.size) for record in records)
    if len(boxes) and boxes.max() <= FRACTION and smallest > 10 * FRACTION:
        raise InputError(
            f"{reading.name}: expected boxes in pixels, but all {len(boxes)} lie between 0 and {boxes.max():.3g}, "
            "as fractions of the image do"
        )


def _merged(record: Record | None, stated: AnnotatedImage, problems: Problems) -> Record | None:
    """Adds the objects that a second statement on an image has and the first has not."""
    if record is None or stated.image != record.image or not stated.objects:
        return record
    again = Problems()
    more = _usable_objects(stated, record.size, again)
    for kind, entries in again.entries.items():
        for entry in entries:
            if entry not in problems.entries.get(kind, ()):
                problems.add(kind, *entry)
    known = {(name, *box) for name, box in zip(record.names, record.boxes.tolist(), strict=True)}
    new = [(name, *box) not in known for name, box in zip(more.names, more.boxes.tolist(), strict=True)]
    more = select(more, np.array(new, bool))
    return record._replace(
        boxes=np.concatenate([record.boxes, more.boxes]),
        names=(*record.names, *more.names),
        difficult=np.concatenate([record.difficult, more.difficult]),
        crowd=np.concatenate([record.crowd, more.crowd]),
        areas=np.concatenate([record.areas, more.areas]),
    )


def select(record: Record, keep: np.ndarray) -> Record:  # keep [G] bool
    """Returns the record with some of its objects."""
    return record._replace(
        boxes=record.boxes[keep],
        names=tuple(name for name, kept in zip(record.names, keep, strict=True) if kept),
        difficult=record.difficult[keep],
        crowd=record.crowd[keep],
        areas=record.areas[keep],
    )


def _usable_size(
    stated: AnnotatedImage, reading: Reading, problems: Problems, images_needed: bool
) -> tuple[int, int] | None:
    """Returns (height, width) of the frame in which the boxes are stated; None if the image cannot be used."""
    if stated.size is not None and not (reading.read_headers and images_needed):
        return stated.size
    image = open_image(stated.image, reading.load)
    if not images_needed and isinstance(image, Path) and not image.exists():
        problems.add("missing_image", stated.id, SIZELESS)
        return None
    try:
        header = read_header(image)
    except ImageError as error:
        problems.add("bad_image", stated.id, str(error))
        return None
    if stated.size is None:
        if reading.states_size and not stated.relative:
            problems.add("no_size", stated.id)
        return header.upright
    return stated.size if _fits(header, stated, problems) else None


def open_image(image: Any, load: Callable[[Any], Path | bytes] | None) -> Path | bytes:
    """Returns the file or the bytes of an image as its reader stated it."""
    return image if load is None or isinstance(image, Path) else load(image)


def _fits(header: Header, stated: AnnotatedImage, problems: Problems) -> bool:
    try:
        frame = choose_frame(header, stated.size)
    except ImageError as error:
        problems.add("wrong_size", stated.id, str(error))
        return False
    if not frame.exact:
        problems.add("resized_image", stated.id)
    if not frame.upright:
        problems.add("unrotated", stated.id)
    return True


def _usable_objects(stated: AnnotatedImage, size: tuple[int, int], problems: Problems) -> Record:
    for _ in range(stated.unreadable):
        problems.add("no_box", stated.id)
    scale = (size[1], size[0], size[1], size[0]) if stated.relative else (1, 1, 1, 1)
    boxes, kept, seen = [], [], set()
    for item in stated.objects:
        x1, y1, x2, y2 = (value * factor for value, factor in zip(item.box, scale, strict=True))
        box, found = repair_box((x1, y1, x2, y2), size)
        for kind in found:
            problems.add(kind, stated.id, f"{item.name} {_text((x1, y1, x2, y2))} in {size[1]}x{size[0]}")
        if box is not None:
            if (item.name, box) in seen:
                problems.add("repeated", stated.id, f"{item.name} {_text(box)}")
            seen.add((item.name, box))
            boxes.append(box)
            kept.append(item)
    areas = [
        (x2 - x1) * (y2 - y1) if item.area is None else item.area
        for item, (x1, y1, x2, y2) in zip(kept, boxes, strict=True)
    ]
    return Record(
        stated.id,
        stated.image,
        size,
        np.array(boxes, np.float64).reshape(-1, 4),
        tuple(item.name for item in kept),
        np.array([item.difficult for item in kept], bool),
        np.array([item.crowd for item in kept], bool),
        np.array(areas, np.float64),
    )


def _text(box: Box) -> str:
    return "(" + ", ".join(f"{value:.7g}" for value in box) + ")"
