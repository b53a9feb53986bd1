"""What is said of weights that were put into a network, and of those that do not fit: a few lines, one sentence."""

import jax
import ml_dtypes
import numpy as np
import pytest
from golden import make_foreign_arrays as foreign
from golden import make_torchvision_arrays as published

from ssd_jax.errors import InputError
from ssd_jax.weights import mappings


def test_the_report_in_a_few_lines():
    converted = mappings.convert(published.arrays("vgg16"))
    _, report = mappings.fit(converted, foreign.shapes_of(), normalization=mappings.CAFFE)
    table = mappings.as_table(report)
    lines = table.splitlines()
    # 14,714,688 of the convolutions; fc6 3 x 3 x 512 x 1024 and fc7 1024 x 1024 with biases.
    assert lines[0] == "torchvision_vgg16: 30 arrays, 20,483,904 numbers"
    assert 14_714_688 + 9 * 512 * 1024 + 1024 + 1024**2 + 1024 == 20_483_904
    assert lines[1:4] == [
        "  transposed, folded                  1  features.0.weight",
        "  folded                              1  features.0.bias",
        "  transposed                         12  features.2.weight, features.5.weight ... features.28.weight",
    ]
    assert "  reshaped, transposed, decimated     2  classifier.0.weight, classifier.3.weight" in lines
    assert "  not used: no counterpart here       2  classifier.6.weight, classifier.6.bias" in lines
    assert lines[-2].startswith("  not in the file (random)           41  backbone/conv4_3_norm/scale, ")
    assert lines[-1].startswith("  note: images are normalized by mean (123, 117, 104) and deviation (1, 1, 1), ")


MISFITS = {
    "absent array": (
        lambda t: {k: v for k, v in t.items() if k != "conv5_2/1"},
        r"conv5_2/1: expected this array in weights of an SSD in Caffe's names \(for backbone/conv5_2/bias\), found",
    ),
    "axes": (
        lambda t: foreign.change(t, "conv2_1/0", (128, 64, 3)),
        r"conv2_1/0: expected a kernel \(output, input, height, width\) .*, got shape \(128, 64, 3\)",
    ),
    "bias": (
        lambda t: foreign.change(t, "conv2_1/1", (2, 64)),
        r"conv2_1/1: expected one number a channel, got shape \(2, 64\)",
    ),
    "channels": (
        lambda t: foreign.change(t, "conv3_1/0", (256, 96, 3, 3)),
        r"conv3_1/0: expected shape \(3, 3, 128, 256\) for backbone/conv3_1/kernel, got \(3, 3, 96, 256\)",
    ),
    "kernel of an extra stage": (
        lambda t: foreign.change(t, "conv7_2/0", (256, 128, 5, 5)),
        "conv7_2/0: expected a 3x3 kernel for conv7_2 of SSD300, got 5x5",
    ),
    "stages": (
        lambda t: {k: v for k, v in t.items() if not k.startswith("conv9")},
        r"expected 4 extra stages \(SSD300\) or 5 \(SSD512\) in the weights, found 3",
    ),
    "location head": (
        lambda t: foreign.change(t, "fc7_mbox_loc/0", (23, 1024, 3, 3)),
        "fc7_mbox_loc/0: expected 4 outputs for each default box, got 23",
    ),
    "confidence head": (
        lambda t: foreign.change(t, "fc7_mbox_conf/0", (6 * 20, 1024, 3, 3)),
        "fc7_mbox_conf/0: expected 6 x 21 outputs, boxes a cell x classes, got 120",
    ),
    "integers": (
        lambda t: {**t, "conv1_1/0": np.zeros((64, 3, 3, 3), np.int8)},
        "conv1_1/0: expected numbers of floating point, got int8",
    ),
    "beyond float32": (
        lambda t: {**t, "conv1_1/1": np.full(64, 1e300)},
        "conv1_1/1: expected finite numbers, got NaN or infinity",
    ),
    "not a number": (
        lambda t: {**t, "conv1_1/1": np.full(64, np.nan, np.float32)},
        "conv1_1/1: expected finite numbers, got NaN or infinity",
    ),
}


@pytest.mark.parametrize("fault", MISFITS)
def test_what_does_not_fit_is_named(fault):
    spoil, message = MISFITS[fault]
    with pytest.raises(InputError, match=message) as caught:
        converted = mappings.convert(spoil(foreign.SSD300(classes=21)))
        mappings.fit(converted, foreign.shapes_of(), normalization=mappings.CAFFE)
    assert "\n" not in str(caught.value)


def test_another_number_of_classes_is_refused_or_left_out():
    converted = mappings.convert(foreign.SSD300(classes=21))
    network = foreign.shapes_of(5)
    with pytest.raises(
        InputError, match=r"conv4_3_norm_mbox_conf/0: expected 20 outputs .* 21 classes .*heads='reset'"
    ):
        mappings.fit(converted, network, normalization=mappings.CAFFE)
    variables, report = mappings.fit(converted, network, normalization=mappings.CAFFE, heads="reset")
    assert variables["params"]["heads"] == network["params"]["heads"]
    assert {reason for _, reason in report.left} == {"heads are new"} and len(report.left) == 24
    assert len(report.random) == 24 and all(path.startswith("heads/") for path in report.random)
    assert len(report.uses) == 15 * 2 + 1 + 8 * 2


