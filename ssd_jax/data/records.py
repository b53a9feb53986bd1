"""From what annotation files say to a source: sizes are checked, boxes repaired, classes numbered.

Every format is read into the same plain statements (:class:`Reading`); judging them is done here
alone, so that dirty data is treated alike whatever file it comes from.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.data.decode import Header, ImageError, choose_frame, read_header
from ssd_jax.data.part import EVERYTHING, Part
from ssd_jax.data.problems import Problems
from ssd_jax.data.repair import Box, repair_box
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND, Example, ImageGroundTruth


class AnnotatedObject(NamedTuple):
    """One object, as its file states it; nothing is judged yet."""

    name: str  # of the class
    box: Box  # (xmin, ymin, xmax, ymax), pixels; or fractions where the image says ``relative``
    difficult: bool = False
    crowd: bool = False
    area: float | None = None  # pixels^2, of the object's mask, where the format states it


class AnnotatedImage(NamedTuple):
    """One image, as its file states it."""

    id: str  # stable, unique within the source
    image: Any  # Path; or whatever ``Reading.load`` turns into a Path or encoded bytes
    objects: Sequence[AnnotatedObject] = ()
    size: tuple[int, int] | None = None  # (height, width); None: not stated
    relative: bool = False  # boxes are fractions of width and height
    unreadable: int = 0  # objects that could not be read


class Reading(NamedTuple):
    """What a reader of a format returns; problems that it meets itself go to the tally it is given."""

    name: str  # one line, for printing
    images: Iterable[AnnotatedImage]  # in the documented order; consumed once
    # Classes that the format states, without background, in the order of their labels. They are used if they name
    # every object found; otherwise, and if there are none, the names found are used, sorted.
    class_names: tuple[str, ...] = ()
    load: Callable[[Any], Path | bytes] | None = None  # picklable; needed where ``AnnotatedImage.image`` is no Path
    read_headers: bool = True  # False: a stated size is believed, since opening a hundred thousand files takes long
    annotated: bool = True  # False: images only, such as a test set whose objects are kept secret
    states_size: bool = True  # False: the format never states a size, so that its absence is no problem
    category_ids: tuple[int, ...] = ()  # of class_names, where the format has such numbers (COCO)
    image_ids: dict[str, int] | None = None  # id -> number, where the format has such numbers (COCO)
    # (holds(id), class names) -> what the files themselves say, in COCO's format; picklable.
    coco_dataset: Callable[[Callable[[str], bool], Sequence[str]], dict[str, Any]] | None = None


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


class RecordSource:
    """Annotated images in their reader's order; all annotations are in memory, no pixels are.

    What is wrong is repaired or left out and told in ``problems`` (the table is in docs/data.md).
    Images without objects are kept.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        problems: Problems,
        class_names: Sequence[str] = (),
        unknown: str = "error",
        part: Part = EVERYTHING,
    ) -> None:
        """Judges what was read.

        Args:
          reading: of the format.
          problems: the tally that the reader uses too.
          class_names: the classes in the order of their labels, with or without "background" first;
            (): those of the reading.
          unknown: objects of a class not in ``class_names``: "error" refuses, "drop" leaves them out.
          part: which of the images belong to the source; the classes are still those of all.

        Raises:
          InputError: no image is usable, or classes are unknown.
        """
        if unknown not in ("error", "drop"):
            raise InputError(f"data unknown: expected 'error' or 'drop', got {unknown!r}")
        self.name, self.problems, self.annotated = f"{reading.name}{part}", problems, reading.annotated
        self._load = reading.load
        records = _judge(reading, problems)
        self.class_names = with_background(class_names) or _choose_names(records, reading)
        records = _drop_unknown(records, self.class_names, unknown, reading.name, problems)
        self._records = [record for record in records if part.holds(record.id)]
        if not self._records:
            raise InputError(f"{reading.name}: this part of the {len(records)} images holds none")
        self._label = {name: label for label, name in enumerate(self.class_names)}
        self.max_boxes = max(len(record.names) for record in self._records)
        self.sizes = np.array([record.size for record in self._records], np.int32)  # [N, 2] (height, width)
        # COCO's numbers, for result files: of each label (None: the file does not have it), of each id.
        numbers = dict(zip(reading.class_names, reading.category_ids, strict=False))
        self.category_ids = tuple(numbers.get(name) for name in self.class_names) if numbers else ()
        self.image_ids = reading.image_ids
        self._part, self._coco_dataset = part, reading.coco_dataset

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        height, width = record.size
        boxes = (record.boxes / [width, height, width, height]).astype(np.float32)
        return Example(
            _open(record.image, self._load),
            record.size,
            boxes,
            self._labels(record),
            record.difficult,
            record.crowd,
            record.id,
        )

    def ground_truth(self, index: int) -> ImageGroundTruth:
        """Returns the boxes of an image in pixels, exactly as annotated (or repaired); opens no image."""
        record = self._records[index]
        ignored = record.difficult | record.crowd
        return ImageGroundTruth(record.id, record.boxes, self._labels(record), ignored, record.areas)

    def coco_dataset(self) -> dict[str, Any] | None:
        """Returns what COCO's annotation files say of this source's part and classes, in their own format.

        Nothing is judged: images whose file is missing and boxes that were repaired or dropped stand there as
        annotated, for published figures count them. None if the images come from anything but such files.
        """
        if self._coco_dataset is None or not all(record.id in (self.image_ids or ()) for record in self._records):
            return None
        return self._coco_dataset(self._part.holds, self.class_names[1:])

    def ids(self) -> list[str]:
        """Returns the id of every image, in order."""
        return [record.id for record in self._records]

    def _labels(self, record: Record) -> np.ndarray:
        return np.array([self._label[name] for name in record.names], np.int32)


