"""Names that all files of VGG-16, and of SSD on top of it, have in common in one spelling or another."""

from collections.abc import Callable, Mapping

import numpy as np

from ssd_jax.models import vgg
from ssd_jax.weights.mappings.collect import Pair

FIRST = "backbone/conv1_1/kernel"
L2_SCALE = "backbone/conv4_3_norm/scale"
CONVOLUTIONS = tuple(f"conv{s}_{k}" for s, (_, depth) in enumerate(vgg.STAGES, start=1) for k in range(1, depth + 1))
CLASSIFIER = ("fc6", "fc7")


def sequential_indices() -> dict[str, int]:
    """Returns the place of each convolution in PyTorch's list of layers, from 0 of conv1_1 to 28 of conv5_3.

    A ReLU follows each of them, a pool each stage.
    """
    indices, place = {}, 0
    for stage, (_, depth) in enumerate(vgg.STAGES, start=1):
        for index in range(1, depth + 1):
            indices[f"conv{stage}_{index}"] = place
            place += 2
        place += 1
    return indices


# Of ssd.pytorch's list, in which pool5 (30), fc6, ReLU and fc7 continue it.
REDUCED_INDICES = {**sequential_indices(), "fc6": 31, "fc7": 33}


def layer_pairs(group: str, names: Mapping[str, str], spell: Callable[[str, str], str]) -> list[Pair]:
    """Returns the pairs of kernel and bias of each layer.

    Args:
      group: "backbone", "extras" or "heads".
      names: our name of each layer -> its name in the file.
      spell: name in the file and "kernel" or "bias" -> name of the array.
    """
    return [
        (spell(name, leaf), f"{group}/{ours}/{leaf}") for ours, name in names.items() for leaf in ("kernel", "bias")
    ]


def torch_name(layer: str, leaf: str) -> str:
    """Returns PyTorch's name of a layer's array."""
    return f"{layer}.{'bias' if leaf == 'bias' else 'weight'}"


def extra_names(stages: int) -> list[str]:
    """Returns the names of the convolutions of the extra stages: conv6_1, conv6_2, conv7_1, ..."""
    return [f"conv{6 + stage}_{index}" for stage in range(stages) for index in (1, 2)]


def map_names(stages: int) -> list[str]:
    """Returns the names of the feature maps that the heads read."""
    return ["conv4_3_norm", "fc7", *extra_names(stages)[1::2]]


def count_stages(tensors: Mapping[str, np.ndarray], spell: Callable[[int], str]) -> int:
    """Returns how many extra stages a file has, ``spell(stage)`` being a name of each."""
    stages = 0
    while spell(stages) in tensors:
        stages += 1
    return stages
