"""Decoding: encoded bytes, a file or an array -> uint8 [h, w, 3] RGB in the frame of the annotation."""

import io
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {  # its values, and what brings such an image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,  # counterclockwise, in Pillow
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # those that exchange width and height
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")  # of files taken for images
ASPECT_TOLERANCE = 0.02  # a resized copy of an image keeps its aspect this closely

# Everything Pillow raises on damaged files (OSError covers truncated and unidentified ones).
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, Image.DecompressionBombError)


class ImageError(Exception):
    """An image cannot be used: missing, truncated, corrupt, or not the one that was annotated."""


class Header(NamedTuple):
    """What can be known about an image without decoding it."""

    size: tuple[int, int]  # (height, width) as stored
    orientation: int  # EXIF: 1 = upright, 2-8 = to be mirrored or rotated

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        height, width = self.size
        return (width, height) if self.orientation in SIDEWAYS else self.size


class Frame(NamedTuple):
    """How the stored image relates to the frame in which its boxes are stated."""

    upright: bool  # the EXIF orientation is to be applied
    exact: bool  # False: a resized copy of the annotated image


def read_header(image: bytes | Path | Image.Image) -> Header:
    """Reads size and orientation. Raises ImageError if the file is missing or no image."""
    try:
        if isinstance(image, Image.Image):
            return _header(image)
        with Image.open(_open(image)) as file:
            return _header(file)
    except _DAMAGE as error:
        raise ImageError(_reason(error)) from error


def choose_frame(header: Header, size: tuple[int, int] | None) -> Frame:
    """Decides whether boxes stated in a frame of ``size`` live in the upright or the stored image.

    The EXIF orientation is applied unless only the stored frame fits the stated size: some tools
    annotate what the camera shows, others what the file holds. Where both fit (a half turn, a
    mirror, a square image), or nothing is stated, it is applied.

    Raises:
      ImageError: neither frame has the stated size, nor (within 2 %) its aspect.
    """
    stored, upright = header.size, header.upright
    if size is None or size == upright:
        return Frame(upright=True, exact=True)
    if size == stored:
        return Frame(upright=False, exact=True)
    if _same_aspect(size, upright):
        return Frame(upright=True, exact=False)
    if _same_aspect(size, stored):
        return Frame(upright=False, exact=False)
    raise ImageError(f"image is {upright[1]}x{upright[0]}, its annotation says {size[1]}x{size[0]}")


def decode_image(
    image: bytes | Path | np.ndarray | Image.Image,
    size: tuple[int, int] | None = None,
    *,
    limit: tuple[int, int] | None = None,
) -> np.ndarray:  # uint8 [h, w, 3]
    """Decodes an image to RGB in the frame of its annotation.

    Gray, palette, 16-bit, CMYK and other color spaces are converted; an alpha channel is dropped
    (not composited); of an animation the first picture counts.

    Args:
      image: encoded bytes, a file, uint8 [h, w, 3] RGB (or [h, w] gray), or an image of Pillow, which stays as it is.
      size: (height, width) that the annotation states; None: the upright frame.
      limit: (height, width) that the result must fit into; a larger image is reduced, keeping its
        aspect. A JPEG is then decoded at the nearest larger fraction of its size, which is fast.

    Raises:
      ImageError: missing, truncated, corrupt, or of another shape than the annotation states.
    """
    if isinstance(image, np.ndarray):
        pixels = _check_array(image)
        stored = pixels.shape[0], pixels.shape[1]
        choose_frame(Header(stored, 1), size)
        return np.asarray(_resize(Image.fromarray(pixels), fitted_size(stored, limit))) if limit else pixels
    try:
        if isinstance(image, Image.Image):
            return _decode(image, size, limit, reduced=False)  # which would change the caller's image
        with Image.open(_open(image)) as file:
            return _decode(file, size, limit)
    except _DAMAGE as error:
        raise ImageError(_reason(error)) from error


def fitted_size(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """Returns the largest (height, width) of the same aspect within ``limit``; never enlarges."""
    scale = min(limit[0] / size[0], limit[1] / size[1], 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _decode(
    file: Image.Image, size: tuple[int, int] | None, limit: tuple[int, int] | None, *, reduced: bool = True
) -> np.ndarray:
    header = _header(file)
    frame = choose_frame(header, size)
    shape = header.upright if frame.upright else header.size
    target = fitted_size(shape, limit) if limit else shape
    if target != shape:
        height, width = target if shape == header.size else target[::-1]
        if reduced:
            file.draft(None, (width, height))  # affects JPEG only; the result is at least this large
    picture = _to_rgb(file)
    if frame.upright and header.orientation != 1:
        picture = picture.transpose(UPRIGHT[header.orientation])
    return np.asarray(_resize(picture, target))


def _resize(picture: Image.Image, target: tuple[int, int]) -> Image.Image:
    if target == (picture.height, picture.width):
        return picture
    # Hamming averages over the area that a pixel covers (no aliasing), sharper than a triangle.
    return picture.resize((target[1], target[0]), Image.Resampling.HAMMING)


def _to_rgb(file: Image.Image) -> Image.Image:
    if file.mode == "I" or file.mode.startswith("I;16"):
        # Pillow would clip 16-bit gray to 255 instead of scaling it.
        return Image.fromarray((np.asarray(file).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if file.mode == "F":
        raise ImageError("floating-point images have no defined range")
    if file.mode == "P" and "transparency" in file.info:
        return file.convert("RGBA").convert("RGB")  # Pillow warns on the direct way
    return file.convert("RGB")


def _header(file: Image.Image) -> Header:
    orientation = file.getexif().get(ORIENTATION, 1)
    known = isinstance(orientation, int) and 1 <= orientation <= 8
    return Header((file.height, file.width), orientation if known else 1)


def _check_array(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8 and image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"expected a uint8 [h, w, 3] array, got {image.dtype} {list(image.shape)}")
    return image


def _same_aspect(a: tuple[int, int], b: tuple[int, int]) -> bool:
    ratio = (a[0] * b[1]) / (a[1] * b[0])
    return 1 - ASPECT_TOLERANCE <= ratio <= 1 + ASPECT_TOLERANCE


def _open(image: bytes | Path) -> io.BytesIO | Path:
    return io.BytesIO(image) if isinstance(image, bytes) else image


def _reason(error: Exception) -> str:
    """Returns what is wrong, without the path, which whoever asks knows, and without the number of an error."""
    if isinstance(error, FileNotFoundError):
        return "file is missing"
    if isinstance(error, UnidentifiedImageError):
        return "cannot identify image file"
    return getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
