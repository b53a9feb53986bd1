"""SSD300 beside torchvision's ssd300_vgg16 with the same weights: frozen outputs, and live where torch is."""

import importlib.util

import jax
import numpy as np
import pytest
from golden import make_ssd300_torchvision as golden
from golden import torchvision_names

from ssd_jax import models
from ssd_jax.weights import mappings

# Relative to the largest output of each head. The networks differ in the order of float32 sums of
# up to 9216 products over 23 layers; measured: at most 5e-6 on any map. A wrong tap or pad gives 1e-2 and more.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def images():
    return torchvision_names.formula_images(1, 300, 300)


def our_outputs(images, num_classes):
    model = models.build(num_classes=num_classes, mean=golden.MEAN)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    converted = mappings.convert(torchvision_names.formula_state(torchvision_names.torch_shapes(shapes["params"])))
    # The images are normalized as the network of the golden file was fed: nothing is to be folded.
    variables, _ = mappings.fit(converted, shapes, normalization=converted.normalization)
    predictions = jax.jit(model.apply)(variables, images)
    return {name: np.asarray(value) for name, value in predictions._asdict().items()}


def assert_close(ours, theirs, largest):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * largest


def test_outputs_equal_the_frozen_ones_of_torchvision(images):
    frozen = np.load(golden.FILE)
    for name, values in our_outputs(images, golden.NUM_CLASSES).items():
        largest = frozen[f"{name}_largest"]  # of each map, so that a map of small outputs is held as tightly
        maps = np.split(values[0], np.cumsum(golden.BOXES)[:-1])
        assert [len(m) for m in maps] == list(golden.BOXES)
        level = np.repeat(np.arange(len(maps)), golden.BOXES)[golden.positions()]
        for k, ours in enumerate(maps):
            assert_close(values[0][golden.positions()][level == k], frozen[name][level == k], largest[k])
            # What lies between the kept positions; errors of the terms of a sum add up at most.
            sums = ours.astype(np.float64).sum(axis=0)
            assert_close(sums, frozen[f"{name}_sums"][k], largest[k] * len(ours))


# 91 classes: the size of torchvision's published COCO model.
def test_outputs_equal_those_of_torchvision_live(images):
    for package in ("torch", "torchvision"):
        if importlib.util.find_spec(package) is None:  # torchvision's import needs preparation, see golden
            pytest.skip(f"{package} is not installed; its frozen outputs are tested above")
    theirs = golden.torchvision_outputs(images, num_classes=91)
    ours = our_outputs(images, num_classes=91)
    for name in ours:
        assert_close(ours[name], theirs[name], np.abs(theirs[name]).max())


def test_the_formula_has_not_changed():
    # The first numbers of the hash, computed with Python's integers.
    def reference(name, index):
        x = index ^ torchvision_names.zlib.crc32(name.encode())
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x ^= x >> shift
            x = x * factor % 2**32
        x ^= x >> 16
        return (x >> 8) / 2**23 - 1

    expected = [[reference("fc6", 2 * row + column) for column in range(2)] for row in range(3)]
    np.testing.assert_array_equal(torchvision_names.uniform("fc6", (3, 2)), np.float32(expected))
