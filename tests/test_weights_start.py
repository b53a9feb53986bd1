"""A network that starts from a file of weights, whoever wrote it."""

import hashlib
import logging

import caffe_files
import jax
import numpy as np
import pytest

from configs import ssd300_voc
from ssd_jax import recipe as recipes
from ssd_jax import weights
from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, readers, start
from ssd_jax.weights.mappings import torchvision_ssd
from ssd_jax.weights.network import named_arrays

RECIPE = recipes.plain(ssd300_voc.get_config())


@pytest.fixture(scope="module")
def variables():
    """Of an SSD300 of an eighth of the width, zeros."""
    config = ssd300_voc.get_config()
    config.model.width_multiplier = 0.125
    model, _ = recipes.build_network(recipes.plain(config), 21)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.fixture
def backbone(variables):
    """Random arrays under our names, without the norm of conv4_3, which no classifier has."""
    rng = np.random.default_rng(0)
    layers = {name: layer for name, layer in variables["params"]["backbone"].items() if "norm" not in name}
    return {
        name: {key: rng.normal(size=value.shape).astype(np.float32) for key, value in layer.items()}
        for name, layer in layers.items()
    }


def initialize(variables, file, **options):
    return weights.initialize(variables, RECIPE, weights=str(file), **options)


def write_caffe(path, layers):
    """As Caffe has them: (out, in, height, width), and the first for images in the order BGR."""
    blobs = {
        name: [np.transpose(layer["kernel"], (3, 2, 0, 1)), layer["bias"]] for name, layer in sorted(layers.items())
    }
    blobs["conv1_1"][0] = blobs["conv1_1"][0][:, ::-1]
    written = [
        caffe_files.layer("V2", name, "Convolution", [caffe_files.blob(np.ascontiguousarray(one)) for one in pair])
        for name, pair in blobs.items()
    ]
    path.write_bytes(caffe_files.net(*written, name="VGG_ILSVRC_16_layers_fc_reduced"))


def test_a_reduced_vgg_of_caffe_fills_the_backbone_and_says_what_it_did(tmp_path, variables, backbone):
    write_caffe(tmp_path / "vgg.caffemodel", backbone)
    filled, report, origin = initialize(variables, tmp_path / "vgg.caffemodel")
    for name, layer in backbone.items():
        for key, value in layer.items():
            np.testing.assert_array_equal(filled["params"]["backbone"][name][key], value, err_msg=name)
    assert all(not leaf.any() for leaf in jax.tree.leaves(filled["params"]["heads"]))
    assert report.splitlines()[0] == f"{tmp_path / 'vgg.caffemodel'} (Caffe)" and "not in the file (random)" in report
    data = (tmp_path / "vgg.caffemodel").read_bytes()
    assert origin == {
        "file": str(tmp_path / "vgg.caffemodel"),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": "Caffe",
        "family": "caffe_vgg16",
        "colors_reversed": True,
        "mean": (123.0, 117.0, 104.0),
        "std": (1.0, 1.0, 1.0),
        "arrays": 30,
        "numbers": sum(leaf.size for layer in backbone.values() for leaf in layer.values()),
    }


def test_arrays_under_our_own_names_are_taken_as_they_are(tmp_path, variables, backbone):
    flat = {f"backbone/{name}/{key}": value for name, layer in backbone.items() for key, value in layer.items()}
    flat["backbone/conv4_3_norm/scale"] = np.full(variables["params"]["backbone"]["conv4_3_norm"]["scale"].shape, 20.0)
    np.savez(tmp_path / "ours.npz", **flat)
    readers.safetensors.write(tmp_path / "ours.safetensors", flat, {})
    for name in ("ours.npz", "ours.safetensors"):
        filled = initialize(variables, tmp_path / name, required=True).variables
        np.testing.assert_array_equal(filled["params"]["backbone"]["fc6"]["kernel"], backbone["fc6"]["kernel"])


def test_what_is_required_has_to_be_complete(tmp_path, variables, backbone):
    write_caffe(tmp_path / "whole.caffemodel", backbone)
    initialize(variables, tmp_path / "whole.caffemodel", required=True)  # the norm of conv4_3 is SSD's own
    del backbone["fc7"]
    flat = {f"backbone/{name}/{key}": value for name, layer in backbone.items() for key, value in layer.items()}
    np.savez(tmp_path / "part.npz", **flat)
    with pytest.raises(InputError, match=r"part.npz: expected every array of the backbone, got none for 2: .*fc7"):
        initialize(variables, tmp_path / "part.npz", required=True)
    with pytest.raises(InputError, match="config.init.weights: this recipe starts from ImageNet weights"):
        initialize(variables, "", required=True)


def test_heads_of_other_default_boxes_are_said(tmp_path, variables):
    """torchvision's detector has COCO's sizes of boxes whatever it was trained on."""
    arrays = {name: np.zeros(leaf.shape, np.float32) for name, leaf in named_arrays(variables).items()}
    theirs = {name: arrays[ours] for name, ours in torchvision_ssd.detector_pairs(4)}
    theirs = {name: one.transpose(3, 2, 0, 1) if one.ndim == 4 else one for name, one in theirs.items()}
    file = tmp_path / "theirs.safetensors"
    readers.safetensors.write(file, {name: np.ascontiguousarray(one) for name, one in theirs.items()}, {})
    note = "its heads were trained for other default boxes than this configuration's; those are --config.model."
    assert note in initialize(variables, file, heads="keep").report
    converted = foreign.read_foreign(file).converted
    same = recipes.with_overrides(RECIPE, {key: value for key, value in converted.config.items() if key in start.BOXES})
    assert "other default boxes" not in weights.initialize(variables, same, weights=str(file), heads="keep").report
    assert "other default boxes" not in initialize(variables, file, heads="reset").report


def test_without_a_file_everything_stays_random_and_that_is_said(variables, caplog):
    with caplog.at_level(logging.WARNING, "ssd_jax.weights"):
        assert initialize(variables, "") == (variables, "", {})
    assert "starts from random values" in caplog.text


def test_what_does_not_fit_is_one_sentence_that_names_the_file(tmp_path, variables, backbone):
    backbone["conv2_1"]["kernel"] = backbone["conv2_1"]["kernel"][..., :-1]
    write_caffe(tmp_path / "wide.caffemodel", backbone)
    with pytest.raises(InputError, match=r"wide.caffemodel: conv2_1/0: expected shape"):
        initialize(variables, tmp_path / "wide.caffemodel")
    with pytest.raises(InputError, match="absent.npz: expected a file of weights"):
        initialize(variables, tmp_path / "absent.npz")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match=r"text.pth: expected a file of weights .*, but it begins as none of them"):
        initialize(variables, tmp_path / "text.pth")


def test_the_format_is_told_by_the_content(shared):
    folder = shared / "oracles" / "weights"
    found = {path.name: readers.recognize(path) for path in folder.iterdir()}
    assert found == {
        "tinyssd_imagenet.caffemodel": "Caffe",
        "version-RFB-320.pth": "PyTorch (legacy)",
        "version-slim-320.pth": "PyTorch (legacy)",
    }
    with pytest.raises(InputError, match="version-slim-320.pth: expected weights of a network known here, got 184"):
        initialize({"params": {}}, folder / "version-slim-320.pth")
