"""VGG-16 with the two last layers turned into convolutions: the backbone of the paper, and the variant of its Table 2.

Parameters are named as in the original network: conv1_1 ... conv5_3, fc6, fc7, conv4_3_norm.
"""

import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax

from ssd_jax.models import layers

# Channels and number of the 3x3 convolutions of each stage, conv1_1 to conv5_3.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
FC_CHANNELS = 1024  # of fc6 and fc7, decimated from the classifier's
FULL_FC_CHANNELS = 4096  # of fc6 and fc7 in the classifier

Convolution = Callable[..., jax.Array]  # x, name, channels, kernel, **geometry


class Vgg16(nn.Module):
    """VGG-16 up to conv5_3, pool5 with stride 1, atrous fc6, fc7 (paper section 3).

    The L2-normalized conv4_3 has 1/8 of the image's size, fc7 1/16, rounded up.
    """

    sources: tuple[str, ...] = ("conv4_3_norm", "fc7")
    width_multiplier: float = 1.0
    options: layers.LayerOptions = layers.LayerOptions()

    feature_names: ClassVar[tuple[str, ...]] = ("conv4_3_norm", "fc7")

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, 3] -> maps of the sources
        conv = _convolution(self.options, self.width_multiplier, train)
        remat = functools.partial(layers.remat, module=self, options=self.options)

        def atrous(x: jax.Array) -> jax.Array:
            # pool5 keeps the resolution, so fc6's taps, next to each other in the classifier, spread by 6.
            x = layers.max_pool(x, 3, 1, padding=1)
            x = conv(x, "fc6", FC_CHANNELS, 3, padding=6, dilation=6)
            return conv(x, "fc7", FC_CHANNELS, 1)

        for stage in (1, 2, 3, 4):
            x = remat(functools.partial(_stage, conv=conv, stage=stage), x)
        maps = {}
        if "conv4_3_norm" in self.sources:
            maps["conv4_3_norm"] = _normalize(x)
        if "fc7" in self.sources:
            maps["fc7"] = remat(atrous, remat(functools.partial(_stage, conv=conv, stage=5), x))
        return tuple(maps[name] for name in self.sources)


class Vgg16Full(nn.Module):
    """VGG-16 as it was trained: pool5 halves the map, fc6 and fc7 are not subsampled (paper section 3.1, "Atrous").

    The L2-normalized conv4_3 has 1/8 of the image's size, conv5_3 1/16, fc7 1/32, rounded up. The
    paper does not say whether conv5_3 was normalized; as conv4_3 is the only one in its scripts, it is not.
    """

    sources: tuple[str, ...] = ("conv4_3_norm", "conv5_3", "fc7")
    width_multiplier: float = 1.0
    options: layers.LayerOptions = layers.LayerOptions()

    feature_names: ClassVar[tuple[str, ...]] = ("conv4_3_norm", "conv5_3", "fc7")

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, 3] -> maps of the sources
        conv = _convolution(self.options, self.width_multiplier, train)
        remat = functools.partial(layers.remat, module=self, options=self.options)

        def classifier(x: jax.Array) -> jax.Array:
            x = conv(layers.max_pool(x, 2, 2), "fc6", FULL_FC_CHANNELS, 7, padding=3)
            return conv(x, "fc7", FULL_FC_CHANNELS, 1)

        for stage in (1, 2, 3, 4):
            x = remat(functools.partial(_stage, conv=conv, stage=stage), x)
        maps = {}
        if "conv4_3_norm" in self.sources:
            maps["conv4_3_norm"] = _normalize(x)
        if "conv5_3" in self.sources or "fc7" in self.sources:
            maps["conv5_3"] = x = remat(functools.partial(_stage, conv=conv, stage=5), x)
        if "fc7" in self.sources:
            maps["fc7"] = remat(classifier, x)
        return tuple(maps[name] for name in self.sources)


def _convolution(options: layers.LayerOptions, width_multiplier: float, train: bool) -> Convolution:
    """Returns convolution + ReLU with what all layers of the network have in common."""
    conv = functools.partial(layers.conv_relu, options=options, train=train, kernel_init=layers.HE_NORMAL)

    def scaled(x: jax.Array, name: str, channels: int, kernel: int, **geometry: int) -> jax.Array:
        return conv(x, name, layers.scale_channels(channels, width_multiplier), kernel, **geometry)

    return scaled


def _stage(x: jax.Array, conv: Convolution, stage: int) -> jax.Array:
    """Applies a stage, counted from 1, and before it the pool that ends the stage before."""
    x = layers.max_pool(x, 2, 2) if stage > 1 else x
    channels, depth = STAGES[stage - 1]
    for index in range(1, depth + 1):
        x = conv(x, f"conv{stage}_{index}", channels, 3, padding=1)
    return x


def _normalize(x: jax.Array) -> jax.Array:
    """Brings conv4_3's features, several times larger than those of the other maps, to one length."""
    return layers.L2Norm(name="conv4_3_norm")(x)
