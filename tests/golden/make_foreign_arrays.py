"""Makes what published files of weights hold: arrays by their names, of their shapes, with zeros for numbers.

The names and sizes are written down here, or frozen from torchvision (make_torchvision_arrays.py); nothing of the
library's own tables is used. Arrays of zeros take no memory: each is one number, read over and over.
"""

import functools

import jax
import numpy as np
from golden import make_torchvision_arrays as published

from ssd_jax import models
from ssd_jax.models import ssd

ZERO = np.float32(0)
# (output, input, side of the kernel) of the authors' networks: ssd_pascal.py and the VGG_VOC0712_SSD_* prototxts.
VGG = """conv1_1 64 3 3, conv1_2 64 64 3, conv2_1 128 64 3, conv2_2 128 128 3, conv3_1 256 128 3, conv3_2 256 256 3,
    conv3_3 256 256 3, conv4_1 512 256 3, conv4_2 512 512 3, conv4_3 512 512 3, conv5_1 512 512 3, conv5_2 512 512 3,
    conv5_3 512 512 3, fc6 1024 512 3, fc7 1024 1024 1"""
EXTRAS300 = """conv6_1 256 1024 1, conv6_2 512 256 3, conv7_1 128 512 1, conv7_2 256 128 3, conv8_1 128 256 1,
    conv8_2 256 128 3, conv9_1 128 256 1, conv9_2 256 128 3"""
EXTRAS512 = EXTRAS300 + ", conv10_1 128 256 1, conv10_2 256 128 4"
# Channels and boxes a cell of the maps that heads read.
MAPS300 = "conv4_3_norm 512 4, fc7 1024 6, conv6_2 512 6, conv7_2 256 6, conv8_2 256 4, conv9_2 256 4"
MAPS512 = "conv4_3_norm 512 4, fc7 1024 6, conv6_2 512 6, conv7_2 256 6, conv8_2 256 6, conv9_2 256 4, conv10_2 256 4"


def rows(table):
    return [(name, *map(int, numbers)) for name, *numbers in (row.split() for row in table.split(","))]


def caffe_arrays(*, extras="", maps="", classes=0):
    """Arrays of zeros that take no memory, under the names of Caffe's files."""
    layers = rows(VGG) + (rows(extras) if extras else [])
    for name, inputs, boxes in rows(maps) if maps else []:
        layers += [(f"{name}_mbox_loc", 4 * boxes, inputs, 3), (f"{name}_mbox_conf", classes * boxes, inputs, 3)]
    arrays = {}
    for name, outputs, inputs, side in layers:
        arrays[f"{name}/0"] = np.broadcast_to(ZERO, (outputs, inputs, side, side))
        arrays[f"{name}/1"] = np.broadcast_to(ZERO, (outputs,))
    return arrays | ({"conv4_3_norm/0": np.broadcast_to(ZERO, (512,))} if maps else {})


SSD300 = functools.partial(caffe_arrays, extras=EXTRAS300, maps=MAPS300)
SSD512 = functools.partial(caffe_arrays, extras=EXTRAS512, maps=MAPS512)


@functools.cache
def shapes_of(num_classes=21, **options):
    return jax.eval_shape(models.build(num_classes=num_classes, **options).init, jax.random.key(0))


def narrow(num_classes=4, **options):
    return shapes_of(num_classes, width_multiplier=1 / 64, **options)


def backbone_shapes(name):
    """The variables of a backbone by itself, in the tree of a whole network."""
    tree = jax.eval_shape(lambda: ssd.BACKBONES[name]().init(jax.random.key(0), np.zeros((1, 64, 64, 3)), False))
    return {collection: {"backbone": arrays} for collection, arrays in tree.items()}


def change(tensors, name, shape):
    return {**tensors, name: np.broadcast_to(ZERO, shape)}


def own_names(variables):
    """Arrays of a network under our names, of ones."""
    leaves = jax.tree_util.tree_flatten_with_path(variables["params"])[0]
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return {path: np.ones(leaf.shape, np.float32) for path, (_, leaf) in zip(paths, leaves, strict=True)}


def keras_arrays(*, classifier=True):
    layers = [(name, outputs, inputs, side) for name, outputs, inputs, side in rows(VGG) if name.startswith("conv")]
    arrays = {}
    for name, outputs, inputs, side in layers:
        layer = f"block{name[4]}_conv{name[6]}"
        arrays[f"{layer}/{layer}_W_1:0"] = np.broadcast_to(ZERO, (side, side, inputs, outputs))
        arrays[f"{layer}/{layer}_b_1:0"] = np.broadcast_to(ZERO, (outputs,))
    for name, inputs in (("fc1", 25088), ("fc2", 4096)) if classifier else ():
        arrays[f"{name}/{name}_W_1:0"] = np.broadcast_to(ZERO, (inputs, 4096))
        arrays[f"{name}/{name}_b_1:0"] = np.broadcast_to(ZERO, (4096,))
    return arrays


def torch_base(prefix=""):
    """Arrays of vgg16_reducedfc.pth: the place in the list of layers that ssd.pytorch's vgg() builds."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33)
    arrays = {}
    for place, (_, outputs, inputs, side) in zip(places, rows(VGG), strict=True):
        arrays[f"{prefix}{place}.weight"] = np.broadcast_to(ZERO, (outputs, inputs, side, side))
        arrays[f"{prefix}{place}.bias"] = np.broadcast_to(ZERO, (outputs,))
    return arrays


def torch_detector(classes=21, *, extras=EXTRAS300, maps=MAPS300, lufficc=False):
    spell = ("backbone.vgg.", "backbone.extras.", "box_head.predictor.reg_headers.", "box_head.predictor.cls_headers.")
    base, extra, location, confidence = spell if lufficc else ("vgg.", "extras.", "loc.", "conf.")
    arrays = torch_base(base)
    layers = [(f"{extra}{k}", *numbers) for k, (_, *numbers) in enumerate(rows(extras))]
    for k, (_, inputs, boxes) in enumerate(rows(maps)):
        layers += [(f"{location}{k}", 4 * boxes, inputs, 3), (f"{confidence}{k}", classes * boxes, inputs, 3)]
    for name, outputs, inputs, side in layers:
        arrays[f"{name}.weight"] = np.broadcast_to(ZERO, (outputs, inputs, side, side))
        arrays[f"{name}.bias"] = np.broadcast_to(ZERO, (outputs,))
    arrays["backbone.l2_norm.weight" if lufficc else "L2Norm.weight"] = np.broadcast_to(ZERO, (512,))
    return arrays


def vgg16_features():
    arrays = published.arrays("vgg16")
    return {k: np.broadcast_to(np.float32(np.nan), v.shape) if "classifier" in k else v for k, v in arrays.items()}


FILES = {
    "caffe_vgg16": caffe_arrays,
    "caffe_ssd": lambda: SSD300(classes=21),
    "ssd_pytorch_vgg16": torch_base,
    "ssd_pytorch_ssd": torch_detector,
    "lufficc_ssd": lambda: torch_detector(extras=EXTRAS512, maps=MAPS512, lufficc=True),
    "torchvision_vgg16": lambda: published.arrays("vgg16"),
    "torchvision_vgg16_features": vgg16_features,
    "torchvision_ssd300": lambda: published.arrays("ssd300_vgg16"),
    "torchvision_resnet34": lambda: published.arrays("resnet34"),
    "torchvision_resnet50": lambda: published.arrays("resnet50"),
    "torchvision_mobilenet_v2": lambda: published.arrays("mobilenet_v2"),
    "keras_vgg16": keras_arrays,
    "ssd_jax": lambda: own_names(narrow()),
}
