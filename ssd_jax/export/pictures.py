"""The pictures on which an export is compared with the live model."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssd_jax.data import ShapesSource
from ssd_jax.data.decode import EXTENSIONS
from ssd_jax.errors import InputError
from ssd_jax.inference.pictures import Picture, Unreadable, lay_out, read_picture

COUNT = 8  # pictures of a comparison
SMALLEST = 32  # pixels of a rendered side

# (height, width) in shares of the canvas: as large, portrait, landscape, small, and larger, which is reduced.
SHARES = ((1, 1), (1, 0.6), (0.7, 1), (0.4, 0.5), (1.3, 0.9), (0.9, 1.7), (0.55, 0.3), (0.8, 0.8))


class Pictures(NamedTuple):
    """Pictures on their canvases."""

    name: str  # for messages
    canvas: np.ndarray  # [N, Hc, Wc, 3] uint8
    size: np.ndarray  # [N, 2] int32 (height, width)


def rendered(canvas: tuple[int, int]) -> Pictures:
    """Returns rendered shapes of different sizes: no files are needed."""
    pictures = [_read(image, canvas, number) for number, image in enumerate(_rendered(canvas), start=1)]
    return Pictures(f"{len(pictures)} rendered pictures", *lay_out(pictures, canvas, len(pictures)))


def from_files(place: str, canvas: tuple[int, int]) -> Pictures:
    """Reads an image, or the first images of a folder, by name.

    Raises:
      InputError: if there is none, or one cannot be read.
    """
    path = Path(place).expanduser()
    paths = [path]
    if path.is_dir():
        paths = sorted(one for one in path.iterdir() if one.suffix.lower() in EXTENSIONS)[:COUNT]
    if not paths:
        raise InputError(f"{place}: expected a folder with images ({', '.join(EXTENSIONS)}), found none")
    pictures = [_read(one, canvas, number) for number, one in enumerate(paths, start=1)]
    return Pictures(f"{len(pictures)} pictures of {place}", *lay_out(pictures, canvas, len(pictures)))


def _read(image: Path | np.ndarray, canvas: tuple[int, int], number: int) -> Picture:
    picture = read_picture(image, canvas, number=number)
    if isinstance(picture, Unreadable):
        raise InputError(f"{picture.id}: cannot be used: {picture.reason}")
    return picture


def _rendered(canvas: tuple[int, int]) -> Iterator[np.ndarray]:
    for number, shares in enumerate(SHARES):
        height, width = (max(SMALLEST, round(share * side)) for share, side in zip(shares, canvas, strict=True))
        image = ShapesSource(split="test", image_size=(height, width), length=len(SHARES))[number].image
        if not isinstance(image, np.ndarray):
            raise TypeError(f"image: expected pixels, got {type(image).__name__}")
        yield image
