"""Weights of others are recognized by their names and fill our networks; what they mean is a configuration of ours."""

import numpy as np
import pytest
from golden import make_foreign_arrays as foreign
from golden import make_torchvision_arrays as published

from configs import (
    ssd300_coco,
    ssd300_resnet34_coco,
    ssd300_resnet50_coco,
    ssd300_voc,
    ssd512_coco,
    ssd512_voc,
    ssdlite300_mobilenetv2_voc,
)
from ssd_jax import models, recipe
from ssd_jax.errors import InputError
from ssd_jax.models import vgg
from ssd_jax.weights import mappings
from ssd_jax.weights.mappings import detectors

every_family = pytest.mark.parametrize("name", mappings.NAMES)


@every_family
def test_a_file_is_recognized_by_its_names(name):
    tensors = foreign.FILES[name]()
    assert mappings.recognize(tensors) == name
    converted = mappings.convert(tensors)
    assert converted.family == name
    # Each array of the file is used once or left.
    assert sorted([use.source for use in converted.uses] + list(converted.left)) == sorted(tensors)
    assert list(converted.arrays) == [use.target for use in converted.uses]


@pytest.mark.parametrize("prefix", ["module.", "model.", "state_dict.module."])
def test_wrapped_checkpoints_are_recognized_beside_other_arrays(prefix):
    for name in ("ssd_pytorch_vgg16", "lufficc_ssd", "torchvision_resnet50"):
        arrays = foreign.FILES[name]()
        wrapped = {prefix + key: value for key, value in arrays.items()} | {"optimizer.state.0.momentum": np.zeros(3)}
        converted = mappings.convert(wrapped)
        assert converted.family == name
        assert converted.left[-1] == "optimizer.state.0.momentum"
        assert len(converted.uses) == len(mappings.convert(arrays).uses)


def test_of_two_copies_the_one_that_is_not_averaged_is_taken():
    arrays = foreign.torch_base()
    both = {f"model_ema.{k}": v for k, v in arrays.items()} | {f"model.{k}": v for k, v in arrays.items()}
    assert all(use.source.startswith("model.") for use in mappings.convert(both).uses)


@pytest.mark.parametrize("name", [*published.STRANGERS, "ssdlite320_mobilenet_v3_large"])
def test_networks_that_are_not_known_are_refused_in_one_sentence(name):
    with pytest.raises(InputError, match="expected weights of a network known here, got .* arrays such as") as caught:
        mappings.recognize(published.arrays(name))
    assert all(family.description in str(caught.value) for family in mappings.FAMILIES)
    assert "\n" not in str(caught.value)


def test_names_that_only_end_alike_are_not_recognized():
    with pytest.raises(InputError, match="got 30 arrays such as x0.weight"):
        mappings.recognize(foreign.torch_base("x"))


def test_nothing_is_recognized_as_such():
    with pytest.raises(InputError, match="got no arrays"):
        mappings.recognize({})


def test_a_vgg16_without_classifier_is_one_of_two():
    arrays = {k: v for k, v in published.arrays("vgg16").items() if k.startswith("features")}
    with pytest.raises(InputError, match="say which it is: torchvision_vgg16 .* or torchvision_vgg16_features"):
        mappings.convert(arrays)
    assert mappings.convert(arrays, name="torchvision_vgg16").normalization == mappings.IMAGENET
    assert mappings.convert(arrays, name="torchvision_vgg16_features").normalization.std == (1, 1, 1)


