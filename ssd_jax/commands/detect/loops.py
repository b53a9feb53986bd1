"""The loops: images in batches, videos frame by frame; what is found is handed on in the order of what was given."""

import collections
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tqdm

from ssd_jax import media
from ssd_jax.commands import cli
from ssd_jax.commands.detect.choosing import Choice
from ssd_jax.commands.detect.results import Results
from ssd_jax.commands.detect.stopping import Stop
from ssd_jax.errors import InputError
from ssd_jax.inference import Detector, Unreadable

_FRAME_BYTES = 2**30  # of the frames of a video that are held at once
_BATCHES_HELD = 4  # by Detector.stream: two decoded ahead, one on the device, one handed out


def look_at_images(
    detector: Detector,
    images: Sequence[tuple[media.Found, Path]],
    results: Results,
    choice: Choice,
    stop: Stop,
) -> None:
    """Detects in images, each given with the place of its annotated copy."""
    given: collections.deque[tuple[media.Found, Path]] = collections.deque()

    def paths() -> Iterator[Path]:
        for file, target in images:
            if stop.number:
                return
            given.append((file, target))
            yield file.path

    with _bar(len(images), " images") as bar, _closing(detector.stream(paths())) as stream:
        for found in stream:
            file, target = given.popleft()
            with stop.completing():  # no picture without its line
                if isinstance(found, Unreadable):
                    say(f"{file.shown}: skipped: {found.reason}")
                    results.skip(file.shown, found.reason)
                else:
                    results.add_image(file, target, choice.apply(found))
            bar.update()


def look_at_video(
    detector: Detector,
    clip: media.Clip,
    target: Path,
    results: Results,
    choice: Choice,
    stop: Stop,
    *,
    sound: Path | None = None,
) -> None:
    """Detects in the frames of an opened video; its annotated copy goes to ``target``, with the sound of a file."""
    held: collections.deque[media.Frame] = collections.deque()

    def frames() -> Iterator[Any]:
        for frame in clip:
            held.append(frame)
            yield frame.pixels
            if stop.number:
                return

    with contextlib.ExitStack() as stack:
        writer = None
        if results.draws:
            writer = media.VideoWriter(target, clip, sound=sound)
            stack.callback(_complete, writer, stop, is_whole=False)  # whatever happens
        bar = stack.enter_context(_bar(clip.num_frames, " frames"))
        # What a camera sees is wanted at once.
        rows = detector.batch_sizes[0] if clip.is_live else batch_size_of(detector.batch_sizes, clip.size)
        stream = stack.enter_context(_closing(detector.stream(frames(), batch_size=rows)))
        for number, found in enumerate(stream):
            frame = held.popleft()
            if isinstance(found, Unreadable):
                raise InputError(f"{clip.name}: frame {number} cannot be used: {found.reason}")
            found = choice.apply(found)
            with stop.completing():  # as many frames as lines
                if writer is not None:
                    writer.write(results.annotate(frame.pixels, found), frame)
                results.add_frame(clip.name, number, frame.time, found)
            bar.update()
        if writer is not None:
            _complete(writer, stop, is_whole=not stop.number)
            if writer.lost:
                say(f"{clip.name}: the annotated copy lacks {' and '.join(writer.lost)}")
    for problem in clip.problems:
        say(f"{clip.name}: {problem}")
        results.skip(clip.name, problem)


def _complete(writer: media.VideoWriter, stop: Stop, *, is_whole: bool) -> None:
    with stop.completing():
        writer.finish(is_whole=is_whole)


def batch_size_of(batch_sizes: Sequence[int], size: tuple[int, int]) -> int:
    """Returns the largest batch size whose frames of (height, width), which are held at full size, fit into memory."""
    most = _FRAME_BYTES // (_BATCHES_HELD * 3 * size[0] * size[1])
    return max((number for number in batch_sizes if number <= most), default=batch_sizes[0])


def say(line: str) -> None:
    """Prints a line above the progress bar."""
    tqdm.tqdm.write(cli.printable(line), file=sys.stderr)


def _bar(total: int | None, unit: str) -> tqdm.tqdm:
    # disable=None: no bar where nobody looks at it.
    return tqdm.tqdm(total=total, unit=unit, disable=None, dynamic_ncols=True)


@contextlib.contextmanager
def _closing(stream: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Ends the threads of a stream of a detector that is left early."""
    try:
        yield stream
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
