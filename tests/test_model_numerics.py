"""What the networks compute: layers by hand and by reference, types, batch normalization, order of outputs."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import SMALL

from ssd_jax import models, priors
from ssd_jax.models import layers
from ssd_jax.models.heads import Heads


class Small(NamedTuple):
    model: models.Model
    variables: dict
    apply: Callable
    apply_train: Callable


@functools.cache
def small(**changes):
    """A small model with variables and compiled functions, shared by the tests."""
    model = models.build(**{**SMALL, **changes})
    return Small(model, plain_variables(model), jax.jit(model.apply), jax.jit(model.apply_train))


def plain_variables(model):
    """Like ``model.init``, whose compilation takes seconds: He's normal kernels, biases 0, scales and variances 1."""
    generator = np.random.default_rng(0)

    def fill(path, x):
        if path[-1].key == "kernel":
            return (generator.standard_normal(x.shape) * np.sqrt(2 / np.prod(x.shape[:3]))).astype(np.float32)
        return np.full(x.shape, {"bias": 0, "mean": 0, "scale": 1, "var": 1}[path[-1].key], np.float32)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(model.init, jax.random.key(0)))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (4, 48, 64, 3)).astype(np.float32)


def test_mean_and_std_are_taken_off_inside(images):
    variables, apply = small().variables, small().apply
    raw = models.build(**SMALL, mean=(0, 0, 0), std=(2.0, 4.0, 8.0))
    scaled = (images - np.float32((123, 117, 104))) * np.float32((2, 4, 8))
    # Powers of two: the division is exact.
    for a, b in zip(apply(variables, images), jax.jit(raw.apply)(variables, scaled), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())


def test_bfloat16_stays_near_float32(images):
    variables, half = small().variables, small(dtype="bfloat16")
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(jax.eval_shape(half.model.init, jax.random.key(0))))
    for full, low in zip(small().apply(variables, images), half.apply(variables, images), strict=True):
        assert low.dtype == jnp.float32
        error = np.abs(full - low).max() / np.abs(full).max()
        # bfloat16 has 8 bits: 2^-9 a rounding, some 50 roundings in a row; exactly 0 would mean it was not used.
        assert 0 < error < 0.05


def test_without_batch_norm_training_changes_no_state(images):
    predictions, state = jax.eval_shape(small().model.apply_train, small().variables, images)
    assert state == {}
    assert predictions == jax.eval_shape(small().model.apply, small().variables, images)


def test_statistics_stay_float32_under_bfloat16(images):
    model = models.build(**SMALL, batch_norm=True, dtype="bfloat16")
    predictions, state = jax.eval_shape(model.apply_train, small(batch_norm=True).variables, images)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((predictions, state)))


def test_batch_norm_over_an_axis_equals_the_big_batch(images):
    # A spread between the shards, without which forgetting the axis would hardly show.
    images = images * np.float32([0.1, 0.2, 0.8, 1.0])[:, None, None, None]
    mapped = models.build(**SMALL, batch_norm=True, axis_name="data")
    variables = small(batch_norm=True).variables
    predictions, state = small(batch_norm=True).apply_train(variables, images)
    step = jax.vmap(mapped.apply_train, in_axes=(None, 0), axis_name="data")
    shards, states = jax.jit(step)(variables, images.reshape(2, 2, *images.shape[1:]))

    tolerance = 1e-4  # float32 sums in another order, through 19 normalized layers
    for whole, parts in zip(predictions, shards, strict=True):
        np.testing.assert_allclose(parts.reshape(whole.shape), whole, rtol=0, atol=tolerance * np.abs(whole).max())
    assert set(state) == {"batch_stats"}
    for whole, parts, before in zip(*map(jax.tree.leaves, (state, states, variables["batch_stats"])), strict=True):
        assert np.abs(whole - before).max() > 0
        for part in parts:
            np.testing.assert_allclose(part, whole, rtol=0, atol=tolerance * np.abs(whole).max())


def test_statistics_of_training_are_used_by_apply(images):
    _, variables, apply, train = small(batch_norm=True)
    expected, state = train(variables, images)
    # new = 0.9 old + 0.1 batch, solved for the statistics of the batch
    batch = jax.tree.map(lambda new, old: (new - 0.9 * old) / 0.1, state["batch_stats"], variables["batch_stats"])
    found = apply({"params": variables["params"], "batch_stats": batch}, images)
    # The subtraction loses one digit of float32's seven; then 19 normalized layers.
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-3 * np.abs(expected.logits).max())


