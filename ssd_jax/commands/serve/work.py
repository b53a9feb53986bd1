"""From the bytes of a picture to what is answered: decoded and detected by one thread, for which few may wait."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ssd_jax.commands.serve import pictures
from ssd_jax.commands.serve.refusals import BUSY, Refusal
from ssd_jax.data import decode

T = TypeVar("T")


class Detector(Protocol):
    """What is needed of ``inference.Detector``."""

    @property
    def class_names(self) -> tuple[str, ...]: ...  # [0] is the background

    @property
    def canvas(self) -> tuple[int, int]: ...  # (height, width)

    @property
    def name(self) -> str: ...

    @property
    def score_threshold(self) -> float: ...  # lowest score that it finds

    def __call__(self, images: Any, *, score_threshold: float | None = None) -> Any: ...


class Timings(NamedTuple):
    """Milliseconds of one picture."""

    waiting: float  # for those that came before
    decode: float  # bytes to pixels
    network: float  # resize, network, non-maximum suppression, to the device and back
    whole: float  # from the last byte that came to the answer


class Workshop:
    """One thread that works, and a bounded number of requests that wait for it.

    One, because a second picture at the same time would be slower on the same device; and so no more than one picture
    is held decoded.
    """

    def __init__(self, places: int) -> None:
        """Starts no thread yet.

        Args:
          places: requests at a time, of which one is worked on; the next is refused.
        """
        self._free = places
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detect")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Takes a place, from before the body is read: it bounds the memory, too.

        Raises:
          Refusal: all are taken.
        """
        if self._free == 0:
            raise Refusal(BUSY, "The server is busy with other pictures; try again in a moment.", {"Retry-After": "1"})
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def run(self, function: Callable[[], T]) -> T:
        """Runs a function in the thread, after those that came before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def close(self) -> None:
        """Lets what is being worked on end, and nothing that waits begin."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def describe(
    detector: Detector, content: bytes, *, score_threshold: float, max_pixels: int, arrived: float
) -> dict[str, Any]:
    """Detects the objects of an encoded picture.

    Args:
      detector: of ``inference.Detector.load``.
      content: the file.
      score_threshold: least score.
      max_pixels: see :func:`ssd_jax.commands.serve.pictures.examine`.
      arrived: ``time.perf_counter()`` when the last byte had come.

    Returns:
      What is answered, ready for JSON: docs/serve.md tells its fields. Boxes are in pixels of the upright picture.

    Raises:
      Refusal: the picture cannot be used.
    """
    begin = time.perf_counter()
    header = pictures.examine(content, max_pixels=max_pixels)
    try:
        stored = decode.read_header(content)
        pixels = decode.decode_image(content, limit=detector.canvas)
    except decode.ImageError as error:
        raise pictures.damaged(header.format, error) from error
    decoded = time.perf_counter()
    height, width = stored.upright
    found = detector(pixels, score_threshold=max(score_threshold, detector.score_threshold))[0]
    # The detector has seen a picture reduced to its canvas.
    boxes = found.boxes * np.tile([width / pixels.shape[1], height / pixels.shape[0]], 2).astype(np.float32)
    detections = [
        {"name": name, "label": int(label), "score": _short(score), "box": [_short(x) for x in box]}
        for name, label, score, box in zip(found.names, found.labels, found.scores, boxes, strict=True)
    ]
    done = time.perf_counter()
    timings = Timings(begin - arrived, decoded - begin, done - decoded, done - arrived)
    return {
        "model": detector.name,
        "image": {
            "width": width,
            "height": height,
            "format": header.format,
            "orientation": stored.orientation,
            "animated": header.animated,
        },
        "score_threshold": score_threshold,
        "detections": detections,
        "milliseconds": {name: round(1000 * seconds, 2) for name, seconds in timings._asdict().items()},
    }


def _short(value: np.floating) -> float:
    """Returns a float32 as the shortest decimal fraction that is read back as the same float32."""
    return float(str(np.float32(value)))
