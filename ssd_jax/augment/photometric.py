"""Photometric distortion by the rules of the original code: uint8 arithmetic with saturation.

Every operation takes and returns whole numbers in [0, 255], held as float32 (exact, and the form in
which the resampling wants them). Colors travel as three planes, so that each operation is
elementwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Planes = tuple[jax.Array, jax.Array, jax.Array]  # three arrays of one shape: RGB or HSV


class DistortionDraws(NamedTuple):
    """What was drawn for the photometric distortion of one image."""

    contrast_first: jax.Array  # [] bool: contrast second (order A) rather than last (order B)
    fired: jax.Array  # [4] bool: brightness, contrast, saturation, hue
    brightness: jax.Array  # [] float32: added to RGB
    contrast: jax.Array  # [] float32: factor of RGB
    saturation: jax.Array  # [] float32: factor of S
    hue: jax.Array  # [] float32: added to H, whose unit is 2 degrees


def draw_distortion(
    key: jax.Array,
    *,
    brightness: float,
    contrast: tuple[float, float],
    saturation: tuple[float, float],
    hue: float,
    probability: float,
) -> DistortionDraws:
    """Draws order, operations and strengths; all are drawn, also those that do not fire."""
    uniform = jax.random.uniform(key, (9,))
    low = jnp.array([-brightness, contrast[0], saturation[0], -hue], jnp.float32)
    high = jnp.array([brightness, contrast[1], saturation[1], hue], jnp.float32)
    return DistortionDraws(uniform[0] < 0.5, uniform[1:5] < probability, *(low + uniform[5:] * (high - low)))


def distort(rgb: Planes, draws: DistortionDraws) -> Planes:
    """Applies brightness, [contrast], saturation, hue, [contrast]; the order says which contrast."""
    brightness, contrast, saturation, hue = draws.fired
    contrast &= jnp.abs(draws.contrast - 1) > 1e-3  # as in the original; its saturation has no such exception

    rgb = _where(brightness, _each(rgb, lambda plane: _to_uint8(plane + draws.brightness)), rgb)
    rgb = _where(contrast & draws.contrast_first, _scale(rgb, draws.contrast), rgb)
    rgb = _where(saturation, _adjust_saturation(rgb, draws.saturation), rgb)
    rgb = _where(hue, _adjust_hue(rgb, draws.hue), rgb)
    return _where(contrast & ~draws.contrast_first, _scale(rgb, draws.contrast), rgb)


def rgb_to_hsv(rgb: Planes) -> Planes:
    """Converts as OpenCV does for uint8: H in [0, 180), S and V in [0, 255], all whole numbers.

    The divisions are fixed-point with 12 fractional bits, from the definition of OpenCV's tables.
    """
    red, green, blue = (plane.astype(jnp.int32) for plane in rgb)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    saturation = (chroma * _reciprocal(255 << 12, value) + 2048) >> 12
    sextant = jnp.where(
        value == red,
        green - blue,
        jnp.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )
    hue = (sextant * _reciprocal(30 << 12, chroma) + 2048) >> 12
    hue = jnp.where(hue < 0, hue + 180, hue)
    return hue.astype(jnp.float32), saturation.astype(jnp.float32), value.astype(jnp.float32)


def hsv_to_rgb(hsv: Planes) -> Planes:
    """Converts as OpenCV's scalar code does for uint8; H in [180, 255] wraps around to [0, 75]."""
    hue, saturation, value = hsv
    sextant = hue * jnp.float32(1 / 30)
    sextant = jnp.where(sextant >= 6, sextant - 6, sextant)
    chroma = value * (saturation * jnp.float32(1 / 255))

    def channel(start: int) -> jax.Array:
        position = start + sextant
        position = jnp.where(position >= 6, position - 6, position)
        return _to_uint8(value - chroma * jnp.clip(jnp.minimum(position, 4 - position), 0, 1))

    return channel(5), channel(3), channel(1)


def _adjust_saturation(rgb: Planes, factor: jax.Array) -> Planes:
    hue, saturation, value = rgb_to_hsv(rgb)
    return hsv_to_rgb((hue, _to_uint8(saturation * factor), value))


def _adjust_hue(rgb: Planes, shift: jax.Array) -> Planes:
    # Caffe's rule: a negative H saturates to 0 (red) instead of wrapping around; a large one wraps.
    hue, saturation, value = rgb_to_hsv(rgb)
    return hsv_to_rgb((_to_uint8(hue + shift), saturation, value))


def _scale(rgb: Planes, factor: jax.Array) -> Planes:
    return _each(rgb, lambda plane: _to_uint8(plane * factor))


def _to_uint8(plane: jax.Array) -> jax.Array:
    """Rounds half to even and clips, as OpenCV's saturate_cast<uchar> does; stays float32."""
    return jnp.clip(jnp.round(plane), 0, 255)


def _reciprocal(numerator: int, divisor: jax.Array) -> jax.Array:
    # Exact for divisors up to 255: the quotient is at least 1 / (2 divisor) away from a tie or on it,
    # and float32's error is smaller. 0 stands for the division by zero, as in OpenCV's tables.
    quotient = jnp.round(numerator / jnp.maximum(divisor, 1).astype(jnp.float32))
    return jnp.where(divisor > 0, quotient, 0).astype(jnp.int32)


def _each(planes: Planes, function: Callable[[jax.Array], jax.Array]) -> Planes:
    return function(planes[0]), function(planes[1]), function(planes[2])


def _where(condition: jax.Array, chosen: Planes, otherwise: Planes) -> Planes:
    red, green, blue = (jnp.where(condition, a, b) for a, b in zip(chosen, otherwise, strict=True))
    return red, green, blue
