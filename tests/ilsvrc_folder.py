"""Builds a tiny tree in the layout of the ILSVRC DET archives, for the tests of ssd_jax.data."""

from pathlib import Path

from voc_folder import annotation, one_object, picture

# The first lines of the devkit's map_det.txt, with a name of several words.
MAP = "n02672831 1 accordion\nn02691156 2 airplane\nn02766320 3 baby bed\n"
ACCORDION, AIRPLANE, BABY_BED = "n02672831", "n02691156", "n02766320"
LEAF = "ILSVRC2013_train/n02672831/n02672831_1001"
YEAR = "ILSVRC2014_train_0000/ILSVRC2014_train_00000001"
EXTRA = "ILSVRC2013_train_extra0/ILSVRC2013_train_extra_00000001"
VAL = "ILSVRC2013_val_00000001"
SECOND = "ILSVRC2013_val_00000002"


def subset(entry: str) -> str:
    return entry.split("_")[1].split("/")[0]


def add_image(root: Path, entry: str, *objects: str, size=(80, 100)) -> None:
    """Adds an image; without objects it gets no annotation file."""
    image = root / "Data/DET" / subset(entry) / f"{entry}.JPEG"
    image.parent.mkdir(parents=True, exist_ok=True)
    picture(*size).save(image, format="JPEG")
    if objects:
        set_annotation(root, entry, annotation(*objects, size=size))


def set_annotation(root: Path, entry: str, xml: str) -> None:
    path = root / "Annotations/DET" / subset(entry) / f"{entry}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(xml)


def write_list(root: Path, name: str, *lines: str) -> Path:
    path = root / "ImageSets/DET" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def build(root: Path) -> Path:
    """Two annotated images and a negative of train, two of val, one of test; train_1 and train_2 overlap."""
    add_image(root, LEAF, one_object(ACCORDION, (10, 20, 50, 60)), one_object(BABY_BED, (0, 0, 100, 80)))
    add_image(root, YEAR, one_object(AIRPLANE, (1, 2, 3, 4)), size=(60, 90))
    add_image(root, EXTRA)
    add_image(root, VAL, one_object(AIRPLANE, (5, 5, 40, 45)), one_object(ACCORDION, (30, 30, 70, 75)))
    add_image(root, SECOND, one_object(BABY_BED, (20, 10, 60, 70)))
    add_image(root, "ILSVRC2013_test_00000001")
    write_list(root, "train", f"{LEAF} 1", f"{YEAR} 2", f"{EXTRA} 3")
    write_list(root, "train_1", f"{LEAF} 1", f"{EXTRA} -1")
    write_list(root, "train_2", f"{YEAR} 1", f"{LEAF} 0")
    write_list(root, "val", f"{VAL} 1", f"{SECOND} 2")
    write_list(root, "test", "ILSVRC2013_test_00000001 1")
    (root / "devkit/data").mkdir(parents=True, exist_ok=True)
    (root / "devkit/data/map_det.txt").write_text(MAP)
    return root
