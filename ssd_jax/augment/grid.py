"""Numbers on a grid: what keeps an augmented image the same, bit for bit, in every program.

A compiler may fuse a multiplication into an addition, turn a division into a multiplication, or sum in another order.
Each moves a float32 by a unit in the last place, and where a rounding or a comparison follows, that decides a level of
color, a pixel of a crop or which crop is taken. Hence the augmentation draws whole steps of a grid, and computes in
int32, or in float32 where a result is exact or rounded by one operation that nothing can be fused with.
"""

import jax
import jax.numpy as jnp


def interval(name: str, bounds: tuple[float, float], *, steps: int, within: tuple[float, float]) -> tuple[int, int]:
    """Returns (low, high) in steps of 1 / `steps`.

    Raises:
        ValueError: unless both are numbers in order and in the range `within`, which keeps int32 from overflowing.
    """
    low, high = bounds
    if not within[0] <= low <= high <= within[1]:
        raise ValueError(f"{name}: expected a range within [{within[0]:g}, {within[1]:g}], got ({low}, {high})")
    return round(low * steps), round(high * steps)


def pick(uniform: jax.Array, low: jax.Array | int, high: jax.Array | int) -> jax.Array:  # float32 -> int32
    """Returns one of the steps from low to high, both included, for each number in [0, 1).

    One product, rounded once and at once truncated, with nothing to fuse it with; spans stay below 2^23, beyond which
    the random bits of a float32 no longer reach every step.
    """
    step = low + jnp.floor(uniform * (high + 1 - low)).astype(jnp.int32)
    return jnp.minimum(step, high)  # a product may round up to the whole span


def snap(values: jax.Array, steps: int) -> jax.Array:  # float32 -> int32
    """Returns the nearest step of 1 / `steps`, a power of two: the product is exact, so a tie is one everywhere."""
    return jnp.round(values * steps).astype(jnp.int32)


def ratio(part: jax.Array, whole: jax.Array) -> jax.Array:  # int32 -> float32
    """Returns part / whole for 0 <= part <= whole, whose shapes may differ.

    The maximum changes nothing but that each part has a divisor of its own. By a number that many share XLA does
    not divide but multiplies by its reciprocal, which rounds twice, and which eager execution does not do.
    """
    return part.astype(jnp.float32) / jnp.maximum(part, whole).astype(jnp.float32)


def unsnap(values: jax.Array, steps: int) -> jax.Array:  # int32 -> float32
    """Returns whole steps of 1 / `steps`, a power of two, as the numbers they stand for; exact up to 2^24 steps."""
    return values.astype(jnp.float32) / steps
