"""Photometric distortion by the rules of the original code: uint8 arithmetic with saturation.

Every operation takes and returns whole numbers in [0, 255], held as int32, and rounds exactly: the
result is the same in every program. Colors travel as three planes, so that each operation is elementwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssd_jax.augment import grid

Planes = tuple[jax.Array, jax.Array, jax.Array]  # three int32 arrays of one shape: RGB or HSV

# Strengths are multiples of 1 / 65536. Sums and products with a level below 256 then fit into int32, and into the
# 24 bits of float32 as far as they stay below 256, so that OpenCV's float32 arithmetic rounds the same numbers.
FRACTION_BITS = 16
STEPS = 1 << FRACTION_BITS
MAX_SHIFT = 255.0  # (255 + 255) x 2^16 < 2^25
MAX_FACTOR = 128.0  # 255 x 128 x 2^16 + 2^15 < 2^31


class DistortionDraws(NamedTuple):
    """What was drawn for the photometric distortion of one image; the strengths are in steps of 1 / STEPS."""

    contrast_first: jax.Array  # [] bool: contrast second (order A) rather than last (order B)
    fired: jax.Array  # [4] bool: brightness, contrast, saturation, hue
    brightness: jax.Array  # [] int32: added to RGB
    contrast: jax.Array  # [] int32: factor of RGB
    saturation: jax.Array  # [] int32: factor of S
    hue: jax.Array  # [] int32: added to H, whose unit is 2 degrees


def draw_distortion(
    key: jax.Array,
    *,
    brightness: float,
    contrast: tuple[float, float],
    saturation: tuple[float, float],
    hue: float,
    probability: float,
) -> DistortionDraws:
    """Draws order, operations and strengths; all are drawn, also those that do not fire.

    Raises:
        ValueError: for a brightness or hue above 255, a factor outside [0, 128], or a range in the wrong order.
    """
    ranges = (
        grid.interval("brightness", (-brightness, brightness), steps=STEPS, within=(-MAX_SHIFT, MAX_SHIFT)),
        grid.interval("contrast", contrast, steps=STEPS, within=(0.0, MAX_FACTOR)),
        grid.interval("saturation", saturation, steps=STEPS, within=(0.0, MAX_FACTOR)),
        grid.interval("hue", (-hue, hue), steps=STEPS, within=(-MAX_SHIFT, MAX_SHIFT)),
    )
    low, high = jnp.array(ranges, jnp.int32).T
    choice_key, strength_key = jax.random.split(key)
    uniform = jax.random.uniform(choice_key, (5,))
    # Not grid.pick: XLA's CPU compiler would repeat its conversion for each pixel, at several times the cost of the
    # distortion. The remainder within randint it computes once an image.
    strengths = jax.random.randint(strength_key, (4,), low, high + 1)
    return DistortionDraws(uniform[0] < 0.5, uniform[1:] < probability, *strengths)


def distort(rgb: Planes, draws: DistortionDraws) -> Planes:
    """Applies brightness, [contrast], saturation, hue, [contrast]; the order says which contrast."""
    brightness, contrast, saturation, hue = draws.fired
    # 1e-3, as in the original; its saturation has no such exception.
    contrast &= jnp.abs(draws.contrast - STEPS) > STEPS // 1000

    rgb = _where(brightness, _each(rgb, lambda plane: _add(plane, draws.brightness)), rgb)
    rgb = _where(contrast & draws.contrast_first, _each(rgb, lambda plane: _scale(plane, draws.contrast)), rgb)
    rgb = _where(saturation, _adjust_saturation(rgb, draws.saturation), rgb)
    rgb = _where(hue, _adjust_hue(rgb, draws.hue), rgb)
    return _where(contrast & ~draws.contrast_first, _each(rgb, lambda plane: _scale(plane, draws.contrast)), rgb)


def rgb_to_hsv(rgb: Planes) -> Planes:
    """Converts as OpenCV does for uint8: H in [0, 180), S and V in [0, 255].

    The divisions are fixed-point with 12 fractional bits, from the definition of OpenCV's tables.
    """
    red, green, blue = rgb
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    saturation = (chroma * _reciprocal(255 << 12, value) + 2048) >> 12  # chroma <= value: below 2^21
    sextant = jnp.where(
        value == red,
        green - blue,
        jnp.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    hue = (sextant * _reciprocal(30 << 12, chroma) + 2048) >> 12  # |sextant| <= 5 chroma: below 2^20
    return jnp.where(hue < 0, hue + 180, hue), saturation, value


def hsv_to_rgb(hsv: Planes) -> Planes:
    """Converts as OpenCV's scalar code does for uint8; H in [180, 255] wraps around to [0, 75].

    A channel is V - V S t / 7650 (7650 = 255 x 30, t in [0, 30] from H), rounded to nearest. A tie goes up where
    the channel rises with H and down where it falls, which is what the errors of OpenCV's float32 make of most ties.
    """
    hue, saturation, value = hsv
    hue = jnp.where(hue >= 180, hue - 180, hue)
    product = value * saturation

    def channel(start: int) -> jax.Array:
        position = start + hue
        position = jnp.where(position >= 180, position - 180, position)
        share = product * jnp.clip(jnp.minimum(position, 120 - position), 0, 30)  # at most 255 x 7650 < 2^21
        return value - _divide_by_7650(share + jnp.where(position < 60, 3825, 3824))

    return channel(150), channel(90), channel(30)


def _adjust_saturation(rgb: Planes, factor: jax.Array) -> Planes:
    hue, saturation, value = rgb_to_hsv(rgb)
    return hsv_to_rgb((hue, _scale(saturation, factor), value))


def _adjust_hue(rgb: Planes, shift: jax.Array) -> Planes:
    # Caffe's rule: a negative H saturates to 0 (red) instead of wrapping around; a large one wraps.
    hue, saturation, value = rgb_to_hsv(rgb)
    return hsv_to_rgb((_add(hue, shift), saturation, value))


def _add(plane: jax.Array, shift: jax.Array) -> jax.Array:
    return _to_uint8((plane << FRACTION_BITS) + shift)


def _scale(plane: jax.Array, factor: jax.Array) -> jax.Array:
    return _to_uint8(plane * factor)


def _to_uint8(fixed: jax.Array) -> jax.Array:
    """Rounds steps half to even and clips, as OpenCV's saturate_cast<uchar> does; stays int32."""
    odd = (fixed >> FRACTION_BITS) & 1
    return jnp.clip((fixed + (STEPS // 2 - 1) + odd) >> FRACTION_BITS, 0, 255)


def _reciprocal(numerator: int, divisor: jax.Array) -> jax.Array:
    # 255 x 2^12 and 30 x 2^12 over a divisor up to 255 are never a tie (their halves would need a factor 2^13 in the
    # divisor), so at least 1 / (2 divisor) from one. Float32 errs by less even if the division is off by 3 units in
    # the last place: any program rounds it alike. 0 stands for the division by zero, as in OpenCV's tables.
    quotient = jnp.round(numerator / jnp.maximum(divisor, 1).astype(jnp.float32))
    return jnp.where(divisor > 0, quotient, 0).astype(jnp.int32)


def _divide_by_7650(dividend: jax.Array) -> jax.Array:
    # Integer division does not vectorize. The half keeps the quotient 0.5 / 7650 = 6.5e-5 away from whole numbers,
    # and float32 errs by at most 2.3e-5 below 256, so truncation is exact whatever the compiler makes of it.
    return ((dividend.astype(jnp.float32) + 0.5) * jnp.float32(1 / 7650)).astype(jnp.int32)


def _each(planes: Planes, function: Callable[[jax.Array], jax.Array]) -> Planes:
    return function(planes[0]), function(planes[1]), function(planes[2])


def _where(condition: jax.Array, chosen: Planes, otherwise: Planes) -> Planes:
    red, green, blue = (jnp.where(condition, a, b) for a, b in zip(chosen, otherwise, strict=True))
    return red, green, blue
