"""Layers that no library at hand has beside ours, held by loops in NumPy: SSDLite's, and VGG without atrous."""

import jax
import numpy as np
import pytest

from ssd_jax.models import layers, mobilenet, ssdlite, vgg


def reference_conv(x, kernel, stride, padding, groups=1):  # x [h, w, c], kernel [k, k, c / groups, n]
    """A convolution as loops over cells; a depthwise one has one channel a group."""
    x = np.pad(x.astype(np.float64), ((padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    rows, columns = ((side - size) // stride + 1 for side in x.shape[:2])
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = (window * kernel[:, :, 0]).sum((0, 1)) if groups > 1 else np.einsum("abc,abcn", window, kernel)
    return out


def random_variables(module, *arguments):
    """Variables of a module in which no array has its neutral value."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *arguments, train=False))
    return jax.tree.map(lambda x: generator.uniform(0.5, 1.5, x.shape).astype(np.float32) - 0.7 * (x.ndim > 1), shapes)


def reference_norm(x, variables, name):
    params, stats = variables["params"][name + "_bn"], variables["batch_stats"][name + "_bn"]
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def relu6(x):
    return np.clip(x, 0, 6)


@pytest.mark.parametrize(("stride", "padding"), [(2, 1), (1, 1)])
def test_inverted_residual_by_loops(stride, padding):
    x = np.random.default_rng(1).uniform(-1, 1, (1, 5, 4, 8)).astype(np.float32)
    module = ssdlite.InvertedResiduals(((16, 8, 3, stride, padding),), 1.0, layers.LayerOptions())
    variables = random_variables(module, x)
    kernels = {name: leaves["kernel"] for name, leaves in variables["params"].items() if "kernel" in leaves}
    y = relu6(reference_norm(reference_conv(x[0], kernels["conv6_1"], 1, 0), variables, "conv6_1"))
    y = reference_conv(y, kernels["conv6_depthwise"], stride, padding, groups=16)
    y = relu6(reference_norm(y, variables, "conv6_depthwise"))
    y = reference_norm(reference_conv(y, kernels["conv6_2"], 1, 0), variables, "conv6_2")
    expected = y + x[0] if stride == 1 else y
    (found,) = module.apply(variables, x, train=False)
    # float32 sums of at most 144 products of numbers below 6.
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert set(variables["params"]) == {f"conv6_{k}{bn}" for k in ("1", "depthwise", "2") for bn in ("", "_bn")}


def test_separable_heads_by_loops():
    maps = [np.random.default_rng(k).uniform(-1, 1, (1, 3 - 2 * k, 2 - k, 8)).astype(np.float32) for k in range(2)]
    module = ssdlite.SeparableHeads(("a", "b"), (2, 1), 3, layers.LayerOptions())
    variables = random_variables(module, maps)
    params = variables["params"]
    for part, values, found in zip(("loc", "conf"), (4, 3), module.apply(variables, maps, train=False), strict=True):
        name = f"a_mbox_{part}"
        y = reference_conv(maps[0][0], params[f"{name}_depthwise"]["kernel"], 1, 1, groups=8)
        y = relu6(reference_norm(y + params[f"{name}_depthwise"]["bias"], variables, f"{name}_depthwise"))
        first = reference_conv(y, params[name]["kernel"], 1, 0) + params[name]["bias"]
        name = f"b_mbox_{part}"  # a single cell: no depthwise convolution
        second = reference_conv(maps[1][0], params[name]["kernel"], 1, 0) + params[name]["bias"]
        expected = np.concatenate([first.reshape(-1, values), second.reshape(-1, values)])
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert set(params) == {f"a_mbox_{p}{s}" for p in ("loc", "conf") for s in ("", "_depthwise", "_depthwise_bn")} | {
        "b_mbox_loc",
        "b_mbox_conf",
    }


def test_full_vgg_by_loops():
    # conv5_3 is 5x3: the 2x2 pool rounds up to 3x2; then 7x7 and 1x1 convolutions that keep the size.
    base = vgg.Vgg16Full(sources=("conv5_3", "fc7"), width_multiplier=1 / 64)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 70, 40, 3)).astype(np.float32)
    variables = random_variables(base, images)
    conv5_3, fc7 = (np.asarray(x[0]) for x in jax.jit(lambda v, x: base.apply(v, x, False))(variables, images))
    rows, columns = range(0, 5, 2), range(0, 3, 2)
    x = np.array([[conv5_3[i : i + 2, j : j + 2].max((0, 1)) for j in columns] for i in rows])
    for name, padding in (("fc6", 3), ("fc7", 0)):
        layer = variables["params"][name]
        x = np.maximum(reference_conv(x, layer["kernel"], 1, padding) + layer["bias"], 0)
    np.testing.assert_allclose(fc7, x, rtol=0, atol=1e-5 * np.abs(x).max())


def test_shortcuts_of_a_narrow_mobilenet():
    base = mobilenet.MobileNetV2(width_multiplier=0.01)  # 8 channels in front of and behind every block
    x = np.ones((1, 1, 1, 3), np.float32)  # every map is one cell, so that shapes alone do not tell a stride of 2
    shapes = jax.eval_shape(lambda: base.init(jax.random.key(0), x, False))

    def fill(path, leaf):
        module, kind = path[-2].key, path[-1].key
        one = kind in ("scale", "var") or (kind == "bias" and module.endswith("_project_bn"))
        return np.full(leaf.shape, 1 / 8 if (module, kind) == ("conv_last", "kernel") else float(one), np.float32)

    found = jax.jit(lambda v: base.apply(v, x, False))(jax.tree_util.tree_map_with_path(fill, shapes))
    # Blocks project to 1; shortcuts count on from the last stride of 2, block 14: 15, 16, 17.
    np.testing.assert_allclose(found[-1], 4, rtol=1e-4)  # the variance's epsilon of 1e-5
