"""A source made of records: its annotations, of any format, are in memory; its pixels are not."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssd_jax.data.class_names import choose_names, drop_unknown
from ssd_jax.data.judge import Record, judge, open_image, with_background
from ssd_jax.data.part import EVERYTHING, Part
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import Reading
from ssd_jax.errors import InputError
from ssd_jax.types import Example, ImageGroundTruth


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
        images_needed: bool = True,
    ) -> None:
        """Judges what was read.

        Args:
          reading: of the format.
          problems: the tally that the reader uses too.
          class_names: the classes in the order of their labels, with or without "background" first;
            (): those of the reading.
          unknown: objects of a class not in ``class_names``: "error" refuses, "drop" leaves them out.
          part: which of the images belong to the source; the classes are still those of all.
          images_needed: False: see :func:`ssd_jax.data.judge.judge`.

        Raises:
          InputError: no image is usable, or classes are unknown.
        """
        if unknown not in ("error", "drop"):
            raise InputError(f"data unknown: expected 'error' or 'drop', got {unknown!r}")
        self.name, self.problems, self.annotated = f"{reading.name}{part}", problems, reading.annotated
        self._load = reading.load
        records = judge(reading, problems, images_needed=images_needed)
        self._merged = any(entry.detail for entry in problems.entries.get("duplicate", ()))
        self.class_names = with_background(class_names) or choose_names(records, reading, problems)
        records = drop_unknown(records, self.class_names, unknown, reading.name, problems)
        self._records = [record for record in records if part.holds(record.id)]
        if not self._records:
            raise InputError(f"data split: the part {part} of the {len(records)} images of {reading.name} holds none")
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
            open_image(record.image, self._load),
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
        annotated, for published figures count them. None if the images come from anything but such files,
        or from several that state objects of the same image.
        """
        known = self.image_ids or ()
        if self._coco_dataset is None or self._merged or not all(record.id in known for record in self._records):
            return None
        return self._coco_dataset(self._part.holds, self.class_names[1:])

    def count_learned(self, *, difficult: str, crowd: str) -> int:
        """Returns how many objects a loader with these policies (see ``data.make_loader``) hands to training."""
        left_out = [
            record.crowd | (record.difficult & (difficult != "train")) for record in self._records
        ]  # crowds are masked or dropped, but never learned
        return sum(int((~flags).sum()) for flags in left_out)

    def ids(self) -> list[str]:
        """Returns the id of every image, in order."""
        return [record.id for record in self._records]

    def _labels(self, record: Record) -> np.ndarray:
        return np.array([self._label[name] for name in record.names], np.int32)
