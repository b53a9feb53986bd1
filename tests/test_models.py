"""The networks: counts of the published models, geometry, names, initial values, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax import models, priors
from ssd_jax.models import layers, summary

SSD512 = dict(
    image_size=(512, 512),
    extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 4, 1, 1)),
    min_sizes=(35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8),
    max_sizes=(76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    steps=(8, 16, 32, 64, 128, 256, 512),
)
# Rectangular and narrow; maps of 6x8, 3x4, 2x2 and 1x1.
SMALL = dict(
    num_classes=3,
    image_size=(48, 64),
    width_multiplier=0.125,
    extras=((64, 64, 3, 2, 1), (64, 64, 2, 1, 0)),
    min_sizes=(6, 12, 24, 36),
    max_sizes=(12, 24, 36, 48),
    aspect_ratios=((2,), (2,), (2,), (2,)),
    steps=(),
)


def count(model):
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))["params"]))


# Totals of parameters and multiply-accumulates as published or computed by others, to their digits:
# SSD300 with 21 classes from docs.openvino.ai (26.285 M, 62.815 GFLOP = 2 * 31.4), see the facts of the paper's models.
@pytest.mark.parametrize(
    ("options", "num_classes", "millions", "giga_macs", "macs_digits"),
    [
        ({}, 21, 26.285486, 31.37, 2),
        ({}, 81, 34.31, 34.36, 2),
        (SSD512, 21, 27.19, 90.2, 1),
        (SSD512, 81, 36.04, 98.6, 1),
    ],
    ids=["ssd300-voc", "ssd300-coco", "ssd512-voc", "ssd512-coco"],
)
def test_parameters_and_macs_of_the_published_models(options, num_classes, millions, giga_macs, macs_digits):
    model = models.build(num_classes=num_classes, **options)
    digits = 6 if num_classes == 21 and not options else 2
    assert round(count(model) / 1e6, digits) == millions
    found = summary.layers(model, options.get("image_size", (300, 300)))
    assert sum(layer.parameters for layer in found) == count(model)
    assert round(sum(layer.macs for layer in found) / 1e9, macs_digits) == giga_macs


@pytest.mark.parametrize(
    ("options", "sides", "total"),
    [({}, (38, 19, 10, 5, 3, 1), 8732), (SSD512, (64, 32, 16, 8, 4, 2, 1), 24564)],
    ids=["ssd300", "ssd512"],
)
def test_grids_and_number_of_boxes(options, sides, total):
    model = models.build(num_classes=21, **options)
    assert [level.grid for level in model.levels] == [(side, side) for side in sides]
    image_size = options.get("image_size", (300, 300))
    assert priors.default_boxes(model.levels, image_size).shape == (total, 4)
    predictions = jax.eval_shape(model.apply, jax.eval_shape(model.init, jax.random.key(0)), images_spec(image_size))
    assert predictions.offsets.shape == (2, total, 4)
    assert predictions.logits.shape == (2, total, 21)


def images_spec(image_size):
    return jax.ShapeDtypeStruct((2, *image_size, 3), jnp.float32)


def test_rectangular_images():
    model = models.build(
        num_classes=4,
        image_size=(192, 320),
        extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0)),
        min_sizes=(20, 40, 80, 120, 160),
        max_sizes=(40, 80, 120, 160, 200),
        aspect_ratios=((2,),) * 5,
        steps=(8, 16, 32, (64, 64), (192, 106)),
    )
    assert [level.grid for level in model.levels] == [(24, 40), (12, 20), (6, 10), (3, 5), (1, 3)]
    assert [level.step for level in model.levels] == [(8, 8), (16, 16), (32, 32), (64, 64), (192, 106)]


def test_unset_steps_divide_the_image_by_the_map():
    model = models.build(**SMALL)
    assert [level.grid for level in model.levels] == [(6, 8), (3, 4), (2, 2), (1, 1)]
    assert [level.step for level in model.levels] == [(8, 8), (16, 16), (24, 32), (48, 64)]


def test_lists_do_as_well_as_tuples():
    as_lists = {key: _listed(value) for key, value in SMALL.items()}
    assert models.build(**as_lists).levels == models.build(**SMALL).levels
    assert isinstance(hash(models.build(**as_lists).levels), int)


def _listed(value):
    return [_listed(v) for v in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(min_sizes=(6, 12, 24)), r"min_sizes: expected 4 values.*conv4_3_norm, fc7, conv6_2, conv7_2.*got 3"),
        (dict(max_sizes=(6,) * 5), "max_sizes: expected 4 values.*got 5"),
        (dict(aspect_ratios=()), "aspect_ratios: expected 4 values.*got 0"),
        (dict(steps=(8, 16)), "steps: expected 4 values.*got 2"),
        (dict(extras=((64, 64, 3, 2, 1), (64, 64, 3, 1, 0))), r"extras\[1\] \(conv7_2\).*3x3 kernel.*2x2 feature map"),
        (dict(extras=((64, 64, 3, 2), (64, 64, 3, 1))), "extras: expected .*kernel"),
        (dict(backbone="vgg19"), r"backbone: expected one of .*'vgg16'.*got 'vgg19'"),
        (dict(dtype="float16"), "dtype: expected .*got 'float16'"),
        (dict(num_classes=1), "num_classes: expected at least 2.*got 1"),
        (dict(mean=(123.0,)), "mean: expected 3 finite values"),
        (dict(mean=(0, math.nan, 0)), "mean: expected 3 finite values"),
        (dict(std=(1, 1, 0)), r"std: expected 3 positive values, of red, green and blue, got \(1, 1, 0\)"),
        (dict(width_multiplier=math.inf), "width_multiplier: expected a positive factor, got inf"),
        (dict(extras=((0, 64, 3, 2, 1),) * 2), "extras: expected whole numbers, positive but for the padding"),
        (dict(extras=((64, 64, 3, 2, -1),) * 2), "extras: expected whole numbers"),
        (dict(extras=((64, 64, 3, 1.5, 1),) * 2), "extras: expected whole numbers"),
        (dict(min_sizes=(0, 12, 24, 36)), r"min_sizes: expected pixels, at least 1, got 0 in \(0, 12, 24, 36\)"),
        (dict(max_sizes=(12, 24, 36, math.inf)), "max_sizes: expected pixels, at least 1, got inf"),
        (dict(max_sizes=(12, 24, 36, math.nan)), "max_sizes: expected pixels, at least 1, got nan"),
        (dict(aspect_ratios=((2,), (2,), (0,), (2,))), r"aspect_ratios: expected positive ratios, got \(0,\)"),
        (dict(steps=(8, 16, 32, 0)), r"steps: expected a positive number of pixels.*got \(0, 0\)"),
        (dict(steps=(8, 16, 32, (64, math.inf))), r"steps: expected a positive number of pixels.*got \(64, inf\)"),
    ],
)
def test_misuse_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        models.build(**{**SMALL, **changes})


def test_parameters_bear_the_names_of_the_original():
    params = jax.eval_shape(models.build(num_classes=21).init, jax.random.key(0))["params"]
    assert set(params) == {"backbone", "extras", "heads"}
    convolutions = {f"conv{s}_{k}" for s, depth in enumerate((2, 2, 3, 3, 3), start=1) for k in range(1, depth + 1)}
    assert set(params["backbone"]) == convolutions | {"fc6", "fc7", "conv4_3_norm"}
    assert set(params["extras"]) == {f"conv{s}_{k}" for s in (6, 7, 8, 9) for k in (1, 2)}
    assert set(params["backbone"]["conv1_1"]) == {"kernel", "bias"}
    maps = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
    assert set(params["heads"]) == {f"{name}_mbox_{part}" for name in maps for part in ("loc", "conf")}
    assert params["heads"]["fc7_mbox_conf"]["kernel"].shape == (3, 3, 1024, 6 * 21)


def test_shapes_are_those_of_the_initial_variables():
    model = models.build(**SMALL, batch_norm=True)
    expected = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.structure(model.shapes) == jax.tree.structure(expected)
    assert jax.tree.leaves(model.shapes) == jax.tree.leaves(expected)
    model.shapes["params"].clear()  # nobody else's
    again = models.build(**SMALL, batch_norm=True)
    assert jax.tree.leaves(again.shapes) == jax.tree.leaves(expected)


def test_initial_values():
    params = jax.jit(models.build(**SMALL).init)(jax.random.key(0))["params"]
    for group, modules in params.items():
        for name, module in modules.items():
            if name == "conv4_3_norm":
                np.testing.assert_array_equal(module["scale"], 20)
                continue
            np.testing.assert_array_equal(module["bias"], 0)
            kernel = np.asarray(module["kernel"])
            fan_in = np.prod(kernel.shape[:3])
            # He: variance 2 / fan_in; Caffe's xavier: uniform on +-sqrt(3 / fan_in), so variance 1 / fan_in.
            variance = (2 if group == "backbone" else 1) / fan_in
            # The standard error of a variance is below sqrt(2 / n) of it; 5 of them.
            assert abs(kernel.var() / variance - 1) < 5 * np.sqrt(2 / kernel.size), name
            if group != "backbone":
                bound = np.sqrt(3 / fan_in)
                # Of n uniform numbers the largest lies within 10 / n of the bound but for 1 case in e^10.
                assert bound * (1 - 10 / kernel.size) < np.abs(kernel).max() <= bound * (1 + 1e-6), name


@pytest.mark.parametrize(
    ("channels", "multiplier", "expected"),
    [
        *[(512, 1.0, 512), (12, 1.0, 12), (512, 0.25, 128), (64, 0.05, 8), (64, 0.5, 32), (64, 1.5, 96)],
        # 11.2, 18 and 19.2 would lose more than a tenth; 33.6 does not. As torchvision's mobilenet_v2(width_mult=...).
        *[(32, 0.35, 16), (24, 0.75, 24), (64, 0.3, 24), (24, 1.4, 32)],
    ],
)
def test_scale_channels(channels, multiplier, expected):
    assert layers.scale_channels(channels, multiplier) == expected


def test_width_multiplier_scales_backbone_and_extras():
    params = jax.eval_shape(models.build(**SMALL).init, jax.random.key(0))["params"]
    assert params["backbone"]["conv4_3"]["kernel"].shape == (3, 3, 64, 64)
    assert params["backbone"]["fc7"]["kernel"].shape == (1, 1, 128, 128)
    assert params["extras"]["conv6_2"]["kernel"].shape == (3, 3, 8, 8)
    assert params["heads"]["conv6_2_mbox_conf"]["kernel"].shape == (3, 3, 8, 4 * 3)


def test_batch_norm_replaces_the_bias_and_keeps_the_l2_norm():
    variables = jax.eval_shape(models.build(**SMALL, batch_norm=True).init, jax.random.key(0))
    params, stats = variables["params"], variables["batch_stats"]
    assert set(params["backbone"]["conv1_1"]) == {"kernel"}
    assert set(params["backbone"]["fc7_bn"]) == {"scale", "bias"}
    assert set(params["backbone"]["conv4_3_norm"]) == {"scale"}
    # 13 convolutions, fc6, fc7; two a stage of extras; heads have none.
    assert len(stats["backbone"]) == 15
    assert set(stats["extras"]) == {"conv6_1_bn", "conv6_2_bn", "conv7_1_bn", "conv7_2_bn"}
    assert "heads" not in stats


def test_summary_is_read_off_the_network():
    text = summary.summarize(num_classes=21)
    rows = [line.split() for line in text.splitlines()]
    # 300 * 300 * 64 outputs of 9 * 3 products; 9 * 3 * 64 weights and 64 biases.
    assert "backbone/conv1_1 300 x 300 x 64 1,792 155.5".split() in rows
    assert "extras/conv9_2 1 x 1 x 256 295,168 0.3".split() in rows
    assert "heads/fc7_mbox_conf 19 x 19 x 126 1,161,342 419.2".split() in rows
    assert "total 26,285,486 31,373.5".split() in rows
    assert "38 x 38 8 4 5,776 30x30, 42x42, 42x21, 21x42".split() in rows
    assert "total 8,732".split() in rows


def test_summary_of_a_rectangular_model_with_batch_norm():
    text = summary.summarize(**SMALL, batch_norm=True)
    model = models.build(**SMALL, batch_norm=True)
    assert f"{count(model):,}" in text
    assert "backbone/conv1_1_bn" in text
    assert "24 x 32" in text  # a step that differs between the axes
