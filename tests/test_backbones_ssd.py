"""Whole networks on every backbone: counts, grids, names, widths, types and what training reaches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_model_numerics import plain_variables
from test_models import count

from ssd_jax import models, optim
from ssd_jax.models import ssd

RESNET = dict(
    extras=((256, 512, 3, 2, 1), (256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
)
SSDLITE = dict(
    backbone="mobilenet_v2",
    extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1), (64, 64, 3, 2, 1)),
    extra_blocks="inverted_residual",
    heads="separable",
    aspect_ratios=((2, 3),) * 6,
    steps=(16, 32, 64, 100, 150, 300),
)
FULL_VGG = dict(backbone="vgg16_full", extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0)))
NETWORKS = {
    "vgg16": {},
    "vgg16_full": FULL_VGG,
    "resnet34": dict(backbone="resnet34", **RESNET),
    "resnet50": dict(backbone="resnet50", **RESNET, batch_norm=True),
    "mobilenet_v2": SSDLITE,
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def nvidia_ssd300(backbone, channels, num_classes, batch_norm):
    """Parameters of DeepLearningExamples' SSD300 (PyTorch/Detection/SSD, ssd/model.py); without norm, of MLPerf's."""
    bottlenecks = (256, 256, 128, 128, 128)
    extras = sum(
        before * middle + 9 * middle * after + (2 if batch_norm else 1) * (middle + after)
        for before, middle, after in zip(channels[:-1], bottlenecks, channels[1:], strict=True)
    )
    boxes = (4, 6, 6, 6, 4, 4)
    heads = sum((9 * c + 1) * n * (4 + num_classes) for c, n in zip(channels, boxes, strict=True))
    return backbone + extras + heads


def mb2_ssd_lite(num_classes):
    """Parameters of qfgaohao/pytorch-ssd's create_mobilenetv2_ssd_lite, its backbone from torchvision."""
    extras = sum(
        before * hidden + 9 * hidden + hidden * after + 2 * (2 * hidden + after)
        for before, hidden, after in ((1280, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 64))
    )
    heads = sum(
        (9 + 1 + 2) * c + (c + 1) * 6 * values for c in (576, 1280, 512, 256, 256) for values in (4, num_classes)
    )
    return 2_223_872 + extras + heads + (64 + 1) * 6 * (4 + num_classes)


# 8,170,304 and 8,543,296: torchvision's resnet34 and resnet50 without layer4 and fc, see golden. 138,357,544 parameters
# has VGG-16, 4,097,000 of them in its last layer, which is left out; 512 scales are added.
@pytest.mark.parametrize(
    ("options", "num_classes", "expected"),
    [
        (dict(backbone="resnet34", **RESNET, batch_norm=True), 81,
         nvidia_ssd300(8_170_304, (256, 512, 512, 256, 256, 256), 81, True)),
        (NETWORKS["resnet34"], 81, nvidia_ssd300(8_170_304, (256, 512, 512, 256, 256, 256), 81, False)),
        (NETWORKS["resnet50"], 81, nvidia_ssd300(8_543_296, (1024, 512, 512, 256, 256, 256), 81, True)),
        (SSDLITE, 21, mb2_ssd_lite(21)),
        (dict(backbone="vgg16_full", sources=("fc7",), extras=(), min_sizes=(30,), max_sizes=((),),
              aspect_ratios=((),), steps=()), 2, 138_357_544 - 4_097_000 + (9 * 4096 + 1) * (4 + 2)),
    ],
    ids=["resnet34-nvidia", "resnet34-mlperf", "resnet50-nvidia", "mb2-ssd-lite", "vgg16_full"],
)  # fmt: skip
def test_parameters(options, num_classes, expected):
    assert count(models.build(num_classes=num_classes, **options)) == expected


def test_parameters_in_figures():
    # What the sums above come to, for other pages to quote.
    assert nvidia_ssd300(8_170_304, (256, 512, 512, 256, 256, 256), 81, True) == 19_975_222
    assert nvidia_ssd300(8_543_296, (1024, 512, 512, 256, 256, 256), 81, True) == 22_894_902
    assert mb2_ssd_lite(21) == 3_388_228


# MultiBox (Erhan et al.; SSD paper, section 3.1): 11 boxes a cell on maps of 8, 6, 4, 3, 2 and one on 1.
MULTIBOX = dict(
    extras=((256, 512, 3, 2, 1), *((128, 256, 3, 1, 0),) * 3, *((128, 256, 2, 1, 0),) * 3),
    sources=("conv7_2", "conv8_2", "conv9_2", "conv10_2", "conv11_2", "conv12_2"),
    min_sizes=(40, 60, 90, 130, 180, 260),
    max_sizes=((),) * 6,
    aspect_ratios=((1.5, 2, 2.5, 3, 4),) * 5 + ((),),
    steps=(),
)
# The last row of Table 3: four scales of six boxes, all on fc7 (conv7).
ONE_LEVEL = dict(
    sources=("fc7",),
    min_sizes=((30, 90, 150, 210),),
    max_sizes=((90, 150, 210, 270),),
    aspect_ratios=((2, 3),),
    steps=(16,),
)


