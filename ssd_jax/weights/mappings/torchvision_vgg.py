"""torchvision's vgg16, with two published sets of weights of the same names and shapes.

IMAGENET1K_V1 expects RGB in 0..1, normalized by mean and standard deviation. IMAGENET1K_FEATURES is the base of
ssd.pytorch: RGB in 0..255 minus a mean, by its own statement (VGG16_Weights in models/vgg.py); nothing in public says
whether its first kernel was turned around from Caffe's BGR. Of its classifier every number is NaN, which is how
the two are told apart.
"""

from collections.abc import Mapping

import numpy as np

from ssd_jax.weights.mappings import vgg
from ssd_jax.weights.mappings.collect import collect, find_prefix
from ssd_jax.weights.mappings.types import IMAGENET, Converted, Family, Normalization, Options

FEATURES = {name: f"features.{index}" for name, index in vgg.sequential_indices().items()}
CLASSIFIER = {"fc6": "classifier.0", "fc7": "classifier.3"}
FEATURES_NOTE = (
    "its colors are taken for RGB, as torchvision states; the file it was ported from is taken for BGR (channels='bgr')"
)
CHECKED = "classifier.0.bias"

# VGG16_Weights.IMAGENET1K_FEATURES and ssd300_vgg16, stated there for images in 0..1 and a deviation of 1 / 255.
SCALED = Normalization((0.48235 * 255, 0.45882 * 255, 0.40784 * 255))


def find(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of VGG-16's convolutions, with or without its classifier."""
    return find_prefix(tensors, [f"{name}.weight" for name in reversed(FEATURES.values())])


def find_classifier(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a VGG-16 with a classifier of numbers."""
    prefix = find(tensors)
    return prefix if prefix is not None and _holds_numbers(tensors, prefix) is True else None


def find_features(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a VGG-16 whose classifier is NaN."""
    prefix = find(tensors)
    return prefix if prefix is not None and _holds_numbers(tensors, prefix) is False else None


def _holds_numbers(tensors: Mapping[str, np.ndarray], prefix: str) -> bool | None:
    """Returns whether the classifier holds numbers, None if there is none."""
    bias = tensors.get(f"{prefix}{CHECKED}")
    return None if bias is None else not np.isnan(np.asarray(bias, np.float32)).all()


def convert(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads IMAGENET1K_V1; without a classifier its convolutions alone."""
    layers = FEATURES | (CLASSIFIER if f"{prefix}{CHECKED}" in tensors else {})
    return _convert(tensors, prefix, options, "torchvision_vgg16", layers, IMAGENET)


def convert_features(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads IMAGENET1K_FEATURES: convolutions alone, fc6 and fc7 are not in it."""
    converted = _convert(tensors, prefix, options, "torchvision_vgg16_features", FEATURES, SCALED)
    if options.channels:
        return converted
    return converted._replace(notes=(FEATURES_NOTE,))


def _convert(
    tensors: Mapping[str, np.ndarray],
    prefix: str,
    options: Options,
    family: str,
    layers: Mapping[str, str],
    normalization: Normalization,
) -> Converted:
    pairs = vgg.layer_pairs("backbone", layers, vgg.torch_name)
    reverse = vgg.FIRST if options.channels == "bgr" else ""
    arrays, uses, left = collect(tensors, prefix, pairs, family=family, reverse=reverse)
    config = {"model.backbone": "vgg16", "model.mean": normalization.mean, "model.std": normalization.std}
    return Converted(family, arrays, uses, left, normalization, vgg.FIRST, config)


VGG = Family("torchvision_vgg16", "torchvision's vgg16", find_classifier, convert)
VGG_FEATURES = Family("torchvision_vgg16_features", "its vgg16 of IMAGENET1K_FEATURES", find_features, convert_features)
