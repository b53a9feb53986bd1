"""Problems found in data: each is counted by kind and kept with the file's name and, where it helps, its values."""

from typing import NamedTuple

NAMED = 5  # files a kind is illustrated with, in the short report

# kind -> what was found, and what was done about it. The order is the order of the report.
PROBLEM_KINDS = {
    "missing_annotation": "images without an annotation file: skipped",
    "missing_image": "annotations without an image file: skipped",
    "bad_annotation": "annotation files that cannot be read: image skipped",
    "bad_image": "image files that cannot be read: skipped",
    "wrong_size": "images whose shape contradicts the annotation: skipped",
    "duplicate": "images listed more than once: used once, with the objects of all",
    "no_size": "annotations without an image size: size read from the image",
    "resized_image": "images that are resized copies of what was annotated: used, boxes scale along",
    "unrotated": "images with an EXIF rotation that the annotation does not follow: left unrotated",
    "bad_line": "lines or entries that cannot be read: left out",
    "no_box": "objects without a readable name or box: dropped",
    "unusual_class": "objects of a class that is not among the usual ones: the classes found are taken instead",
    "unknown_class": "objects of a class that is not wanted: dropped",
    "not_finite": "boxes with coordinates that are no numbers: dropped",
    "zero_size": "boxes of zero width or height: dropped",
    "outside": "boxes entirely outside the image: dropped",
    "repeated": "objects stated twice (same class and box): kept",
    "reversed": "boxes with reversed corners: corners swapped",
    "clipped": "boxes reaching over the edge: clipped to the image",
}


class Problem(NamedTuple):
    """One thing that is wrong."""

    name: str  # of the file or image
    detail: str = ""  # what exactly, such as the box or the decoder's words


class Problems:
    """A tally of data problems. ``str(problems)`` is the short report, one line a kind; empty if clean."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Problem]] = {}

    def add(self, kind: str, name: str, detail: str = "") -> None:
        """Notes one problem of a kind listed in ``PROBLEM_KINDS`` at the file (or image) called ``name``."""
        if kind not in PROBLEM_KINDS:
            raise ValueError(f"kind must be one of {', '.join(PROBLEM_KINDS)}; got {kind!r}")
        self.entries.setdefault(kind, []).append(Problem(name, detail))

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many there are of each kind that occurs, in the order of ``PROBLEM_KINDS``."""
        return {kind: len(self.entries[kind]) for kind in PROBLEM_KINDS if kind in self.entries}

    @property
    def named(self) -> dict[str, list[str]]:
        """Returns the first few files of each kind that occurs, each once."""
        return {kind: list(dict.fromkeys(entry.name for entry in self.entries[kind]))[:NAMED] for kind in self.counts}

    def lines(self) -> list[str]:
        """Returns one line a kind: count, what was found, what was done, and some names."""
        return [self._line(kind, names) for kind, names in self.named.items()]

    def _line(self, kind: str, names: list[str]) -> str:
        more = ", ..." if len(self.entries[kind]) > len(names) else ""
        return f"{len(self.entries[kind])} {PROBLEM_KINDS[kind]} ({', '.join(names)}{more})"

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __str__(self) -> str:
        return "\n".join(self.lines())
