"""Laying decoded images and their padded boxes into the arrays of a batch."""

import functools
import logging
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.data.decode import ImageError, decode_image
from ssd_jax.errors import InputError
from ssd_jax.types import Batch, Example

logger = logging.getLogger("ssd_jax.data")
Pixels = Callable[[int, Example], np.ndarray]  # index, example -> uint8 [h, w, 3]; raises ImageError; picklable

# The border between an image that cannot be read and a mistake in code. What a vanished or damaged record raises is
# its reader's choice and no closed set (OSError, ValueError, ArrayRecord's RuntimeError, protobuf's DecodeError,
# zlib.error ...), so all that a source or a decoder raises means "cannot be read", but for these, which surface as
# they are. InputError is among them: it is meant for the user already.
MISTAKES = (
    TypeError,
    AttributeError,
    LookupError,  # IndexError, KeyError; decoders that mean "damaged" by them are converted in ``decode``
    NameError,
    AssertionError,
    ImportError,
    NotImplementedError,
    RecursionError,
    MemoryError,
    InputError,
)
MOST_IN_A_ROW = 100  # unreadable images; then it is the disk, the network or the code, whatever ``on_error`` says


class Policy(NamedTuple):
    """What becomes of boxes that are hard to judge."""

    difficult: str  # "train", "ignore" or "drop"
    crowd: str  # "ignore" or "drop"


