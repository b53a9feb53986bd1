"""One color a class, the same in every picture, whatever the number of classes."""

import functools

import numpy as np

Color = tuple[int, int, int]  # RGB, 0 to 255

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)

_NUM_COLORS = 96  # further ones could no longer be told apart; they repeat
_FIRST: Color = (255, 85, 68)

# Linear sRGB -> cone response -> Oklab, in which distances are about as large as they look.
# The constants are those of Bjorn Ottosson, "A perceptual color space for image processing", 2020.
_SRGB_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_CONES_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def class_color(label: int) -> Color:
    """Returns the RGB color of a class label (>= 1).

    Colors are chosen one after another, each as far as possible from all before it, so the color of
    a class does not depend on how many classes there are. After 96 they repeat.
    """
    if label < 1:
        raise ValueError(f"label must be at least 1 (0 is background and padding), got {label}")
    return _palette()[(label - 1) % _NUM_COLORS]


def text_color(background: Color) -> Color:
    """Returns black or white, whichever contrasts more with the background (WCAG 2 contrast ratio)."""
    luminance = _linear(np.array(background)) @ np.array([0.2126, 0.7152, 0.0722])
    # (1.05) / (L + 0.05) against (L + 0.05) / 0.05: equal at L = sqrt(1.05 * 0.05) - 0.05.
    return BLACK if luminance > 0.179 else WHITE


@functools.cache
def _palette() -> tuple[Color, ...]:
    """Picks colors greedily, farthest first, among those that stand out from photographs."""
    levels = np.linspace(0, 255, 16).round().astype(int)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    oklab = _oklab(candidates)
    lightness, chroma = oklab[:, 0], np.hypot(oklab[:, 1], oklab[:, 2])
    # Bright enough for thin lines on dark pictures, strong enough to differ from gray, and not glaring.
    is_vivid = (lightness > 0.6) & (lightness < 0.92) & (chroma > 0.1) & (chroma < 0.25)
    candidates, oklab = candidates[is_vivid], oklab[is_vivid]

    colors = [_FIRST]
    distance = np.full(len(candidates), np.inf)  # to the nearest color chosen so far
    while len(colors) < _NUM_COLORS:
        newest = _oklab(np.array(colors[-1]))
        distance = np.minimum(distance, np.sum((oklab - newest) ** 2, axis=-1))
        red, green, blue = candidates[np.argmax(distance)].tolist()
        colors.append((red, green, blue))
    return tuple(colors)


def _linear(srgb: np.ndarray) -> np.ndarray:  # [..., 3] in [0, 255] -> [..., 3] in [0, 1]
    """Undoes the sRGB transfer curve (IEC 61966-2-1)."""
    value = srgb / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _oklab(srgb: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3] (lightness, a, b)
    return np.cbrt(_linear(srgb) @ _SRGB_TO_CONES.T) @ _CONES_TO_OKLAB.T
