"""Annotations in COCO's JSON: the official files of 2014 and 2017, and custom exports."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssd_jax.data.formats.coco_json import CocoFile, CocoImage, CocoObject, read_file
from ssd_jax.data.formats.coco_layout import CocoPart, find_images, parse_split
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError

Owners = tuple[dict[int, str], ...]  # of each part: number in its file -> id, for the images that come first


def read(root: str, split: str, *, problems: Problems, images: str = "", image_files: str = "required") -> Reading:
    """Reads one or more annotation files; images come in the order of their "images" lists.

    Classes are the categories in the order of their ids, also those without objects; so the
    labels of COCO are 1 to 80, as in the original SSD.

    Args:
      root: the folder that holds annotations/, or whatever the split names.
      split: parts joined by "+". A part is NAME, for annotations/instances_NAME.json, or else
        annotations/image_info_NAME.json, which states images only (test-dev2017); or the path of a
        .json file below root, as custom exports have them (train/_annotations.coco.json).
        "trainval35k" stands for train2014+valminusminival2014, "minival" for minival2014; train2017 and
        val2017 hold the same images (detectron/datasets/data/README.md of facebookresearch/Detectron).
        An id is the file name without extension; it is prefixed by the part's name if
        parts would otherwise share ids.
      problems: the tally.
      images: the folder of the images, relative to root or absolute; "": it is looked for, see
        :func:`ssd_jax.data.formats.coco_layout.image_folders`.
      image_files: "required"; or "optional": an absent image is used as annotated.

    Raises:
      InputError: a file does not exist or is not in COCO's format, none of the images is found, or
        category ids are ambiguous.
    """
    parts = parse_split(Path(root), split)
    files = [read_file(part, problems) for part in parts]
    find = _find_some if image_files == "optional" else find_images
    paths = [
        find(part, [image.file_name for image in file.images], images) for part, file in zip(parts, files, strict=True)
    ]
    categories = _merge_categories(parts, files)
    ids = _unique_ids(parts, files, paths)
    owners = _owners(files, ids)
    numbers = _numbers(owners)
    annotated = parts[0].annotated
    return Reading(
        name=f"{root} {split}",
        images=itertools.chain.from_iterable(
            _images(file, names, found, categories, problems)
            for file, names, found in zip(files, ids, paths, strict=True)
        ),
        class_names=tuple(categories.values()),
        read_headers=False,
        annotated=annotated,
        category_ids=tuple(categories),
        image_ids=numbers,
        coco_dataset=functools.partial(_dataset, tuple(parts), owners, numbers) if annotated else None,
    )


def _find_some(part: CocoPart, names: Sequence[str], images: str) -> list[Path | None]:
    """As find_images, but an image that is absent gets the path that it would have beside its annotations."""
    try:
        found = find_images(part, names, images)
    except InputError:  # none is there
        found = [None] * len(names)
    return [path or part.path.parent / name for name, path in zip(names, found, strict=True)]


def _images(
    file: CocoFile, ids: Sequence[str], paths: Sequence[Path | None], names: Mapping[int, str], problems: Problems
) -> Iterator[AnnotatedImage]:
    for image, name, path in zip(file.images, ids, paths, strict=True):
        objects = file.objects.pop(image.number, [])  # so that memory is handed over, not doubled
        if path is None:
            problems.add("missing_image", name)
        else:
            yield AnnotatedImage(name, path, [_to_object(item, names) for item in objects], image.size)


def _to_object(item: CocoObject, names: Mapping[int, str]) -> AnnotatedObject:
    x, y, width, height = item.box
    return AnnotatedObject(names[item.category], (x, y, x + width, y + height), crowd=item.crowd, area=item.area)


def _merge_categories(parts: Sequence[CocoPart], files: Sequence[CocoFile]) -> dict[int, str]:
    merged: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for part, file in zip(parts, files, strict=True):
        for number, name in file.categories.items():
            if merged.setdefault(number, name) != name or numbers.setdefault(name, number) != number:
                raise InputError(
                    f"{part.path}: expected the categories of {parts[0].path}, but {name!r} with id {number} differs"
                )
    return dict(sorted(merged.items()))


def _unique_ids(
    parts: Sequence[CocoPart], files: Sequence[CocoFile], paths: Sequence[Sequence[Path | None]]
) -> list[list[str]]:
    """Prefixes all ids if two parts use one for different images; the same image in both stays a duplicate."""
    owners: dict[str, tuple[int, CocoImage, Path | None]] = {}
    for index, (file, found) in enumerate(zip(files, paths, strict=True)):
        for image, path in zip(file.images, found, strict=True):
            owner = owners.setdefault(image.id, (index, image, path))
            if owner[0] != index and owner[1:] != (image, path):
                prefixes = [f"{part.name.removesuffix('.json')}/" for part in parts]
                return [[f"{p}{i.id}" for i in f.images] for p, f in zip(prefixes, files, strict=True)]
    return [[image.id for image in file.images] for file in files]


def _owners(files: Sequence[CocoFile], ids: Sequence[Sequence[str]]) -> Owners:
    owners, seen = [], set()
    for file, names in zip(files, ids, strict=True):
        mine = {}
        for image, name in zip(file.images, names, strict=True):
            if name not in seen:
                mine[image.number] = name
                seen.add(name)
        owners.append(mine)
    return tuple(owners)


def _numbers(owners: Owners) -> dict[str, int]:
    """Returns the number of each id: the file's, or counted from 1 where several files use the same ones."""
    stated = [(name, number) for mine in owners for number, name in mine.items()]
    if len({number for _, number in stated}) == len(stated):
        return dict(stated)
    return {name: count for count, (name, _) in enumerate(stated, 1)}


def _dataset(
    parts: Sequence[CocoPart],
    owners: Owners,
    numbers: Mapping[str, int],
    holds: Callable[[str], bool],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Reads the files again and returns what they state of some images and classes, for ``Reading.coco_dataset``."""
    images, annotations, categories = [], [], {}
    for part, mine in zip(parts, owners, strict=True):
        file = read_file(part, Problems())
        known = {number: name for number, name in file.categories.items() if name in class_names}
        categories |= known
        for number, name in mine.items():
            if holds(name):
                images.append({"id": numbers[name], "file_name": name})
                for item in file.objects.get(number, ()):
                    if item.category in known and all(map(math.isfinite, item.box)):
                        annotations.append(_to_annotation(item, numbers[name], len(annotations) + 1))
    named = [{"id": number, "name": name} for number, name in sorted(categories.items())]
    return {"images": images, "annotations": annotations, "categories": named}


def _to_annotation(item: CocoObject, image: int, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": item.category,
        "bbox": list(item.box),
        "area": item.box[2] * item.box[3] if item.area is None else item.area,
        "iscrowd": int(item.crowd),
    }