@pytest.mark.parametrize(
    ("options", "sides", "total"),
    [
        (NETWORKS["resnet50"], (38, 19, 10, 5, 3, 1), 8732),
        (NETWORKS["resnet34"], (38, 19, 10, 5, 3, 1), 8732),
        (FULL_VGG, (38, 19, 10, 5, 3, 1), 8732),
        (SSDLITE, (19, 10, 5, 3, 2, 1), 3000),  # 6 a cell
        (MULTIBOX, (8, 6, 4, 3, 2, 1), 1420),
        (ONE_LEVEL, (19,), 8664),
    ],
    ids=["resnet50", "resnet34", "vgg16_full", "mb2-ssd-lite", "multibox", "one level"],
)
def test_grids_and_number_of_boxes(options, sides, total):
    model = models.build(num_classes=21, **options)
    assert [level.grid for level in model.levels] == [(side, side) for side in sides]
    assert sum(level.num_boxes for level in model.levels) == total
    images = jax.ShapeDtypeStruct((1, 300, 300, 3), jnp.float32)
    predictions = jax.eval_shape(model.apply, jax.eval_shape(model.init, jax.random.key(0)), images)
    assert (predictions.offsets.shape, predictions.logits.shape) == ((1, total, 4), (1, total, 21))


@every_network
def test_names_follow_from_backbone_and_extras(name):
    model = models.build(num_classes=3, **NETWORKS[name])
    assert model.level_names == ssd.feature_names(name, len(NETWORKS[name].get("extras", ssd.SSD300_EXTRAS)))
    params = jax.eval_shape(model.init, jax.random.key(0))["params"]
    heads = {f"{level}_mbox_{part}" for level in model.level_names for part in ("loc", "conf")}
    assert {head.removesuffix("_bn").removesuffix("_depthwise") for head in params["heads"]} == heads
    # What is not decayed is told by the name alone.
    kinds = optim.parameter_kinds(params)
    for group, modules in kinds.items():
        for module, leaves in modules.items():
            expected = {"scale": "norm", "bias": "norm"} if module.endswith("_bn") else {k: k for k in leaves}
            assert leaves == expected, (group, module)


def test_too_many_inverted_residuals_are_refused():
    stages = (*SSDLITE["extras"], (64, 64, 3, 1, 0))
    last = dict(sources=("conv10_2",), min_sizes=(30,), max_sizes=(60,), aspect_ratios=((2,),), steps=())
    with pytest.raises(ValueError, match=r"extras\[4\] \(conv10_2\): a 3x3 kernel with padding 0.*1x1 feature map"):
        models.build(num_classes=3, **{**SSDLITE, **last, "extras": stages})


@pytest.mark.parametrize(
    ("name", "layer", "channels", "extra", "extra_channels"),
    [
        ("vgg16", "fc7", 1024, "conv9_2", 256),
        ("vgg16_full", "fc7", 4096, "conv8_2", 256),
        ("resnet34", "layer3_5_conv2", 256, "conv10_2", 256),
        ("resnet50", "layer3_5_conv3", 1024, "conv10_2", 256),
        ("mobilenet_v2", "conv_last", 1280, "conv9_2", 64),
    ],
)
def test_width_multiplier(name, layer, channels, extra, extra_channels):
    model = models.build(num_classes=3, width_multiplier=0.25, **NETWORKS[name])
    params = jax.eval_shape(model.init, jax.random.key(0))["params"]
    assert params["backbone"][layer]["kernel"].shape[-1] == channels / 4
    assert params["extras"][extra]["kernel"].shape[-1] == extra_channels / 4


def equations(jaxpr):
    """Yields the equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            if hasattr(inner := getattr(value, "jaxpr", None), "eqns"):
                yield from equations(inner)


@functools.cache
def traced(name, dtype):
    """The equations of a training pass within a mapped axis, and the variables."""
    model = models.build(
        num_classes=3, dtype=dtype, axis_name="data", **{**NETWORKS[name], "batch_norm": True, "width_multiplier": 0.25}
    )
    variables = jax.eval_shape(model.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 300, 300, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(model.apply_train, axis_env=[("data", 2)], return_shape=True)(variables, images)
    return list(equations(jaxpr[0].jaxpr)), variables, jaxpr[1]


@every_network
def test_all_convolutions_compute_in_bfloat16_and_nothing_else_does(name):
    found, variables, (predictions, state) = traced(name, "bfloat16")
    kinds = [e.outvars[0].aval.dtype for e in found if e.primitive.name == "conv_general_dilated"]
    assert len(kinds) == sum(path[-1].key == "kernel" for path, _ in jax.tree_util.tree_leaves_with_path(variables))
    assert set(kinds) == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves((variables, predictions, state))} == {jnp.dtype("float32")}


@every_network
def test_all_batch_statistics_are_averaged_over_the_axis(name):
    found, variables, (_, state) = traced(name, "bfloat16")
    norms = sum(len(modules) for modules in variables["batch_stats"].values())
    # Flax joins mean and mean of squares to one psum.
    assert sum(e.primitive.name.startswith("psum") for e in found) == norms
    assert jax.tree.structure(state["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


@pytest.mark.slow  # compiles the gradient of each network
@every_network
def test_every_parameter_receives_a_gradient(name):
    options = {**NETWORKS[name], "batch_norm": True, "width_multiplier": 0.125}
    model = models.build(num_classes=3, **options)
    variables = plain_variables(model)
    images = np.random.default_rng(0).uniform(0, 255, (2, 300, 300, 3)).astype(np.float32)

    @jax.jit
    def gradient(params):
        def loss(params):
            predictions, _ = model.apply_train({**variables, "params": params}, images)
            return jax.nn.logsumexp(predictions.logits, axis=-1).mean() + jnp.square(predictions.offsets).mean()

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all(), path
        # A bias in front of batch normalization makes no difference.
        assert path[-2].key.endswith("_depthwise") and path[-1].key == "bias" or np.abs(leaf).max() > 0, path
