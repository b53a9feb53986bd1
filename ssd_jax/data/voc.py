"""Folders in the layout of PASCAL VOC: the VOCdevkit and custom ones."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssd_jax.data.decode import Header, ImageError, choose_frame, read_header
from ssd_jax.data.problems import Problems
from ssd_jax.data.repair import repair_box
from ssd_jax.data.voc_layout import VocPart, annotation_stems, images_by_stem, parse_split, read_list
from ssd_jax.data.voc_xml import AnnotationError, VocAnnotation, read_annotation
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND, Example, ImageGroundTruth

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class VocRecord(NamedTuple):
    """What a source remembers of one image."""

    id: str
    image: Path
    size: tuple[int, int]  # (height, width)
    boxes: np.ndarray  # [G, 4] float64, pixels
    names: tuple[str, ...]  # [G] class names
    difficult: np.ndarray  # [G] bool


class VocSource:
    """Images and boxes of one or more lists of a VOC-layout folder, in the order of the lists.

    All annotations and image headers are read once, here; what is wrong is repaired or left out
    and told in ``problems`` (the table is in docs/data.md). Images without objects are kept.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str,
        class_names: tuple[str, ...] = (),
        unknown: str = "error",
        one_based: bool = False,
    ) -> None:
        """Reads the annotations.

        Args:
          root: a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or one above such folders.
          split: "[FOLDER/]NAME", several joined by "+": "VOC2007/trainval+VOC2012/trainval". NAME is
            a list ImageSets/Main/NAME.txt, or "all": every annotation, sorted by name. With several
            parts the ids are prefixed by their folder.
          class_names: as in ``make_source``. () takes the names found, sorted; or, if every folder
            is called VOC followed by a year and all names found are VOC's, VOC's 20 in their usual order.
          unknown: objects of a class not in ``class_names``: "error" refuses, "drop" leaves them out.
          one_based: False: a pixel coordinate is divided by width or height as it stands, as in the
            original SSD. True: 1 is subtracted from all four coordinates first.

        Raises:
          InputError: a path does not exist, no image is usable, or classes are unknown.
        """
        if unknown not in ("error", "drop"):
            raise InputError(f"data unknown: expected 'error' or 'drop', got {unknown!r}")
        parts = parse_split(Path(root), split)
        self.name = f"{root} {split}"
        self.problems = Problems()
        self._records = _read_parts(parts, self.problems, shift=1.0 if one_based else 0.0)
        self.class_names = _with_background(class_names) or _found_names(self._records, parts)
        self._drop_unknown(unknown)
        self._label = {name: label for label, name in enumerate(self.class_names)}
        self.max_boxes = max(len(record.names) for record in self._records)
        self.sizes = np.array([record.size for record in self._records], np.int32)  # [N, 2] (height, width)

    def _drop_unknown(self, unknown: str) -> None:
        known = set(self.class_names[1:])
        strange = sorted({name for record in self._records for name in record.names} - known)
        if strange and unknown == "error":
            raise InputError(
                f"{self.name}: found objects of classes that are not in class_names: {', '.join(strange)} "
                f"(known: {', '.join(self.class_names[1:])}; unknown='drop' leaves them out)"
            )
        for index, record in enumerate(self._records):
            keep = np.array([name in known for name in record.names], bool)
            if keep.all():
                continue
            for _ in range(int((~keep).sum())):
                self.problems.add("unknown_class", record.id)
            names = tuple(name for name in record.names if name in known)
            self._records[index] = record._replace(
                boxes=record.boxes[keep], names=names, difficult=record.difficult[keep]
            )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        height, width = record.size
        boxes = (record.boxes / [width, height, width, height]).astype(np.float32)
        crowd = np.zeros(len(record.names), bool)
        return Example(record.image, record.size, boxes, self._labels(record), record.difficult, crowd, record.id)

    def ground_truth(self, index: int) -> ImageGroundTruth:
        """Returns the boxes of an image in pixels, exactly as annotated (or repaired)."""
        record = self._records[index]
        return ImageGroundTruth(record.id, record.boxes, self._labels(record), record.difficult)

    def _labels(self, record: VocRecord) -> np.ndarray:
        return np.array([self._label[name] for name in record.names], np.int32)


