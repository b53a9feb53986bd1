"""Small pictures with boxes whose look tells what they are; of a small object, its surroundings enlarged."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ssd_jax.visualize import text

SIDE = 400  # pixels of the longer side
QUALITIES = (80, 72, 60, 48, 34)  # of JPEG, tried in turn
_SMALLEST = 24  # pixels of the longer side down to which a picture is reduced to fit
_CONTEXT = 2.2  # height of what is shown / larger side of what is looked at
_LEAST_REGION = 64.0  # pixels of the frame shown at least, from top to bottom
_WHOLE_FROM = 0.55  # share of the frame from which all of it is shown
_LARGEST_SCALE = 4.0  # to which a small part of the frame is enlarged
_FONT = 16.0  # pixels: a gallery shows pictures at about two thirds of their size
_ASPECT = 4 / 3  # of a part of the frame
_RIM = (16, 18, 22)

Region = tuple[int, int, int, int]  # x0, y0, x1, y1 of the frame; the last are excluded


class Look(NamedTuple):
    """How a box is drawn."""

    color: tuple[int, int, int]
    width: int
    is_dashed: bool
    words: str  # what it stands for


WRONG = Look((255, 112, 67), 4, False, "the detection in question, or a wrong one")
RIGHT = Look((64, 224, 150), 3, False, "a detection that is correct")
BESIDE = Look((96, 176, 255), 2, False, "another detection nearby")
TRUTH = Look((255, 255, 255), 2, True, "annotated")
MISSED = Look((255, 221, 64), 4, True, "annotated and missed")
IGNORED = Look((185, 190, 200), 1, True, "annotated, does not count (difficult, crowd)")
LOOKS = (WRONG, RIGHT, BESIDE, TRUTH, MISSED, IGNORED)


class Mark(NamedTuple):
    """A box to be drawn."""

    box: np.ndarray  # [4] xyxy, pixels of the frame
    look: Look
    words: str = ""  # written at the box


def region_around(boxes: np.ndarray, size: tuple[int, int]) -> Region:
    """Returns the part of a frame that shows boxes and what is around them.

    Args:
      boxes: [N, 4] xyxy, N >= 1, pixels; they may reach beyond the frame.
      size: (height, width) of the frame.
    """
    height, width = size
    low = np.clip(boxes.reshape(-1, 2, 2).min(axis=(0, 1)), 0, (width, height))
    high = np.clip(boxes.reshape(-1, 2, 2).max(axis=(0, 1)), 0, (width, height))
    tall = max(_CONTEXT * float((high - low).max()), _LEAST_REGION)
    shown = np.minimum((_ASPECT * tall, tall), (width, height))
    if shown.prod() >= _WHOLE_FROM * width * height:
        return 0, 0, width, height
    first = np.clip((low + high - shown) / 2, 0, (width, height) - shown).astype(int)
    last = np.minimum(first + np.maximum(shown.round().astype(int), 1), (width, height))
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def draw(frame: np.ndarray, region: Region, marks: Sequence[Mark]) -> Image.Image:
    """Returns a part of a frame as a picture of at most ``SIDE`` pixels; later marks lie above earlier ones.

    Args:
      frame: [h, w, 3] uint8.
      region: the part.
      marks: boxes in pixels of the frame; what lies outside the region is not drawn.
    """
    x0, y0, x1, y1 = region
    scale = min(SIDE / max(x1 - x0, y1 - y0), _LARGEST_SCALE)
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    picture = Image.fromarray(np.ascontiguousarray(frame[y0:y1, x0:x1])).resize(size, Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(picture), text.load_font(_FONT)
    scales = np.array(size) / (x1 - x0, y1 - y0)
    places = [_place(mark.box, np.array((x0, y0)), scales, size) for mark in marks]
    drawn = [(mark, place) for mark, place in zip(marks, places, strict=True) if place is not None]
    for mark, place in drawn:
        _outline(pen, place, mark.look)
    taken: list[Region] = []
    for mark, place in reversed(drawn):  # what matters most is written first, and not covered
        _write(pen, place, mark, font, size, taken)
    return picture


def encode(picture: Image.Image, max_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Returns a picture as JPEG, and its (height, width): as good, and then as large, as ``max_bytes`` allows."""
    while True:
        data = b""
        for quality in QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, optimize=True)
            data = buffer.getvalue()
            if len(data) <= max_bytes:
                break
        if len(data) <= max_bytes or max(picture.size) <= _SMALLEST:
            return data, (picture.height, picture.width)
        size = max(1, picture.width * 2 // 3), max(1, picture.height * 2 // 3)
        picture = picture.resize(size, Image.Resampling.LANCZOS)


def _place(box: np.ndarray, offset: np.ndarray, scales: np.ndarray, size: tuple[int, int]) -> Region | None:
    """Returns the pixels of the picture that a box covers, both ends included; None if it lies outside."""
    corners = (np.sort(np.reshape(box, (2, 2)), axis=0) - offset) * scales
    last = np.array(size) - 1
    if (corners[1] < 0).any() or (corners[0] > last).any():
        return None
    low, high = np.clip(corners.round(), 0, last).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _outline(pen: ImageDraw.ImageDraw, place: Region, look: Look) -> None:
    x0, y0, x1, y1 = place
    # A dark rim around the line, and dark gaps within a dashed one, so that it is seen on any picture; but dashes and
    # gaps alone would look as dark as they are bright, once the picture is shown smaller.
    rim = 0 if look.is_dashed else 1
    pen.rectangle((x0 - rim, y0 - rim, x1 + rim, y1 + rim), outline=_RIM, width=look.width + 2 * rim)
    if not look.is_dashed:
        pen.rectangle(place, outline=look.color, width=look.width)
        return
    dash, gap, across = 9, 4, look.width - 1
    for x in range(x0, x1 + 1, dash + gap):
        for y in (y0, max(y1 - across, y0)):
            pen.rectangle((x, y, min(x + dash - 1, x1), min(y + across, y1)), fill=look.color)
    for y in range(y0, y1 + 1, dash + gap):
        for x in (x0, max(x1 - across, x0)):
            pen.rectangle((x, y, min(x + across, x1), min(y + dash - 1, y1)), fill=look.color)


def _write(
    pen: ImageDraw.ImageDraw, place: Region, mark: Mark, font: text.Font, size: tuple[int, int], taken: list[Region]
) -> None:
    """Writes the words of a mark at its box where nothing is written yet; otherwise not at all."""
    words = text.shorten(mark.words, font, size[0] - 8)
    wide, high = int(np.ceil(font.getlength(words))) + 6, text.line_height(font) + 1
    if not words or high > size[1]:
        return
    x0, y0, x1, y1 = place
    for x, y in (
        *((x0, y0 - high), (x1 - wide + 1, y0 - high), (x0, y1 + 1), (x1 - wide + 1, y1 + 1)),
        *((x0, y0), (x1 - wide + 1, y0), (x0, y1 - high + 1), (x1 - wide + 1, y1 - high + 1)),
    ):
        left, top = min(max(x, 0), size[0] - wide), min(max(y, 0), size[1] - high)
        label = left, top, left + wide - 1, top + high - 1
        if not any(_overlap(label, other) for other in taken):
            pen.rectangle(label, fill=_RIM, outline=mark.look.color)
            pen.text((left + 3, top), words, fill=mark.look.color, font=font)
            taken.append(label)
            return


def _overlap(a: Region, b: Region) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
