"""Converted weights compute what the network they come from computes: frozen outputs of torch, loops in NumPy."""

import functools

import jax
import numpy as np
import pytest
from golden import make_foreign_arrays as foreign
from golden import make_mappings_torch as golden
from golden import torchvision_names
from PIL import Image

from ssd_jax import models
from ssd_jax.models import ssd
from ssd_jax.weights import decimate, mappings
from ssd_jax.weights.mappings import Normalization

# Relative to the largest value of each map; the networks differ in the order of float32 sums.
TOLERANCE = 1e-4
PIXELS = Normalization(golden.MEAN)


def frozen_state(name):
    """The formula-made weights of a golden network, under the names that torch gave them."""
    frozen = np.load(golden.FILE)
    shapes = [tuple(map(int, shape.split("x"))) for shape in frozen[f"{name}_shapes"]]
    return golden.formula_state(dict(zip(map(str, frozen[f"{name}_names"]), shapes, strict=True)))


def build(converted, **options):
    """The narrow network of a conversion's configuration."""
    overrides = {key.removeprefix("model."): v for key, v in converted.config.items() if key.startswith("model.")}
    return models.build(
        num_classes=converted.num_classes, width_multiplier=golden.WIDTH_MULTIPLIER, **(overrides | options)
    )


def shapes_of(model):
    return jax.eval_shape(model.init, jax.random.key(0))


@pytest.mark.parametrize("name", ["ssd_pytorch", "lufficc"])
def test_detectors_equal_the_frozen_ones_of_torch(name):
    frozen, state = np.load(golden.FILE), frozen_state(name)
    converted = mappings.convert(state)
    side, num_classes = golden.NETWORKS[name]
    assert (converted.num_classes, converted.config["model.image_size"]) == (num_classes, (side, side))
    model = build(converted)
    variables, report = mappings.fit(converted, shapes_of(model), normalization=PIXELS)
    assert report.random == () and report.left == () and converted.normalization == PIXELS
    predictions = jax.jit(model.apply)(variables, golden.images(side))
    for output, values in predictions._asdict().items():
        largest = frozen[f"{name}_{output}_largest"]
        maps = golden.split(name, np.asarray(values[0]))
        kept = [one[:: max(1, len(one) // 40)] for one in maps]
        theirs = np.split(frozen[f"{name}_{output}"], np.cumsum([len(one) for one in kept])[:-1])
        for one, ours, other, total, most in zip(
            maps, kept, theirs, frozen[f"{name}_{output}_sums"], largest, strict=True
        ):
            np.testing.assert_allclose(ours, other, rtol=0, atol=TOLERANCE * most)
            sums = one.astype(np.float64).sum(axis=0)
            np.testing.assert_allclose(sums, total, rtol=0, atol=TOLERANCE * most * len(one))


@functools.cache
def backbone(name, **fields):
    """A narrow backbone by itself, and its variables' shapes in the tree of a whole network."""
    module = ssd.BACKBONES[name](width_multiplier=golden.WIDTH_MULTIPLIER, **fields)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32), False))
    return module, {collection: {"backbone": tree} for collection, tree in shapes.items()}


def test_vgg16_and_its_classifier_equal_the_frozen_ones_of_torch():
    frozen, state = np.load(golden.FILE), frozen_state("vgg16")
    module, shapes = backbone("vgg16_full", sources=("conv5_3", "fc7"))
    converted = mappings.convert(state)
    variables, report = mappings.fit(converted, shapes, normalization=mappings.IMAGENET)
    assert [name for name, _ in report.left] == ["classifier.6.weight", "classifier.6.bias"]
    assert report.random == ()
    alone = {collection: tree["backbone"] for collection, tree in variables.items()}
    x = golden.images(224) - np.float32(golden.MEAN)
    conv5_3, fc7 = (np.asarray(one) for one in jax.jit(lambda v, x: module.apply(v, x, False))(alone, x))
    # With padding 3 the middle of the 7x7 map sees what the classifier sees.
    found = {"conv5_3": conv5_3.ravel()[:: golden.EVERY], "fc7": fc7[:, 3, 3].ravel()[:: golden.EVERY]}
    for output, values in found.items():
        largest = frozen[f"vgg16_{output}_largest"]
        np.testing.assert_allclose(values, frozen[f"vgg16_{output}"], rtol=0, atol=TOLERANCE * largest)


def literal_decimation(fc6, fc7):
    """fc6 [output, input x 7 x 7] and fc7 [output, input], one number at a time."""
    outputs, inputs = len(fc6) // 4, fc6.shape[1] // 49
    small6 = np.zeros((3, 3, inputs, outputs), np.float32)
    small7 = np.zeros((1, 1, outputs, outputs), np.float32)
    for n in range(outputs):
        for c in range(inputs):
            for i in range(3):
                for j in range(3):
                    small6[i, j, c, n] = fc6[4 * n, 49 * c + 7 * (3 * i) + 3 * j]
        for m in range(outputs):
            small7[0, 0, m, n] = fc7[4 * n, 4 * m]
    return small6, small7


