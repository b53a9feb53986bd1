"""What is drawn follows the distributions of the original code (docs/augmentation.md)."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from ssd_jax import augment
from ssd_jax.augment import geometry, photometric

pytest.importorskip("cv2", reason="the reference augmentation uses OpenCV")
import reference_augment as reference

COUNT = 4096
SIZE = (48, 80)
BOXES = np.array([[0.1, 0.1, 0.5, 0.8], [0.4, 0.5, 0.9, 0.9], [0.7, 0.1, 0.8, 0.2], [0, 0, 0, 0]], np.float32)
LABELS = np.array([1, 2, 3, 0], np.int32)
IGNORED = np.array([False, False, True, False])
MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9)


@pytest.fixture(scope="module")
def many() -> augment.Draws:
    keys = jax.random.split(jax.random.key(0), COUNT)
    size, boxes, labels, ignored = jnp.array(SIZE, jnp.int32), jnp.array(BOXES), jnp.array(LABELS), jnp.array(IGNORED)
    draw = jax.jit(jax.vmap(augment.draw, in_axes=(0, None, None, None, None)))
    return jax.tree.map(np.asarray, draw(keys, size, boxes, labels, ignored))


def steps(boxes: npt.ArrayLike) -> np.ndarray:
    return np.rint(np.asarray(boxes) * geometry.STEPS).astype(np.int32)


def on_grid(boxes: npt.ArrayLike) -> np.ndarray:
    return steps(boxes) / geometry.STEPS


def assert_rate(outcomes: np.ndarray, probability: float) -> None:
    # Five standard deviations of a binomial count: a right implementation fails once in 2e6 seeds.
    bound = 5 * np.sqrt(probability * (1 - probability) / outcomes.size)
    assert abs(outcomes.mean() - probability) < bound


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert low <= values.min() and values.max() <= high
    tenths = np.minimum((values - low) / (high - low) * 10, 9).astype(int)
    for tenth in range(10):
        assert_rate(tenths == tenth, 0.1)


def test_distortion_follows_the_original(many):
    drawn = many.distortion
    assert_rate(drawn.contrast_first, 0.5)
    for operation in range(4):
        assert_rate(drawn.fired[:, operation], 0.5)
    for one in range(4):  # the four fire independently of one another
        for other in range(one):
            assert_rate(drawn.fired[:, one] & drawn.fired[:, other], 0.25)
    assert_uniform(drawn.brightness / photometric.STEPS, -32, 32)
    assert_uniform(drawn.contrast / photometric.STEPS, 0.5, 1.5)
    assert_uniform(drawn.saturation / photometric.STEPS, 0.5, 1.5)
    assert_uniform(drawn.hue / photometric.STEPS, -18, 18)


def test_expansion_follows_the_original(many):
    drawn = many.expansion
    assert_rate(drawn.fired, 0.5)
    assert_uniform(drawn.ratio, 1, 4)
    np.testing.assert_array_equal(drawn.size[~drawn.fired], np.tile(SIZE, (np.sum(~drawn.fired), 1)))
    np.testing.assert_array_equal(drawn.offset[~drawn.fired], 0)
    fired = drawn.fired
    expected = np.floor(np.float64(SIZE) * drawn.ratio[fired, None]).astype(int)
    np.testing.assert_array_equal(drawn.size[fired], expected)
    room = expected - SIZE
    assert np.all((drawn.offset[fired] >= 0) & (drawn.offset[fired] <= room))
    roomy = room[:, 1] >= 100
    # A random fraction of a pixel makes the whole-numbered offsets continuous again.
    fraction = np.random.default_rng(0).uniform(size=roomy.sum())
    assert_uniform((drawn.offset[fired][roomy, 1] + fraction) / room[roomy, 1], 0, 1)


def test_interpolation_and_flip_follow_the_original(many):
    assert_rate(many.flip, 0.5)
    for index in range(5):
        assert_rate(many.interpolation == index, 0.2)


def test_trials_have_the_drawn_geometry():
    key, shape = jax.random.key(3), (512,)
    options = {"scale": (0.3, 1.0), "aspect_ratio": (0.5, 2.0)}
    trials = np.asarray(geometry.draw_trials(key, shape, **options)) / geometry.STEPS
    uniform = np.asarray(jax.random.uniform(key, (4, *shape)))
    expected = [reference.trial_box(uniform[:, i].astype(np.float64)) for i in range(shape[0])]
    np.testing.assert_allclose(trials, expected, atol=6 / geometry.STEPS)  # side, aspect, root and place are rounded
    assert trials.min() >= 0 and trials.max() <= 1
    width, height = trials[:, 2] - trials[:, 0], trials[:, 3] - trials[:, 1]
    assert_uniform(np.sqrt(width * height), 0.3 - 1e-4, 1)  # 1e-4: the sides are rounded to 1 / 32768
    assert np.all((width / height > 0.5 - 5e-4) & (width / height < 2 + 5e-4))


def test_samplers_equal_the_scalar_loop():
    rng = np.random.default_rng(0)
    select = jax.jit(lambda *arrays: geometry.select_crop(*arrays, min_ious=MIN_IOUS))
    seen = []
    for case in range(30):
        trials = on_grid([[reference.trial_box(rng.uniform(size=4)) for _ in range(8)] for _ in range(6)])
        low = rng.uniform(0, 0.7, (5, 2))
        boxes = on_grid(np.concatenate([low, low + rng.uniform(0.02, 0.6, (5, 2))], axis=1))
        valid = rng.uniform(size=5) < (0.6 if case % 5 else 0.0)
        objects = [tuple(map(float, box)) for box in boxes[valid]]
        if any(abs(reference.iou(t, o) - m) < 1e-5 for ts in trials for t in ts for o in objects for m in MIN_IOUS):
            continue  # too close to call in float32
        expected = reference.run_samplers(trials, objects)
        successes = [i for i, box in enumerate(expected) if box is not None]
        for rank, sampler in enumerate(successes):  # equal shares of [0, 1): the pick is uniform
            pick = jnp.float32((rank + 0.5) / len(successes))
            candidates, succeeded, picked = select(steps(trials), pick, steps(boxes), valid)
            assert int(picked) == sampler
        assert np.flatnonzero(succeeded).tolist() == successes
        for sampler in successes:
            np.testing.assert_array_equal(candidates[sampler], steps(np.array(expected[sampler])))
        seen += [len(successes)]
    assert len(seen) >= 25 and min(seen) == 1 and max(seen) >= 4  # the cases are worth their name


def test_crops_meet_their_constraint(many):
    crop, expansion = many.crop, many.expansion
    scale = np.concatenate([expansion.size[:, ::-1]] * 2, axis=1)
    shift = np.concatenate([expansion.offset[:, ::-1]] * 2, axis=1)
    picked_counts = np.zeros(7)
    expected_counts = np.zeros(7)
    for i in range(500):
        objects = (BOXES[:2] * np.array([SIZE[1], SIZE[0]] * 2) + shift[i]) / scale[i]  # not the ignored third
        for sampler in np.flatnonzero(crop.succeeded[i])[1:-1]:
            best = max(reference.iou(crop.candidates[i, sampler].astype(float), one) for one in objects)
            # Objects lie on a grid of 1 / 32768 there, at least 1 / 40 wide and 1 / 10 high after an expansion by four.
            assert best >= MIN_IOUS[sampler - 1] - 1e-3
        np.testing.assert_array_equal(crop.box[i], crop.candidates[i, crop.sampler[i]])
        assert crop.succeeded[i, crop.sampler[i]]
        picked_counts[crop.sampler[i]] += 1
        expected_counts += crop.succeeded[i] / crop.succeeded[i].sum()
    assert crop.succeeded[:, 0].all() and crop.succeeded[:, 6].all()
    # Poisson-like counts: five standard deviations.
    assert np.all(np.abs(picked_counts - expected_counts) < 5 * np.sqrt(expected_counts + 1))


def test_crop_pixels_are_truncated_as_in_the_original(many):
    for i in range(200):
        height, width = many.expansion.size[i]
        x0, y0, x1, y1 = map(float, many.crop.box[i])  # multiples of 1 / 32768: the products are exact in float64
        assert tuple(many.crop.offset[i]) == (int(y0 * height), int(x0 * width))
        extent = int(y1 * height - y0 * height), int(x1 * width - x0 * width)
        assert tuple(many.crop.size[i]) == tuple(max(side, 1) for side in extent)


def test_a_crop_has_at_least_one_pixel_inside_the_image():
    offset, size = geometry.crop_pixels(jnp.array(steps([0.999, 0.2, 1.0, 0.25])), jnp.array([3, 4]))
    assert offset.tolist() == [0, 3] and size.tolist() == [1, 1]
    offset, size = geometry.crop_pixels(jnp.array(steps([1.0, 1.0, 1.0, 1.0])), jnp.array([3, 4]))
    assert offset.tolist() == [2, 3] and size.tolist() == [1, 1]


def test_without_objects_only_the_whole_image_succeeds(many):
    """Neither padding nor ignored boxes count for the samplers: case 0 has neither, case 1 an ignored one."""
    labels = jnp.array([[0, 0, 0, 0], [0, 0, 3, 0]])
    draw = jax.vmap(augment.draw, in_axes=(None, None, None, 0, None))
    crop = jax.jit(draw)(jax.random.key(1), jnp.array(SIZE), jnp.array(BOXES), labels, jnp.array(IGNORED)).crop
    np.testing.assert_array_equal(np.flatnonzero(crop.succeeded), [0, 7])  # sampler 0 of each
    np.testing.assert_array_equal(crop.box, [[0, 0, 1, 1]] * 2)
