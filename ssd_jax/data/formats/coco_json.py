"""Reading one JSON file in COCO's format."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ssd_jax.data.formats.coco_layout import CocoPart
from ssd_jax.data.formats.folder import image_ids, name_below
from ssd_jax.data.problems import Problems
from ssd_jax.errors import InputError


class CocoObject(NamedTuple):
    """One entry of "annotations"."""

    category: int
    box: tuple[float, float, float, float]  # (x, y, width, height), pixels
    area: float | None  # pixels^2, of the mask
    crowd: bool


class CocoImage(NamedTuple):
    """One entry of "images"."""

    number: int  # COCO's id
    id: str  # ours, within its file
    file_name: str
    size: tuple[int, int] | None  # (height, width)


class CocoFile(NamedTuple):
    """What an annotation file says of boxes."""

    images: list[CocoImage]  # in the file's order, each number once
    categories: dict[int, str]  # sorted by number
    objects: dict[int, list[CocoObject]]  # by the number of their image, in the file's order


def read_file(part: CocoPart, problems: Problems) -> CocoFile:
    """Reads one annotation file, as a whole and once (448 MB for instances_train2017.json).

    Raises:
      InputError: it cannot be read, is not in COCO's format, or its categories are ambiguous.
    """
    document = _read_json(part)
    annotations = document["annotations"] if part.annotated else []
    images = _read_images(part, document["images"], problems)
    categories = _read_categories(part, document.get("categories") or [], annotations)
    objects = _read_objects(part, annotations, images, categories, problems)
    return CocoFile(images, categories, objects)


def _read_json(part: CocoPart) -> dict[str, Any]:
    try:
        document = json.loads(part.path.read_text(encoding="utf-8-sig"), object_hook=_without_mask)
    except OSError as error:
        raise InputError(f"{part.path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{part.path}: expected COCO annotations, but it is no JSON ({error})") from error
    needed = ("images", "annotations", "categories") if part.annotated else ("images",)
    absent = [key for key in needed if not isinstance(document, dict) or not isinstance(document.get(key), list)]
    if absent:
        raise InputError(
            f"{part.path}: expected COCO annotations, an object with the lists {', '.join(needed)}; "
            f"it lacks {', '.join(absent)}"
        )
    return document


def _without_mask(entry: dict[str, Any]) -> dict[str, Any]:
    """Drops the polygons, most of a file, as soon as they are parsed."""
    entry.pop("segmentation", None)
    return entry


def _read_images(part: CocoPart, entries: Sequence[Any], problems: Problems) -> list[CocoImage]:
    sound: dict[int, Mapping[str, Any]] = {}
    for row, entry in enumerate(entries):
        number = _whole(entry.get("id")) if isinstance(entry, dict) else None
        if number is None or not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            problems.add("bad_line", f"{part.name} images[{row}]", "expected an integer id and a file_name")
        elif number in sound:
            problems.add("duplicate", entry["file_name"], f"another image has the id {number} too")
        else:
            sound[number] = entry
    names = [entry["file_name"].replace("\\", "/") for entry in sound.values()]  # some exports come from Windows
    ids = image_ids([name_below(name, part.root) for name in names])
    return [
        CocoImage(number, name, file_name, _size(entry))
        for (number, entry), name, file_name in zip(sound.items(), ids, names, strict=True)
    ]


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = (_number(entry.get(key)) for key in ("height", "width"))
    if height is None or width is None or not (1 <= height < math.inf and 1 <= width < math.inf):
        return None
    return int(height), int(width)


def _read_categories(part: CocoPart, entries: Sequence[Any], annotations: Sequence[Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in entries:
        number = _whole(entry.get("id")) if isinstance(entry, dict) else None
        if number is None or not isinstance(entry.get("name"), str) or not entry["name"]:
            raise InputError(f"{part.path}: expected categories with an integer id and a name, got {entry!r}")
        if names.setdefault(number, entry["name"]) != entry["name"]:
            raise InputError(
                f"{part.path}: expected distinct category ids, got {number} for {names[number]!r} and {entry['name']!r}"
            )
    return dict(sorted(_without_namesakes(part, names, annotations).items()))


def _without_namesakes(part: CocoPart, names: dict[int, str], annotations: Sequence[Any]) -> dict[int, str]:
    """Leaves out unused categories whose name another one has, such as the supercategory that Roboflow lists as 0."""
    if len(set(names.values())) == len(names):
        return names
    used = {_whole(entry.get("category_id")) for entry in annotations if isinstance(entry, dict)}
    kept: dict[str, int] = {}
    for number, name in names.items():
        other = kept.setdefault(name, number)
        if other != number and number in used:
            if other in used:
                raise InputError(
                    f"{part.path}: expected distinct category names, got {name!r} with the ids "
                    f"{other} and {number}, both in use"
                )
            kept[name] = number
    return {number: name for name, number in kept.items()}


def _read_objects(
    part: CocoPart,
    entries: Sequence[Any],
    images: Sequence[CocoImage],
    categories: Mapping[int, str],
    problems: Problems,
) -> dict[int, list[CocoObject]]:
    ids = {image.number: image.id for image in images}
    objects: dict[int, list[CocoObject]] = {}
    for row, entry in enumerate(entries):
        number = _whole(entry.get("image_id")) if isinstance(entry, dict) else None
        if number is None or number not in ids:
            stated = entry.get("image_id") if isinstance(entry, dict) else entry
            problems.add("bad_line", f"{part.name} annotations[{row}]", f"{stated!r} is not the id of an image")
            continue
        box, category = _box(entry.get("bbox")), _whole(entry.get("category_id"))
        if box is None:
            problems.add("no_box", ids[number], f"expected a bbox of four numbers, got {entry.get('bbox')!r}")
        elif category is None or category not in categories:
            problems.add("no_box", ids[number], f"{entry.get('category_id')!r} is not the id of a category")
        else:
            area = _number(entry.get("area"))
            area = area if area is not None and 0 <= area < math.inf else None
            objects.setdefault(number, []).append(CocoObject(category, box, area, bool(entry.get("iscrowd"))))
    return objects


def _box(values: Any) -> tuple[float, float, float, float] | None:
    numbers = [_number(value) for value in values] if isinstance(values, list) else []
    match numbers:
        case [float(x), float(y), float(width), float(height)]:
            return x, y, width, height
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
