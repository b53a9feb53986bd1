"""Tables with one object a line: path, xmin, ymin, xmax, ymax, class."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssd_jax.data.formats.folder import image_ids, name_below
from ssd_jax.data.formats.numbers import FRACTION, parse_number
from ssd_jax.data.formats.text import read_text
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError

BOX = ("xmin", "ymin", "xmax", "ymax")
NEEDED = ("path", *BOX, "class")  # and their order in a table without a header
LINES = f"lines {','.join(NEEDED)} (comma, semicolon and tab are understood)"
COLUMNS = {  # column -> what it may be called, in any case; the first one present is used
    "path": ("path", "filename", "file_name", "file", "image_path", "image"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "class": ("class", "class_name", "label", "label_name", "name", "category"),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
    "difficult": ("difficult",),
    "crowd": ("crowd", "iscrowd", "is_crowd"),
}
DELIMITERS = ",;\t"
FLAGS = {"": False, "0": False, "0.0": False, "false": False, "no": False}
FLAGS |= {"1": True, "1.0": True, "true": True, "yes": True}


class Row(NamedTuple):
    """One line, understood."""

    line: int  # its number in the file, from 1
    path: str  # with forward slashes
    item: AnnotatedObject | None  # None: the line names an image without objects
    size: tuple[int, int] | None  # (height, width); None: not stated


def read(
    root: str, split: str, *, problems: Problems, relative: bool = False, image_files: str = "required"
) -> Reading:
    """Reads one or more tables; images come in the order in which they are first named.

    The delimiter (comma, semicolon or tab) is that which divides the first line most. The first
    line is a header if no cell of it is a number; then columns may be in any order, go by any
    name of ``COLUMNS``, and others are ignored. Without a header there are exactly the six of
    ``NEEDED``. A line with a path alone ("a.jpg,,,,,") names an image without objects. Boxes are
    pixels from the upper left corner and taken as they stand. Width and height, if there, are
    those of the image that was annotated. An image is looked for in the table's folder, in root,
    and in root/images.

    Args:
      root: the folder of the tables.
      split: a file below it, with or without ".csv"; several joined by "+". An id is the image's
        path as the table states it, without extension; with several, its path below root.
      problems: the tally.
      relative: boxes are fractions of the image's width and height instead of pixels.
      image_files: "required"; or "optional": an absent image is used as annotated if the table states its size.

    Raises:
      InputError: a file does not exist or is no such table, or none of its images exists.
    """
    if not Path(root).is_dir():
        raise InputError(f"data root: expected a folder with CSV files, but {root} is not a folder")
    tables = [_find_table(Path(root), text.strip()) for text in split.split("+")]
    images: list[AnnotatedImage] = []
    states_size, needed = False, image_files == "required"
    for table in tables:
        rows, sized = _read_rows(table, problems)
        _check_unit(table, rows, relative)
        images += _group(table, rows, Path(root), problems, relative, single=len(tables) == 1, needed=needed)
        states_size |= sized
    return Reading(f"{root} {split}", images, states_size=states_size)


def _find_table(root: Path, name: str) -> Path:
    for path in (root / name, root / f"{name}.csv"):
        if name and path.is_file():
            return path
    found = sorted(path.relative_to(root).as_posix() for path in (*root.glob("*.csv"), *root.glob("*/*.csv")))
    there = f"there are {', '.join(found[:8])}" if found else "there are no CSV files"
    raise InputError(f"data split {name!r}: expected a CSV file {root / name} or {name}.csv beside it, but {there}")


def _read_rows(table: Path, problems: Problems) -> tuple[list[Row], bool]:
    """Returns the lines that can be read, and whether the table has columns for the size of images."""
    lines = _read_lines(table)
    try:
        delimiter = max(DELIMITERS, key=lambda mark: len(_cells(lines[0][1], mark)))
    except csv.Error as error:
        raise InputError(f"{table}: expected {LINES}, but the first is none ({error})") from error
    first = _cells(lines[0][1], delimiter)
    header = any(first[1:]) and not any(map(_is_number, first))
    columns = _columns(table, first) if header else {name: index for index, name in enumerate(NEEDED)}
    width = len(first) if header else len(NEEDED)
    rows, refused = [], []
    for number, line in lines[1:] if header else lines:
        try:
            rows.append(_parse_row(number, _cells(line, delimiter), columns, width))
        except (ValueError, csv.Error) as error:
            refused.append((f"{table.name}:{number}", str(error)))
    if not rows:
        first_reason = (
            f"none of {len(refused)} can be read: {': '.join(refused[0])}" if refused else "there is a header alone"
        )
        raise InputError(f"{table}: expected {LINES}, but {first_reason}")
    for where, reason in refused:
        problems.add("bad_line", where, reason)
    return rows, "width" in columns and "height" in columns


def _read_lines(table: Path) -> list[tuple[int, str]]:
    """Returns the lines that are not blank, with their numbers from 1."""
    lines = [(number, line) for number, line in enumerate(read_text(table).split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f"{table}: expected {LINES}, but the file is empty")
    return lines


def _cells(line: str, delimiter: str) -> list[str]:
    # One line at a time: a quote that is never closed spoils its own line, not the rest of the file.
    return [cell.strip() for row in csv.reader([line], delimiter=delimiter, skipinitialspace=True) for cell in row]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _columns(table: Path, header: Sequence[str]) -> dict[str, int]:
    """Returns the place of every known column that a header has."""
    names = [cell.lower().replace(" ", "_") for cell in header]
    columns = {}
    for column, synonyms in COLUMNS.items():
        present = [name for name in synonyms if name in names]
        if present and names.count(present[0]) > 1:
            raise InputError(f"{table}: expected one column {present[0]!r}, but the header has {', '.join(header)}")
        if present:
            columns[column] = names.index(present[0])
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        raise InputError(
            f"{table}: expected a header with the columns {', '.join(NEEDED)}, or none at all and these columns in "
            f"this order, but {', '.join(missing)} cannot be found in {', '.join(header)[:200]}"
        )
    return columns


def _parse_row(line: int, cells: list[str], columns: dict[str, int], width: int) -> Row:
    """Raises ValueError, with the reason, if a line cannot be understood."""
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) != width:
        raise ValueError(f"expected {width} values, got {len(cells)}")
    cell = {column: cells[index] for column, index in columns.items()}
    path = os.path.normpath(cell["path"].replace("\\", "/")) if cell["path"] else ""
    if not path:
        raise ValueError("has no path of an image")
    size = _read_size(cell.get("width", ""), cell.get("height", ""))
    if not any(cell[column] for column in (*BOX, "class")):
        return Row(line, path, None, size)
    if not cell["class"] or not all(cell[column] for column in BOX):
        raise ValueError("has a class without a whole box" if cell["class"] else "has a box without a class")
    x1, y1, x2, y2 = (parse_number(cell[column]) for column in BOX)
    flags = {column: _flag(cell.get(column, "")) for column in ("difficult", "crowd")}
    return Row(line, path, AnnotatedObject(cell["class"], (x1, y1, x2, y2), **flags), size)


def _flag(cell: str) -> bool:
    if cell.lower() not in FLAGS:
        raise ValueError(f"expected 0 or 1, got {cell[:40]!r}")
    return FLAGS[cell.lower()]


def _read_size(width: str, height: str) -> tuple[int, int] | None:
    try:
        size = int(float(height)), int(float(width))
    except (ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def _check_unit(table: Path, rows: list[Row], relative: bool) -> None:
    """Refuses fractions where pixels are expected, and pixels where fractions are."""
    boxes = [row.item.box for row in rows if row.item and all(map(math.isfinite, row.item.box))]
    small = [all(0 <= value <= FRACTION for value in box) for box in boxes]
    if boxes and not relative and all(small):
        raise InputError(
            f"{table}: expected boxes in pixels, but all {len(boxes)} lie between 0 and 1, as if they were fractions "
            "of the image; convert them, or set --config.data.csv.relative=True"
        )
    large = sum(max(box) > FRACTION for box in boxes)
    if relative and large > len(boxes) / 2:
        raise InputError(
            f"{table}: expected boxes in fractions of the image (csv.relative=True), but {large} of {len(boxes)} have "
            "values far above 1, as if they were pixels"
        )


def _group(
    table: Path, rows: list[Row], root: Path, problems: Problems, relative: bool, single: bool, needed: bool
) -> list[AnnotatedImage]:
    """Collects the lines of each image and finds its file."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(row.path, []).append(row)
    places = list(dict.fromkeys((table.parent, root, root / "images")))
    files = {path: next((place / path for place in places if (place / path).is_file()), None) for path in lines}
    looked = ", ".join(map(str, places))
    if needed and not any(files.values()):
        first = next(iter(files))
        raise InputError(f"{table}: expected images, but none of {len(files)} is there, such as {first} in {looked}")
    names = [path if single else os.path.abspath(file or table.parent / path) for path, file in files.items()]
    ids = image_ids([name_below(name, root) for name in names])
    images = []
    for name, path in zip(ids, files, strict=True):
        if needed and files[path] is None:
            problems.add("missing_image", name, f"{table.name}:{lines[path][0].line}: {path} is not in {looked}")
            continue
        size = next((row.size for row in lines[path] if row.size), None)
        objects = [row.item for row in _consistent(table, lines[path], size, problems) if row.item]
        images.append(AnnotatedImage(name, files[path] or table.parent / path, objects, size, relative))
    return images


def _consistent(table: Path, rows: list[Row], size: tuple[int, int] | None, problems: Problems) -> list[Row]:
    """Leaves out lines that state another size of the image: their boxes belong to another frame."""
    for row in rows:
        if row.size not in (size, None):
            problems.add("bad_line", f"{table.name}:{row.line}", f"(height, width) is {row.size}, first {size}")
    return [row for row in rows if row.size in (size, None)]
