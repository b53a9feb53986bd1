"""Draws labeled boxes on one image."""

import math
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ssd_jax.visualize import palette, text

Rectangle = tuple[int, int, int, int]  # x0, y0, x1, y1: first and last pixel, both included

_SHADE = 0.6  # a darkened rim keeps bright lines visible on bright pictures
# Labels hide what they stand on: of the picture's area, what a single one and what all together may take.
_ONE_LABEL, _ALL_LABELS = 1 / 8, 1 / 3


class _Item(NamedTuple):
    """One box to be drawn."""

    rectangle: Rectangle
    label: int
    score: float | None
    is_dashed: bool


def draw_boxes(
    image: np.ndarray,  # [h, w, 3] uint8 RGB; [h, w] and [h, w, 1] are taken as gray
    boxes: np.ndarray,  # [N, 4] xyxy, pixels of the image
    labels: np.ndarray,  # [N] int
    *,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,  # [N] in [0, 1]
    ignored: np.ndarray | None = None,  # [N] bool
    thickness: int | None = None,
    font_size: float | None = None,
    font_file: str | PathLike[str] | None = None,
    brief: bool = False,
) -> np.ndarray:  # [h, w, 3] uint8
    """Returns a copy of the image with boxes in the color of their class and a label at each.

    Boxes are clipped to the image; those wholly outside and padding (label 0) are left out, ignored
    ones are dashed. Lines of good scores lie above those of bad ones. A label stays inside the
    image and never covers another: where the picture is crowded or tiny, labels of worse scores
    shrink to the score and then vanish (the color still tells the class).

    Args:
        image: the picture; it is not changed.
        boxes: in pixels, reversed and empty ones allowed; all numbers finite.
        labels: indices into class_names; 0 is padding.
        class_names: every class by label, background first.
        scores: written at the labels if given.
        ignored: difficult or crowd.
        thickness: of the lines, in pixels; by default about a 160th of the shorter side. Small boxes
            have thinner ones, so that what is in them can be seen.
        font_size: in pixels; by default about a 32nd of the shorter side, at least 10.
        font_file: a TrueType or OpenType font, for names that are not written in ASCII letters.
        brief: leave out the class names, where a legend tells them: labels are the scores, or nothing.

    Raises:
        ValueError: the image is not uint8 of one of these shapes, lengths differ, a number is not finite,
            or a label has no name.
    """
    picture = _as_rgb(image)
    height, width = picture.shape[:2]
    shorter = min(height, width)
    thickness = _default_thickness(shorter) if thickness is None else thickness
    font = text.load_font(max(10.0, shorter / 32) if font_size is None else font_size, font_file)
    items = _items(boxes, labels, scores, ignored, num_classes=len(class_names), size=(height, width))

    canvas = Image.fromarray(_shade_rims(picture, items, thickness))
    draw = ImageDraw.Draw(canvas)
    for item in reversed(items):
        _draw_outline(draw, item, thickness)
    placed: list[Rectangle] = []
    for item in items:
        name = class_names[item.label] if font_file else text.class_title(class_names[item.label], item.label)
        _draw_label(draw, item, "" if brief else name, font, placed)
    return np.asarray(canvas)


def _default_thickness(shorter: int) -> int:
    """Returns 1 for pictures too small for more, else at least 2: a single pixel does not show its color."""
    return 1 if shorter < 40 else max(2, round(shorter / 160))


