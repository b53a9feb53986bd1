"""A 3x3 convolution by six products for four rows: its matrices, its values, its rounding."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ssd_jax.models import winograd

NAMES = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize(
    ("rows", "taps", "points"),
    [(2, 3, (0, 1, -1)), (4, 3, winograd.POINTS), (3, 2, (0, 1, Fraction(-1, 3))), (1, 4, (2, 0, 5))],
)
def test_the_matrices_turn_products_into_correlations(rows, taps, points):
    """On whole numbers; what float64 leaves of the fractions is below 1e-10."""
    a, g, b = winograd.transforms(rows, taps, tuple(map(Fraction, points)))
    random = np.random.default_rng(0)
    for _ in range(20):
        kernel, x = random.integers(-9, 10, taps), random.integers(-9, 10, rows + taps - 1)
        expected = [sum(kernel[tap] * x[row + tap] for tap in range(taps)) for row in range(rows)]
        np.testing.assert_allclose(a @ ((g @ kernel) * (b @ x)), expected, atol=1e-10)


def test_the_matrices_of_two_rows_by_hand():
    """Lavin and Gray, section 4.1, but for signs that move from a row of G to that of B."""
    a, g, b = winograd.transforms(2, 3, (Fraction(0), Fraction(1), Fraction(-1)))
    assert a.tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]
    assert g.tolist() == [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
    assert b.tolist() == [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 8, 11])
def test_every_height_gives_the_convolution(height):
    random = np.random.default_rng(height)
    x = jnp.asarray(random.integers(-4, 5, (2, height, 6, 3)), jnp.float32)
    kernel = jnp.asarray(random.integers(-4, 5, (3, 3, 3, 4)), jnp.float32)
    expected = lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=NAMES)
    found = jax.jit(winograd.convolve)(x, kernel)
    np.testing.assert_allclose(found, expected, atol=2e-4)  # of whole numbers up to 400; a wrong tap would differ by 1


def test_rounding_stays_near_that_of_the_direct_convolution():
    """Measured: 3 times; with the points 2 and -2 in place of 2 and -1/2 it is 6 times."""
    random = np.random.default_rng(0)
    x = np.maximum(random.standard_normal((1, 32, 8, 256)), 0)
    kernel = random.standard_normal((3, 3, 256, 8)) / 48
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    exact = sum(padded[:, i : i + 32, j : j + 8] @ kernel[i, j] for i in range(3) for j in range(3))
    given = jnp.float32(x), jnp.float32(kernel)
    direct = lax.conv_general_dilated(*given, (1, 1), ((1, 1), (1, 1)), dimension_numbers=NAMES)
    errors = [float(np.sqrt(np.mean((np.float64(one) - exact) ** 2))) for one in (winograd.convolve(*given), direct)]
    assert errors[0] < 5 * errors[1]
    assert errors[0] < 1e-6 * float(np.abs(exact).max())
