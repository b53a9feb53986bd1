"""Makes tiny archives of VOC and COCO with the names and the layout of the official ones, for the real TFDS code.

TFDS knows the size and the checksum of each official archive; :func:`install` puts those of the fakes in
their place, for the duration of a test.
"""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from voc_folder import picture

TAGS = ("xmin", "ymin", "xmax", "ymax")
COCO_NAMES = [f"thing {i}" for i in range(80)]
COCO_IDS = [i + 1 + (i >= 10) + (i >= 40) for i in range(80)]  # with gaps, as the official ones


class Thing(NamedTuple):
    """One object: its box is xyxy pixels in VOC, xywh pixels in COCO."""

    name: str
    box: tuple[float, float, float, float]
    flag: bool = False  # difficult in VOC, crowd in COCO
    area: float = 0.0  # COCO only


# split -> {image: (height, width, objects)}; fractional coordinates occur in VOC2012 and everywhere in COCO.
VOC2007 = {
    "train": {
        "000012": (75, 100, [Thing("car", (31, 20, 70, 54))]),
        "000017": (80, 97, [Thing("person", (1, 1, 97, 80)), Thing("horse", (18, 12, 60, 66), True)]),
    },
    "val": {"000005": (64, 100, [Thing("chair", (50, 42, 64, 59)), Thing("chair", (3, 47, 27, 64), True)])},
    "test": {
        "000001": (100, 71, [Thing("dog", (10, 48, 39, 74)), Thing("person", (2, 3, 70, 99))]),
        "000002": (67, 100, [Thing("train", (28, 40, 42, 43))]),
    },
}
VOC2012 = {
    "train": {"2008_000008": (88, 99, [Thing("horse", (11, 17.3, 94.25, 84)), Thing("person", (38, 8, 60, 70))])},
    "val": {"2008_000003": (66, 100, [Thing("train", (9, 21, 100, 60), True), Thing("boat", (1.5, 2, 30, 40))])},
    "test": {"2008_000001": (50, 60, [])},
}
COCO2017 = {
    "train": {
        "000000000009": (96, 128, [Thing("thing 45", (1.08, 37.69, 90.55, 57.11), area=2112.7)]),
        "000000000025": (85, 128, []),
        "000000000030": (
            *(86, 128),
            [
                Thing("thing 79", (40.97, 1.41, 50.03, 80.2), area=1722.2625),
                Thing("thing 0", (0, 0, 128, 86), True, 9e3),
            ],
        ),
    },
    "val": {
        "000000000139": (85, 128, [Thing("thing 10", (47.32, 33.01, 18.33, 20.5), area=371.8)]),
        "000000000285": (
            *(128, 117),
            [
                Thing("thing 21", (1.69, 13.45, 115.05, 112.88), area=9000.5),
                Thing("thing 21", (4, 5, 33.3, 9), True, 250),
            ],
        ),
        "000000000632": (97, 128, []),
    },
    "test": {"000000000001": (96, 128, [])},
}
CONTENT = {"voc/2007": VOC2007, "voc/2012": VOC2012, "coco/2017": COCO2017}


def jpeg(height: int, width: int) -> bytes:
    """Returns the file that stands for every image of this size."""
    file = io.BytesIO()
    picture(height, width).save(file, "JPEG", quality=95)
    return file.getvalue()


def make_archives(name: str, folder: Path) -> list[Path]:
    """Writes the archives of a dataset into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "coco/2017":
        return _coco_archives(folder)
    trainval, test = {
        "voc/2007": ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"),
        "voc/2012": ("VOCtrainval_11-May-2012.tar", "VOC2012test.tar"),
    }[name]
    year, splits = name.split("/")[1], CONTENT[name]
    return [
        make_tar(folder / trainval, _voc_files(year, {key: splits[key] for key in ("train", "val")})),
        make_tar(folder / test, _voc_files(year, {"test": splits["test"]}, annotated=year == "2007")),
    ]


def install(monkeypatch, *folders: Path) -> None:
    """Lets TFDS expect the archives of these folders, at their official addresses."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import checksums

    infos = {path.name: checksums.compute_url_info(path) for folder in folders for path in folder.iterdir()}
    for dataset in ("voc", "coco"):
        builder = tfds.builder_cls(dataset)
        official = dict(builder.url_infos)
        fakes = {url: infos[info.filename] for url, info in official.items() if info.filename in infos}
        monkeypatch.setattr(builder, "url_infos", {**official, **fakes})


def _voc_files(year: str, splits: dict, annotated: bool = True) -> dict[str, bytes]:
    root, files = f"VOCdevkit/VOC{year}", {}
    for split, images in splits.items():
        files[f"{root}/ImageSets/Main/{split}.txt"] = "".join(f"{stem}\n" for stem in images).encode()
        for stem, (height, width, things) in images.items():
            files[f"{root}/JPEGImages/{stem}.jpg"] = jpeg(height, width)
            if annotated:
                files[f"{root}/Annotations/{stem}.xml"] = _voc_xml(height, width, things).encode()
    return files


def _voc_xml(height: int, width: int, things: list[Thing]) -> str:
    objects = "".join(
        f"<object><name>{thing.name}</name><pose>Left</pose><truncated>0</truncated>"
        f"<difficult>{int(thing.flag)}</difficult><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(TAGS, thing.box, strict=True))
        + "</bndbox></object>"
        for thing in things
    )
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


def _coco_archives(folder: Path) -> list[Path]:
    paths, instances = [], {}
    for split, images in COCO2017.items():
        name = f"{split}2017"
        files = {f"{name}/{stem}.jpg": jpeg(height, width) for stem, (height, width, _) in images.items()}
        paths.append(_zip(folder / f"{name}.zip", files))
        instances[name] = json.dumps(coco_json(images)).encode()
    test_info = {"annotations/image_info_test2017.json": instances.pop("test2017")}
    paths.append(_zip(folder / "image_info_test2017.zip", test_info))
    files = {f"annotations/instances_{name}.json": text for name, text in instances.items()}
    return [*paths, _zip(folder / "annotations_trainval2017.zip", files)]


def coco_json(images: dict) -> dict:
    """Returns the content of an instances_*.json; the images are listed in another order than their numbers'."""
    annotations = [
        {
            "image_id": int(stem),
            "category_id": COCO_IDS[COCO_NAMES.index(thing.name)],
            "bbox": list(thing.box),
            "area": thing.area,
            "iscrowd": int(thing.flag),
        }
        for stem, (_, _, things) in images.items()
        for thing in things
    ]
    return {
        "images": [
            {"id": int(stem), "file_name": f"{stem}.jpg", "height": height, "width": width}
            for stem, (height, width, _) in reversed(images.items())
        ],
        "categories": [{"id": number, "name": name} for number, name in zip(COCO_IDS, COCO_NAMES, strict=True)],
        "annotations": [{**annotation, "id": row + 1} for row, annotation in enumerate(annotations)],
    }


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
