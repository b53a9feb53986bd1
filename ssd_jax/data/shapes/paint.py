"""The pixels of a rendered image: a textured background, distractors, then the shapes, anti-aliased."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw

from ssd_jax.data.shapes.layout import PlacedShape

_FINE = 4  # masks are drawn this much larger and averaged: the edges are anti-aliased
_CONTRAST = 90.0  # Euclidean distance in RGB between a shape and what lies under it
# The usual hue of each class, by label - 1: look-alikes share theirs, so that only their shape tells them apart.
_HUES = (0.6, 0.6, 0.05, 0.05, 0.4, 0.8, 0.2)
_HUE_SPREAD = 0.05  # to either side
_ODD_HUES = 0.15  # share of shapes of any other color


def paint(random: np.random.Generator, size: tuple[int, int], objects: list[PlacedShape]) -> np.ndarray:
    """Returns uint8 [h, w, 3]."""
    canvas = _background(random, size)
    canvas = _distract(random, canvas)
    for item in objects:
        _paint_shape(random, canvas, item)
    canvas += random.normal(0, random.uniform(0, 5), (*size, 1)).astype(np.float32)
    return canvas.clip(0, 255).astype(np.uint8)


def _background(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:  # float32 [h, w, 3]
    """Soft noise around a muted color, under half of the images with stripes or checks."""
    cells = int(random.integers(2, 7))
    base = _color(random, saturation=(0.0, 0.25), value=(0.25, 0.95))
    light, tint = random.normal(0, 1, (cells, cells, 1)), random.normal(0, 0.3, (cells, cells, 3))
    coarse = base + random.uniform(8, 32) * (light + tint)
    small = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
    canvas = np.asarray(small.resize((size[1], size[0]), Image.Resampling.BICUBIC), np.float32).copy()
    pattern, contrast = int(random.integers(4)), random.uniform(6, 26)
    angle, period = random.uniform(0, np.pi), random.uniform(0.03, 0.16) * min(size)
    if pattern < 2:
        canvas += (contrast * _waves(size, angle, period))[..., None]
        if pattern == 1:
            canvas += (contrast * _waves(size, angle + np.pi / 2, period))[..., None]
    return canvas


def _waves(size: tuple[int, int], angle: float, period: float) -> np.ndarray:  # [h, w] in [-1, 1]
    y, x = np.ogrid[: size[0], : size[1]]
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    return np.sin(phase, dtype=np.float32)


def _distract(random: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Adds lines, arcs and specks that belong to no class."""
    picture = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    height, width = canvas.shape[:2]
    for _ in range(int(random.integers(0, 7))):
        color = tuple(int(value) for value in _color(random, saturation=(0.0, 0.5), value=(0.2, 1.0)))
        x, y = random.uniform(0, width), random.uniform(0, height)
        kind = int(random.integers(3))
        if kind == 0:
            length, angle = random.uniform(0.1, 0.7) * width, random.uniform(0, 2 * np.pi)
            draw.line((x, y, x + length * np.cos(angle), y + length * np.sin(angle)), fill=color, width=1)
        elif kind == 1:
            radius, start = random.uniform(0.05, 0.4) * width, random.uniform(0, 360)
            draw.arc((x - radius, y - radius, x + radius, y + radius), start, start + 100, fill=color, width=1)
        else:
            for dx, dy in random.normal(0, 0.04 * width, (6, 2)):
                draw.point((x + dx, y + dy), fill=color)
    return np.asarray(picture, np.float32).copy()


def _paint_shape(random: np.random.Generator, canvas: np.ndarray, shape: PlacedShape) -> None:
    height, width = canvas.shape[:2]
    left, top = int(np.floor(shape.box[0])), int(np.floor(shape.box[1]))
    right, bottom = min(width, int(np.ceil(shape.box[2]))), min(height, int(np.ceil(shape.box[3])))
    patch = canvas[top:bottom, left:right]
    mask = _mask(shape, (left, top), (bottom - top, right - left))
    under = (patch * mask[..., None]).sum((0, 1)) / max(float(mask.sum()), 1e-6)
    color = _contrasting(random, under, _HUES[shape.label - 1])
    patch += mask[..., None] * (_surface(random, color, patch.shape[:2]) - patch)


def _mask(shape: PlacedShape, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:  # [h, w] in [0, 1]
    fine = Image.new("L", (size[1] * _FINE, size[0] * _FINE))
    draw = ImageDraw.Draw(fine)
    # Pillow's integer coordinates are the centers of pixels.
    draw.polygon(((shape.outline - corner) * _FINE - 0.5).ravel().tolist(), fill=255)
    if shape.hole is not None:
        draw.polygon(((shape.hole - corner) * _FINE - 0.5).ravel().tolist(), fill=0)
    return np.asarray(fine.reduce(_FINE), np.float32) / 255


def _surface(random: np.random.Generator, color: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shades a color from one side to the other; every third surface is also striped."""
    angle, depth = random.uniform(0, 2 * np.pi), random.uniform(0.0, 0.3)
    y, x = np.linspace(-0.5, 0.5, size[0])[:, None], np.linspace(-0.5, 0.5, size[1])[None, :]
    shade = 1 + depth * (x * np.cos(angle) + y * np.sin(angle))
    striped, period = random.uniform() < 1 / 3, random.uniform(0.15, 0.4) * min(size)
    if striped:
        shade = shade + 0.10 * _waves(size, angle, max(period, 3.0))
    return (color * shade[..., None]).clip(0, 255).astype(np.float32)


def _contrasting(random: np.random.Generator, under: np.ndarray, usual: float) -> np.ndarray:
    """Draws vivid colors near the usual hue until one stands out from what lies under the shape; keeps the best."""
    spread = 0.5 if random.uniform() < _ODD_HUES else _HUE_SPREAD
    vivid = dict(saturation=(0.55, 1.0), value=(0.4, 1.0), hue=(usual - spread, usual + spread))
    colors = np.stack([_color(random, **vivid) for _ in range(6)])
    distance = np.linalg.norm(colors - under, axis=1)
    return colors[int(np.argmax(distance >= _CONTRAST))] if distance.max() >= _CONTRAST else colors[distance.argmax()]


def _color(
    random: np.random.Generator,
    *,
    saturation: tuple[float, float],
    value: tuple[float, float],
    hue: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:  # [3] in [0, 255]
    return 255 * np.array(
        colorsys.hsv_to_rgb(random.uniform(*hue) % 1, random.uniform(*saturation), random.uniform(*value))
    )
