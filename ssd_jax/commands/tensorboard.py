"""What TensorBoard shows of a training. Writing needs tensorboardX, the extra "tensorboard"."""

import contextlib
import io
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssd_jax import visualize
from ssd_jax.commands import metrics_log, pictures
from ssd_jax.errors import InputError

FOLDER = "tensorboard"
PICTURES = 4  # of each evaluation
_SIDES = (320, 640)  # the longer side of a picture in pixels: labels would hide a smaller one
_FLUSH_SECONDS = 30  # how far the pages lag behind at most, but for the time between two lines


class Writer:
    """Writes event files. What earlier ones hold of steps after ``start`` is hidden, since it comes again.

    Not through tensorboardX's SummaryWriter: its queue still holds events when its ``flush`` returns, and
    once its thread died of a full disk, waits for ever.
    """

    def __init__(self, folder: Path, *, start: int) -> None:
        """Opens a new event file in a folder.

        Args:
          folder: created if it is absent.
          start: the step that the run goes on after.

        Raises:
          InputError: tensorboardX is not installed, or the folder cannot be written.
        """
        check_installed()
        from tensorboardX import event_file_writer
        from tensorboardX.proto import event_pb2, summary_pb2

        events: Any = event_pb2  # protobuf makes their classes when they are imported
        summaries: Any = summary_pb2
        self._event, self._summary, self._folder = events.Event, summaries.Summary, folder
        suffix = f".{start}.{os.getpid()}"  # named by the second alone, a quick restart would overwrite
        with self._one_sentence():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = event_file_writer.EventsWriter(str(folder / "events"), suffix)
            purge = events.SessionLog(status=events.SessionLog.START)
            self._file.write_event(self._event(step=start + 1, wall_time=time.time(), session_log=purge))
        self.flush()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        with self._one_sentence():
            self._file.close()

    def scalars(self, values: Mapping[str, Any], group: str) -> None:
        """Adds the numbers of a line of ``metrics.jsonl``, as ``group/name``; those on speed as ``speed/name``.

        Raises:
          InputError: they cannot be written.
        """
        numbers = [
            self._summary.Value(tag=f"{_place(name, group)}/{name}", simple_value=value)
            for name, value in values.items()
            if name != "step" and isinstance(value, int | float | np.number)
        ]
        if numbers:
            self._add(values["step"], numbers)

    def pictures(self, step: int, evaluation: Any) -> None:
        """Adds a few images with the boxes found in them.

        Args:
          step: of the evaluation.
          evaluation: a ``scoring.Evaluation``.

        Raises:
          InputError: they cannot be written.
        """
        for position, image in enumerate(detection_images(evaluation, count=PICTURES)):
            height, width, _ = image.shape
            picture = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=_jpeg(image))
            self._add(step, [self._summary.Value(tag=f"detections/{position}", image=picture)])

    def flush(self) -> None:
        """Waits until all that was added is on the disk.

        Raises:
          InputError: it cannot be written.
        """
        with self._one_sentence():
            self._file.flush()
        self._flushed = time.monotonic()

    def _add(self, step: int, values: list[Any]) -> None:
        event = self._event(step=step, wall_time=time.time(), summary=self._summary(value=values))
        with self._one_sentence():
            self._file.write_event(event)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    @contextlib.contextmanager
    def _one_sentence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be written ({error.strerror})") from error


def check_installed() -> None:
    """Refuses to go on without tensorboardX.

    Raises:
      InputError: it cannot be imported.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"config.train.tensorboard: expected tensorboardX to be installed, but: {error}; "
            'run: python -m pip install "tensorboardX>=2.6.5"'
        ) from error


def detection_images(evaluation: Any, *, count: int) -> Iterator[np.ndarray]:  # [h, w, 3] uint8
    """Yields images spread evenly over a source, the same at each evaluation, with what was found in them.

    Args:
      evaluation: a ``scoring.Evaluation``.
      count: images at most.
    """
    found = {entry.id: entry for entry in evaluation.detections}
    for index in np.unique(np.linspace(0, len(evaluation.source) - 1, count).round().astype(int)):
        example = evaluation.source[int(index)]
        frame = pictures.annotated_frame(example)
        longest = max(frame.shape[:2])
        scale = min(max(longest, _SIDES[0]), _SIDES[1]) / longest
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))  # width, height
        detections = found[example.id]
        shown = detections.scores >= pictures.SCORE
        yield visualize.draw_boxes(
            np.asarray(Image.fromarray(frame).resize(size)),
            detections.boxes[shown] * np.tile(np.divide(size, frame.shape[1::-1]), 2),
            detections.labels[shown],
            class_names=evaluation.class_names,
            scores=detections.scores[shown],
        )


def _place(name: str, group: str) -> str:
    return "speed" if name in metrics_log.TIMING_FIELDS else group


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=90)
    return file.getvalue()
