"""Builds small folders in VOC layout, clean and dirty ones, for the tests of ssd_jax.data."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(height: int, width: int) -> Image.Image:
    """Smooth, and different in every corner: survives JPEG, and shows every turn."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return Image.fromarray(np.stack([red, green, 0 * red + 40], axis=-1).astype(np.uint8))


def one_object(name="cat", box=(10, 20, 50, 60), difficult=0) -> str:
    tags = "".join(f"<{t}>{v}</{t}>" for t, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{tags}</bndbox></object>"


def annotation(*objects: str, size: tuple[int, int] | None = (80, 100)) -> str:
    stated = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation>{stated}{''.join(objects)}</annotation>"


def write_list(root: Path, name: str, *lines: str) -> None:
    """Writes ImageSets/Main/NAME.txt."""
    (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (root / f"ImageSets/Main/{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def add_image(
    root: Path,
    name: str,
    xml: str | None = None,
    image: Image.Image | bytes | None = None,
    *,
    split: str = "train",
    **save,
) -> None:
    """Adds one annotated image, by default 100 wide, 80 high and with one cat, and lists it in a split."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    with open(root / f"ImageSets/Main/{split}.txt", "a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    (root / "Annotations" / f"{name}.xml").write_text(annotation(one_object()) if xml is None else xml)
    path = root / "JPEGImages" / f"{name}.jpg"
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        (picture(80, 100) if image is None else image).save(path, **save)