def test_head_outputs_are_in_the_order_of_the_default_boxes():
    grids, boxes, num_classes = ((2, 3), (1, 2)), (2, 4), 5
    heads = Heads(("a", "b"), boxes, num_classes, layers.LayerOptions())
    maps = [np.zeros((1, *grid, 1), np.float32) for grid in grids]
    params = {}
    for number, (name, count, x) in enumerate(zip("ab", boxes, maps, strict=True)):
        rows, columns = np.indices(x.shape[1:3])
        x[0, :, :, 0] = 1000 * number + 100 * rows + 10 * columns  # so that the center tap tells level and cell
        kernel = np.zeros((3, 3, 1, 1), np.float32)
        kernel[1, 1] = 1
        for part, values in (("loc", 4), ("conf", num_classes)):
            # The bias tells box and value: box + value / 10.
            bias = (np.arange(count)[:, None] + np.arange(values) / 10).reshape(-1)
            params[f"{name}_mbox_{part}"] = {"kernel": kernel.repeat(count * values, axis=-1), "bias": bias}
    predictions = heads.apply({"params": params}, [jnp.asarray(x) for x in maps], train=False)

    # Boxes of one pixel a cell, whose sides tell level and box number.
    levels = [
        priors.PriorLevel(grid, (1.0, 1.0), tuple((float(n + 1), 1000.0 * (k + 1)) for n in range(count)))
        for k, (grid, count) in enumerate(zip(grids, boxes, strict=True))
    ]
    default = priors.default_boxes(levels, (1, 1)).astype(np.float64)
    column, row = ((default[:, :2] + default[:, 2:]) / 2 - 0.5).T
    box, level = (default[:, 2:] - default[:, :2] - (1, 1000)).T / ((1,), (1000,))
    cell = 1000 * level + 100 * row + 10 * column + box
    for found, values in zip(predictions, (4, num_classes), strict=True):
        # float32 holds numbers near 1000 to 6e-5.
        np.testing.assert_allclose(found[0], cell[:, None] + np.arange(values) / 10, atol=1e-3)


def test_l2_norm_values_and_gradient():
    norm = layers.L2Norm()
    x = jnp.asarray([[[[3.0, 4.0], [0.0, 0.0]]]])
    variables = norm.init(jax.random.key(0), x)
    # (3, 4) / 5 * 20; a pixel of zeros stays zero.
    np.testing.assert_allclose(norm.apply(variables, x)[0, 0], [[12, 16], [0, 0]], rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: norm.apply(variables, x).sum()))(x)[0, 0]
    # d/dx sum(x / |x|) = (1 - x (3 + 4) / 25) / 5 = (0.16 / 5, -0.12 / 5); at zero 1 / sqrt(epsilon) = 1e5; times 20.
    np.testing.assert_allclose(gradient, [[0.64, -0.48], [2e6, 2e6]], rtol=1e-5)


def test_l2_norm_computes_in_float32():
    x = jnp.full((1, 1, 1, 512), 200.0, jnp.bfloat16)
    found = layers.L2Norm().init_with_output(jax.random.key(0), x)[0]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 20 / np.sqrt(512), rtol=1e-6)


# The pools of VGG, odd sizes among them (75 -> 38), and one of each kind that ResNet needs.
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "round_up", "expected"),
    [
        ((6, 8), 2, 2, 0, True, (3, 4)),
        ((75, 5), 2, 2, 0, True, (38, 3)),
        ((5, 7), 3, 1, 1, True, (5, 7)),
        ((8, 7), 3, 2, 1, True, (5, 4)),
        ((8, 7), 3, 2, 1, False, (4, 4)),
        ((1, 1), 2, 2, 0, True, (1, 1)),
    ],
)
def test_max_pool_equals_reduce_window(size, window, stride, padding, round_up, expected):
    # A permutation: no ties, where alone the gradients may differ.
    x = np.random.default_rng(0).permutation(2 * size[0] * size[1] * 3).reshape(2, *size, 3).astype(np.float32)
    x -= x.max() + 1  # all negative: a pad of zeros would win
    high = [(n - 1) * stride + window - s - padding for n, s in zip(expected, size, strict=True)]
    pads = ((0, 0), (padding, max(0, high[0])), (padding, max(0, high[1])), (0, 0))

    def reference(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)

    def ours(x):
        return layers.max_pool(x, window, stride, padding, round_up=round_up)

    @jax.jit
    def values_and_gradients(x):
        pairs = [jax.vjp(pool, x) for pool in (ours, reference)]
        cotangent = jnp.arange(pairs[1][0].size, dtype=jnp.float32).reshape(pairs[1][0].shape)
        return [(value, gradient(cotangent)[0]) for value, gradient in pairs]

    found, known = values_and_gradients(x)
    assert found[0].shape == (2, *expected, 3)
    np.testing.assert_array_equal(found[0], known[0])
    np.testing.assert_array_equal(found[1], known[1])  # sums of a few integers: exact