def test_a_detector_for_512_pixels_does_not_fit_300():
    with pytest.raises(
        InputError, match="conv8_2_mbox_loc/0: expected 16 outputs|conv10_1/0: expected an array of this network"
    ):
        mappings.fit(mappings.convert(foreign.SSD512(classes=21)), foreign.shapes_of(), normalization=mappings.CAFFE)


def test_weights_of_another_backbone_are_refused():
    converted = mappings.convert(foreign.FILES["torchvision_resnet34"]())
    with pytest.raises(InputError, match="expected a network with backbone/conv1/kernel, got one with others"):
        mappings.fit(converted, foreign.shapes_of(), normalization=mappings.CAFFE)
    with pytest.raises(InputError, match=r"layer1.0.conv1.weight: expected shape \(1, 1, 64, 64\)"):
        mappings.fit(converted, foreign.backbone_shapes("resnet50"), normalization=mappings.IMAGENET)


def test_layers_that_no_map_needs_are_left():
    one_map = {
        "sources": ("conv4_3_norm",),
        "extras": (),
        "min_sizes": (30,),
        "max_sizes": (60,),
        "aspect_ratios": ((2,),),
    }
    network = foreign.shapes_of(2, **one_map, steps=())
    _, report = mappings.fit(mappings.convert(foreign.caffe_arrays()), network, normalization=mappings.CAFFE)
    assert {name.split("/")[0] for name, _ in report.left} == {"conv5_1", "conv5_2", "conv5_3", "fc6", "fc7"}


def test_biases_are_left_where_batch_normalization_follows():
    converted = mappings.convert(published.arrays("vgg16"))
    _, report = mappings.fit(converted, foreign.shapes_of(batch_norm=True), normalization=mappings.CAFFE)
    left = [name for name, reason in report.left if reason == "the network lacks it"]
    assert len(left) == 15 and all(name.endswith("bias") for name in left)
    assert [use.source for use in report.uses if "folded" in use.how] == ["features.0.weight"]


def test_layers_of_keras_need_a_kernel_and_a_bias():
    with pytest.raises(InputError, match=r"block4_conv2: expected a kernel and a bias, got .*_W_1:0 \(3,\)"):
        mappings.convert(foreign.change(foreign.keras_arrays(), "block4_conv2/block4_conv2_W_1:0", (3,)))
    with pytest.raises(InputError, match=r"fc1_W_1:0: expected \(7 x 7 x input, output\), got shape \(25087, 4096\)"):
        mappings.convert(foreign.change(foreign.keras_arrays(), "fc1/fc1_W_1:0", (25087, 4096)))


def test_a_wrong_family_by_name():
    with pytest.raises(InputError, match="expected torchvision's resnet34, got 30 arrays such as conv1_1/0"):
        mappings.convert(foreign.caffe_arrays(), name="torchvision_resnet34")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "alexnet"}, "name: expected one of ssd_jax"),
        ({"channels": "grb"}, "channels"),
        ({"tiling": "x"}, "tiling"),
    ],
)
def test_misspelt_options(options, message):
    with pytest.raises(ValueError, match=message):
        mappings.convert(foreign.caffe_arrays(), **options)


def test_misspelt_heads():
    with pytest.raises(ValueError, match="heads: expected one of"):
        mappings.fit(
            mappings.convert(foreign.caffe_arrays()), foreign.shapes_of(), normalization=mappings.CAFFE, heads="copy"
        )


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_precisions_become_float32(dtype):
    arrays = {name: array.astype(dtype) for name, array in foreign.own_names(foreign.narrow()).items()}
    variables, report = mappings.fit(mappings.convert(arrays), foreign.narrow(), normalization=mappings.CAFFE)
    assert report.random == ()
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_our_own_names_are_taken_as_they_are():
    arrays = {
        path: np.float32(k) + 0 * array for k, (path, array) in enumerate(foreign.own_names(foreign.narrow()).items())
    }
    variables, report = mappings.fit(mappings.convert(arrays), foreign.narrow(), normalization=mappings.IMAGENET)
    assert not any(use.how for use in report.uses)  # nothing is folded: the file is for this network
    for k, leaf in enumerate(jax.tree.leaves(variables["params"])):
        np.testing.assert_array_equal(leaf, k)
    with pytest.raises(InputError, match="channels"):
        mappings.convert(arrays, channels="bgr")


@pytest.mark.parametrize("name", ["backbone/conv1_1/kernal", "backbone/conv9_9/kernel", "note"])
def test_a_slip_of_the_pen_in_our_own_names_is_refused(name):
    converted = mappings.convert({**foreign.own_names(foreign.narrow()), name: np.ones(2, np.float32)})
    with pytest.raises(InputError, match=f"{name}: expected an array of this network, which has no {name}"):
        mappings.fit(converted, foreign.narrow(), normalization=mappings.CAFFE)


def test_a_part_of_our_own_names_is_enough():
    arrays = {k: v for k, v in foreign.own_names(foreign.narrow()).items() if k.startswith("extras/")}
    assert mappings.recognize(arrays) == "ssd_jax"
    _, report = mappings.fit(mappings.convert(arrays), foreign.narrow(), normalization=mappings.CAFFE)
    assert len(report.uses) == 16 and all(not path.startswith("extras/") for path in report.random)
