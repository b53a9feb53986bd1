"""Detections as text in the format of the PASCAL VOC devkit: a file a class, a line a detection.

The file comp4_det_SPLIT_CLASS.txt has lines "ID SCORE XMIN YMIN XMAX YMAX" (section "Submission of Results" of the
devkit's documentation; VOCinit.m and VOCevaldet.m). "comp4" is the competition with any training data, comp3 the one
with VOC's alone; both are read, and so are the names of py-faster-rcnn, comp4_TEXT_det_SPLIT_CLASS.txt.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ssd_jax import files
from ssd_jax.errors import InputError
from ssd_jax.evaluation import archives, comp4_names, detection_rows
from ssd_jax.types import ImageDetections

LINE = "ID SCORE XMIN YMIN XMAX YMAX"


def write(
    folder: Path,
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    *,
    split: str,
    ids: Mapping[str, str] = MappingProxyType({}),
    shift: float = 0.0,
) -> None:
    """Writes one file a class into a folder, which is made; each replaces an older one of its name, none is removed.

    Args:
      folder: where they go.
      detections, class_names, split, ids, shift: see :func:`to_texts`.

    Raises:
      InputError: as :func:`to_texts`, or a file cannot be written.
    """
    texts = to_texts(detections, class_names, split=split, ids=ids, shift=shift)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder for detections, but it cannot be made ({error})") from error
    for name, text in texts.items():
        files.write_bytes(folder / name, encode(text))


def encode(text: str) -> bytes:
    """Returns the bytes of a file; those of names that are not UTF-8 are what the system has called the images."""
    return text.encode("utf-8", "surrogateescape")


def to_texts(
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    *,
    split: str,
    ids: Mapping[str, str] = MappingProxyType({}),
    shift: float = 0.0,
) -> dict[str, str]:
    """Returns the text of each file by its name; a class without detections has an empty one.

    Numbers have all their digits, so that reading gives the same ones.

    Args:
      detections: boxes in pixels of the original image.
      class_names: background first. Characters that no name of a file may hold, such as "/", are written as %2F.
      split: for the names of the files, likewise.
      ids: what an image is called in the files; those that are not in it are called by their id.
      shift: added to each coordinate: 1 if 1 was subtracted from the annotations (``voc.one_based``).

    Raises:
      ValueError: split is empty.
      InputError: see :func:`detection_rows.check_detections` and ``check_corners``; an id cannot stand in a line, or a
        name is too long.
    """
    if not split:
        raise ValueError("split must not be empty")
    detection_rows.check_detections(detections, num_classes=len(class_names))
    detection_rows.check_corners(detections)
    lines: list[list[str]] = [[] for _ in class_names]
    for found in detections:
        name = ids.get(found.id, found.id)
        if not name or name != name.strip() or "\n" in name:
            raise InputError(f"detections: expected ids that can stand in a line of text, got {name!r}")
        table = np.column_stack([found.scores, np.reshape(found.boxes, (-1, 4))]).astype(np.float64)
        table[:, 1:] += shift
        columns = (map(repr, column) for column in table.T.tolist())
        for label, *row in zip(np.asarray(found.labels).tolist(), *columns, strict=True):
            lines[label].append(f"{name} {' '.join(row)}\n")
    names = [comp4_names.file_name(split, name) for name in class_names[1:]]
    return {name: "".join(rows) for name, rows in zip(names, lines[1:], strict=True)}


def read(
    path: Path,
    *,
    class_names: Sequence[str],
    ids: Sequence[str] | None = None,
    split: str = "",
    shift: float = 0.0,
    whose: str = "the ground truth",
) -> list[ImageDetections]:
    """Reads the files of a folder or of a .tar, .tar.gz or .zip, which is not extracted.

    Every number is kept as it stands (:func:`detection_rows.to_images`). In an image the best score comes first; equal
    ones are in the order of labels, then of lines.

    Args:
      path: the folder or archive; the files may lie in folders within it.
      class_names: background first.
      ids: of the images, for which the file's ids are matched (:func:`detection_rows.match_ids`); the result has one
        entry for each, in their order. None: those in the files, in the order in which they occur.
      split: which files are meant where there are those of several splits; "": there is one.
      shift: subtracted from each coordinate, see :func:`to_texts`.
      whose: what the images belong to, for messages.

    Raises:
      InputError: there are no such files, or a class, an image or a line is not what is expected.
    """
    contents = archives.read_files(path, comp4_names.is_comp4)
    return parse(str(path), contents, class_names=class_names, ids=ids, split=split, shift=shift, whose=whose)


def parse(
    where: str,
    contents: Mapping[str, bytes],
    *,
    class_names: Sequence[str],
    ids: Sequence[str] | None = None,
    split: str = "",
    shift: float = 0.0,
    whose: str = "the ground truth",
) -> list[ImageDetections]:
    """As :func:`read`, of what the files hold by their paths; ``where`` is the folder's or archive's, for messages."""
    chosen = comp4_names.choose(list(contents), class_names, split=split, where=where)
    numbers: dict[str, int] = {}  # what the files call an image -> its row in `found`
    images, values, labels = [], [], []
    for label, name in sorted(chosen.items()):
        names, table = _parse(f"{where}/{name}", contents[name])
        images += [numbers.setdefault(image, len(numbers)) for image in names]
        values.append(table)
        labels += [label] * len(names)
    found = list(numbers)
    table = np.concatenate(values)  # [N, 5]
    image = np.array(images, np.int64)
    if ids is not None:
        place = functools.partial(_find_id, where, [(name, contents[name]) for _, name in sorted(chosen.items())])
        image = np.array(detection_rows.match_ids(found, ids, place=place, whose=whose), np.int64)[image]
    rows = detection_rows.Rows(image, table[:, 1:] - shift, table[:, 0], np.array(labels, np.int64))
    return detection_rows.to_images(rows, found if ids is None else ids)


def _find_id(where: str, contents: Sequence[tuple[str, bytes]], wanted: str) -> str:
    """Returns the file and the line that first has an image, for messages."""
    for name, content in contents:
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.rsplit(None, 5)[:1] and line.rsplit(None, 5)[0].strip() == encode(wanted):
                return f"{where}/{name}:{number}"
    return where


def _parse(where: str, content: bytes) -> tuple[list[str], np.ndarray]:  # [N] ids, [N, 5] float64
    """Reads the lines of a file: ids, then score and box."""
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    rows = [(number, line.rsplit(None, 5)) for number, line in enumerate(lines, 1) if line and not line.isspace()]
    for number, fields in rows:
        if len(fields) != 6:
            raise InputError(f"{where}:{number}: expected '{LINE}', got {' '.join(fields)[:80]!r}")
    try:
        table = np.array([list(map(float, fields[1:])) for _, fields in rows], np.float64).reshape(-1, 5)
    except ValueError:
        table = np.array([[_number(where, number, text) for text in fields[1:]] for number, fields in rows])
    faults = ~detection_rows.fits_float32(table).all(axis=1)
    if faults.any():
        number, fields = rows[int(faults.argmax())]
        raise InputError(f"{where}:{number}: expected finite numbers, got {' '.join(fields[1:])!r}")
    reversed_rows = (table[:, 3:] < table[:, 1:3]).any(axis=1)
    if reversed_rows.any():
        number, fields = rows[int(reversed_rows.argmax())]
        raise InputError(
            f"{where}:{number}: expected a box with xmin <= xmax and ymin <= ymax, got {' '.join(fields[2:])!r}"
        )
    return [fields[0].lstrip() for _, fields in rows], table


def _number(where: str, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}:{line}: expected '{LINE}' with five numbers, got {text!r}") from None