def _thickness_of(box: Rectangle, thickness: int) -> int:
    """Returns the thickness of a box's lines: at most an eighth of its shorter side, or 2 pixels, within the box."""
    side = min(box[2] - box[0], box[3] - box[1]) + 1
    return min(thickness, max(2, side // 8), (side + 1) // 2)


def _as_rgb(image: np.ndarray) -> np.ndarray:  # -> [h, w, 3] uint8, contiguous
    image = np.asarray(image)
    gray = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or gray.ndim != 3 or gray.shape[2] not in (1, 3) or 0 in gray.shape:
        raise ValueError(f"image must be uint8 [h, w, 3], [h, w, 1] or [h, w], got {image.dtype} {list(image.shape)}")
    return np.ascontiguousarray(np.broadcast_to(gray, (*gray.shape[:2], 3)))


def _items(
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    ignored: np.ndarray | None,
    *,
    num_classes: int,
    size: tuple[int, int],
) -> list[_Item]:
    """Returns what is to be seen, best score first; in the given order where there are no scores."""
    labels = np.asarray(labels, np.int64)
    count = len(labels)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    flags = np.zeros(count, bool) if ignored is None else np.asarray(ignored, bool)
    values = None if scores is None else np.asarray(scores, np.float64)
    lengths = {"boxes": len(boxes), "scores": count if values is None else len(values), "ignored": len(flags)}
    if set(lengths.values()) != {count}:
        raise ValueError(f"expected as many boxes, scores and ignored as labels ({count}), got {lengths}")
    if not np.isfinite(boxes).all() or not (values is None or np.isfinite(values).all()):
        raise ValueError("boxes and scores must be finite, got nan or infinity")
    if count and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"labels must be 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}")

    order = np.arange(count) if values is None else np.argsort(-values, kind="stable")
    return [
        _Item(rectangle, int(labels[k]), None if values is None else float(values[k]), bool(flags[k]))
        for k in order
        if labels[k] > 0 and (rectangle := _visible(boxes[k], size)) is not None
    ]


def _visible(box: np.ndarray, size: tuple[int, int]) -> Rectangle | None:
    """Returns the pixels that the visible part of a box covers, at least one; None if it lies outside."""
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    last = np.array(size[::-1]) - 1
    if (high < 0).any() or (low > last + 1).any():
        return None
    first_pixel = np.clip(np.floor(low), 0, last)
    last_pixel = np.maximum(np.clip(np.ceil(high) - 1, 0, last), first_pixel)
    x0, y0, x1, y1 = (int(value) for value in (*first_pixel, *last_pixel))
    return x0, y0, x1, y1


def _shade_rims(image: np.ndarray, items: Sequence[_Item], thickness: int) -> np.ndarray:
    """Returns a copy with the pixels next to each outline darkened, once, before any line is drawn on them."""
    shaded = image.copy()
    for y0, y1, x0, x1 in _rims(items, thickness, image.shape[:2]):
        shaded[y0:y1, x0:x1] = ((1 - _SHADE) * image[y0:y1, x0:x1]).astype(np.uint8)  # of the original: only once
    return shaded


def _rims(items: Sequence[_Item], thickness: int, size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields the rows and columns (first, end, first, end) of the four sides of each rim, inside of the picture."""
    for x0, y0, x1, y1 in (item.rectangle for item in items if not item.is_dashed):
        width = max(1, _thickness_of((x0, y0, x1, y1), thickness) // 4)
        top, left, bottom, right = y0 - width, x0 - width, y1 + 1 + width, x1 + 1 + width
        for rows, columns in (
            ((top, y0), (left, right)),
            ((y1 + 1, bottom), (left, right)),
            ((top, bottom), (left, x0)),
            ((top, bottom), (x1 + 1, right)),
        ):
            yield max(rows[0], 0), min(rows[1], size[0]), max(columns[0], 0), min(columns[1], size[1])


def _draw_outline(draw: ImageDraw.ImageDraw, item: _Item, thickness: int) -> None:
    color = palette.class_color(item.label)
    if not item.is_dashed:
        draw.rectangle(item.rectangle, outline=color, width=_thickness_of(item.rectangle, thickness))
        return
    for segment in _dashes(item.rectangle, _thickness_of(item.rectangle, thickness)):
        draw.rectangle(segment, fill=color)


def _dashes(rectangle: Rectangle, thickness: int) -> list[Rectangle]:
    """Returns the dashes of the four sides, each four times as long as wide, as filled rectangles."""
    x0, y0, x1, y1 = rectangle
    across, dash = min(thickness - 1, x1 - x0, y1 - y0), 4 * thickness
    columns = [(x, min(x + dash - 1, x1)) for x in range(x0, x1 + 1, 2 * dash)]
    rows = [(y, min(y + dash - 1, y1)) for y in range(y0, y1 + 1, 2 * dash)]
    sides = [(a, y, b, y + across) for y in (y0, y1 - across) for a, b in columns]
    return sides + [(x, a, x + across, b) for x in (x0, x1 - across) for a, b in rows]


def _draw_label(draw: ImageDraw.ImageDraw, item: _Item, name: str, font: text.Font, placed: list[Rectangle]) -> None:
    """Writes the label of a box where it covers no earlier one, and notes the place; else leaves it out."""
    width, height = draw.im.size
    name = text.shorten(name, font, max(0.4 * width, 8 * font.size))  # no single name may fill the picture
    score = "" if item.score is None else f"{item.score:.2f}"
    for label in (f"{name} {score}".strip(), score):
        size = _label_size(label, font)
        if not label or not _leaves_room(size, (width, height), placed):
            continue
        place = _free_place(item.rectangle, size, (width, height), placed)
        if place is not None:
            color = palette.class_color(item.label)
            draw.rectangle(place, fill=color)
            draw.text((place[0] + _padding(font), place[1]), label, fill=palette.text_color(color), font=font)
            placed.append(place)
            return


def _leaves_room(label_size: tuple[int, int], image_size: tuple[int, int], placed: Sequence[Rectangle]) -> bool:
    """Whether enough of the picture is still to be seen beside this label and the earlier ones."""
    area, whole = math.prod(label_size), math.prod(image_size)
    taken = sum((x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in placed)
    return area <= _ONE_LABEL * whole and taken + area <= _ALL_LABELS * whole


def _padding(font: text.Font) -> int:
    return max(1, round(font.size / 5))


def _label_size(label: str, font: text.Font) -> tuple[int, int]:
    """Returns (width, height) of a label; the height is the same for every text."""
    return int(np.ceil(font.getlength(label))) + 2 * _padding(font), text.line_height(font)


def _free_place(
    box: Rectangle, label_size: tuple[int, int], image_size: tuple[int, int], placed: Sequence[Rectangle]
) -> Rectangle | None:
    """Returns the first place at the box that is inside the image and free, or None."""
    (w, h), (width, height) = label_size, image_size
    if w > width or h > height:
        return None
    x0, y0, x1, y1 = box
    left, right = x0, x1 - w + 1
    above, top, bottom, below = y0 - h, y0, y1 - h + 1, y1 + 1
    for x, y in (
        *((left, above), (left, top), (right, above), (right, top)),
        *((left, below), (left, bottom), (right, below), (right, bottom)),
    ):
        x, y = min(max(x, 0), width - w), min(max(y, 0), height - h)
        place = (x, y, x + w - 1, y + h - 1)
        if not any(_overlap(place, other) for other in placed):
            return place
    return None


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
