"""Annotated copies of videos in H.264, with the times of the original's frames and, copied, its sound."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.media.video_reading import Clip, Frame, check_installed, errors

# x264's options. A constant rate factor of 18 can hardly be told from the original.
OPTIONS = {"crf": "18", "preset": "veryfast"}
_BT709 = 1  # in H.273's tables of color matrices, primaries and transfer curves alike
_DISK = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EIO)


class CopyError(InputError):
    """The copy of one video cannot be made, as of a size that x264 does not know; those of others may."""


class VideoWriter:
    """Writes the frames of a clip to a file that takes its name only when it is finished.

    Within ``with``, whatever ends it, what was written becomes a file that can be played; without any frame there
    is none.

    Attributes:
      target: the file.
      lost: in words, what of the original is not kept.
    """

    def __init__(self, target: Path, clip: Clip, *, sound: Path | None = None) -> None:
        """Opens a temporary file beside the target.

        Args:
          target: an earlier file of that name is replaced at the end.
          clip: whose size, rate and times are kept.
          sound: the file that its sound is copied from.

        Raises:
          CopyError: x264 or the container does not take such frames.
          InputError: PyAV is not installed, or the file cannot be written.
        """
        check_installed()
        self.target, self.lost = target, list(clip.lost)
        self._clip, self._count, self._is_open = clip, 0, True
        self._temporary = target.parent / f".ssd_jax-{secrets.token_hex(8)}{target.suffix}"
        self._opened = contextlib.ExitStack()
        with self._one_sentence():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open(clip, sound)
            except errors() as error:
                self._opened.close()
                if sound is None or getattr(error, "errno", None) in _DISK:
                    raise
                self.lost.append(f"its sound, of a kind that {target.suffix} files cannot hold")
                self._open(clip, None)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.finish(is_whole=kind is None)

    def write(self, pixels: np.ndarray, frame: Frame) -> None:
        """Writes a picture [h, w, 3] uint8 at the time of a frame.

        Raises:
          InputError: the disk is full, or the like; what was written is lost then.
        """
        import av  # pyright: ignore[reportMissingImports]

        with self._one_sentence():
            self._copy_sound(frame.time)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture = picture.reformat(format=self._format, dst_colorspace=_BT709, dst_color_range="MPEG")
            picture.pts, picture.time_base = frame.stamp, self._clip.time_base
            self._container.mux(self._stream.encode(picture))
            self._count += 1

    def finish(self, *, is_whole: bool) -> None:
        """Completes the file; further calls do nothing.

        Args:
          is_whole: whether all frames were written; else the sound ends with the last one, too.

        Raises:
          InputError: the disk is full, or the like; no file is left then.
        """
        if not self._is_open:
            return
        self._is_open = False
        with self._one_sentence():
            self._container.mux(self._stream.encode())
            if is_whole:
                self._copy_sound(float("inf"))
            self._opened.close()  # writes the index
            if self._count:
                os.replace(self._temporary, self.target)
            else:
                self._temporary.unlink(missing_ok=True)

    def _open(self, clip: Clip, sound: Path | None) -> None:
        import av  # pyright: ignore[reportMissingImports]

        self._container = container = av.open(str(self._temporary), "w")
        self._opened.callback(container.close)
        height, width = clip.size
        # Half the color resolution, which every player knows, needs even sides.
        self._format = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        self._stream = stream = container.add_stream("libx264", rate=clip.rate or 30, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, self._format
        context = stream.codec_context
        context.time_base = clip.time_base  # that of the stamps, so that none is rounded
        context.sample_aspect_ratio = clip.pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # 16 to 235, which players expect
        self._sound, self._packet = iter(()), None
        if sound is not None:
            source = av.open(str(sound))
            self._opened.callback(source.close)
            streams = {old.index: container.add_stream_from_template(old) for old in source.streams.audio}
            self._sound = _packets(source, streams)
            self._packet = next(self._sound, None)
        container.start_encoding()

    def _copy_sound(self, until: float) -> None:
        """Writes the sound up to a time in seconds."""
        while self._packet is not None and self._packet.dts * self._packet.time_base <= until:
            self._container.mux(self._packet)
            self._packet = next(self._sound, None)

    @contextlib.contextmanager
    def _one_sentence(self) -> Iterator[None]:
        """Turns an error of PyAV into an InputError, a CopyError where the disk is not to blame; gives the file up."""
        try:
            yield
        except errors() as error:
            self._is_open = False
            with contextlib.suppress(*errors()):
                self._opened.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or error
            kind = InputError if getattr(error, "errno", None) in _DISK else CopyError
            raise kind(f"{self.target}: cannot be written ({reason})") from error


def _packets(source: Any, streams: dict[int, Any]) -> Iterator[Any]:
    """Yields the sound as it is coded, for the streams that it is to be written to; damage ends it."""
    with contextlib.suppress(*errors()):
        for packet in source.demux(list(source.streams.audio)):
            if packet.dts is not None:  # the last one of each stream is empty
                packet.stream = streams[packet.stream.index]
                yield packet
