"""Values and gradients are XLA's, for every geometry that the networks use, and for every type."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ssd_jax.models.convolution import FEW_COLUMNS, Geometry, conv_general_dilated, kernel_gradient

NAMES = ("NHWC", "HWIO", "NHWC")
# size, kernel, stride, padding, dilation, channels, features
GEOMETRIES = [
    ((9, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 8, 5),
    ((9, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3, 5),  # few columns: one product
    ((9, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 8, 4),
    ((10, 10), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 8, 4),  # the last row and column are not read
    ((5, 5), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 8, 4),
    ((19, 19), (3, 3), (1, 1), ((6, 6), (6, 6)), (6, 6), 8, 4),  # fc6
    ((6, 6), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 9, 4),  # fc7
    ((14, 15), (7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), 3, 4),  # the first of ResNet
    ((2, 2), (4, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), 8, 4),  # conv10_2 of SSD512
    ((7, 5), (2, 3), (1, 2), ((0, 1), (2, 0)), (3, 1), 4, 4),
]


def both(size, kernel, strides, padding, dilation, channels, features, dtype=jnp.float32):
    """Returns value and gradients of the convolution here, and of lax's, of small whole numbers."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(-4, 5, (2, *size, channels)), dtype)
    weights = jnp.asarray(random.integers(-4, 5, (*kernel, channels, features)), dtype)

    def of(function):
        def convolve(x, weights):
            return function(
                x, weights, strides, padding, lhs_dilation=(1, 1), rhs_dilation=dilation, dimension_numbers=NAMES
            )

        value, gradients = jax.vjp(convolve, x, weights)
        towards = jnp.asarray(np.random.default_rng(1).integers(-4, 5, value.shape), dtype)
        return value, *gradients(towards)

    return jax.jit(lambda: of(conv_general_dilated))(), jax.jit(lambda: of(lax.conv_general_dilated))()


# Whole numbers: every sum is exact in float32, whatever its order.
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_equals_xla_to_the_bit_on_whole_numbers(geometry):
    for ours, theirs in zip(*both(*geometry), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert jnp.abs(theirs).max() > 0


def test_both_ways_of_multiplying_are_tried():
    columns = [np.prod(geometry[1]) * geometry[5] for geometry in GEOMETRIES]
    assert min(columns) <= FEW_COLUMNS < max(columns)


def test_bfloat16_sums_in_float32():
    """6,400 ones: added up in bfloat16 they would stop at 256."""
    x, gradient = jnp.ones((1, 80, 80, 64), jnp.bfloat16), jnp.ones((1, 80, 80, 4), jnp.bfloat16)
    found = kernel_gradient(x, gradient, (1, 1), Geometry())
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, 6400)
    for ours, theirs in zip(*both(*GEOMETRIES[0], dtype=jnp.bfloat16), strict=True):
        assert ours.dtype == theirs.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(ours), np.float32(theirs), rtol=2**-8)  # one rounding


def test_against_the_definition_by_hand():
    """x = [[1, 2], [3, 4]], gradient [[1, 10], [100, 1000]], a 2x2 kernel, one pixel of zeros below and right."""
    x = jnp.float32([[1, 2], [3, 4]])[None, :, :, None]
    gradient = jnp.float32([[1, 10], [100, 1000]])[None, :, :, None]
    found = kernel_gradient(x, gradient, (2, 2), Geometry(padding=((0, 1), (0, 1))))
    assert found[..., 0, 0].tolist() == [[4321, 402], [43, 4]]


