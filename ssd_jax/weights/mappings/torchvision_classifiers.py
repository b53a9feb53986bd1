"""torchvision's resnet34, resnet50 and mobilenet_v2, with the running statistics of their batch normalizations.

Their published weights, of both versions, expect RGB in 0..1, normalized by mean and standard deviation.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from ssd_jax.models import mobilenet, resnet
from ssd_jax.weights.mappings.collect import Pair, collect, find_prefix
from ssd_jax.weights.mappings.types import IMAGENET, Converted, Family, Options

RESNET_DEPTHS = (3, 4, 6)  # of layer1 to layer3, in ResNet-34 as in ResNet-50
RESNET_STAGES = len(resnet.STAGE_CHANNELS)  # layer4 is not used
MOBILENET_BLOCKS = sum(depth for _, _, depth, _ in mobilenet.STAGES)  # 17

_NORM_LEAVES = {
    "weight": "backbone/{}_bn/scale",
    "bias": "backbone/{}_bn/bias",
    "running_mean": "batch_stats/backbone/{}_bn/mean",
    "running_var": "batch_stats/backbone/{}_bn/var",
}


def normalized(layer: str, convolution: str, norm: str) -> list[Pair]:
    """Returns the pairs of a convolution without bias and of the batch normalization behind it."""
    return [
        (f"{convolution}.weight", f"backbone/{layer}/kernel"),
        *((f"{norm}.{leaf}", path.format(layer)) for leaf, path in _NORM_LEAVES.items()),
    ]


def resnet_pairs(*, convolutions: int, projected: tuple[int, ...]) -> Iterator[Pair]:
    """Yields which array goes where.

    Args:
      convolutions: of a block: 2 (basic) or 3 (bottleneck).
      projected: stages, from 1, whose first block projects its shortcut.
    """
    yield from normalized("conv1", "conv1", "bn1")
    for stage, depth in enumerate(RESNET_DEPTHS, start=1):
        for block in range(depth):
            theirs, ours = f"layer{stage}.{block}", f"layer{stage}_{block}"
            for k in range(1, convolutions + 1):
                yield from normalized(f"{ours}_conv{k}", f"{theirs}.conv{k}", f"{theirs}.bn{k}")
            if block == 0 and stage in projected:
                yield from normalized(f"{ours}_downsample", f"{theirs}.downsample.0", f"{theirs}.downsample.1")


def mobilenet_pairs() -> Iterator[Pair]:
    """Yields which array goes where; features.1 expands nothing, and projections have no activation of their own."""
    yield from normalized("conv_first", "features.0.0", "features.0.1")
    for block in range(1, MOBILENET_BLOCKS + 1):
        layers = ["expand", "depthwise", "project"][block == 1 :]
        for place, layer in enumerate(layers):
            inside = f"features.{block}.conv.{place}"
            names = (
                (inside, f"features.{block}.conv.{place + 1}") if layer == "project" else (f"{inside}.0", f"{inside}.1")
            )
            yield from normalized(f"block{block}_{layer}", *names)
    last = f"features.{MOBILENET_BLOCKS + 1}"
    yield from normalized("conv_last", f"{last}.0", f"{last}.1")


def find_resnet34(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a ResNet-34: basic blocks, 3, 4, 6."""
    return _find_resnet(tensors, bottleneck=False)


def find_resnet50(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a ResNet-50: bottlenecks, 3, 4, 6."""
    return _find_resnet(tensors, bottleneck=True)


def _find_resnet(tensors: Mapping[str, np.ndarray], *, bottleneck: bool) -> str | None:
    last = f"layer{RESNET_STAGES}.{RESNET_DEPTHS[-1] - 1}"
    prefix = find_prefix(tensors, ["bn1.running_mean", f"{last}.conv2.weight", "layer1.0.conv2.weight", "conv1.weight"])
    if prefix is None:
        return None
    deeper = f"{prefix}layer{RESNET_STAGES}.{RESNET_DEPTHS[-1]}.conv2.weight" in tensors  # ResNet-101, 152
    return prefix if not deeper and (f"{prefix}layer1.0.conv3.weight" in tensors) == bottleneck else None


def convert_resnet34(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads ResNet-34 up to layer3."""
    pairs = list(resnet_pairs(convolutions=2, projected=(2, 3)))
    return _convert(tensors, prefix, options, pairs, "torchvision_resnet34", "resnet34", "backbone/conv1/kernel")


def convert_resnet50(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads ResNet-50 up to layer3."""
    pairs = list(resnet_pairs(convolutions=3, projected=(1, 2, 3)))
    return _convert(tensors, prefix, options, pairs, "torchvision_resnet50", "resnet50", "backbone/conv1/kernel")


def find_mobilenet(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a MobileNetV2."""
    last = f"features.{MOBILENET_BLOCKS + 1}.0.weight"
    return find_prefix(tensors, ["features.1.conv.0.0.weight", "features.2.conv.1.1.running_mean", last])


def convert_mobilenet(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads MobileNetV2 but for its classifier."""
    pairs, first = list(mobilenet_pairs()), "backbone/conv_first/kernel"
    return _convert(tensors, prefix, options, pairs, "torchvision_mobilenet_v2", "mobilenet_v2", first)


def _convert(
    tensors: Mapping[str, np.ndarray],
    prefix: str,
    options: Options,
    pairs: list[Pair],
    family: str,
    backbone: str,
    first: str,
) -> Converted:
    reverse = first if options.channels == "bgr" else ""
    arrays, uses, left = collect(tensors, prefix, pairs, family=family, reverse=reverse)
    config = {"model.backbone": backbone, "model.mean": IMAGENET.mean, "model.std": IMAGENET.std}
    return Converted(family, arrays, uses, left, IMAGENET, first, config)


RESNET34 = Family("torchvision_resnet34", "torchvision's resnet34", find_resnet34, convert_resnet34)
RESNET50 = Family("torchvision_resnet50", "torchvision's resnet50", find_resnet50, convert_resnet50)
MOBILENET = Family("torchvision_mobilenet_v2", "torchvision's mobilenet_v2", find_mobilenet, convert_mobilenet)
