"""Which files of an ILSVRC DET tree belong to a split, and how its synsets are called."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ssd_jax.data.formats.text import read_text
from ssd_jax.data.problems import Problems
from ssd_jax.errors import InputError

LISTS = Path("ImageSets", "DET")
IMAGES = Path("Data", "DET")
ANNOTATIONS = Path("Annotations", "DET")
EXTENSIONS = (".JPEG", ".jpeg", ".jpg", ".JPG")  # the first one in the archive
MAPS = ("devkit/data/map_det.txt", "../devkit/data/map_det.txt", "data/map_det.txt", "map_det.txt")
DIVISIONS = ("val1", "val2")  # not in the archive
# Ids tell their subset, so that a list may mix them: ILSVRC2013_train_extra0/..., ILSVRC2013_val_00000001.
_SUBSET = re.compile(r"(?:ILSVRC\d{4}_)?(train|val|test)(?![a-z])")


class Folders:
    """Tells which files there are; each folder is read once, which is faster than asking for every file."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def find(self, base: Path, entry: str, extensions: tuple[str, ...]) -> str | None:
        """Returns ENTRY with the first extension of which there is a file below base; None if there is none."""
        names = self.names(base, entry.rpartition("/")[0])
        stem = entry.rpartition("/")[2]
        return next((entry + extension for extension in extensions if stem + extension in names), None)

    def names(self, base: Path, folder: str) -> frozenset[str]:
        """Returns what the folder below base holds; nothing if there is no such folder."""
        path = f"{base}/{folder}"
        if path not in self._names:
            try:
                self._names[path] = frozenset(os.listdir(path))
            except (FileNotFoundError, NotADirectoryError):
                self._names[path] = frozenset()
        return self._names[path]


def read_entries(root: Path, split: str, problems: Problems, *, images: bool = True) -> Iterator[tuple[str, str]]:
    """Returns (subset, id) of each image of the lists of a split, each image once; ``images``: their folder is needed.

    Raises:
      InputError: root has not the layout, or there is no such list.
    """
    if not root.is_dir():
        raise InputError(f"data root: expected a folder of ILSVRC DET, but {root} is not a folder")
    if images and not (root / IMAGES).is_dir():
        inner = sorted(path.parents[1].relative_to(root) for path in root.glob(f"*/{IMAGES}"))
        there = f" (but there is {', '.join(map(str, inner))})" if inner else ""
        raise InputError(f"data root: {root} has no folder {IMAGES}{there}")
    texts = [text.strip() for text in split.split("+")]
    if not all(texts):
        raise InputError(f"data split: expected lists joined by '+', got {split!r}")
    lists = [(path, _read_list(path, _there(root, text))) for text in texts for path in [_list_path(root, text)]]
    return _entries(lists, problems)


def _list_path(root: Path, text: str) -> Path:
    """A NAME is one of the archive's lists; whatever has a folder or an extension is a path."""
    return Path(root, text) if "/" in text or text.endswith(".txt") else root / LISTS / f"{text}.txt"


def _there(root: Path, text: str) -> str:
    """Says why a list may be absent and which ones are there."""
    names = [path.stem for path in (root / LISTS).glob("*.txt")]
    names.sort(key=lambda name: (re.fullmatch(r"train_\d+", name) is not None, name))  # two hundred of these
    there = f"there are: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else "there are no lists"
    if Path(text).stem in DIVISIONS:
        return f"val1 and val2 are R-CNN's division of val, which the archive does not hold; {there}"
    return there


def _read_list(path: Path, hint: str) -> str:
    if not path.is_file():
        raise InputError(f"data split: cannot read the list {path} ({hint})")
    return read_text(path)


def _entries(lists: list[tuple[Path, str]], problems: Problems) -> Iterator[tuple[str, str]]:
    seen = set()
    for path, text in lists:
        for number, line in enumerate(text.splitlines(), start=1):
            fields = line.split()
            if not fields or fields[1:] == ["-1"]:  # none of the class of the list
                continue
            entry = re.sub(r"\.jpe?g$", "", fields[0], flags=re.IGNORECASE)
            subset = _SUBSET.match(entry) or _SUBSET.match(path.stem)
            if subset is None or not all(re.fullmatch(r"\d+", field) for field in fields[1:]) or len(fields) > 2:
                problems.add("bad_line", f"{path.name}:{number}", line.strip())
            elif entry not in seen:
                seen.add(entry)
                yield subset[1], entry


def read_synsets(root: Path, synsets: str) -> dict[str, str]:
    """Returns the class name of each synset, in the order of the labels.

    Args:
      root: of the tree.
      synsets: the file, absolute or relative to root; "": ``MAPS`` are tried.

    Raises:
      InputError: there is no such file, or a line cannot be read.
    """
    tried = [Path(root, synsets)] if synsets else [root / place for place in MAPS]
    path = next((path for path in tried if path.is_file()), None)
    if path is None:
        raise InputError(
            f"data ilsvrc.synsets: {tried[0]} is missing, the class list map_det.txt of the development kit "
            "(ILSVRC2017_devkit.tar.gz of image-net.org); --config.data.ilsvrc.synsets=FILE points to one elsewhere"
        )
    lines = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
    for line in lines:
        if not re.fullmatch(r"n\d{8}", line[0]) or len(line) != 2:
            raise InputError(f"{path}: expected lines 'n01234567 [number] name', got {' '.join(line)!r}")
    return _name_synsets(path, lines)


def _name_synsets(path: Path, lines: list[list[str]]) -> dict[str, str]:
    numbered = all(re.match(r"\d+\s+\S", rest) for _, rest in lines)
    names = {synset: (rest.split(maxsplit=1)[1] if numbered else rest).strip() for synset, rest in lines}
    if len(names) != len(lines) or not names:
        raise InputError(f"{path}: expected each synset once, got {len(lines)} lines of {len(names)} synsets")
    often = Counter(names.values())  # two synsets may share a name, such as the bird and the machine "crane"
    return {synset: name if often[name] == 1 else f"{name} ({synset})" for synset, name in names.items()}
