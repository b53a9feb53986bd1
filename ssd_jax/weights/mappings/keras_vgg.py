"""VGG-16 of keras.applications: a conversion of Caffe's full model, for BGR images minus its mean.

Kernels are (height, width, input, output), the fully connected fc1 reads a map of 7x7 cells flattened in the order
row, column, channel. The names around a layer's own differ between versions ("block1_conv1_W_1:0",
"kernel:0"), so an array is known by its layer and its axes.
"""

import re
from collections.abc import Mapping

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights.mappings import caffe, vgg
from ssd_jax.weights.mappings.collect import REVERSED
from ssd_jax.weights.mappings.types import Converted, Family, Options, Use

LAYERS = {name: f"block{name[4]}_conv{name[6]}" for name in vgg.CONVOLUTIONS} | {"fc6": "fc1", "fc7": "fc2"}
FC1_SIDE = 7


def find(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns "" if every convolution of VGG-16 is there."""
    named = _by_layer(tensors)
    wanted = [theirs for ours, theirs in LAYERS.items() if ours in vgg.CONVOLUTIONS]
    return "" if all(len(named.get(name, ())) == 2 for name in wanted) and "block3_conv4" not in named else None


def convert(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads vgg16_weights_tf_dim_ordering_tf_kernels.h5, or the file without the top, which lacks fc6 and fc7."""
    del prefix
    named, arrays, uses = _by_layer(tensors), {}, []
    for ours, theirs in LAYERS.items():
        if ours in vgg.CLASSIFIER and theirs not in named:
            continue
        if sorted(tensors[name].ndim for name in named[theirs]) not in ([1, 2], [1, 4]):
            shapes = ", ".join(f"{name} {tensors[name].shape}" for name in named[theirs])
            raise InputError(f"{theirs}: expected a kernel and a bias, got {shapes}")
        for source in sorted(named[theirs], key=lambda name: -tensors[name].ndim):
            array, how = tensors[source], ()
            if array.ndim == 2:
                array, how = _dense(source, array, FC1_SIDE if ours == "fc6" else 1), ("reshaped",)
            path = f"backbone/{ours}/{'bias' if array.ndim == 1 else 'kernel'}"
            if path == vgg.FIRST and options.channels != "rgb":
                array, how = array[:, :, ::-1], (REVERSED,)
            arrays[path] = array
            uses.append(Use(source, path, how))
    used = {use.source for use in uses}
    left = tuple(name for name in tensors if name not in used)
    config = {"model.backbone": "vgg16", "model.mean": caffe.TRAINED.mean, "model.std": caffe.TRAINED.std}
    return Converted("keras_vgg16", arrays, tuple(uses), left, caffe.TRAINED, vgg.FIRST, config)


def _by_layer(tensors: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """Returns the names of the arrays of each layer, by Keras's name of the layer."""
    named: dict[str, list[str]] = {}
    for name in tensors:
        layer = re.search(r"(?<![a-z0-9])(block\d_conv\d|fc[12])(?![0-9])", name)
        if layer:
            named.setdefault(layer[1], []).append(name)
    return named


def _dense(source: str, array: np.ndarray, side: int) -> np.ndarray:
    if array.shape[0] % side**2:
        raise InputError(f"{source}: expected ({side} x {side} x input, output), got shape {array.shape}")
    return array.reshape(side, side, -1, array.shape[1])


VGG = Family("keras_vgg16", "VGG16 of keras.applications", find, convert)
