"""Pictures offered on the page: of a folder, or rendered shapes if the network was trained on those."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ssd_jax.commands.serve import pictures
from ssd_jax.commands.serve.refusals import Refusal
from ssd_jax.data.shapes import layout
from ssd_jax.data.shapes.source import ShapesSource
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND

MOST = 24  # of a folder; all are held in memory
NUM_SHAPES = 8
SHAPES_SIZE = (320, 320)  # (height, width): large enough to be looked at
_THUMB = (288, 192)  # (width, height) at most, twice what it is shown at


class Example(NamedTuple):
    """A picture offered on the page."""

    name: str
    content: bytes  # the encoded file
    media_type: str
    thumb: bytes  # JPEG
    thumb_size: tuple[int, int]  # (height, width)


def of_folder(folder: Path, *, max_bytes: int, max_pixels: int) -> list[Example]:
    """Reads the first pictures of a folder, in the order of their names; others than pictures are passed over.

    Raises:
      InputError: it is no folder, or holds no picture that can be used.
    """
    if not folder.is_dir():
        raise InputError(f"--examples: expected a folder with pictures, got {str(folder)!r} (no such folder)")
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            if path.stat().st_size <= max_bytes:
                found.append(_example(path.name, path.read_bytes(), max_pixels))
        except (OSError, Refusal):
            continue
        if len(found) == MOST:
            break
    if not found:
        raise InputError(f"--examples: expected a folder with {pictures.IN_WORDS} pictures, {folder} has none")
    return found


def of_shapes(class_names: Sequence[str]) -> list[Example]:
    """Renders pictures that training has not seen, if the classes are those of the rendered shapes; else none."""
    if tuple(class_names) != (BACKGROUND, *layout.NAMES):
        return []
    source = ShapesSource(split="test", image_size=SHAPES_SIZE, length=NUM_SHAPES)
    found = []
    for number, example in enumerate(source):  # pyright: ignore[reportArgumentType]
        file = io.BytesIO()
        Image.fromarray(np.asarray(example.image)).save(file, "PNG")
        found.append(_example(f"shapes {number + 1}", file.getvalue(), SHAPES_SIZE[0] * SHAPES_SIZE[1]))
    return found


def _example(name: str, content: bytes, max_pixels: int) -> Example:
    """Raises Refusal if it is no picture, OSError if it is damaged."""
    header = pictures.examine(content, max_pixels=max_pixels)
    with Image.open(io.BytesIO(content), formats=[header.format]) as file:
        file.draft("RGB", _THUMB)
        small = ImageOps.exif_transpose(file).convert("RGB")
    small.thumbnail(_THUMB)
    thumb = io.BytesIO()
    small.save(thumb, "JPEG", quality=80)
    return Example(name, content, pictures.MEDIA_TYPES[header.format], thumb.getvalue(), (small.height, small.width))
