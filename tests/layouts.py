"""Writes the same eight annotated pictures in the layout of every format, for the tests that compare the formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import fake_tfds
import numpy as np
import pytest
from PIL import Image

from ssd_jax import data
from ssd_jax.data import tfds

# The classes of the rendered shapes under names that VOC has, since the archives of VOC admit no others.
CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car")


class Picture(NamedTuple):
    """One picture and its objects."""

    name: str
    pixels: np.ndarray  # [h, w, 3] uint8
    boxes: np.ndarray  # [G, 4] xyxy, whole pixels
    labels: np.ndarray  # [G] int, from 1


def pictures(count: int = 8, size: tuple[int, int] = (96, 128)) -> list[Picture]:
    """Rendered shapes with boxes rounded to whole pixels, as people annotate."""
    source = data.make_source(kind="shapes", split="train", image_size=size, length=count)
    scale = [size[1], size[0], size[1], size[0]]
    examples = [source[index] for index in range(count)]
    return [
        Picture(f"{2000 + index:06d}", example.image, (example.boxes * scale).round(), example.labels)
        for index, example in enumerate(examples)
    ]


def save(picture: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.pixels).save(path, "JPEG", quality=95)


def to_xml(picture: Picture, names: tuple[str, ...] = CLASSES) -> str:
    height, width = picture.pixels.shape[:2]
    objects = "".join(
        f"<object><name>{names[label - 1]}</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{box[0]:g}</xmin><ymin>{box[1]:g}</ymin>"
        f"<xmax>{box[2]:g}</xmax><ymax>{box[3]:g}</ymax></bndbox></object>"
        for box, label in zip(picture.boxes, picture.labels, strict=True)
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{picture.name}.jpg</filename>{size}{objects}</annotation>"


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_voc(root: Path, items: list[Picture]) -> dict:
    for item in items:
        save(item, root / "JPEGImages" / f"{item.name}.jpg")
        write_text(root / "Annotations" / f"{item.name}.xml", to_xml(item))
    write_text(root / "ImageSets/Main/train.txt", "\n".join(item.name for item in items))
    return dict(kind="voc", root=str(root), split="train")


def write_coco(root: Path, items: list[Picture]) -> dict:
    for item in items:
        save(item, root / "train2017" / f"{item.name}.jpg")
    images = [
        {"id": index + 7, "file_name": f"{item.name}.jpg", "height": len(item.pixels), "width": item.pixels.shape[1]}
        for index, item in enumerate(items)
    ]
    annotations = [
        {"image_id": index + 7, "category_id": 10 * int(label), "iscrowd": 0, "area": float(w * h) / 2}
        | {"bbox": [float(x1), float(y1), float(w), float(h)]}
        for index, item in enumerate(items)
        for (x1, y1, x2, y2), label in zip(item.boxes, item.labels, strict=True)
        for w, h in [(x2 - x1, y2 - y1)]
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    categories = [{"id": 10 * (index + 1), "name": name} for index, name in enumerate(CLASSES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_text(root / "annotations/instances_train2017.json", json.dumps(document))
    return dict(kind="coco", root=str(root), split="train2017")


def write_yolo(root: Path, items: list[Picture]) -> dict:
    for item in items:
        save(item, root / "images/train" / f"{item.name}.jpg")
        height, width = item.pixels.shape[:2]
        centers = (item.boxes[:, :2] + item.boxes[:, 2:]) / 2 / [width, height]
        sides = (item.boxes[:, 2:] - item.boxes[:, :2]) / [width, height]
        rows = np.column_stack([centers, sides]).tolist()
        lines = [f"{label - 1} {' '.join(map(repr, row))}" for row, label in zip(rows, item.labels, strict=True)]
        write_text(root / "labels/train" / f"{item.name}.txt", "\n".join(lines))
    write_text(root / "data.yaml", f"names: [{', '.join(CLASSES)}]\ntrain: images/train\nval: images/train\n")
    return dict(kind="yolo", root=str(root), split="train")


def write_csv(root: Path, items: list[Picture]) -> dict:
    lines = ["path,xmin,ymin,xmax,ymax,class"]
    for item in items:
        save(item, root / "photos" / f"{item.name}.jpg")
        for box, label in zip(item.boxes, item.labels, strict=True):
            lines.append(",".join([f"photos/{item.name}.jpg", *(f"{value:g}" for value in box), CLASSES[label - 1]]))
    write_text(root / "train.csv", "\n".join(lines))
    return dict(kind="csv", root=str(root), split="train")


def write_ilsvrc(root: Path, items: list[Picture]) -> dict:
    synsets = tuple(f"n{index:08d}" for index in range(1, len(CLASSES) + 1))
    for item in items:
        save(item, root / f"Data/DET/val/ILSVRC2012_val_{item.name}.JPEG")
        write_text(root / f"Annotations/DET/val/ILSVRC2012_val_{item.name}.xml", to_xml(item, synsets))
    write_text(
        root / "ImageSets/DET/val1.txt", "".join(f"ILSVRC2012_val_{p.name} {i}\n" for i, p in enumerate(items, 1))
    )
    lines = [f"{synset} {index} {name}" for index, (synset, name) in enumerate(zip(synsets, CLASSES, strict=True), 1)]
    write_text(root / "map_det.txt", "\n".join(lines))
    return dict(kind="ilsvrc", root=str(root), split="val1")


def write_tfds(root: Path, items: list[Picture]) -> dict:
    """Prepares voc/2007 by TFDS from archives that hold these pictures as every split."""
    archives = root / "archives"
    archives.mkdir(parents=True)
    files = {}
    for item in items:
        save(item, root / "picture.jpg")
        files[f"JPEGImages/{item.name}.jpg"] = (root / "picture.jpg").read_bytes()
        files[f"Annotations/{item.name}.xml"] = to_xml(item).encode()
    for split in ("train", "val", "test"):
        files[f"ImageSets/Main/{split}.txt"] = "".join(f"{item.name}\n" for item in items).encode()
    for name in ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"):
        fake_tfds.make_tar(archives / name, {f"VOCdevkit/VOC2007/{path}": data for path, data in files.items()})
    with pytest.MonkeyPatch.context() as patch:
        fake_tfds.install(patch, archives)
        tfds.prepare("voc/2007", root / "tfds", archives, show_progress=False)
    return dict(kind="tfds", root=str(root / "tfds"), split="voc/2007:train")


WRITERS: dict[str, Callable[[Path, list[Picture]], dict]] = {
    "voc": write_voc,
    "coco": write_coco,
    "yolo": write_yolo,
    "csv": write_csv,
    "ilsvrc": write_ilsvrc,
    "tfds": write_tfds,
}
