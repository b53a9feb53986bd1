"""Annotated copies of images: read at full size, drawn on, and encoded in the format of the original."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ssd_jax import visualize
from ssd_jax.data import decode
from ssd_jax.media import kinds
from ssd_jax.types import ImageDetections

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {  # by extension: Pillow's name and options
    # Full color resolution, else thin colored lines blur.
    **dict.fromkeys((".jpg", ".jpeg"), ("JPEG", {"quality": 95, "subsampling": 0})),
    ".png": ("PNG", {"compress_level": 3}),
    ".webp": ("WEBP", {"quality": 90}),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", {"compression": "tiff_adobe_deflate"})),
    ".bmp": ("BMP", {}),
}
LARGE = ".png"  # appended where the format of the original cannot hold the size
_MOST = {"JPEG": 65500, "WEBP": 16383}  # pixels of a side


class Picture(NamedTuple):
    """An image at full size."""

    pixels: np.ndarray  # [h, w, 3] uint8 RGB, upright
    profile: bytes | None  # ICC profile of the pixels


def read_picture(path: Path) -> Picture:
    """Reads an image; raises ``data.ImageError`` if it cannot be read."""
    return Picture(decode.decode_image(path), _read_profile(path))


def annotate(pixels: np.ndarray, found: ImageDetections, class_names: tuple[str, ...]) -> np.ndarray:
    """Returns a copy of [h, w, 3] pixels with boxes, names and scores."""
    return visualize.draw_boxes(pixels, found.boxes, found.labels, class_names=class_names, scores=found.scores)


def encode(pixels: np.ndarray, target: Path, profile: bytes | None = None) -> tuple[Path, bytes]:
    """Encodes [h, w, 3] pixels as the extension of the target says.

    Only the color profile of the original is kept: the pixels are upright, so its EXIF orientation would be wrong.

    Returns:
      The target, with LARGE appended if its format cannot hold the size; and the content of the file.
    """
    name, options = FORMATS[kinds.extension(target)]
    if max(pixels.shape[:2]) > _MOST.get(name, max(pixels.shape[:2])):
        target = target.with_name(target.name + LARGE)
        name, options = FORMATS[LARGE]
    if profile is not None and name != "BMP":
        options = {**options, "icc_profile": profile}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    return target, buffer.getvalue()


def _read_profile(path: Path) -> bytes | None:
    """Returns the ICC profile of a file if it describes RGB; one of CMYK or gray would be wrong for RGB pixels."""
    try:
        with Image.open(path) as file:
            profile = file.info.get("icc_profile")
    except OSError:  # it was there a moment ago
        return None
    # Bytes 16 to 19 name the color space (ICC.1:2022, table 17).
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None
