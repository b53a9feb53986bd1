"""Which of the known kinds of weights a file holds, by the names of its arrays alone, wherever they come from."""

from collections.abc import Mapping

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights.mappings import (
    caffe,
    keras_vgg,
    lufficc,
    own,
    ssd_pytorch,
    torchvision_classifiers,
    torchvision_ssd,
    torchvision_vgg,
)
from ssd_jax.weights.mappings.types import Converted, Family, Normalization, Options

# A detector holds the names of its base network: detectors come first.
FAMILIES: tuple[Family, ...] = (
    own.OWN,
    caffe.SSD,
    ssd_pytorch.SSD,
    lufficc.SSD,
    torchvision_ssd.SSD,
    caffe.VGG,
    ssd_pytorch.BASE,
    torchvision_vgg.VGG,
    torchvision_vgg.VGG_FEATURES,
    torchvision_classifiers.RESNET34,
    torchvision_classifiers.RESNET50,
    torchvision_classifiers.MOBILENET,
    keras_vgg.VGG,
)
NAMES = tuple(family.name for family in FAMILIES)
SHOWN = 3  # names of a file that a message lists


def recognize(tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the name of the family that the arrays belong to, one of ``NAMES``.

    Raises:
      InputError: if they belong to none, or their names do not tell which of two.
    """
    for family in FAMILIES:
        if family.find(tensors) is not None:
            return family.name
    if torchvision_vgg.find(tensors) is not None:
        raise InputError(
            "expected a classifier beside features.0.weight ..., which tells the two published vgg16 of torchvision "
            "apart; say which it is: torchvision_vgg16 (normalized by mean and deviation) or "
            "torchvision_vgg16_features (0..255 minus the mean)"
        )
    known = "; ".join(family.description for family in FAMILIES)
    raise InputError(f"expected weights of a network known here, got {_described(tensors)}; known are: {known}")


def convert(
    tensors: Mapping[str, np.ndarray],
    *,
    name: str = "",
    channels: str = "",
    tiling: str = "",
    normalization: Normalization | None = None,
) -> Converted:
    """Returns what the arrays of a file mean in our terms.

    Args:
      tensors: by their names in the file.
      name: of the family, one of ``NAMES``; "" = recognize it.
      channels: "rgb" or "bgr": the colors that the first convolution expects; "" = what the family is known for.
      tiling: "voc" or "coco": sizes of a detector's default boxes; "" = by its number of classes.
      normalization: of arrays under our own names: what their file says of the images they were trained for.

    Raises:
      ValueError: if an option is none of these.
      InputError: if the arrays are not those of the family.
    """
    for option, value, known in (("channels", channels, ("", "rgb", "bgr")), ("tiling", tiling, ("", "voc", "coco"))):
        if value not in known:
            raise ValueError(f"{option}: expected one of {known}, got {value!r}")
    if name and name not in NAMES:
        raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
    family = next(family for family in FAMILIES if family.name == (name or recognize(tensors)))
    find = torchvision_vgg.find if family in (torchvision_vgg.VGG, torchvision_vgg.VGG_FEATURES) else family.find
    prefix = find(tensors)
    if prefix is None:
        raise InputError(f"expected {family.description}, got {_described(tensors)}")
    return family.convert(tensors, prefix, Options(channels, tiling, normalization))


def _described(tensors: Mapping[str, np.ndarray]) -> str:
    names = list(tensors)
    if not names:
        return "no arrays"
    return f"{len(names)} arrays such as {', '.join(names[:SHOWN])}"
