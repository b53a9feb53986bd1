"""Videos and cameras -> frames, through PyAV (the extra "video"), which brings FFmpeg's libraries along."""

import math
import sys
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.errors import InputError


class Frame(NamedTuple):
    """One picture of a video."""

    pixels: np.ndarray  # [h, w, 3] uint8 RGB, upright
    stamp: int  # when it is shown, in units of the clip's time base
    time: float  # the same in seconds


class Clip:
    """An opened video. Iterating gives its frames in the order in which they are shown, each decoded when asked for.

    Attributes:
      name: for messages.
      is_live: it comes from a camera and does not end.
      size: (height, width), upright.
      rate: frames a second, on average; None = not known.
      time_base: seconds of a unit of the stamps.
      pixel_aspect: width of a pixel by its height.
      num_frames: as the file says, or estimated by its length; None = not known.
      has_sound: whether it has a stream of sound.
      lost: in words, what an annotated copy cannot keep.
      problems: in words, what was found damaged while it was read.
    """

    def __init__(self, container: Any, name: str, *, is_live: bool = False) -> None:
        """Takes an opened container of PyAV."""
        stream = container.streams.best("video")
        if stream is None:
            raise InputError(f"{name}: expected a video, but there is no picture in it")
        stream.thread_type = "AUTO"  # else one thread decodes
        self.name, self.is_live, self._container, self._stream = name, is_live, container, stream
        self.rate: Fraction | None = stream.average_rate or stream.guessed_rate or None
        self.time_base: Fraction = stream.time_base or Fraction(1, 90000)
        self.pixel_aspect: Fraction = stream.sample_aspect_ratio or Fraction(1)
        self.num_frames = _count(container, stream, self.rate)
        self.has_sound = bool(container.streams.audio)
        subtitles = sum(other.type == "subtitle" for other in container.streams)
        counts = ((subtitles, "track of subtitles"), (len(container.streams.video) - 1, "further picture track"))
        self.lost = [f"{count} {what}" if count == 1 else f"{count} {_plural(what)}" for count, what in counts if count]
        self.problems: list[str] = []
        self._frames = self._decode()
        self._first = next(self._frames, None)
        if self._first is None:
            raise InputError(f"{name}: expected a video, but no picture in it can be decoded")
        self.size: tuple[int, int] = self._first.pixels.shape[:2]

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_) -> None:
        self._frames.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, once."""
        first, self._first = self._first, None
        if first is not None:
            yield first
            yield from self._frames

    def _decode(self) -> Generator[Frame]:
        step = max(1, round(1 / (self.rate * self.time_base)) if self.rate else 1)
        last, origin, turned, damaged, count = -step, 0, 0, 0, 0
        for packet in self._packets():
            try:
                decoded = packet.decode()
            except errors():
                damaged += 1
                continue
            for frame in decoded:
                if count == 0:
                    origin = (frame.pts or 0) if self.is_live else 0  # a camera counts from the start of the machine
                    turned = round(frame.rotation / 90) % 4
                    self._turn(turned)
                    shape = frame.width, frame.height
                stamp = last + step if frame.pts is None else frame.pts - origin
                stamp = max(stamp, last + 1) if count else stamp  # two at a time cannot be written
                pixels = frame.to_ndarray(format="rgb24", width=shape[0], height=shape[1])
                count, last = count + 1, stamp
                yield Frame(np.rot90(pixels, turned), stamp, float(stamp * self.time_base))
        if damaged:
            self.problems.append(f"{damaged} damaged {'part' if damaged == 1 else 'parts'} of it were left out")
        # Some frames at the ends may be meant to be hidden; a second of them is more than that.
        if self._stream.frames and count < self._stream.frames - math.ceil(self.rate or 30):
            self.problems.append(f"it ends after {count:,} of {self._stream.frames:,} frames")

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except errors() as error:
                self.problems.append(f"it cannot be read to its end ({getattr(error, 'strerror', None) or error})")
                return
            if packet is None:
                return
            yield packet

    def _turn(self, quarters: int) -> None:
        if quarters % 2:
            self.pixel_aspect = 1 / self.pixel_aspect


def check_installed() -> None:
    """Raises InputError if PyAV is not installed."""
    try:
        import av  # noqa: F401  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise InputError('videos and cameras need PyAV: install it by pip install -e ".[video]"') from error


def errors() -> tuple[type[Exception], ...]:
    """Returns what PyAV raises on damaged files and on failures of the system."""
    from av.error import FFmpegError  # pyright: ignore[reportMissingImports]

    return OSError, ValueError, FFmpegError


def open_clip(path: Path, name: str) -> Clip:
    """Opens a video file.

    Raises:
      InputError: PyAV is not installed, or the file is missing or no video.
    """
    return _open(str(path), name, {})


def open_camera(number: int) -> Clip:
    """Opens a camera by its number, from 0; its frames never end.

    Raises:
      InputError: PyAV is not installed, there is no such camera, or it is in use.
    """
    name = f"camera {number}"
    if sys.platform == "darwin":
        return _open(str(number), name, {"format": "avfoundation", "options": {"framerate": "30"}}, is_live=True)
    if sys.platform.startswith("linux"):
        return _open(f"/dev/video{number}", name, {"format": "v4l2"}, is_live=True)
    raise InputError(f"{name}: cameras are read on Linux and macOS only; record a video file first")


def _open(place: str, name: str, options: dict[str, Any], *, is_live: bool = False) -> Clip:
    check_installed()
    import av  # pyright: ignore[reportMissingImports]

    try:
        container = av.open(place, **options)
    except errors() as error:
        where = f" ({place})" if is_live else ""
        raise InputError(f"{name}{where}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    try:
        return Clip(container, name, is_live=is_live)
    except BaseException:
        container.close()
        raise


def _plural(what: str) -> str:
    return what.replace("track", "tracks")


def _count(container: Any, stream: Any, rate: Fraction | None) -> int | None:
    if stream.frames:
        return stream.frames
    if stream.duration and rate:
        return round(stream.duration * stream.time_base * rate)
    return round(container.duration * rate / 1_000_000) if container.duration and rate else None
