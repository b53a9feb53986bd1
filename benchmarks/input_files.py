"""Photograph-like JPEG files and the layouts of the formats around them, for input.py. All layouts share the files."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "horse")
QUALITY = 90  # gives 500x375 photographs of about 100 kB, which is what VOC's have


class File(NamedTuple):
    """One image and its three objects."""

    name: str  # without .jpg
    size: tuple[int, int]  # (height, width)
    boxes: Sequence[Sequence[int]]  # xyxy, pixels; the class of box i is CLASSES[i]


def write_images(folder: Path, count: int, size: tuple[int, int] = (375, 500), distinct: int = 16) -> list[File]:
    """Writes JPEG files of 1/f noise, which compresses like a photograph; a few are shifted to give the rest."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    pictures = [noise(random, size) for _ in range(min(distinct, count))]
    files = []
    for index in range(count):
        pixels = np.roll(pictures[index % len(pictures)], random.integers(0, size), axis=(0, 1))
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
        name = f"{index:06d}"
        (folder / f"{name}.jpg").write_bytes(buffer.getvalue())
        corners = np.sort(random.integers(1, size[::-1], (3, 2, 2)), axis=1)  # [3, corner, (x, y)]
        boxes = (corners + [[0, 0], [1, 1]]).reshape(3, 4)
        files.append(File(name, size, boxes.tolist()))
    return files


