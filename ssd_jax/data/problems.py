"""Problems found in data: each is counted by kind, and the first files of a kind are kept by name."""

from collections import Counter

NAMED = 5  # files a kind is illustrated with

# kind -> what was found, and what was done about it. The order is the order of the report.
KINDS = {
    "missing_annotation": "images without an annotation file: skipped",
    "missing_image": "annotations without an image file: skipped",
    "bad_annotation": "annotation files that cannot be read: image skipped",
    "bad_image": "image files that cannot be read: skipped",
    "wrong_size": "images whose shape contradicts the annotation: skipped",
    "duplicate": "images listed more than once: the first is kept",
    "no_size": "annotations without an image size: size read from the image",
    "resized_image": "images that are resized copies of what was annotated: used, boxes scale along",
    "unrotated": "images with an EXIF rotation that the annotation does not follow: left unrotated",
    "no_box": "objects without a readable name or box: dropped",
    "unknown_class": "objects of a class that is not wanted: dropped",
    "not_finite": "boxes with coordinates that are no numbers: dropped",
    "zero_size": "boxes of zero width or height: dropped",
    "outside": "boxes entirely outside the image: dropped",
    "reversed": "boxes with reversed corners: corners swapped",
    "clipped": "boxes reaching over the edge: clipped to the image",
}


class Problems:
    """A tally of data problems. ``str(problems)`` is the report, one line a kind; empty if clean."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.named: dict[str, list[str]] = {}

    def add(self, kind: str, name: str) -> None:
        """Counts one problem of a kind listed in ``KINDS`` at the file (or image) called ``name``."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
        self.counts[kind] += 1
        names = self.named.setdefault(kind, [])
        if len(names) < NAMED and name not in names:
            names.append(name)

    def lines(self) -> list[str]:
        """Returns one line a kind: count, what was found, what was done, and some names."""
        return [self._line(kind) for kind in KINDS if self.counts[kind]]

    def _line(self, kind: str) -> str:
        names = self.named[kind]
        more = ", ..." if self.counts[kind] > len(names) else ""
        return f"{self.counts[kind]} {KINDS[kind]} ({', '.join(names)}{more})"

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return "\n".join(self.lines())
