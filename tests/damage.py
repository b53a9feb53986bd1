"""Damages a folder in VOC layout, each file in another way, and knows what has to be said of each."""

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from voc_folder import add_image, annotation, one_object


class Files(NamedTuple):
    """What belongs to one image."""

    name: str
    image: Path
    xml: Path
    list: Path
    other: Path  # an image that stays whole


class Damage(NamedTuple):
    """One way to damage a file."""

    what: str
    kind: str  # of problems.PROBLEM_KINDS or inspection.FILE_KINDS: how it has to be reported; "": it is harmless
    do: Callable[[Files], object]


def _cut(share: float) -> Callable[[Files], object]:
    return lambda files: files.image.write_bytes(files.image.read_bytes()[: int(share * files.image.stat().st_size)])


def _write(content: bytes) -> Callable[[Files], object]:
    return lambda files: files.image.write_bytes(content)


def _zeros(files: Files) -> None:
    files.image.write_bytes(bytes(files.image.stat().st_size))


def _folder(files: Files) -> None:
    files.image.unlink()
    files.image.mkdir()


def _dangling_link(files: Files) -> None:
    files.image.unlink()
    files.image.symlink_to("gone.jpg")


def _saved(
    change: Callable[[Image.Image], Image.Image], format_name: str = "JPEG", **save
) -> Callable[[Files], object]:
    """Replaces the image by a changed one in a format; its name stays."""

    def do(files: Files) -> None:
        buffer = io.BytesIO()
        change(Image.open(files.image).convert("RGB")).save(buffer, format_name, **save)
        files.image.write_bytes(buffer.getvalue())

    return do


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2))


def _square(picture: Image.Image) -> Image.Image:
    return picture.resize((100, 100))


def _black(picture: Image.Image) -> Image.Image:
    return Image.new("RGB", picture.size)


def _gray16(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) << 8)


def _unchanged(picture: Image.Image) -> Image.Image:
    return picture


def _sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _animation(files: Files) -> None:
    first = Image.open(files.image).convert("RGB")
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[_black(first)])
    files.image.write_bytes(buffer.getvalue())


def _xml(pattern: str, replacement: str) -> Callable[[Files], object]:
    """Replaces the first place in the annotation that matches."""

    def do(files: Files) -> None:
        changed, count = re.subn(pattern, replacement, files.xml.read_text(), count=1, flags=re.DOTALL)
        if not count:
            raise ValueError(f"{files.xml}: found nothing like {pattern}")
        files.xml.write_text(changed)

    return do


def _box(*coordinates: object) -> Callable[[Files], object]:
    """Gives the first object another box."""
    tags = zip(("xmin", "ymin", "xmax", "ymax"), coordinates, strict=True)
    return _xml("<bndbox>.*?</bndbox>", f"<bndbox>{''.join(f'<{t}>{v}</{t}>' for t, v in tags)}</bndbox>")


def _swapped_size(files: Files) -> None:
    text = files.xml.read_text()
    width, height = (re.search(f"<{tag}>(.*?)</{tag}>", text)[1] for tag in ("width", "height"))
    _xml("<width>.*?</width>", f"<width>{height}</width>")(files)
    _xml("<height>.*?</height>", f"<height>{width}</height>")(files)


def _listed_twice(files: Files) -> None:
    files.list.write_text(f"{files.list.read_text().rstrip()}\n{files.name}\n")


