"""YOLO labels: one text file an image, one object a line, in fractions of the image."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ssd_jax.data.formats.folder import files_below
from ssd_jax.data.formats.numbers import FRACTION, parse_number
from ssd_jax.data.formats.text import read_text
from ssd_jax.data.formats.yolo_layout import (
    find_labels,
    find_sources,
    labels_folder,
    list_images,
    read_description,
    read_names,
)
from ssd_jax.data.problems import Problems
from ssd_jax.data.repair import Box
from ssd_jax.data.statements import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError


def read(root: str, split: str, *, problems: Problems, names_file: str = "") -> Reading:
    """Reads images with YOLO labels; those of a folder come sorted by path, those of a list in its order.

    The label file of an image is the path in which the last folder "images" is replaced by
    "labels", ending in .txt; if that does not exist, the one beside the image. An image without a
    label file holds no object, as for Ultralytics. A line is "class cx cy width height" in
    fractions; a sixth value (confidence) is ignored; "class x1 y1 x2 y2 x3 y3 ..." is a polygon,
    of which the bounding box is taken. Where data.yaml has kpt_shape, values after the box are
    key points and ignored.

    Args:
      root: the folder of the dataset.
      split: names of parts joined by "+", "all" or "."; where they are looked for is said by
        :func:`ssd_jax.data.formats.yolo_layout.find_sources`.
      problems: the tally.
      names_file: class names by number, below root (or absolute): a .yaml with names, or text with one name a
        line; "": looked for, see :func:`ssd_jax.data.formats.yolo_layout.read_names`.

    Raises:
      InputError: a path does not exist or may mean two things, or there are no class names.
    """
    folder = Path(root)
    description = read_description(folder)
    sources = [source for name in split.split("+") for source in find_sources(folder, name.strip(), description)]
    names = read_names(folder, names_file, sources, description)
    images = list(list_images(sources, folder, problems))
    where = f"data split {split!r}"
    if not images:
        raise InputError(f"{where}: there is no image in {', '.join(map(str, sources))}")
    _note_orphans(sources, [path for _, path in images], problems)
    points = "kpt_shape" in description.content
    return Reading(
        name=f"{root} {split}",
        images=_images(images, names, points, problems, where),
        class_names=tuple(names.values()),
        states_size=False,
    )


def _images(
    images: Sequence[tuple[str, Path]], names: Mapping[int, str], points: bool, problems: Problems, where: str
) -> Iterator[AnnotatedImage]:
    understood, refused = 0, []
    for name, image in images:
        labels = find_labels(image)
        if labels is None:
            yield AnnotatedImage(name, image, relative=True)
            continue
        try:
            objects = _read_labels(name, labels, names, points, problems)
        except InputError as error:
            problems.add("bad_annotation", name, str(error))
            refused.append(str(error))
        else:
            understood += 1
            yield AnnotatedImage(name, image, objects, relative=True)
    if refused and not understood:
        raise InputError(f"{where}: none of {len(refused)} label files can be used, the first being {refused[0]}")
    if not understood:
        looked = labels_folder(images[0][1].parent) / f"{images[0][1].stem}.txt"
        raise InputError(
            f"{where}: expected label files, but none of the {len(images)} images has one, such as {looked}"
        )


def _read_labels(
    name: str, file: Path, names: Mapping[int, str], points: bool, problems: Problems
) -> list[AnnotatedObject]:
    """Reads a label file; lines that cannot be read are told. Raises InputError if there is no other line."""
    objects, refused, large = [], [], 0
    for number, line in enumerate(read_text(file).split("\n"), 1):
        values = line.split()
        if not values:
            continue
        try:
            objects.append(parse_line(values[:5] if points else values, names))
        except ValueError as error:
            refused.append(f"{file}:{number}: {error}")
        else:
            large += any(abs(value) > FRACTION for value in objects[-1].box)
    if refused and not objects:
        raise InputError(f"{file}: no line can be read, the first because: {refused[0]}")
    if large > len(objects) / 2:
        raise InputError(f"{file}: {large} of {len(objects)} boxes have values far above 1, as if they were pixels")
    for detail in refused:
        problems.add("bad_line", name, detail)
    return objects


def parse_line(values: Sequence[str], names: Mapping[int, str]) -> AnnotatedObject:
    """Returns the object of one line, its box in fractions. Raises ValueError if the line is not one."""
    number, *rest = (parse_number(value) for value in values)
    if not number.is_integer():
        raise ValueError(f"expected the number of a class, got {values[0]!r}")
    if int(number) not in names:
        raise ValueError(f"class {int(number)} is not among the {len(names)} names ({min(names)} to {max(names)})")
    return AnnotatedObject(names[int(number)], _bounds(rest))


def _bounds(values: Sequence[float]) -> Box:
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        raise ValueError(
            f"expected a class and 4 numbers, or a class and 3 or more points, got {1 + len(values)} values"
        )
    return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])


def _note_orphans(sources: Sequence[Path], images: Sequence[Path], problems: Problems) -> None:
    """Tells label files in the folders of labels, or beside the images, that have objects but no image."""
    expected = {
        os.path.abspath(folder / f"{image.stem}.txt")
        for image in images
        for folder in (image.parent, labels_folder(image.parent))
    }
    for source in sources:
        for folder in dict.fromkeys((labels_folder(source), source)) if source.is_dir() else ():
            for path in files_below(folder):
                if path.suffix == ".txt" and os.path.abspath(path) not in expected and _states_object(path):
                    name = path.relative_to(folder).with_suffix("").as_posix()
                    problems.add("missing_image", name, f"{path} has no image")


def _states_object(path: Path) -> bool:
    """Tells label files from text of another kind that lies among them, such as classes.txt."""
    try:
        values = path.read_text(encoding="utf-8-sig").split("\n", 1)[0].split()
        return len([float(value) for value in values]) >= 5
    except (OSError, ValueError):
        return False
