"""Draws the grid of a feature map and matched default boxes on an image, as figure 1 of the paper does."""

import numpy as np
from PIL import Image, ImageDraw

from ssd_jax.visualize import palette

_GRAY = 0.6  # how much of its color is taken from the photograph
_DARKEST, _CONTRAST = 32, 0.42  # its range of levels becomes 32 to 139: class colors are brighter
_GRID = (255, 255, 255, 70)  # RGB and opacity, of 255
_FEW = 12  # boxes up to which lines are opaque; more of them shine through
_LEAST_OPACITY = 140


def draw_grid(
    image: np.ndarray,  # [h, w, 3] uint8
    step: tuple[float, float],  # (y, x) pixels of the image
) -> np.ndarray:  # [h, w, 3] uint8
    """Returns a dimmed copy of the image under faint lines, ``step`` apart from the upper left corner on."""
    height, width = image.shape[:2]
    gray = image.mean(axis=-1, keepdims=True)
    dimmed = (_DARKEST + _CONTRAST * (image + _GRAY * (gray - image))).astype(np.uint8)
    overlay = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(overlay)
    for x in np.arange(step[1], width, step[1]):
        draw.line((x, 0, x, height), fill=_GRID)
    for y in np.arange(step[0], height, step[0]):
        draw.line((0, y, width, y), fill=_GRID)
    return _blend(dimmed, overlay)


def draw_matches(
    image: np.ndarray,  # [h, w, 3] uint8
    boxes: np.ndarray,  # [N, 4] xyxy, pixels of the image; they may reach beyond it
    labels: np.ndarray,  # [N] int, >= 1
) -> np.ndarray:  # [h, w, 3] uint8
    """Returns a copy of the image with dashed boxes and dots at their centers, in the colors of their classes.

    Nothing is written at the boxes. The more there are, the fainter their lines.
    """
    overlay = Image.new("RGBA", (image.shape[1], image.shape[0]))
    draw = ImageDraw.Draw(overlay)
    unit = max(1, round(min(image.shape[:2]) / 300))  # thickness of a line
    opacity = max(_LEAST_OPACITY, round(255 * min(1.0, _FEW / max(1, len(boxes))) ** 0.5))
    colors = [palette.class_color(int(label)) for label in labels]
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    for (x0, y0, x1, y1), color in zip(boxes.tolist(), colors, strict=True):
        _draw_dashes(draw, (x0, y0, x1, y1), (*color, opacity), unit)
    for (x, y), color in zip(((boxes[:, :2] + boxes[:, 2:]) / 2).tolist(), colors, strict=True):
        draw.ellipse((x - 2.5 * unit, y - 2.5 * unit, x + 2.5 * unit, y + 2.5 * unit), fill=(*color, 255))
    return _blend(image, overlay)


def _draw_dashes(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], color: tuple[int, int, int, int], unit: int
) -> None:
    x0, y0, x1, y1 = box
    for x in np.arange(x0, x1, 8 * unit).tolist():
        end = min(x + 4 * unit, x1)
        draw.line((x, y0, end, y0), fill=color, width=unit)
        draw.line((x, y1, end, y1), fill=color, width=unit)
    for y in np.arange(y0, y1, 8 * unit).tolist():
        end = min(y + 4 * unit, y1)
        draw.line((x0, y, x0, end), fill=color, width=unit)
        draw.line((x1, y, x1, end), fill=color, width=unit)


def _blend(image: np.ndarray, overlay: Image.Image) -> np.ndarray:
    return np.asarray(Image.alpha_composite(Image.fromarray(image).convert("RGBA"), overlay).convert("RGB"))