@pytest.mark.parametrize("spelling", ["torchvision", "caffe", "caffe of 2014"])
def test_the_classifier_is_decimated_as_by_a_literal_loop(spelling):
    state = frozen_state("vgg16")
    fc6, fc7 = literal_decimation(state["classifier.0.weight"], state["classifier.3.weight"])
    tensors = state if spelling == "torchvision" else in_caffe_names(state, four_axes=spelling.endswith("2014"))
    converted = mappings.convert(tensors)
    _, shapes = backbone("vgg16")
    variables, report = mappings.fit(converted, shapes, normalization=converted.normalization)
    layers = variables["params"]["backbone"]
    np.testing.assert_array_equal(layers["fc6"]["kernel"], fc6)
    np.testing.assert_array_equal(layers["fc7"]["kernel"], fc7)
    np.testing.assert_array_equal(layers["fc6"]["bias"], state["classifier.0.bias"][::4])
    np.testing.assert_array_equal(layers["fc7"]["bias"], state["classifier.3.bias"][::4])
    assert sum("decimated" in use.how for use in report.uses) == 4
    assert report.random == ("backbone/conv4_3_norm/scale",)


def in_caffe_names(state, *, four_axes):
    """The same weights as a Caffe file of VGG_ILSVRC_16_layers holds them; before 2015 every blob had four axes."""
    places = [name for name in state if name.endswith(".weight")]
    layers = [f"conv{stage}_{k}" for stage, depth in enumerate(golden.DEPTHS, start=1) for k in range(1, depth + 1)]
    tensors = {}
    for layer, weight in zip([*layers, "fc6", "fc7", "fc8"], places, strict=True):
        kernel, bias = state[weight], state[weight.replace("weight", "bias")]
        tensors[f"{layer}/0"] = kernel.reshape(1, 1, *kernel.shape) if four_axes and kernel.ndim == 2 else kernel
        tensors[f"{layer}/1"] = bias.reshape(1, 1, 1, -1) if four_axes else bias
    return tensors


def test_keras_gives_the_same_network_as_caffe():
    caffe = in_caffe_names(frozen_state("vgg16"), four_axes=False)
    keras = {}
    for name, array in caffe.items():
        layer, leaf = name.split("/")
        layer = f"block{layer[4]}_conv{layer[6]}" if layer.startswith("conv") else f"fc{int(layer[2]) - 5}"
        if layer == "fc3":
            continue
        if layer == "fc1" and leaf == "0":  # flattened by row, column, channel
            array = array.reshape(-1, golden.NARROW.stages[4], 7, 7).transpose(2, 3, 1, 0).reshape(-1, len(array))
        elif leaf == "0":
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        keras[f"model_weights/{layer}/{layer}/{('kernel', 'bias')[int(leaf)]}:0"] = array
    _, shapes = backbone("vgg16")
    fitted = [
        mappings.fit(converted, shapes, normalization=converted.normalization)[0]
        for converted in (mappings.convert(caffe), mappings.convert(keras))
    ]
    compared = jax.tree.map(lambda a, b: a is b or np.array_equal(a, b), *fitted)
    assert all(jax.tree.leaves(compared))


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [(np.ones((7, 7, 2, 4)), {"taps": 0}, "taps: expected at least 1"), (np.ones((4, 4)), {}, "kernel: expected")],
)
def test_decimation_of_what_is_not_a_kernel(kernel, options, message):
    with pytest.raises(ValueError, match=message):
        decimate.decimate(kernel, **options)


def picture(shared, path, side=300):
    path = shared / "data" / path
    return np.asarray(Image.open(path).convert("RGB").resize((side, side)), np.float32)[None]


PICTURES = (
    "voc2012-animals/VOCdevkit/VOC2012/JPEGImages/2008_000053.jpg",
    "bccd/JPEGImages/BloodImage_00000.jpg",
    "coco2017-mini/val2017/000000000139.jpg",
)


def test_weights_for_bgr_see_pictures_in_rgb_as_caffe_sees_them(shared):
    tensors = in_caffe_names(frozen_state("vgg16"), four_axes=False)
    module, shapes = backbone("vgg16", sources=("fc7",))
    turned, plain = (
        mappings.fit(converted, shapes, normalization=converted.normalization)[0]["params"]["backbone"]
        for converted in (mappings.convert(tensors), mappings.convert(tensors, channels="rgb"))
    )
    apply = jax.jit(lambda params, x: module.apply({"params": params}, x, False))
    for rgb in (picture(shared, path) for path in PICTURES):
        ours, theirs = rgb - np.float32((123, 117, 104)), rgb[..., ::-1] - np.float32((104, 117, 123))
        for a, b, c in zip(apply(turned, ours), apply(plain, theirs), apply(plain, ours), strict=True):
            largest = np.abs(b).max()
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * largest)
            assert np.abs(c - b).max() > 1e-2 * largest  # forgetting to turn them shows