DAMAGES = (
    Damage("JPEG cut off within its header", "bad_image", lambda files: _write(files.image.read_bytes()[:60])(files)),
    Damage("JPEG cut off in the middle", "undecodable", _cut(0.6)),
    Damage("JPEG cut off near its end", "undecodable", _cut(0.9)),
    Damage("empty image file", "bad_image", _write(b"")),
    Damage("image file of zeros", "bad_image", _zeros),
    Damage("web page under the name of an image", "bad_image", _write(b"<html>404 Not Found</html>")),
    Damage("image is missing", "missing_image", lambda files: files.image.unlink()),
    Damage("folder under the name of an image", "bad_image", _folder),
    Damage("link that leads nowhere", "bad_image", _dangling_link),
    Damage("another image, of another shape", "wrong_size", _saved(_square)),
    Damage("image of half the annotated size", "resized_image", _saved(_half)),
    Damage("EXIF rotation that the annotation ignores", "unrotated", _saved(_unchanged, exif=_sideways())),
    Damage("black image", "one_color", _saved(_black)),
    Damage("the pixels of another image", "same_content", lambda files: shutil.copy(files.other, files.image)),
    Damage("annotation is missing", "missing_annotation", lambda files: files.xml.unlink()),
    Damage("annotation cut off", "bad_annotation", lambda files: files.xml.write_text(files.xml.read_text()[:-30])),
    Damage("annotation with a DOCTYPE", "bad_annotation", _xml("<anno", '<!DOCTYPE a [<!ENTITY b "c">]><anno')),
    Damage("empty annotation file", "bad_annotation", lambda files: files.xml.write_bytes(b"")),
    Damage("annotation that is no UTF-8", "bad_annotation", lambda files: files.xml.write_bytes(b"<annotation>\xff")),
    Damage("annotation without a size", "no_size", _xml("<size>.*?</size>", "")),
    Damage("annotated size of zero", "no_size", _xml("<width>.*?</width>", "<width>0</width>")),
    Damage("annotated width and height exchanged", "wrong_size", _swapped_size),
    Damage("box with reversed corners", "reversed", _box(60, 50, 20, 10)),
    Damage("box without width", "zero_size", _box(20, 10, 20, 50)),
    Damage("box without height", "zero_size", _box(20, 10, 60, 10)),
    Damage("box outside the image", "outside", _box(5000, 5000, 5100, 5100)),
    Damage("box over the far edge", "clipped", _box(20, 10, 5000, 50)),
    Damage("box with negative coordinates", "clipped", _box(-20, -10, 60, 50)),
    Damage("coordinate that is nan", "not_finite", _box("nan", 10, 60, 50)),
    Damage("coordinate that is infinite", "not_finite", _box(20, 10, "inf", 50)),
    Damage("coordinate with its unit", "no_box", _box("20px", 10, 60, 50)),
    Damage("object without a box", "no_box", _xml("<bndbox>.*?</bndbox>", "")),
    Damage("object without a name", "no_box", _xml("<object>(.*?)<name>.*?</name>", r"<object>\1")),
    Damage("object of an unwanted class", "unknown_class", _xml("<name>.*?</name>", "<name>unicorn</name>")),
    Damage("name listed twice", "duplicate", _listed_twice),
)
HARMLESS = (
    Damage("PNG under the name of a JPEG", "", _saved(_unchanged, "PNG")),
    Damage("CMYK", "", _saved(lambda picture: picture.convert("CMYK"))),
    Damage("gray", "", _saved(lambda picture: picture.convert("L"))),
    Damage("16 bits of gray", "", _saved(_gray16, "PNG")),
    Damage("animation", "", _animation),
    Damage("progressive JPEG", "", _saved(_unchanged, progressive=True)),
)


def damage(root: Path, split: str = "train") -> dict[str, Damage]:
    """Damages as many files of a split as there are ways to, from its second on; returns what was done to each."""
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    names = path.read_text().split()
    done = dict(zip(names[1:], (*DAMAGES, *HARMLESS), strict=False))
    if len(names) < len(DAMAGES) + len(HARMLESS) + 1:
        raise ValueError(f"{path}: expected more files than ways to damage them, got {len(names)}")
    other = root / "JPEGImages" / f"{names[0]}.jpg"
    for name, one in done.items():
        xml = root / "Annotations" / f"{name}.xml"
        one.do(Files(name, root / "JPEGImages" / f"{name}.jpg", xml, path, other))
    return done


def make_folder(root: Path, count: int = 48, held_out: int = 6) -> None:
    """Writes a clean folder of different images, 128 wide and 96 high, with the splits "train" and "val"."""
    for index in range(count + held_out):
        coarse = np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC)
        left, top = 5 + index % 40, 4 + index % 30
        objects = [
            one_object("cat", (left, top, left + 50, top + 40), difficult=int(index % 8 == 7)),
            one_object("dog", (left + 10, top + 6, left + 40, top + 50)),
        ]
        xml = annotation(*objects, size=(96, 128))
        add_image(root, f"image_{index:03d}", xml, picture, split="train" if index < count else "val")
