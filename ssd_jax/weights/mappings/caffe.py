"""Caffe: VGG-16 (reduced or as it was trained) and the detectors of the SSD paper.

Blobs are called LAYER/0 (kernel) and LAYER/1 (bias), as :mod:`ssd_jax.weights.readers.caffe` names them;
our layers have the names of the original's. Networks that Caffe trained expect blue, green, red.
"""

from collections.abc import Mapping

import numpy as np

from ssd_jax.weights.mappings import detectors, vgg
from ssd_jax.weights.mappings.collect import collect, find_prefix
from ssd_jax.weights.mappings.types import CAFFE, Converted, Family, Normalization, Options

# What VGG's authors subtracted in training (BGR 103.939, 116.779, 123.68 in their model's page), to a thousandth.
TRAINED = Normalization((123.68, 116.779, 103.939))


def blob_name(layer: str, leaf: str) -> str:
    """Returns the name of a layer's blob."""
    return f"{layer}/{int(leaf == 'bias')}"


def find_vgg(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a VGG-16 with fc6 and fc7."""
    return find_prefix(tensors, [blob_name(layer, "kernel") for layer in (*vgg.CONVOLUTIONS, *vgg.CLASSIFIER)])


def convert_vgg(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads VGG_ILSVRC_16_layers_fc_reduced, or VGG_ILSVRC_16_layers, whose fc6 reads a 7x7 map."""
    layers = {name: name for name in (*vgg.CONVOLUTIONS, *vgg.CLASSIFIER)}
    pairs = vgg.layer_pairs("backbone", layers, blob_name)
    reverse = "" if options.channels == "rgb" else vgg.FIRST
    arrays, uses, left = collect(tensors, prefix, pairs, family="VGG-16 in Caffe's names", reverse=reverse)
    reduced = arrays["backbone/fc6/kernel"].shape[:2] == (3, 3)
    normalization = CAFFE if reduced else TRAINED
    config = {"model.backbone": "vgg16", "model.mean": normalization.mean, "model.std": normalization.std}
    return Converted("caffe_vgg16", arrays, uses, left, normalization, vgg.FIRST, config)


def find_ssd(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a detector on VGG-16."""
    return find_prefix(tensors, ["conv4_3_norm_mbox_conf/0", "conv4_3_norm_mbox_loc/0", "conv6_1/0", "conv1_1/0"])


def convert_ssd(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads a detector of the authors: SSD300 or SSD512 on VGG-16."""
    stages = vgg.count_stages(tensors, lambda stage: f"{prefix}conv{6 + stage}_1/0")
    heads = [f"{name}_mbox_{part}" for name in vgg.map_names(stages) for part in ("loc", "conf")]
    groups = {
        "backbone": [*vgg.CONVOLUTIONS, *vgg.CLASSIFIER],
        "extras": vgg.extra_names(stages),
        "heads": heads,
    }
    pairs = [("conv4_3_norm/0", vgg.L2_SCALE)]
    for group, names in groups.items():
        pairs += vgg.layer_pairs(group, {name: name for name in names}, blob_name)
    reverse = "" if options.channels == "rgb" else vgg.FIRST
    arrays, uses, left = collect(tensors, prefix, pairs, family="an SSD in Caffe's names", reverse=reverse)
    structure = detectors.structure_of(stages, arrays, uses)
    classes, boxes = detectors.count_classes(arrays, uses)
    config, notes = detectors.config_of(structure, classes, boxes, tiling=options.tiling, cut_sides=False)
    config |= {
        "model.mean": CAFFE.mean,
        "model.std": CAFFE.std,
        "priors.clip": False,
        "match.variances": (0.1, 0.1, 0.2, 0.2),
        "detect.score_threshold": 0.01,
        "detect.iou_threshold": 0.45,
        "detect.pre_nms_top_k": 400,
        "detect.max_detections": 200,
    }
    return Converted("caffe_ssd", arrays, uses, left, CAFFE, vgg.FIRST, config, classes, notes)


VGG = Family("caffe_vgg16", "Caffe's VGG-16, full or fc-reduced", find_vgg, convert_vgg)
SSD = Family("caffe_ssd", "the authors' SSD300 and SSD512 of Caffe", find_ssd, convert_ssd)