@pytest.mark.parametrize(("channels", "features", "fast"), [(128, 136, True), (120, 128, False), (128, 64, False)])
def test_wide_maps_need_half_the_products_and_give_the_same(channels, features, fast):
    """Sums of 9 x 128 products of float32, in another order: 1e-5 of the largest."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, 33, 7, channels)), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((3, 3, channels, features)), jnp.float32)
    towards = jnp.asarray(random.standard_normal((2, 33, 7, features)), jnp.float32)

    def of(function):
        def convolve(x, kernel):
            return function(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=NAMES)

        def both(x, kernel, towards):
            value, gradients = jax.vjp(convolve, x, kernel)
            return value, *gradients(towards)

        return jax.jit(both)

    found, expected = (of(one)(x, kernel, towards) for one in (conv_general_dilated, lax.conv_general_dilated))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * float(jnp.abs(theirs).max()))
    traced = of(conv_general_dilated).trace(x, kernel, towards)
    # Of the six products of value and gradient each, the kernels have one row.
    for platform, products in (("cpu", 12 if fast else 0), ("cuda", 0)):
        lines = traced.lower(lowering_platforms=(platform,)).as_text().splitlines()
        assert sum("stablehlo.convolution" in line and "tensor<1x3x" in line for line in lines) == products


def test_narrow_low_or_rounded_maps_are_left_to_xla():
    """Sixteen rows and 128 channels are the least; other geometries and bfloat16 never."""

    def text(shape=(1, 16, 4, 128), kernel=(3, 3, 128, 128), strides=(1, 1), pads=((1, 1), (1, 1)), dtype=jnp.float32):
        shapes = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct(kernel, dtype)

        def convolve(x, kernel):
            return conv_general_dilated(x, kernel, strides, pads, dimension_numbers=NAMES)

        return jax.jit(convolve).trace(*shapes).lower(lowering_platforms=("cpu",)).as_text()

    assert "tensor<1x3x128x128xf32>" in text()
    others = [
        text(shape=(1, 15, 4, 128)),
        text(strides=(2, 2)),
        text(pads=((0, 0), (0, 0))),
        text(kernel=(1, 1, 128, 128)),
        text(dtype=jnp.bfloat16),
    ]
    assert not any("tensor<1x3x128x128x" in other for other in others)


def test_groups_are_left_to_xla():
    x, weights = jnp.ones((1, 4, 4, 6)), jnp.ones((3, 3, 1, 6))

    def total(function, weights):
        return function(x, weights, (1, 1), ((1, 1), (1, 1)), dimension_numbers=NAMES, feature_group_count=6).sum()

    ours, theirs = (jax.grad(total, 1)(one, weights) for one in (conv_general_dilated, lax.conv_general_dilated))
    np.testing.assert_array_equal(ours, theirs)


def test_it_can_be_lowered_for_gpus_where_the_gradient_stays_a_convolution():
    def loss(x, weights):
        return conv_general_dilated(x, weights, (1, 1), ((1, 1), (1, 1)), dimension_numbers=NAMES).sum()

    shapes = jax.ShapeDtypeStruct((1, 8, 8, 16), jnp.float32), jax.ShapeDtypeStruct((3, 3, 16, 4), jnp.float32)
    texts = {
        platform: jax.jit(jax.grad(loss, 1)).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    assert "dot_general" in texts["cpu"] and "dot_general" not in texts["cuda"]
    assert "stablehlo.convolution" in texts["cuda"]


def test_a_wide_convolution_is_exported_for_all_platforms_and_any_batch():
    random = np.random.default_rng(0)
    kernel = jnp.asarray(random.standard_normal((3, 3, 128, 128)), jnp.float32)
    x = jnp.asarray(random.standard_normal((3, 16, 5, 128)), jnp.float32)

    def convolve(x):
        return conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=NAMES)

    batch = jax.export.symbolic_shape("batch")[0]
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    written = jax.export.export(jax.jit(convolve), platforms=("cpu", "cuda", "tpu"))(shape).serialize()
    read = jax.export.deserialize(written)
    np.testing.assert_allclose(read.call(x), jax.jit(convolve)(x), atol=1e-3)  # of up to 150
    np.testing.assert_allclose(read.call(x[:1]), read.call(x)[:1], atol=1e-3)