# Parameters in millions: torchvision's own count for its published model (SSD300_VGG16_Weights.COCO_V1, num_params),
# Intel's for foreign.SSD300 of VOC (docs.openvino.ai, ssd300); of foreign.SSD512 the sum over the paper's layers.
@pytest.mark.parametrize(
    ("tensors", "millions"),
    [
        (lambda: published.arrays("ssd300_vgg16"), 35.641826),
        (lambda: foreign.SSD300(classes=21), 26.285),
        (lambda: foreign.torch_detector(), 26.285),
        (lambda: foreign.SSD512(classes=21), 27.19),
        (lambda: foreign.torch_detector(81, extras=foreign.EXTRAS512, maps=foreign.MAPS512, lufficc=True), 36.04),
    ],
)
def test_a_detector_fills_the_network_of_its_configuration(tensors, millions):
    arrays = tensors()
    converted = mappings.convert(arrays)
    options = {key.removeprefix("model."): value for key, value in converted.config.items() if key.startswith("model.")}
    _, report = mappings.fit(
        converted, foreign.shapes_of(converted.num_classes, **options), normalization=converted.normalization
    )
    assert report.random == () and report.left == ()
    assert report.numbers == sum(array.size for array in arrays.values())
    digits = len(str(millions).partition(".")[2])
    assert round(report.numbers / 1e6, digits) == millions
    # The network has the default boxes of which the heads know.
    model = models.build(num_classes=converted.num_classes, **options)
    assert sum(level.num_boxes for level in model.levels) == {300: 8732, 512: 24564}[options["image_size"][0]]


@pytest.mark.parametrize(
    ("config", "tensors", "classes"),
    [
        (ssd300_voc, foreign.SSD300, 21),
        (ssd300_coco, foreign.SSD300, 81),
        (ssd512_voc, foreign.SSD512, 21),
        (ssd512_coco, foreign.SSD512, 81),
    ],
)
def test_detectors_of_the_authors_are_our_recipes(config, tensors, classes):
    ours = recipe.plain(config.get_config())
    converted = mappings.convert(tensors(classes=classes))
    assert converted.num_classes == classes
    for key, value in converted.config.items():
        section, option = key.split(".")
        assert recipe.plain(value) == ours[section][option], key


def test_a_fine_tuned_detector_has_coco_boxes():
    tensors = foreign.SSD300(classes=21)
    assert mappings.convert(tensors, tiling="coco").config["model.min_sizes"] == (21, 45, 99, 153, 207, 261)
    assert mappings.convert(tensors, tiling="voc").notes == ()
    (note,) = mappings.convert(tensors).notes
    assert "VOC's are taken for 21 classes" in note


def test_boxes_of_torchvision_are_cut_to_the_image():
    options = mappings.convert(published.arrays("ssd300_vgg16")).config
    # anchor_utils.py: scales 0.07 ... 1.05; of the last map, 0.87 x sqrt(2) is wider than the image.
    assert options["model.shapes"][0][0] == (21, 21)
    last = np.array(options["model.shapes"][-1])
    np.testing.assert_allclose(last[2:], [[300, 261 / 2**0.5], [261 / 2**0.5, 300]])
    np.testing.assert_allclose(last[1], np.sqrt([261 * 315] * 2))
    np.testing.assert_allclose(options["model.mean"], (122.99925, 116.9991, 103.9992))


