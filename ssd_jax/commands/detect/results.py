"""Writes what was found, in every form that is asked for, image by image and in their order."""

import collections
import contextlib
import os
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import data, files, media
from ssd_jax.commands.detect import results_files
from ssd_jax.errors import InputError
from ssd_jax.inference import DetectedObjects
from ssd_jax.types import ImageDetections

JSONL = "detections.jsonl"
_MOST_WRITERS = 4  # threads that draw and encode; each holds a picture at full size


class Counts:
    """What was done.

    Attributes:
      images, frames, objects: how many.
      skipped: (path, reason) of each file that could not be used, or not to its end.
    """

    def __init__(self) -> None:
        self.images = self.frames = self.objects = 0
        self.skipped: list[tuple[str, str]] = []


class _Pending(NamedTuple):
    """An image whose annotated copy is being written."""

    file: media.Found
    found: DetectedObjects
    picture: Future[Path] | None


class Results:
    """Writes results into a folder. Within ``with``, whatever ends it, what was added is complete in every form.

    Attributes:
      counts: what was added.
    """

    def __init__(
        self, folder: Path, forms: Collection[str], class_names: Sequence[str], images: Sequence[media.Found]
    ) -> None:
        """Opens what is written as it comes.

        Args:
          folder: that exists.
          forms: of ``forms.FORMS``.
          class_names: of the detector, background first.
          images: all that are to be added, whose names in comp4 and COCO files depend on each other.

        Raises:
          InputError: a file cannot be written, or comp4 files cannot hold a name.
        """
        self.counts = Counts()
        ids = results_files.image_ids(images)
        if "comp4" in forms:
            results_files.check_comp4(ids, class_names)
        self._ids = dict(zip((file.path for file in images), ids, strict=True))
        self._folder, self._forms, self._class_names = folder, forms, tuple(class_names)
        self._lines = media.JsonLines(folder / JSONL) if "jsonl" in forms else None
        self._pool = ThreadPoolExecutor(min(_MOST_WRITERS, os.cpu_count() or 1), thread_name_prefix="ssd_jax-write")
        self._pending: collections.deque[_Pending] = collections.deque()
        self._kept: list[ImageDetections] = []

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_) -> None:
        with contextlib.ExitStack() as stack:
            if self._lines is not None:
                stack.callback(self._lines.close)
            stack.callback(self._write_files)
            stack.callback(self._pool.shutdown, wait=True, cancel_futures=True)
            for _ in self._pending:
                stack.callback(self._finish_one)  # though another fails

    @property
    def draws(self) -> bool:
        """Whether annotated copies are wanted."""
        return "pictures" in self._forms

    def add_image(self, file: media.Found, target: Path, found: DetectedObjects) -> None:
        """Writes what was found in an image; its annotated copy goes to ``target``.

        Raises:
          InputError: the disk is full, or the like.
        """
        picture = self._pool.submit(self._draw, file.path, target, found) if self.draws else None
        self._pending.append(_Pending(file, found, picture))
        while len(self._pending) > 2 * _MOST_WRITERS:
            self._finish_one()

    def add_frame(self, shown: str, number: int, time: float, found: DetectedObjects) -> None:
        """Writes what was found in a frame of a video, counted from 0; ``time`` in seconds."""
        self._write_line({"path": shown, "frame": number, "time": round(time, 6)}, found)
        self.counts.frames += 1
        self.counts.objects += len(found.labels)

    def annotate(self, pixels: np.ndarray, found: DetectedObjects) -> np.ndarray:
        """Returns a copy of [h, w, 3] pixels with what was found drawn on it."""
        return media.annotate(pixels, as_detections(found.id, found), self._class_names)

    def skip(self, shown: str, reason: str) -> None:
        """Notes a file that cannot be used."""
        while self._pending:  # what came before it is written before it
            self._finish_one()
        self._skip(shown, reason)

    def _skip(self, shown: str, reason: str) -> None:
        self.counts.skipped.append((shown, reason))
        if self._lines is not None:
            self._lines.write({"path": shown, "error": reason})

    def _finish_one(self) -> None:
        file, found, picture = self._pending.popleft()
        written = None
        if picture is not None:
            try:
                written = picture.result()
            except data.ImageError as error:  # it could be read at a smaller size only, or has changed since
                self._skip(file.shown, str(error))
                return
        entry: dict[str, Any] = {"path": file.shown}
        if written is not None:
            entry["picture"] = str(written.relative_to(self._folder))
        self._write_line(entry, found)
        self.counts.images += 1
        self.counts.objects += len(found.labels)
        if {"comp4", "coco"} & set(self._forms):
            self._kept.append(as_detections(self._ids[file.path], found))

    def _write_line(self, entry: dict[str, Any], found: DetectedObjects) -> None:
        if self._lines is not None:
            self._lines.write({**entry, **results_files.as_entry(found)})

    def _write_files(self) -> None:
        if "comp4" in self._forms:
            results_files.write_comp4(self._folder, self._kept, self._class_names)
        if "coco" in self._forms:
            results_files.write_coco(self._folder, self._kept, self._class_names, list(self._ids.values()))

    def _draw(self, path: Path, target: Path, found: DetectedObjects) -> Path:
        picture = media.read_picture(path)
        pixels = self.annotate(picture.pixels, found)
        target, content = media.encode(pixels, target, picture.profile)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{target.parent}: this folder cannot be made ({error.strerror})") from error
        files.write_bytes(target, content)
        return target


def as_detections(image_id: str, found: DetectedObjects) -> ImageDetections:
    """Returns what was found as drawing and metrics take it."""
    return ImageDetections(image_id, found.boxes, found.scores, found.labels)