def base_of_ssd_pytorch():
    return {k.removeprefix("vgg."): v for k, v in frozen_state("ssd_pytorch").items() if k.startswith("vgg.")}


def with_colors(tensors):
    """A file of zeros with a first convolution whose input channels differ."""
    return tensors | {"conv1_1/0": np.arange(64 * 27, dtype=np.float32).reshape(64, 3, 3, 3)}


# Colors that each family expects, by the sources that its module names.
@pytest.mark.parametrize(
    ("family", "tensors", "turned"),
    [
        ("ssd_pytorch_ssd", lambda: frozen_state("ssd_pytorch"), False),
        ("lufficc_ssd", lambda: frozen_state("lufficc"), False),
        ("torchvision_vgg16", lambda: frozen_state("vgg16"), False),
        ("ssd_pytorch_vgg16", base_of_ssd_pytorch, True),
        ("caffe_vgg16", lambda: in_caffe_names(frozen_state("vgg16"), four_axes=False), True),
        ("caffe_ssd", lambda: with_colors(foreign.SSD300(classes=4)), True),
    ],
)
def test_colors_of_each_family_and_stated_ones(family, tensors, turned):
    first = {channels: mappings.convert(tensors(), channels=channels) for channels in ("", "rgb", "bgr")}
    assert {one.family for one in first.values()} == {family}
    kernel = {channels: one.arrays[one.first] for channels, one in first.items()}
    np.testing.assert_array_equal(kernel["bgr"], kernel["rgb"][:, :, ::-1])
    np.testing.assert_array_equal(kernel[""], kernel["bgr" if turned else "rgb"])
    how = {channels: {use.target: use.how for use in one.uses}[one.first] for channels, one in first.items()}
    assert how["bgr"] == (*how["rgb"], "channels reversed")


def convolve(image, kernel, bias, stride=1):
    """A 3x3 convolution with padding 1, tap by tap: image [h, w, 3], kernel [3, 3, 3, n]."""
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    taps = [padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
    return (sum(taps) + bias)[::stride, ::stride]


def first_layer(normalization, given):
    """An image normalized both ways, and both first layers: [h, w, n] as trained, and as folded."""
    image = torchvision_names.formula_images(1, 12, 9)[0]
    converted = mappings.convert(frozen_state("vgg16"))._replace(normalization=normalization)
    _, shapes = backbone("vgg16")
    variables, report = mappings.fit(converted, shapes, normalization=given)
    layer = variables["params"]["backbone"]["conv1_1"]
    trained = (converted.arrays[converted.first], converted.arrays["backbone/conv1_1/bias"])
    expected = convolve((image - normalization.mean) / normalization.std, *trained)
    return expected, convolve((image - given.mean) / given.std, layer["kernel"], layer["bias"]), report


def test_another_normalization_is_folded_exactly_within_the_image():
    expected, found, report = first_layer(mappings.IMAGENET, PIXELS)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=0, atol=1e-5 * scale)
    border = np.ones(found.shape[:2], bool)
    border[1:-1, 1:-1] = False
    off = np.abs(found - expected)[border]
    most = float(report.notes[-1].rpartition(" ")[2])  # "off by up to 0.032"
    assert 1e-4 * scale < off.max() <= 1.05 * most  # two digits are shown
    assert [use.source for use in report.uses if "folded" in use.how] == ["features.0.weight", "features.0.bias"]


def test_another_deviation_alone_is_folded_exactly_everywhere():
    expected, found, _ = first_layer(mappings.IMAGENET, Normalization(mappings.IMAGENET.mean))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_same_normalization_is_not_folded():
    expected, found, report = first_layer(PIXELS, PIXELS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not any("folded" in use.how for use in report.uses) and report.notes == ()


def test_without_a_bias_the_mean_is_folded_into_the_batch_normalization():
    module, shapes = backbone("mobilenet_v2")
    del module
    generator = np.random.default_rng(0)
    arrays = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")
        arrays[name] = generator.uniform(0.5, 1.5, leaf.shape).astype(np.float32) - 0.9 * (leaf.ndim > 1)
    given = Normalization((127.0,) * 3, (128.0,) * 3)
    first = "backbone/conv_first/kernel"
    converted = mappings.convert(arrays)._replace(normalization=mappings.IMAGENET, first=first)
    variables, _ = mappings.fit(converted, shapes, normalization=given)
    image = torchvision_names.formula_images(1, 11, 14)[0]

    def layer(normalization, kernel, mean):
        # Only the running mean of the normalization is in question; its division and scale come behind.
        return convolve((image - normalization.mean) / normalization.std, kernel, 0.0, stride=2) - mean

    name = "conv_first"
    expected = layer(
        mappings.IMAGENET, arrays[f"backbone/{name}/kernel"], arrays[f"batch_stats/backbone/{name}_bn/mean"]
    )
    found = layer(
        given,
        variables["params"]["backbone"][name]["kernel"],
        variables["batch_stats"]["backbone"][f"{name}_bn"]["mean"],
    )
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(found - expected)[0].max() > 1e-3