# A detector of torchvision that was trained for other classes has the same boxes; the others follow the classes.
@pytest.mark.parametrize(("tiling", "smallest"), [("", 21), ("coco", 21), ("voc", 30)])
def test_torchvision_has_one_tiling_for_any_classes(tiling, smallest):
    arrays = published.arrays("ssd300_vgg16")
    for name in [name for name in arrays if "classification_head" in name]:
        arrays[name] = arrays[name][: len(arrays[name]) // 91 * 4]
    converted = mappings.convert(arrays, tiling=tiling)
    assert converted.num_classes == 4
    assert converted.config["model.shapes"][0][0] == (smallest, smallest)
    assert not any("sizes of default boxes" in note for note in converted.notes)


# RGB; the reduced network is used with the original's mean, the full one was trained with its own.
@pytest.mark.parametrize(
    ("family", "mean"),
    [
        ("caffe_vgg16", (123, 117, 104)),
        ("caffe_ssd", (123, 117, 104)),
        ("keras_vgg16", (123.68, 116.779, 103.939)),
        ("ssd_pytorch_vgg16", (123, 117, 104)),
        ("torchvision_vgg16_features", (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)),
    ],
)
def test_images_that_a_family_expects(family, mean):
    converted = mappings.convert(foreign.FILES[family]())
    assert converted.normalization == (mean, (1, 1, 1))
    assert (converted.config["model.mean"], converted.config["model.std"]) == converted.normalization


def test_a_full_vgg_of_caffe_was_trained_with_another_mean():
    full = foreign.caffe_arrays()
    full |= {
        "fc6/0": np.broadcast_to(np.float32(0), (4096, 25088)),
        "fc7/0": np.broadcast_to(np.float32(0), (4096, 4096)),
    }
    assert mappings.convert(full).normalization.mean == (123.68, 116.779, 103.939)


def test_sizes_of_lufficc_are_not_truncated():
    options = mappings.convert(foreign.FILES["lufficc_ssd"]()).config
    np.testing.assert_allclose(options["model.shapes"][0][0], 35.84)
    assert options["detect.max_detections"] == 100


def test_a_detector_with_other_boxes_leaves_their_sizes_open():
    maps = foreign.MAPS300.replace("conv4_3_norm 512 4", "conv4_3_norm 512 6")
    converted = mappings.convert(foreign.caffe_arrays(extras=foreign.EXTRAS300, maps=maps, classes=5))
    assert converted.num_classes == 5 and "model.min_sizes" not in converted.config
    assert "default boxes a cell: (6, 6, 6, 6, 4, 4)" in converted.notes[0]


# What the overrides name exists in every recipe; a misspelt one would be refused only when used.
@every_family
def test_overrides_are_options_of_a_recipe(name):
    known = recipe.plain(ssd300_voc.get_config())
    for key in mappings.convert(foreign.FILES[name]()).config:
        section, option = key.split(".")
        assert option in known[section]


BACKBONES = {
    "torchvision_resnet34": ("resnet34", ssd300_resnet34_coco),
    "torchvision_resnet50": ("resnet50", ssd300_resnet50_coco),
    "torchvision_mobilenet_v2": ("mobilenet_v2", ssdlite300_mobilenetv2_voc),
}


@pytest.mark.parametrize("family", BACKBONES)
def test_classifiers_fill_the_backbones_of_their_recipes(family):
    name, config = BACKBONES[family]
    config = config.get_config().model
    assert config.backbone == name == mappings.convert(foreign.FILES[family]()).config["model.backbone"]
    normalization = mappings.Normalization(config.mean, config.std)
    _, report = mappings.fit(
        mappings.convert(foreign.FILES[family]()), foreign.backbone_shapes(name), normalization=normalization
    )
    assert report.random == ()
    left = {source.split(".")[0] for source, _ in report.left if not source.endswith("num_batches_tracked")}
    assert left == ({"classifier"} if name == "mobilenet_v2" else {"layer4", "fc"})
    # The recipes with a ResNet normalize as torchvision, SSDLite's after another source.
    folded = [use.source for use in report.uses if "folded" in use.how]
    assert folded == (["features.0.0.weight", "features.0.1.running_mean"] if name == "mobilenet_v2" else [])


@pytest.mark.parametrize("classifier", [True, False])
def test_keras_fills_vgg(classifier):
    converted = mappings.convert(foreign.keras_arrays(classifier=classifier))
    _, report = mappings.fit(converted, foreign.shapes_of(), normalization=mappings.CAFFE)
    missing = {path for path in report.random if path.startswith("backbone/")} - {"backbone/conv4_3_norm/scale"}
    assert missing == (
        set() if classifier else {f"backbone/{fc}/{x}" for fc in ("fc6", "fc7") for x in ("kernel", "bias")}
    )


def test_structures_are_those_of_the_recipes():
    for structure, config in ((detectors.SSD300, ssd300_voc), (detectors.SSD512, ssd512_voc)):
        model = recipe.plain(config.get_config())["model"]
        assert structure.extras == model["extras"] and structure.steps == model["steps"]
        assert structure.aspect_ratios == model["aspect_ratios"]
    assert sum(depth for _, depth in vgg.STAGES) == 13
