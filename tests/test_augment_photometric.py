"""Colors equal OpenCV's uint8 arithmetic, and the hue rule is Caffe's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax.augment import photometric

cv2 = pytest.importorskip("cv2", reason="the reference augmentation uses OpenCV")
import reference_augment as reference  # noqa: E402

OPTIONS = {"brightness": 32.0, "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": 18.0, "probability": 0.7}
draw = jax.vmap(lambda key: photometric.draw_distortion(key, **OPTIONS))


def planes(image):
    red, green, blue = jnp.moveaxis(jnp.asarray(image, jnp.int32), -1, 0)
    return red, green, blue


@jax.jit
@jax.vmap
def distort(image, draws):
    return jnp.stack(photometric.distort(planes(image), draws), axis=-1)


def test_colors_equal_opencv_scalar_code():
    """With OpenCV's rounding conversion (its scalar code) the distortion is the same but for that conversion's ties."""
    rng = np.random.default_rng(0)
    images = np.stack([reference.textured(rng, 60, 70) for _ in range(32)])
    draws = draw(jax.random.split(jax.random.key(0), 32))
    colors = np.asarray(distort(images, draws))
    each = [jax.tree.map(lambda leaf: np.asarray(leaf[i]), draws) for i in range(32)]  # noqa: B023
    expected = [reference.distort(image, drawn, narrow=True) for image, drawn in zip(images, each, strict=True)]
    # 0.4 of 1000; a tie moves a level, and one within the saturation's conversion moves the hue that follows.
    assert np.mean(colors != np.array(expected)) < 1e-3


def test_sums_and_products_equal_opencv_exactly():
    """Brightness and contrast, ties included: every level under strengths of which many give ties."""
    levels = np.arange(256, dtype=np.uint8)
    for steps in (-32 << 16, -(1 << 15), 1 << 15, 3 << 15, 12345, -54321):  # the second to the fourth end in a half
        ours = photometric.distort(planes(np.stack([levels] * 3, -1)), only(0, steps))[0]
        np.testing.assert_array_equal(ours, reference.saturate(levels.astype(np.float32) + np.float32(steps / 65536)))
    for steps in (1 << 15, 3 << 14, 5 << 14, 3 << 15, 98303, 65471):  # multiples of 1 / 4: ties for every second level
        ours = photometric.distort(planes(np.stack([levels] * 3, -1)), only(1, steps))[0]
        np.testing.assert_array_equal(ours, reference.saturate(levels.astype(np.float32) * np.float32(steps / 65536)))


def test_a_contrast_near_one_does_nothing():
    gray = planes(np.full((1, 3), 200))
    for steps, moved in ((65536 + 65, False), (65536 - 65, False), (65536 + 200, True)):  # 65 / 65536 < 1e-3
        assert (int(photometric.distort(gray, only(1, steps))[0][0]) != 200) == moved


def only(operation, steps):
    """Draws of which one operation fires, with the given strength."""
    fired = np.arange(4) == operation
    return photometric.DistortionDraws(jnp.array(True), jnp.array(fired), *jnp.where(fired, steps, 0))


def test_every_color_has_opencv_hsv():
    levels = np.arange(256, dtype=np.uint8)
    to_hsv = jax.jit(photometric.rgb_to_hsv)
    for red in range(0, 256, 8):  # 8 reds at a time
        rgb = np.stack(np.meshgrid(levels[red : red + 8], levels, levels, indexing="ij"), axis=-1)
        expected = cv2.cvtColor(rgb.reshape(-1, 256, 3), cv2.COLOR_RGB2HSV).reshape(rgb.shape)
        np.testing.assert_array_equal(np.stack(to_hsv(planes(rgb)), axis=-1), expected)


def test_every_hsv_has_opencv_color_but_for_ties():
    levels = np.arange(256, dtype=np.int32)
    to_rgb = jax.jit(photometric.hsv_to_rgb)
    ties = differing = 0
    for hue in range(0, 180, 3):
        hsv = np.stack(np.meshgrid(np.arange(hue, hue + 3), levels, levels, indexing="ij"), axis=-1)
        narrow = hsv.astype(np.uint8).reshape(-1, 1, 3)  # images of one column reach OpenCV's rounding, scalar code
        expected = cv2.cvtColor(narrow, cv2.COLOR_HSV2RGB).reshape(hsv.shape)
        ours = np.stack(to_rgb(planes(hsv)), axis=-1)
        position = (hsv[..., 0, None] + np.array([150, 90, 30])) % 180
        share = np.prod(hsv[..., 1:], axis=-1)[..., None] * np.clip(np.minimum(position, 120 - position), 0, 30)
        tie = share % 7650 == 3825
        np.testing.assert_array_equal(ours[~tie], expected[~tie])
        assert np.abs(ours - expected.astype(int)).max() <= 1
        ties, differing = ties + tie.sum(), differing + np.sum(ours != expected)
    # Of 35.4 million channels 15666 are ties, of which 2931 differ.
    assert 0 < differing < ties / 5 and ties < 16_000


def test_hue_saturates_below_and_wraps_above():
    """Caffe's rule. Yellow-green (H 30) less 18 is H 12; red (H 0) less 18 stays H 0; H 175 plus 18 is H 13."""

    def shift(rgb, amount):
        moved = photometric.distort(planes(np.array(rgb)), only(3, amount * photometric.STEPS))
        return [int(level) for level in photometric.rgb_to_hsv(moved)]

    assert shift((255, 255, 0), -18) == [12, 255, 255]
    assert shift((255, 0, 0), -18) == [0, 255, 255]
    assert shift((255, 0, 42), 18) == [13, 255, 255]


@pytest.mark.parametrize(
    ("name", "value"),
    [("brightness", 256.0), ("brightness", -1.0), ("contrast", (1.5, 0.5)), ("saturation", (0.5, 129.0)), ("hue", 300)],
)
def test_strengths_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a range within"):
        photometric.draw_distortion(jax.random.key(0), **{**OPTIONS, name: value})