class Assembler:
    """Turns indices of a source into a batch. Picklable; the threads of a loader share it."""

    def __init__(
        self,
        source: Sequence[Example],
        canvas: tuple[int, int],
        max_boxes: int,
        policy: Policy,
        on_error: str,
        log: "OnceLog | None" = None,
    ) -> None:
        if not len(source):
            raise ValueError("source must hold at least one example, got an empty one")
        if policy.difficult not in ("train", "ignore", "drop"):
            raise ValueError(f"difficult must be 'train', 'ignore' or 'drop', got {policy.difficult!r}")
        if policy.crowd not in ("ignore", "drop"):
            raise ValueError(f"crowd must be 'ignore' or 'drop', got {policy.crowd!r}")
        if on_error not in ("skip", "stop"):
            raise ValueError(f"on_error must be 'skip' or 'stop', got {on_error!r}")
        if len(canvas) != 2 or min(canvas) < 1:
            raise ValueError(f"canvas must be a positive (height, width), got {canvas}")
        if max_boxes < 1:
            raise ValueError(f"max_boxes must be positive, got {max_boxes}")
        self.source, self.canvas, self.max_boxes = source, (canvas[0], canvas[1]), max_boxes
        self.pixels: Pixels = functools.partial(_decode, canvas=self.canvas)  # a cache may take its place
        self._policy, self._on_error, self._log = policy, on_error, OnceLog() if log is None else log
        self._failures = 0  # in a row; threads may lose a count, which does no harm
        self._sizes_known = hasattr(source, "sizes")

    def assemble(
        self,
        indices: Sequence[int | None],
        epochs: Sequence[int],
        before: Callable[[int], None] = lambda index: None,
    ) -> Batch:
        """Makes the batch of these examples; None, and what cannot be read, become an empty image.

        Args:
          indices: positions in the source.
          epochs: of each row.
          before: called with each index before its image is read.

        Raises:
          InputError: an image cannot be read and ``on_error`` is "stop", or a hundred in a row cannot.
        """
        batch = _empty_batch(len(indices), self.canvas, self.max_boxes)
        batch.epoch[:] = epochs
        for row, index in enumerate(indices):
            if index is not None:
                before(index)
                batch.index[row] = index
                self._fill(batch, row, index)
        return batch

    def name(self, index: int) -> str:
        """Returns the id of an image if the source knows its ids without reading, else its position."""
        return self.source.ids()[index] if hasattr(self.source, "ids") else f"image {index}"  # type: ignore[attr-defined]

    def _fill(self, batch: Batch, row: int, index: int) -> None:
        example = None
        try:
            example = self.source[index]
            pixels = self.pixels(index, example)
        except MISTAKES:
            raise
        except Exception as error:
            self._miss(self.name(index) if example is None else _name_file(example), error)
            return
        self._failures = 0
        batch.valid[row] = True
        if not self._sizes_known and _exceeds(example.size, self.canvas):  # else ``reductions`` knows beforehand
            self._log.info("reduced", "", "%s and others are reduced to fit %s", example.id, _describe(self.canvas))
        height, width = pixels.shape[:2]
        batch.canvas[row, :height, :width] = pixels
        batch.size[row] = height, width
        boxes, labels, ignored = self._select(example)
        batch.boxes[row, : len(labels)] = boxes
        batch.labels[row, : len(labels)] = labels
        batch.ignored[row, : len(labels)] = ignored

    def _miss(self, name: str, error: Exception) -> None:
        """Names what cannot be read, and stops where that is wanted or goes on for too long."""
        reason = _reason(error)
        if self._on_error == "stop":
            raise InputError(f"{name}: {reason} (loader.on_error is 'stop')") from error
        self._failures += 1
        if self._failures >= MOST_IN_A_ROW:
            raise InputError(
                f"{name}: {reason}, and neither can the {MOST_IN_A_ROW - 1} images tried before it be read"
            ) from error
        self._log.warning("unreadable", name, "%s: %s; its place stays empty", name, reason)

    def _select(self, example: Example) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Applies the policy and leaves out what no source should have handed over."""
        boxes = np.asarray(example.boxes, np.float32).reshape(-1, 4)
        labels = np.asarray(example.labels, np.int32).reshape(-1)
        difficult, crowd = np.asarray(example.difficult, bool), np.asarray(example.crowd, bool)
        sound = _sound(boxes, labels)
        if not sound.all():
            message = "%s: %d boxes left out: empty, outside [0, 1], not finite, or label < 1"
            self._log.warning("unsound", example.id, message, example.id, int((~sound).sum()))
        dropped = (crowd & (self._policy.crowd == "drop")) | (difficult & (self._policy.difficult == "drop"))
        ignored = crowd | (difficult & (self._policy.difficult == "ignore"))
        kept = np.flatnonzero(sound & ~dropped)
        if len(kept) > self.max_boxes:
            message = "%s: of its %d boxes the first %d are used (max_boxes)"
            self._log.warning("crowded", example.id, message, example.id, len(kept), self.max_boxes)
            kept = kept[: self.max_boxes]
        return boxes[kept].clip(0, 1), labels[kept], ignored[kept]


def reductions(source: Any, canvas: tuple[int, int]) -> str:
    """Returns a line on how many images do not fit the canvas; "" if none, or if the source does not know its sizes."""
    sizes = getattr(source, "sizes", ())
    count = sum(_exceeds(size, canvas) for size in sizes)
    return f"{count} of {len(sizes)} images are reduced to fit {_describe(canvas)}" if count else ""


def _name_file(example: Example) -> str:
    return f"{example.id} ({example.image})" if isinstance(example.image, Path) else example.id


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"
    return textwrap.shorten(text, 300, placeholder=" ...")  # in one line


def _exceeds(size: Sequence[int], canvas: tuple[int, int]) -> bool:
    return bool(size[0] > canvas[0] or size[1] > canvas[1])


def _describe(canvas: tuple[int, int]) -> str:
    return f"the canvas of {canvas[0]}x{canvas[1]} (height x width)"


def _decode(index: int, example: Example, *, canvas: tuple[int, int]) -> np.ndarray:  # uint8 [h, w, 3]
    del index  # what reads stored pixels goes by it
    return decode_image(example.image, example.size, limit=canvas)


def _empty_batch(rows: int, canvas: tuple[int, int], max_boxes: int) -> Batch:
    return Batch(
        canvas=np.zeros((rows, *canvas, 3), np.uint8),
        size=np.ones((rows, 2), np.int32),
        boxes=np.zeros((rows, max_boxes, 4), np.float32),
        labels=np.zeros((rows, max_boxes), np.int32),
        ignored=np.zeros((rows, max_boxes), bool),
        index=np.zeros(rows, np.uint32),
        epoch=np.zeros(rows, np.uint32),
        valid=np.zeros(rows, bool),
    )


def _sound(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:  # [G, 4], [G] -> [G] bool
    """Tells which boxes can be learned; 1e-3 is what rounding may add at an edge."""
    finite = np.isfinite(boxes).all(axis=1)
    inside = (boxes >= -1e-3).all(axis=1) & (boxes <= 1 + 1e-3).all(axis=1)
    return finite & inside & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (labels >= 1)


class OnceLog:
    """Says each thing once: streams are endless, and a bad file comes back every epoch."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def warning(self, kind: str, name: str, message: str, *values: Any) -> None:
        """Logs a warning unless one of this kind was logged for this name."""
        self._write(logging.WARNING, (kind, name), message, values)

    def info(self, kind: str, name: str, message: str, *values: Any) -> None:
        """Logs a remark unless one of this kind was logged for this name."""
        self._write(logging.INFO, (kind, name), message, values)

    def _write(self, level: int, what: tuple[str, str], message: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            new = what not in self._said
            self._said.add(what)
        if new:
            logger.log(level, message, *values)

    def __getstate__(self) -> set[tuple[str, str]]:  # a lock cannot travel to a worker process
        return self._said

    def __setstate__(self, said: set[tuple[str, str]]) -> None:
        self._said, self._lock = set(said), threading.Lock()
