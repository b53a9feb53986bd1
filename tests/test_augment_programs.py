"""An augmented image is the same, bit for bit, in whatever program it is computed.

How a compiler fuses, vectorizes and orders float32 depends on the program: on the size of the batch, on what follows,
on whether there is a compiler at all. The images here are made to show it: gray ramps, flat colors and sizes in ratios
such as 4 : 3 put many values on a tie between two levels.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax import augment, parallel
from ssd_jax.augment import photometric

BATCH, CANVAS, OUTPUT, MAX_BOXES = 16, (60, 80), (48, 60), 5
SIZES = ((60, 80), (48, 80), (60, 75), (36, 45), (37, 53), (60, 61), (24, 30), (59, 79))


def make_canvas(rng: np.random.Generator) -> np.ndarray:
    """Four images each of noise, gray ramps, flat rectangles and smooth colors."""
    canvas = rng.integers(0, 256, (BATCH, *CANVAS, 3), dtype=np.uint8)
    rows, columns = np.mgrid[: CANVAS[0], : CANVAS[1]]
    for i in range(4):
        canvas[4 + i] = ((rows * (i + 1) + columns * 3) % 256)[..., None]
        canvas[8 + i] = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((10, 10, 1), np.uint8))
        phase = rng.uniform(0, 6, 3)
        canvas[12 + i] = np.rint(127.5 + 127.5 * np.sin((rows * 2 + columns)[..., None] / 20 + phase))
    return canvas


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.6, (BATCH, MAX_BOXES, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=2).astype(np.float32)
    labels = rng.integers(0, 4, (BATCH, MAX_BOXES)).astype(np.int32)
    keys = jax.random.split(jax.random.key(5), BATCH)
    size = np.array(SIZES * (BATCH // len(SIZES)), np.int32)
    return keys, make_canvas(rng), size, boxes, labels, rng.uniform(size=labels.shape) < 0.2


def augment_one(*example):
    # Not whole numbers, as of networks trained elsewhere; every operation fires more often than by default.
    return augment.augment(*example, output_size=OUTPUT, mean=(123.675, 116.28, 103.53), distort_probability=0.8)


def augment_share(*share):
    return jax.vmap(augment_one)(*share)


def augment_and_train(*share):
    """What a training step makes of the images: compilers may fuse any of it with what made them."""
    images, boxes, *rest = augment_share(*share)
    scaled = (images - 117.3) * jnp.float32(1 / 58.4)
    surplus = jnp.sum(scaled**2), jnp.sum(boxes * 0.1 - 0.3), jnp.mean(images * 0.3 + 0.1, axis=(0, 1, 2))
    return (images, boxes, *rest), surplus


@pytest.fixture(scope="module")
def expected(batch):
    return to_numpy(jax.jit(augment_share)(*batch))


def to_numpy(tree):
    return jax.tree.map(np.asarray, tree)


def rows(tree, chosen):
    return jax.tree.map(lambda leaf: leaf[chosen], tree)


def assert_identical(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, to_numpy(ours), to_numpy(theirs))


def test_the_batch_is_worth_its_name(expected):
    """Everything that is drawn occurs in it, and every interpolation."""
    draws = expected[4]
    assert set(draws.interpolation.tolist()) == set(range(5))
    assert draws.distortion.fired.any(axis=0).all() and len(set(draws.distortion.contrast_first.tolist())) == 2
    assert draws.expansion.fired.any() and draws.flip.any() and len(set(draws.crop.sampler.tolist())) > 3
    assert 0.3 < np.mean(expected[2] > 0) < 0.9


@pytest.mark.slow
def test_two_halves_equal_the_batch(batch, expected):
    half = jax.jit(augment_share)
    for chosen in (slice(0, 8), slice(8, 16)):
        assert_identical(half(*rows(batch, chosen)), rows(expected, chosen))


def test_eight_devices_within_a_larger_program_equal_the_batch(batch, expected):
    mesh = parallel.data_mesh()
    assert mesh.size == 8

    def share(*arrays):
        result, surplus = augment_and_train(*arrays)
        return result, jax.lax.psum(surplus, parallel.AXIS)

    step = parallel.data_parallel(share, mesh, in_specs=parallel.SPLIT, out_specs=(parallel.SPLIT, parallel.REPLICATED))
    assert_identical(step(*parallel.split(batch, mesh))[0], expected)


@pytest.mark.slow
def test_a_larger_program_equals_the_batch(batch, expected):
    assert_identical(jax.jit(augment_and_train)(*batch)[0], expected)


@pytest.mark.slow
def test_one_at_a_time_equals_the_batch(batch, expected):
    alone = jax.jit(augment_one)
    for i in range(BATCH):
        assert_identical(alone(*rows(batch, i)), rows(expected, i))


@pytest.mark.slow
def test_no_compiler_at_all_equals_the_batch(batch, expected):
    """Operation by operation; ones that share shapes are compiled once."""
    with jax.disable_jit():
        for i in (3, 7, 10, 14):
            example = batch[0][i], *(jnp.asarray(array[i]) for array in batch[1:])
            assert_identical(augment_one(*example), rows(expected, i))


OPTIONS = {"brightness": 32.0, "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": 18.0, "probability": 0.8}


def distort_one(key, canvas):
    red, green, blue = jnp.moveaxis(canvas.astype(jnp.int32), -1, 0)
    return jnp.stack(photometric.distort((red, green, blue), photometric.draw_distortion(key, **OPTIONS)), axis=-1)


def scaled_too(colors):
    return colors, colors * 0.3 + 0.1


def test_distortion_is_the_same_in_every_program(batch):
    keys, canvas = batch[:2]
    expected = np.asarray(jax.jit(jax.vmap(distort_one))(keys, canvas))
    assert np.mean(expected != canvas) > 0.5
    half, alone = jax.jit(jax.vmap(distort_one)), jax.jit(distort_one)
    followed = jax.jit(lambda *arrays: scaled_too(jax.vmap(distort_one)(*arrays)))
    assert_identical(np.concatenate([half(keys[:8], canvas[:8]), half(keys[8:], canvas[8:])]), expected)
    assert_identical(followed(keys, canvas)[0], expected)
    assert_identical(np.stack([alone(key, image) for key, image in zip(keys, canvas, strict=True)]), expected)
    with jax.disable_jit():
        for i in (5, 9, 14):  # gray, flat, smooth
            assert_identical(distort_one(keys[i], jnp.asarray(canvas[i])), expected[i])


@pytest.mark.parametrize(
    "interpolation",
    ["linear", "lanczos4", *(pytest.param(name, marks=pytest.mark.slow) for name in ("area", "nearest", "cubic"))],
)
def test_resizing_is_the_same_in_every_program(batch, interpolation):
    """4 : 3 and 5 : 4 put a tie on every few pixels; sums over rows and columns may go in any order."""
    canvas, size = batch[1:3]

    def resize(*image):
        return augment.resize(*image, output_size=OUTPUT, interpolation=interpolation)

    expected = np.asarray(jax.jit(jax.vmap(resize))(canvas, size))
    # Sizes known to the compiler: it replaces divisions by them with products.
    known = jax.jit(lambda image: jax.vmap(lambda one: resize(one, jnp.array(SIZES[3], jnp.int32)))(image))
    assert_identical(known(canvas[3::8]), expected[3::8])
    assert_identical(jax.jit(resize)(canvas[4], size[4]), expected[4])