def _read_parts(parts: list[VocPart], problems: Problems, shift: float) -> list[VocRecord]:
    records, seen, listed = [], set(), 0
    for part in parts:
        images, annotations = images_by_stem(part.folder), annotation_stems(part.folder)
        for stem in read_list(part):
            listed += 1
            if part.prefix + stem in seen:
                problems.add("duplicate", part.prefix + stem)
                continue
            seen.add(part.prefix + stem)
            record = _read_record(part, stem, images, annotations, problems, shift)
            if record is not None:
                records.append(record)
    if not records:
        where = " and ".join(f"{part.folder} ({part.name})" for part in parts)
        reasons = f": {'; '.join(problems.lines())}" if problems else ""
        raise InputError(f"{where}: expected annotated images, but none of the {listed} listed can be used{reasons}")
    return records


def _read_record(
    part: VocPart, stem: str, images: dict[str, Path], annotations: set[str], problems: Problems, shift: float
) -> VocRecord | None:
    name = part.prefix + stem
    if stem not in annotations:
        problems.add("missing_annotation", name)
        return None
    if stem not in images:
        problems.add("missing_image", name)
        return None
    try:
        annotation = read_annotation(part.folder / "Annotations" / f"{stem}.xml")
    except AnnotationError:
        problems.add("bad_annotation", name)
        return None
    try:
        header = read_header(images[stem])
    except ImageError:
        problems.add("bad_image", name)
        return None
    size = _check_size(annotation, header, problems, name)
    if size is None:
        return None
    return _usable_objects(VocRecord(name, images[stem], size, *_NO_OBJECTS), annotation, problems, shift)


_NO_OBJECTS = (np.zeros((0, 4)), (), np.zeros(0, bool))


def _check_size(annotation: VocAnnotation, header: Header, problems: Problems, name: str) -> tuple[int, int] | None:
    try:
        frame = choose_frame(header, annotation.size)
    except ImageError:
        problems.add("wrong_size", name)
        return None
    if annotation.size is None:
        problems.add("no_size", name)
        return header.upright
    if not frame.exact:
        problems.add("resized_image", name)
    if not frame.upright:
        problems.add("unrotated", name)
    return annotation.size


def _usable_objects(record: VocRecord, annotation: VocAnnotation, problems: Problems, shift: float) -> VocRecord:
    for _ in range(annotation.unreadable):
        problems.add("no_box", record.id)
    boxes, names, difficult = [], [], []
    for item in annotation.objects:
        x1, y1, x2, y2 = item.box
        box, found = repair_box((x1 - shift, y1 - shift, x2 - shift, y2 - shift), record.size)
        for kind in found:
            problems.add(kind, record.id)
        if box is not None:
            boxes.append(box)
            names.append(item.name)
            difficult.append(item.difficult)
    return record._replace(
        boxes=np.array(boxes, np.float64).reshape(-1, 4), names=tuple(names), difficult=np.array(difficult, bool)
    )


def _with_background(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Puts "background" in front of given class names; () stays ()."""
    names = tuple(class_names[1:] if class_names[:1] == (BACKGROUND,) else class_names)
    if BACKGROUND in names or len(set(names)) != len(names) or not all(names):
        raise InputError(f"data class_names: expected distinct names, {BACKGROUND!r} at most first; got {class_names}")
    return (BACKGROUND, *names) if names else ()


def _found_names(records: list[VocRecord], parts: list[VocPart]) -> tuple[str, ...]:
    found = {name for record in records for name in record.names}
    if not found:
        raise InputError(f"{parts[0].folder}: no annotation names an object, so class_names must be given")
    if BACKGROUND in found:
        raise InputError(f"{parts[0].folder}: {BACKGROUND!r} cannot be the class of an object")
    official = all(re.fullmatch(r"VOC\d{4}", part.folder.resolve().name) for part in parts)
    if official and found <= set(VOC_CLASSES):
        return (BACKGROUND, *VOC_CLASSES)
    return (BACKGROUND, *sorted(found))
