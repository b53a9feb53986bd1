"""Every image decoded once: which cannot be read, and which are odd enough to be looked at."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ssd_jax.data import ImageError, decode_image
from ssd_jax.types import Example

TINY_SIDE = 32  # pixels; a shorter side leaves little to see
ELONGATED = 5.0  # long side / short side; the network's input squeezes all images to its own shape
ONE_COLOR_SPREAD = 8  # levels of 255 between the 1st and the 99th percentile of every channel

# kind -> what was found; the order is that of the report. Only the first keeps an image out of training.
FILE_KINDS = {
    "undecodable": "images cannot be decoded: their places in a batch stay empty",
    "same_content": "images have the same pixels as an earlier one",
    "one_color": "images are of nearly one color",
    "tiny": f"images have a side of less than {TINY_SIDE} pixels",
    "elongated": f"images are more than {ELONGATED:g} times as long as wide",
}


class FileProblem(NamedTuple):
    """One thing about one image."""

    id: str
    kind: str  # of FILE_KINDS
    detail: str  # in a few words


class FileReport(NamedTuple):
    """What was found in N images."""

    ids: tuple[str, ...]  # [N]
    problems: tuple[FileProblem, ...]  # in the order of the source
    digests: tuple[bytes | None, ...]  # [N]: equal where the decoded pixels are; None: undecodable

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many images of each kind there are, kinds that do not occur left out."""
        return {kind: len(found) for kind in FILE_KINDS if (found := self.of(kind))}

    def of(self, kind: str) -> tuple[FileProblem, ...]:
        """Returns the problems of one kind."""
        return tuple(problem for problem in self.problems if problem.kind == kind)


def check_files(
    source: Sequence[Example],
    *,
    limit_canvas: tuple[int, int],
    num_threads: int = 8,
    progress: Callable[[int], None] | None = None,
) -> FileReport:
    """Decodes every image as training would and reports what cannot be decoded or is odd.

    Args:
      source: anything with ``__len__`` and ``__getitem__`` -> Example.
      limit_canvas: (height, width) that images are reduced to, the loader's canvas.
      num_threads: images decoded at the same time.
      progress: called with the number of images done so far.
    """

    def check(index: int) -> tuple[str, list[FileProblem], bytes | None]:
        return _check_one(source[index], limit_canvas)

    ids, problems, digests = [], [], []
    first_with: dict[bytes, str] = {}
    pool = ThreadPoolExecutor(num_threads)
    try:
        for done, (name, found, digest) in enumerate(pool.map(check, range(len(source))), start=1):
            if digest is not None and (earlier := first_with.setdefault(digest, name)) != name:
                found.append(FileProblem(name, "same_content", f"as {earlier}"))
            ids.append(name)
            problems.extend(found)
            digests.append(digest)
            if progress is not None:
                progress(done)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for a hundred thousand images
    return FileReport(tuple(ids), tuple(problems), tuple(digests))


def shared_content(first: FileReport, second: FileReport) -> list[tuple[str, str]]:
    """Returns pairs (id in ``first``, id in ``second``) of images with the same pixels.

    Between a training and a test split each of them makes the test easier than it looks.
    """
    known = {digest: name for name, digest in zip(first.ids, first.digests, strict=True) if digest is not None}
    return [(known[d], name) for name, d in zip(second.ids, second.digests, strict=True) if d in known]


def _check_one(example: Example, limit: tuple[int, int]) -> tuple[str, list[FileProblem], bytes | None]:
    height, width = example.size
    found = []
    if min(height, width) < TINY_SIDE:
        found.append(FileProblem(example.id, "tiny", f"{width}x{height}"))
    if max(height, width) > ELONGATED * min(height, width):
        found.append(FileProblem(example.id, "elongated", f"{width}x{height}"))
    try:
        pixels = decode_image(example.image, example.size, limit=limit)
    except ImageError as error:
        found.append(FileProblem(example.id, "undecodable", str(error)))
        return example.id, found, None
    if (color := _only_color(pixels)) is not None:
        found.append(FileProblem(example.id, "one_color", "about rgb({}, {}, {})".format(*color)))
    return example.id, found, _digest(pixels)


def _only_color(pixels: np.ndarray) -> tuple[int, int, int] | None:  # [h, w, 3] uint8
    """Returns the color of an image that has but one, specks of less than a percent of it aside."""
    step = [max(1, side // 128) for side in pixels.shape[:2]]  # every nth pixel tells as much, sooner
    sample = pixels[:: step[0], :: step[1]].reshape(-1, 3)
    low, middle, high = np.percentile(sample, (1, 50, 99), axis=0)
    if (high - low > ONE_COLOR_SPREAD).any():
        return None
    red, green, blue = middle.round().astype(int).tolist()
    return red, green, blue


def _digest(pixels: np.ndarray) -> bytes:
    """Returns a fingerprint of the decoded pixels: a copy is found under another name, format or compression level."""
    shape = np.array(pixels.shape, np.int64).tobytes()
    return hashlib.blake2b(shape + np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()