def with_background(class_names: Sequence[str]) -> tuple[str, ...]:
    """Puts "background" in front of given class names; () stays ()."""
    names = tuple(class_names[1:] if tuple(class_names[:1]) == (BACKGROUND,) else class_names)
    if BACKGROUND in names or len(set(names)) != len(names) or not all(names):
        raise InputError(f"data class_names: expected distinct names, {BACKGROUND!r} at most first; got {class_names}")
    return (BACKGROUND, *names) if names else ()


def _judge(reading: Reading, problems: Problems) -> list[Record]:
    records, seen = [], set()
    for stated in reading.images:
        if stated.id in seen:
            problems.add("duplicate", stated.id)
            continue
        seen.add(stated.id)
        size = _usable_size(stated, reading, problems)
        if size is not None:
            records.append(_usable_objects(stated, size, problems))
    if not records:
        found = f"none can be used: {'; '.join(problems.lines())}" if problems else "none is listed"
        raise InputError(f"{reading.name}: expected annotated images, but {found}")
    return records


def _usable_size(stated: AnnotatedImage, reading: Reading, problems: Problems) -> tuple[int, int] | None:
    """Returns (height, width) of the frame in which the boxes are stated; None if the image cannot be used."""
    if stated.size is not None and not reading.read_headers:
        return stated.size
    try:
        header = read_header(_open(stated.image, reading.load))
    except ImageError as error:
        problems.add("bad_image", stated.id, str(error))
        return None
    if stated.size is None:
        if reading.states_size and not stated.relative:
            problems.add("no_size", stated.id)
        return header.upright
    return stated.size if _fits(header, stated, problems) else None


def _open(image: Any, load: Callable[[Any], Path | bytes] | None) -> Path | bytes:
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
    boxes, kept = [], []
    for item in stated.objects:
        x1, y1, x2, y2 = (value * factor for value, factor in zip(item.box, scale, strict=True))
        box, found = repair_box((x1, y1, x2, y2), size)
        for kind in found:
            problems.add(kind, stated.id, f"{item.name} {_text((x1, y1, x2, y2))} in {size[1]}x{size[0]}")
        if box is not None:
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


def _choose_names(records: list[Record], reading: Reading) -> tuple[str, ...]:
    found = {name for record in records for name in record.names}
    if BACKGROUND in found:
        raise InputError(f"{reading.name}: {BACKGROUND!r} cannot be the class of an object")
    if reading.class_names and found <= set(reading.class_names):
        return with_background(reading.class_names)
    if not found:
        raise InputError(f"{reading.name}: no annotation names an object, so class_names must be given")
    return (BACKGROUND, *sorted(found))


def _drop_unknown(
    records: list[Record], class_names: tuple[str, ...], unknown: str, where: str, problems: Problems
) -> list[Record]:
    known = set(class_names[1:])
    strange = sorted({name for record in records for name in record.names} - known)
    if strange and unknown == "error":
        raise InputError(
            f"{where}: found objects of classes that are not in class_names: {', '.join(strange)} "
            f"(known: {', '.join(class_names[1:])}; --config.data.unknown=drop leaves them out)"
        )
    if not strange:
        return records
    return [_without_unknown(record, known, problems) for record in records]


def _without_unknown(record: Record, known: set[str], problems: Problems) -> Record:
    keep = np.array([name in known for name in record.names], bool)
    for name in record.names:
        if name not in known:
            problems.add("unknown_class", record.id, name)
    return record._replace(
        boxes=record.boxes[keep],
        names=tuple(name for name in record.names if name in known),
        difficult=record.difficult[keep],
        crowd=record.crowd[keep],
        areas=record.areas[keep],
    )
