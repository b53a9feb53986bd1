"""MobileNetV2 (Sandler et al. 2018), the backbone of SSDLite.

Parameters lie flat. Block k is torchvision's ``features[k]``: its layers are block<k>_expand (1x1),
block<k>_depthwise (3x3) and block<k>_project (1x1, no activation), each with its batch normalization
..._bn; block 1 expands nothing and so has no block1_expand. ``features[0]`` is conv_first, ``features[18]``
conv_last. Batch normalization follows every convolution, whether or not ``options`` ask for it.
"""

import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax

from ssd_jax.models import layers

FIRST_CHANNELS, LAST_CHANNELS = 32, 1280
# (expansion, output channels, number of blocks, stride of the first): table 2 of the paper.
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip

# x, name, channels, kernel, **geometry -> convolution and batch normalization, no activation
Convolution = Callable[..., jax.Array]


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier.

    Returns what SSDLite reads: the expanded input of block 14 (1/16 of the image's size, rounded up,
    576 channels), where the resolution is about to be halved, and the last convolution (1/32, 1280).
    ``width_multiplier`` scales the last convolution too, which the classifier keeps at 1280 below 1.
    """

    sources: tuple[str, ...] = ("block14_expand", "conv_last")
    width_multiplier: float = 1.0
    options: layers.LayerOptions = layers.LayerOptions()

    feature_names: ClassVar[tuple[str, ...]] = ("block14_expand", "conv_last")

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, 3] -> maps of the sources
        conv = convolution(self.options, train, layers.HE_NORMAL)
        scale = functools.partial(layers.scale_channels, width_multiplier=self.width_multiplier)
        x = nn.relu6(conv(x, "conv_first", scale(FIRST_CHANNELS), 3, stride=2, padding=1))
        maps = {}
        blocks = ((t, c, s if k == 0 else 1) for t, c, depth, s in STAGES for k in range(depth))
        for number, (expansion, channels, stride) in enumerate(blocks, start=1):
            name = f"block{number}"
            if self.sources[-1] == f"{name}_expand":
                maps[f"{name}_expand"] = _expand(x, conv, name, expansion)
                break
            block = functools.partial(
                inverted_residual, conv=conv, name=name, expansion=expansion, channels=scale(channels), stride=stride
            )
            maps[f"{name}_expand"], x = layers.remat(block, x, module=self, options=self.options)
        else:
            maps["conv_last"] = nn.relu6(conv(x, "conv_last", scale(LAST_CHANNELS), 1))
        return tuple(maps[name] for name in self.sources)


def inverted_residual(
    x: jax.Array, conv: Convolution, name: str, *, expansion: int, channels: int, stride: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the expanded input of a block and its output."""
    expanded = _expand(x, conv, name, expansion)
    names = (f"{name}_depthwise", f"{name}_project")
    projected = depthwise_project(expanded, conv, names, channels, stride=stride)
    # By channels, as in the original: a narrow network may have a shortcut where the full one has none.
    return expanded, projected + x if stride == 1 and channels == x.shape[-1] else projected


def _expand(x: jax.Array, conv: Convolution, name: str, expansion: int) -> jax.Array:
    return nn.relu6(conv(x, f"{name}_expand", expansion * x.shape[-1], 1)) if expansion > 1 else x


def depthwise_project(
    x: jax.Array, conv: Convolution, names: tuple[str, str], channels: int, *, stride: int, kernel: int = 3, padding=1
) -> jax.Array:
    """The second half of an inverted residual: each channel by itself, ReLU6, then a linear 1x1 convolution."""
    groups = x.shape[-1]
    x = nn.relu6(conv(x, names[0], groups, kernel, stride=stride, padding=padding, groups=groups))
    return conv(x, names[1], channels, 1)


def convolution(options: layers.LayerOptions, train: bool, kernel_init: nn.initializers.Initializer) -> Convolution:
    """Returns convolution + batch normalization with what all layers of the network have in common."""
    return functools.partial(
        layers.convolution, options=options._replace(batch_norm=True), train=train, kernel_init=kernel_init
    )
