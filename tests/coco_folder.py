"""Builds small folders in COCO's layout, clean and dirty ones, for the tests of ssd_jax.data."""

import json
from pathlib import Path
from typing import Any

from voc_folder import picture

CATEGORIES = [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}]  # unsorted, with a gap


def image(number: Any, file_name: str = "", size: tuple[int, int] | None = (80, 100)) -> dict[str, Any]:
    """An entry of "images", by default 100 wide and 80 high and called as COCO calls its files."""
    stated = {"height": size[0], "width": size[1]} if size else {}
    return {"id": number, "file_name": file_name or f"{number:012d}.jpg", **stated}


def annotation(image_id: Any, box: Any = (10, 20, 40, 40), category: Any = 1, **more: Any) -> dict[str, Any]:
    """An entry of "annotations", by default a cat with a mask that fills half of its box (x, y, width, height)."""
    mask = {"segmentation": [[10, 20, 50, 20, 10, 60]], "area": 800.0, "iscrowd": 0}
    return {"image_id": image_id, "category_id": category, "bbox": box, **mask, **more}


def write(path: Path, images: list, annotations: list | None = None, categories: Any = CATEGORIES, **more: Any) -> None:
    """Writes an annotation file; ``annotations=None`` leaves that list out."""
    stated = {} if annotations is None else {"annotations": annotations}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "images": images, **stated, "categories": categories, **more}))


def save_images(folder: Path, *names: str) -> None:
    """Saves pictures 100 wide and 80 high."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(80, 100).save(path)


def make(root: Path, *annotations: dict, name: str = "val2017", numbers: tuple[int, ...] = (1, 2)) -> Path:
    """Makes root/NAME and root/annotations/instances_NAME.json; returns root."""
    entries = [image(number) for number in numbers]
    write(root / f"annotations/instances_{name}.json", entries, list(annotations))
    save_images(root / name, *(entry["file_name"] for entry in entries))
    return root
