"""Colors equal OpenCV's uint8 arithmetic, and the hue rule is Caffe's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax.augment import photometric

cv2 = pytest.importorskip("cv2", reason="the reference augmentation uses OpenCV")
import reference_augment as reference  # noqa: E402


def test_colors_equal_opencv_scalar_code():
    """With OpenCV's rounding conversion (its scalar code) the distortion is the same but for ties."""
    rng = np.random.default_rng(0)
    images = np.stack([reference.textured(rng, 60, 70) for _ in range(32)])
    options = {"brightness": 32.0, "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": 18.0, "probability": 0.7}
    draws = jax.vmap(lambda key: photometric.draw_distortion(key, **options))(jax.random.split(jax.random.key(0), 32))

    def distort(image, drawn):
        red, green, blue = jnp.moveaxis(image.astype(jnp.float32), -1, 0)
        return jnp.stack(photometric.distort((red, green, blue), drawn), axis=-1)

    colors = np.asarray(jax.jit(jax.vmap(distort))(images, draws))
    each = [jax.tree.map(lambda leaf: np.asarray(leaf[i]), draws) for i in range(32)]  # noqa: B023
    expected = [reference.distort(image, drawn, narrow=True) for image, drawn in zip(images, each, strict=True)]
    # The compiler's order of operations decides ties, and a hue that a tie moved shows in dark colors only: 0.3 levels
    # of 1000 with jax 0.10.2, 1.1 with 0.12.0. A wrong rule moves some per cent of them.
    assert np.mean(colors != np.array(expected)) < 2e-3


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (12, 34, 56), (200, 199, 198), (7, 7, 7), (0, 0, 0)])
def test_hsv_equals_opencv(rgb):
    expected = cv2.cvtColor(np.array([[rgb]], np.uint8), cv2.COLOR_RGB2HSV)[0, 0].tolist()
    hsv = photometric.rgb_to_hsv(tuple(jnp.float32(level) for level in rgb))
    assert [int(level) for level in hsv] == expected
    back = cv2.cvtColor(np.array([[expected]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
    assert [int(level) for level in photometric.hsv_to_rgb(hsv)] == back


def test_hue_saturates_below_and_wraps_above():
    """Caffe's rule. Yellow-green (H 30) less 18 is H 12; red (H 0) less 18 stays H 0; H 175 plus 18 is H 13."""

    def shift(rgb, amount):
        drawn = photometric.DistortionDraws(np.False_, np.array([0, 0, 0, 1], bool), 0.0, 1.0, 1.0, amount)
        moved = photometric.distort(tuple(jnp.float32(level) for level in rgb), drawn)
        return [int(level) for level in photometric.rgb_to_hsv(moved)]

    assert shift((255, 255, 0), -18.0) == [12, 255, 255]
    assert shift((255, 0, 0), -18.0) == [0, 255, 255]
    assert shift((255, 0, 42), 18.0) == [13, 255, 255]
