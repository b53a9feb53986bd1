"""ResNet-34 and ResNet-50 (He et al. 2015) up to conv4_x at 1/8 of the image, as in MLPerf's and NVIDIA's SSD300.

The last stage and the classifier are left out, and conv4_x keeps the resolution of conv3_x, so that
the one map returned is as fine as VGG's conv4_3; the extras make all the others from it.

Parameters lie flat, under torchvision's names with underscores for dots: ``layer2.0.conv1`` is
layer2_0_conv1, its ``bn1`` is layer2_0_conv1_bn, ``downsample.0`` and ``downsample.1`` are
layer2_0_downsample and layer2_0_downsample_bn, the stem is conv1 and conv1_bn. The networks are those of
torchvision, in which the 3x3 convolution of a bottleneck has the stride. Batch normalization
follows every convolution, whether or not ``options`` ask for it: without, so deep a network does not train.
"""

import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax

from ssd_jax.models import layers

STEM_CHANNELS = 64
STAGE_CHANNELS = (64, 128, 256)  # of the 3x3 convolutions of layer1 to layer3 (conv2_x to conv4_x)
STRIDES = (1, 2, 1)  # of the stages; the classifier's layer3 has 2
BOTTLENECK_EXPANSION = 4  # a bottleneck's output has so many times its channels

# x, name, channels, kernel, **geometry -> convolution and batch normalization, no activation
Convolution = Callable[..., jax.Array]
Block = Callable[..., jax.Array]  # x, conv, name, channels, stride


class ResNet34(nn.Module):
    """ResNet-34 up to conv4_x: 3, 4 and 6 basic blocks; the map has 256 channels."""

    sources: tuple[str, ...] = ("layer3",)
    width_multiplier: float = 1.0
    options: layers.LayerOptions = layers.LayerOptions()

    feature_names: ClassVar[tuple[str, ...]] = ("layer3",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, 3] -> ([B, h, w, 256],)
        return (_stages(x, self, basic_block, depths=(3, 4, 6), train=train),)


class ResNet50(nn.Module):
    """ResNet-50 up to conv4_x: 3, 4 and 6 bottlenecks; the map has 1024 channels."""

    sources: tuple[str, ...] = ("layer3",)
    width_multiplier: float = 1.0
    options: layers.LayerOptions = layers.LayerOptions()

    feature_names: ClassVar[tuple[str, ...]] = ("layer3",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, 3] -> ([B, h, w, 1024],)
        return (_stages(x, self, bottleneck, depths=(3, 4, 6), train=train),)


def basic_block(x: jax.Array, conv: Convolution, name: str, channels: int, stride: int) -> jax.Array:
    """Two 3x3 convolutions beside a shortcut."""
    shortcut = _shortcut(x, conv, name, channels, stride)
    x = nn.relu(conv(x, f"{name}_conv1", channels, 3, stride=stride, padding=1))
    x = conv(x, f"{name}_conv2", channels, 3, padding=1)
    return nn.relu(x + shortcut)


def bottleneck(x: jax.Array, conv: Convolution, name: str, channels: int, stride: int) -> jax.Array:
    """A 1x1, a 3x3 and a widening 1x1 convolution beside a shortcut."""
    shortcut = _shortcut(x, conv, name, BOTTLENECK_EXPANSION * channels, stride)
    x = nn.relu(conv(x, f"{name}_conv1", channels, 1))
    x = nn.relu(conv(x, f"{name}_conv2", channels, 3, stride=stride, padding=1))
    x = conv(x, f"{name}_conv3", BOTTLENECK_EXPANSION * channels, 1)
    return nn.relu(x + shortcut)


def _shortcut(x: jax.Array, conv: Convolution, name: str, channels: int, stride: int) -> jax.Array:
    """Returns ``x``, projected if the block changes its shape."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return conv(x, f"{name}_downsample", channels, 1, stride=stride)


def _stages(
    x: jax.Array, module: ResNet34 | ResNet50, block: Block, *, depths: tuple[int, int, int], train: bool
) -> jax.Array:
    """Applies the stem and layer1 to layer3 of these numbers of blocks."""
    conv = _convolution(module.options, train)
    scale = functools.partial(layers.scale_channels, width_multiplier=module.width_multiplier)
    remat = functools.partial(layers.remat, module=module, options=module.options)

    def stem(x: jax.Array) -> jax.Array:
        x = nn.relu(conv(x, "conv1", scale(STEM_CHANNELS), 7, stride=2, padding=3))
        return layers.max_pool(x, 3, 2, padding=1, round_up=False)

    x = remat(stem, x)
    for stage, (depth, channels, stride) in enumerate(zip(depths, STAGE_CHANNELS, STRIDES, strict=True), start=1):
        for index in range(depth):
            options = {"channels": scale(channels), "stride": stride if index == 0 else 1}
            x = remat(functools.partial(block, conv=conv, name=f"layer{stage}_{index}", **options), x)
    return x


def _convolution(options: layers.LayerOptions, train: bool) -> Convolution:
    return functools.partial(
        layers.convolution, options=options._replace(batch_norm=True), train=train, kernel_init=layers.HE_NORMAL
    )
