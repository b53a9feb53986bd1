"""The five interpolations equal OpenCV's."""

import jax
import numpy as np
import pytest

from ssd_jax import augment

cv2 = pytest.importorskip("cv2", reason="the reference augmentation uses OpenCV")
import reference_augment as reference  # noqa: E402


@pytest.mark.parametrize("output_size", [(30, 50), (111, 64), (20, 131)])
def test_resize_equals_opencv(output_size):
    """Shrinking, enlarging and both; OpenCV's uint8 weights have 11 bits, hence one level or two."""
    image = reference.textured(np.random.default_rng(2), 45, 64)
    canvas = np.full((50, 70, 3), 255, np.uint8)
    canvas[:45, :64] = image
    resize = jax.jit(augment.resize, static_argnames=("output_size", "interpolation"))
    for name, flag in zip(augment.INTERPOLATIONS, reference.OPENCV_FLAGS, strict=True):
        ours = resize(canvas, np.array([45, 64], np.int32), output_size=output_size, interpolation=name)
        theirs = cv2.resize(image, output_size[::-1], interpolation=flag)
        difference = np.abs(np.asarray(ours) - theirs)[reference.comparable((45, 64), output_size, name)]
        assert difference.max() <= 2 and difference.mean() < 0.2, name
