"""The backbones beside torchvision's definitions: counts, maps; frozen, and live where torch is."""

import functools
import importlib.util

import jax
import numpy as np
import pytest
from golden import make_backbones_torchvision as golden
from golden import torchvision_backbones

from ssd_jax.models import summary
from ssd_jax.models.ssd import BACKBONES, build
from ssd_jax.weights import mappings

NAMES = golden.NAMES
every_backbone = pytest.mark.parametrize("name", NAMES)
# Relative to the largest value of each map. The networks differ in the order of float32 sums of up to
# 2304 products over up to 53 layers; measured: below 2e-6. A wrong tap, stride or epsilon gives 1e-2 and more.
TOLERANCE = 1e-4


@functools.cache
def shapes(name):
    """The variables of a backbone, which do not depend on the size of the image."""
    return jax.eval_shape(lambda: BACKBONES[name]().init(jax.random.key(0), np.zeros((1, 64, 64, 3)), False))


def our_maps(name, images, state):
    """Maps of our backbone with the weights of a torchvision state, for images normalized as there."""
    network = {collection: {"backbone": arrays} for collection, arrays in shapes(name).items()}
    variables, report = mappings.fit(mappings.convert(state), network, normalization=mappings.IMAGENET)
    assert report.random == ()
    alone = {collection: groups["backbone"] for collection, groups in variables.items()}
    return jax.jit(lambda v, x: BACKBONES[name]().apply(v, x, False))(alone, images)


@every_backbone
def test_maps_equal_the_frozen_ones_of_torchvision(name):
    frozen = np.load(golden.FILE)
    state = torchvision_backbones.formula_state(shapes(name))
    maps = our_maps(name, golden.images(*golden.IMAGE_SIZE), state)
    for number, ours in enumerate(golden.keep(np.asarray(one)) for one in maps):
        theirs = {key: frozen[f"{name}_{number}_{key}"] for key in ours}
        np.testing.assert_array_equal(ours["shape"], theirs["shape"])
        np.testing.assert_allclose(ours["values"], theirs["values"], rtol=0, atol=TOLERANCE * theirs["largest"])
        # What lies between the kept values; errors of the terms of a sum add up at most.
        cells = np.prod(theirs["shape"][1:3])
        np.testing.assert_allclose(ours["sums"], theirs["sums"], rtol=0, atol=TOLERANCE * theirs["largest"] * cells)


@every_backbone
def test_parameters_and_macs_equal_torchvisions(name):
    parameters, macs = np.load(golden.FILE)[f"{name}_counts"]
    assert sum(x.size for x in jax.tree.leaves(shapes(name)["params"])) == parameters
    model = build(num_classes=2, backbone=name, **NO_EXTRAS[name])
    base = [layer for layer in summary.layers(model, (300, 300)) if layer.name.startswith("backbone/")]
    assert sum(layer.parameters for layer in base) == parameters
    assert sum(layer.macs for layer in base) == macs


def no_extras(count):
    return dict(extras=(), min_sizes=(30,) * count, max_sizes=(60,) * count, aspect_ratios=((),) * count, steps=())


NO_EXTRAS = {"resnet34": no_extras(1), "resnet50": no_extras(1), "mobilenet_v2": no_extras(2)}


@every_backbone
def test_every_array_has_its_name_in_torchvision(name):
    names = torchvision_backbones.torch_state(shapes(name))
    arrays = sum(len(leaves) for modules in shapes(name).values() for leaves in modules.values())
    assert len(names) == arrays  # no two arrays of the same name
    # Of torchvision's state_dict, three of the kinds of names in it.
    known = {
        "resnet34": ("bn1.running_var", "layer2.0.downsample.0.weight", "layer3.5.bn2.bias"),
        "resnet50": ("conv1.weight", "layer1.0.downsample.1.running_mean", "layer3.5.conv3.weight"),
        "mobilenet_v2": ("features.0.1.weight", "features.1.conv.2.bias", "features.17.conv.1.0.weight"),
    }
    assert set(known[name]) <= set(names)


# Every array of torchvision's own random state, at the size of SSD300; the tests above hold what it gave when frozen.
@every_backbone
def test_maps_equal_those_of_torchvision_live(name):
    for package in ("torch", "torchvision"):
        if importlib.util.find_spec(package) is None:  # torchvision's import needs preparation, see golden
            pytest.skip(f"{package} is not installed; its frozen maps are tested above")
    state = {key: value.numpy() for key, value in golden.network(name).state_dict().items()}
    images = golden.images(300, 300)
    ours, theirs = our_maps(name, images, state), golden.torchvision_maps(name, images)
    assert [one.shape[1] for one in theirs] == {"mobilenet_v2": [19, 10]}.get(name, [38])
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * np.abs(other).max())
    assert golden.counts(name) == tuple(np.load(golden.FILE)[f"{name}_counts"])
