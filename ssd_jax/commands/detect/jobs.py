"""What is to be done: which images and videos are looked at, and where their annotated copies go."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from ssd_jax import media
from ssd_jax.commands.detect import loops, wording
from ssd_jax.commands.detect.choosing import Choice
from ssd_jax.commands.detect.results import Results
from ssd_jax.commands.detect.stopping import Stop
from ssd_jax.errors import InputError
from ssd_jax.inference import Detector


class Job(NamedTuple):
    """All that is to be looked at."""

    images: list[tuple[media.Found, Path]]  # and where the annotated copies go
    videos: list[tuple[media.Found, Path]]
    camera: tuple[int, Path] | None
    problems: list[tuple[str, str]]  # (path, reason) of what is left out
    own: int  # files left out because they lie in the output folder

    def describe(self) -> str:
        """Says how much there is."""
        if self.camera is not None:
            return f"camera {self.camera[0]} until Ctrl-C"
        counts = ((len(self.images), "image"), (len(self.videos), "video"))
        return " and ".join(wording.counted(*count) for count in counts if count[0])


def plan(
    given: Sequence[str], output: Path, forms: Collection[str], *, read_stdin: Callable[[], bytes] = lambda: b""
) -> Job:
    """Lists what is to be looked at and checks that it can be, as far as this is seen without opening each file.

    Args:
      given: paths, globs, "-", or the number of a camera.
      output: the folder that is written to; it need not exist.
      forms: of ``forms.FORMS``.
      read_stdin: returns all of stdin.

    Raises:
      InputError: there is nothing to look at, a copy would take the place of its original, videos cannot be read
        here, or they alone are given for files that hold images only.
    """
    number = media.camera_number(given)
    if number is not None:
        _check_forms(forms, f"camera {number}")
        with media.open_camera(number):  # said now rather than when the network is ready
            pass
        return Job([], [], (number, output / f"camera{number}.mp4"), [], 0)
    listing = media.find(given, written_to=output, read_stdin=read_stdin)
    targets = media.plan(listing.files, output)
    if "pictures" in forms:
        media.check_inputs_stay(listing.files, targets)
    pairs = list(zip(listing.files, targets, strict=True))
    images = [pair for pair in pairs if not pair[0].is_video]
    videos = [pair for pair in pairs if pair[0].is_video]
    problems = list(listing.problems)
    if videos and not images:
        _check_forms(forms, "videos")
    if videos:
        try:
            media.check_installed()
        except InputError as error:
            if not images:
                raise
            problems += [(file.shown, str(error)) for file, _ in videos]
            videos = []
    return Job(images, videos, None, problems, listing.own)


def carry_out(job: Job, detector: Detector, choice: Choice, results: Results, stop: Stop) -> None:
    """Looks at everything, until it is told to stop; files that cannot be used are named, noted and skipped."""
    if job.own:
        loops.say(f"left out: {wording.counted(job.own, 'file')} in the output folder")
    for path, reason in job.problems:
        loops.say(f"{path}: skipped: {reason}")
        results.skip(path, reason)
    if job.images:
        loops.look_at_images(detector, job.images, results, choice, stop)
    for file, target in job.videos:
        if stop.number:
            return
        try:
            clip = media.open_clip(file.path, file.shown)
        except InputError as error:
            _skip(file, str(error).removeprefix(f"{file.shown}: "), results)
            continue
        with clip:
            sound = file.path if clip.has_sound else None
            try:
                loops.look_at_video(detector, clip, target, results, choice, stop, sound=sound)
            except media.CopyError as error:
                _skip(file, str(error), results)
    if job.camera is not None:
        number, target = job.camera
        with media.open_camera(number) as clip:
            loops.look_at_video(detector, clip, target, results, choice, stop)


def _skip(file: media.Found, reason: str, results: Results) -> None:
    loops.say(f"{file.shown}: skipped: {reason}")
    results.skip(file.shown, reason)


def batch_size_for(job: Job, largest: int) -> int:
    """Returns how many images a batch needs to hold at most: few images need no large program."""
    return largest if job.videos else max(1, min(largest, len(job.images)))


def _check_forms(forms: Collection[str], what: str) -> None:
    for form in ("comp4", "coco"):
        if form in forms:
            raise InputError(f"--write={form}: expected images, which such files name; got {what}")