def noise(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:  # uint8 [h, w, 3]
    """Returns noise whose amplitude falls as 1/frequency, as that of photographs does; its colors are correlated."""
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
    frequency[0, 0] = 1
    planes = [np.fft.irfft2(np.fft.rfft2(random.standard_normal(size)) / frequency, size) for _ in range(3)]
    light, *color = [(plane - plane.mean()) / plane.std() for plane in planes]
    mixed = np.stack([light + 0.3 * color[0], light, light + 0.3 * color[1]], axis=-1)
    return (127 + 50 * mixed).clip(0, 255).astype(np.uint8)


def write_voc(root: Path, files: Sequence[File]) -> dict[str, str]:
    """XML files in the layout of PASCAL VOC."""
    (root / "Annotations").mkdir()
    (root / "ImageSets/Main").mkdir(parents=True)
    _link(root, "JPEGImages")
    for file in files:
        (root / f"Annotations/{file.name}.xml").write_text(_xml(file, CLASSES))
    (root / "ImageSets/Main/train.txt").write_text("".join(f"{file.name}\n" for file in files))
    return dict(kind="voc", root=str(root), split="train")


def _xml(file: File, names: Sequence[str]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in zip(names, file.boxes, strict=True)
    )
    size = f"<size><width>{file.size[1]}</width><height>{file.size[0]}</height></size>"
    return f"<annotation>{size}{objects}</annotation>"


def write_ilsvrc(root: Path, files: Sequence[File]) -> dict[str, str]:
    """A list of validation images in the layout of ILSVRC DET."""
    synsets = [f"n{number:08d}" for number in range(1, len(CLASSES) + 1)]
    for folder in ("Data/DET/val", "Annotations/DET/val", "ImageSets/DET"):
        (root / folder).mkdir(parents=True)
    for file in files:
        entry = f"ILSVRC2012_val_{file.name}"
        (root / f"Data/DET/val/{entry}.JPEG").symlink_to(root.parent.resolve() / f"images/{file.name}.jpg")
        (root / f"Annotations/DET/val/{entry}.xml").write_text(_xml(file, synsets))
    (root / "ImageSets/DET/val.txt").write_text("".join(f"ILSVRC2012_val_{file.name} 1\n" for file in files))
    lines = [f"{synset} {number} {name}\n" for number, (synset, name) in enumerate(zip(synsets, CLASSES, strict=True))]
    (root / "map_det.txt").write_text("".join(lines))
    return dict(kind="ilsvrc", root=str(root), split="val")


def write_tfds(root: Path, files: Sequence[File]) -> dict[str, str]:
    """voc/2007 as TFDS prepares it, from archives that hold these files as every split."""
    import tensorflow_datasets
    from tensorflow_datasets.core.download import checksums

    from ssd_jax.data import tfds

    (root / "archives").mkdir()
    listed = "".join(f"{file.name}\n" for file in files).encode()
    content = {f"ImageSets/Main/{split}.txt": listed for split in ("train", "val", "test")}
    for file in files:
        content[f"JPEGImages/{file.name}.jpg"] = (root.parent / f"images/{file.name}.jpg").read_bytes()
        content[f"Annotations/{file.name}.xml"] = _xml(file, CLASSES).encode()
    builder: Any = tensorflow_datasets.builder_cls("voc")
    official = dict(builder.url_infos)
    fakes = {}
    for url, info in official.items():
        if info.filename in ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"):
            with tarfile.open(root / "archives" / info.filename, "w") as archive:
                for name, data in content.items():
                    member = tarfile.TarInfo(f"VOCdevkit/VOC2007/{name}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
            fakes[url] = checksums.compute_url_info(root / "archives" / info.filename)
    builder.url_infos = {**official, **fakes}  # TFDS expects the checksums of the official archives
    try:
        tfds.prepare("voc/2007", root / "prepared", root / "archives", show_progress=False)
    finally:
        builder.url_infos = official
    return dict(kind="tfds", root=str(root / "prepared"), split="voc/2007:train")


def write_coco(root: Path, files: Sequence[File]) -> dict[str, str]:
    """One JSON file in the layout of COCO 2017."""
    (root / "annotations").mkdir()
    _link(root, "train2017")
    images = [
        {"id": index, "file_name": f"{file.name}.jpg", "height": file.size[0], "width": file.size[1]}
        for index, file in enumerate(files)
    ]
    boxes = [(index, number, box) for index, file in enumerate(files) for number, box in enumerate(file.boxes)]
    annotations = [
        {"id": row, "image_id": index, "category_id": number + 1, "iscrowd": 0, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        | {"area": (x2 - x1) * (y2 - y1)}
        for row, (index, number, (x1, y1, x2, y2)) in enumerate(boxes, 1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/instances_train2017.json").write_text(json.dumps(document))
    return dict(kind="coco", root=str(root), split="train2017")


def write_yolo(root: Path, files: Sequence[File]) -> dict[str, str]:
    """Text files of fractions, and a data.yaml."""
    (root / "labels/train").mkdir(parents=True)
    (root / "images").mkdir()
    _link(root, "images/train")
    for file in files:
        height, width = file.size
        lines = [
            f"{number} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}\n"
            for number, (x1, y1, x2, y2) in enumerate(file.boxes)
        ]
        (root / f"labels/train/{file.name}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text(f"names: [{', '.join(CLASSES)}]\ntrain: images/train\n")
    return dict(kind="yolo", root=str(root), split="train")


def write_csv(root: Path, files: Sequence[File]) -> dict[str, str]:
    """One table."""
    _link(root, "photos")
    lines = [
        f"photos/{file.name}.jpg,{x1},{y1},{x2},{y2},{name}\n"
        for file in files
        for name, (x1, y1, x2, y2) in zip(CLASSES, file.boxes, strict=True)
    ]
    (root / "train.csv").write_text("path,xmin,ymin,xmax,ymax,class\n" + "".join(lines))
    return dict(kind="csv", root=str(root), split="train")


WRITERS: dict[str, Callable[[Path, Sequence[File]], dict[str, str]]] = {
    "voc": write_voc,
    "coco": write_coco,
    "yolo": write_yolo,
    "csv": write_csv,
    "ilsvrc": write_ilsvrc,
    "tfds": write_tfds,
}


def write_layouts(folder: Path, count: int, size: tuple[int, int] = (375, 500)) -> dict[str, dict[str, str]]:
    """Writes the images and every layout; returns the arguments of ``data.make_source`` by kind."""
    files, found = write_images(folder / "images", count, size), {}
    for kind, write in WRITERS.items():
        (folder / kind).mkdir()
        found[kind] = write(folder / kind, files)
    return found


def _link(root: Path, name: str) -> None:
    (root / name).symlink_to(root.parent.resolve() / "images", target_is_directory=True)
