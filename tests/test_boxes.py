"""Geometry of boxes: hand-computed values, slow references, gradients, jit = vmap = eager."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssd_jax import boxes

ROWS = 8  # one shape for all examples, so that each function compiles once
encode, decode, pairwise_iou = jax.jit(boxes.encode), jax.jit(boxes.decode), jax.jit(boxes.pairwise_iou)
iou_gradient = jax.jit(jax.grad(lambda a, b: boxes.pairwise_iou(a, b).sum(), argnums=(0, 1)))

# Corners on a grid of 1/16 have exact areas in float32: IoUs are correctly rounded and ties are exact.
grid_boxes = arrays(np.int32, (ROWS, 4), elements=st.integers(0, 16)).map(
    lambda corners: (corners / 16).astype(np.float32)
)


@st.composite
def proper_boxes(draw):
    """Boxes inside the image with sides of at least 1/64, where float32 offsets keep five digits."""
    unit = st.floats(0, 1, width=32)
    low = draw(arrays(np.float32, (ROWS, 2), elements=unit)) * 0.9
    size = 1 / 64 + draw(arrays(np.float32, (ROWS, 2), elements=unit)) * (1 - low - 1 / 64)
    return np.concatenate([low, low + size], axis=-1).astype(np.float32)


def test_center_to_corner_by_hand():
    # x: 0.5 -+ 0.2/2; y: 0.25 -+ 0.5/2
    np.testing.assert_allclose(
        boxes.center_to_corner(jnp.array([0.5, 0.25, 0.2, 0.5])), [0.4, 0.0, 0.6, 0.5], atol=1e-7
    )


def test_corner_to_center_by_hand():
    np.testing.assert_allclose(
        boxes.corner_to_center(jnp.array([0.4, 0.0, 0.6, 0.5])), [0.5, 0.25, 0.2, 0.5], atol=1e-7
    )


@given(proper_boxes())
def test_center_form_round_trip(corners):
    # Two roundings of numbers up to 1: 1.2e-7 each.
    np.testing.assert_allclose(boxes.center_to_corner(boxes.corner_to_center(jnp.asarray(corners))), corners, atol=3e-7)


def test_geometry_is_shape_free():
    nested = jnp.linspace(0, 1, 2 * 3 * 4).reshape(2, 3, 4)
    assert boxes.area(nested).shape == (2, 3)
    for function in (boxes.center_to_corner, boxes.corner_to_center, boxes.clip):
        np.testing.assert_array_equal(function(nested)[1, 2], function(nested[1, 2]))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.0, 0.0, 0.5, 0.25), 0.125),
        ((0.5, 0.0, 0.5, 1.0), 0.0),  # no width
        ((0.75, 0.0, 0.25, 1.0), 0.0),  # reversed in x
        ((0.75, 0.75, 0.25, 0.25), 0.0),  # reversed in both: not (-0.5)^2
    ],
)
def test_area_by_hand(box, expected):
    assert boxes.area(jnp.array(box)) == expected


def test_clip_by_hand():
    clipped = boxes.clip(jnp.array([[-0.5, 0.25, 1.5, 0.75], [1.25, -3.0, 2.0, -1.0]]))
    np.testing.assert_array_equal(clipped, [[0.0, 0.25, 1.0, 0.75], [1.0, 0.0, 1.0, 0.0]])


def test_pairwise_iou_by_hand():
    a = jnp.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.25, 0.75]])
    b = jnp.array([[0.25, 0.25, 0.75, 0.75], [0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.25]])
    # 1/16 over (1/4 + 1/4 - 1/16) = 1/7; touching at an edge: 0; the half of it: 1/2; a line has no area.
    np.testing.assert_allclose(boxes.pairwise_iou(a, b), [[1 / 7, 0, 0.5], [0, 0, 0]], rtol=1e-7)


@given(proper_boxes())
def test_iou_of_a_box_with_itself_is_exactly_one(corners):
    for function in (boxes.pairwise_iou, pairwise_iou):
        np.testing.assert_array_equal(np.diagonal(function(corners, corners)), 1)


@given(grid_boxes, grid_boxes)
def test_pairwise_iou_equals_reference_on_a_grid(a, b):
    # Exact up to the one division, so thresholds such as 0.5 decide as they do in exact arithmetic.
    np.testing.assert_array_equal(pairwise_iou(a, b), reference.pairwise_iou(a, b).astype(np.float32))


@given(proper_boxes(), proper_boxes())
def test_pairwise_iou_equals_reference(a, b):
    # The intersection's sides are differences of numbers up to 1 (error 1e-7) over sides from 1/64: 1e-5.
    result = pairwise_iou(a, b)
    np.testing.assert_allclose(result, reference.pairwise_iou(a, b), atol=2e-5)
    assert np.all((result >= 0) & (result <= 1))


def test_pairwise_iou_of_no_boxes():
    assert boxes.pairwise_iou(jnp.zeros((0, 4)), jnp.zeros((3, 4))).shape == (0, 3)


@given(grid_boxes)
def test_gradient_of_iou_is_finite(corners):
    # Grid boxes include empty, reversed, touching and identical ones, the places of 0/0.
    assert np.isfinite(iou_gradient(corners, corners)).all()


def test_encode_by_hand():
    prior = jnp.array([[0.2, 0.2, 0.6, 0.6]])  # center (0.4, 0.4), size (0.4, 0.4)
    box = jnp.array([[0.3, 0.3, 0.5, 0.7]])  # center (0.4, 0.5), size (0.2, 0.4)
    # (0 / 0.4) / 0.1, (0.1 / 0.4) / 0.1, ln(1/2) / 0.2 = -0.6931472 / 0.2, ln(1) / 0.2
    np.testing.assert_allclose(boxes.encode(box, prior), [[0.0, 2.5, -3.4657359, 0.0]], atol=5e-6)
    # With unit variances, equation 2 of the paper as printed.
    raw = boxes.encode(box, prior, variances=(1.0, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(raw, [[0.0, 0.25, -0.6931472, 0.0]], atol=1e-6)


def test_decode_by_hand():
    prior = jnp.array([[0.2, 0.2, 0.6, 0.6]])
    np.testing.assert_allclose(boxes.decode(jnp.zeros((1, 4)), prior), prior, atol=1e-7)
    # center (0.4 + 1 * 0.1 * 0.4, 0.4), size (0.4 e^0.2, 0.4) with e^0.2 = 1.2214028; not clipped
    moved = boxes.decode(jnp.array([[1.0, 0.0, 1.0, 0.0]]), prior)
    np.testing.assert_allclose(moved, [[0.44 - 0.24428056, 0.2, 0.44 + 0.24428056, 0.6]], atol=2e-7)
    # center 0.4 - 10 * 0.1 * 0.4 = 0: half of the box lies outside of the image and stays there
    np.testing.assert_allclose(boxes.decode(jnp.array([[-10.0, 0, 0, 0]]), prior), [[-0.2, 0.2, 0.2, 0.6]], atol=2e-7)


@given(proper_boxes(), proper_boxes())
def test_encode_equals_reference(corners, priors):
    # A center is exact to 6e-8; over a side of 1/64 and a variance of 0.1 that is 4e-5.
    np.testing.assert_allclose(encode(corners, priors), reference.encode(corners, priors), rtol=1e-5, atol=1e-4)


@given(arrays(np.float32, (ROWS, 4), elements=st.floats(-8, 8, width=32)), proper_boxes())
def test_decode_equals_reference(offsets, priors):
    # exp(8 * 0.2) < 5: numbers up to 5, a handful of roundings of 6e-8 relative each.
    np.testing.assert_allclose(decode(offsets, priors), reference.decode(offsets, priors), atol=3e-6)


@given(proper_boxes(), proper_boxes())
def test_decode_inverts_encode(corners, priors):
    np.testing.assert_allclose(decode(encode(corners, priors), priors), corners, atol=1e-5)


def test_jit_vmap_and_eager_agree():
    random = np.random.default_rng(0)
    low = random.uniform(0, 0.5, (2, 3, ROWS, 2))
    first, second = np.concatenate([low, low + random.uniform(0.1, 0.5, low.shape)], -1).astype(np.float32)
    offsets = np.asarray(jax.vmap(boxes.encode)(first, second))
    cases = [
        # function, arguments, size of the terms that cancel
        (boxes.encode, (first, second), 10.0),  # a shift of 1 divided by the variance 0.1
        (boxes.decode, (offsets, second), 1.0),
        (boxes.pairwise_iou, (first, second), 1.0),
    ]
    for function, arguments, magnitude in cases:
        batched, compiled = jax.vmap(function)(*arguments), jax.jit(jax.vmap(function))(*arguments)
        for image in range(3):
            eager = function(*(argument[image] for argument in arguments))
            reference.assert_same_numbers(batched[image], eager, magnitude=magnitude)
            reference.assert_same_numbers(compiled[image], eager, magnitude=magnitude)
