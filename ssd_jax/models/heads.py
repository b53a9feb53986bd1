"""What follows a backbone: the extra feature layers, and the heads that read the feature maps.

``ssdlite`` has the lighter versions of both.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssd_jax.models import layers
from ssd_jax.types import Predictions

# (bottleneck channels, output channels, kernel, stride, padding) of an extra stage
Stage = tuple[int, int, int, int, int]


class Extras(nn.Module):
    """Pairs of a 1x1 and a strided or unpadded convolution, conv6_1, conv6_2, conv7_1, ..."""

    stages: tuple[Stage, ...]
    width_multiplier: float
    options: layers.LayerOptions

    @staticmethod
    def name_of(index: int) -> str:
        """Returns the name of stage ``index``, to which _1 (bottleneck) or _2 (output) is added."""
        return f"conv{6 + index}"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, C] -> one map a stage
        conv = functools.partial(layers.conv_relu, options=self.options, train=train, kernel_init=layers.CAFFE_XAVIER)
        maps = []
        for index, stage in enumerate(self.stages):
            check_stage(x, index, stage)
            stage = scale_stage(stage, self.width_multiplier)
            block = functools.partial(_extra_stage, conv=conv, name=self.name_of(index), stage=stage)
            maps.append(x := layers.remat(block, x, module=self, options=self.options))
        return tuple(maps)


class Heads(nn.Module):
    """A 3x3 convolution for the offsets and one for the logits of each feature map, no ReLU."""

    names: tuple[str, ...]  # of the feature maps
    boxes_per_cell: tuple[int, ...]  # of each feature map
    num_classes: int
    options: layers.LayerOptions

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool) -> Predictions:
        parts = [
            (self._head(x, f"{name}_mbox_loc", count, 4), self._head(x, f"{name}_mbox_conf", count, self.num_classes))
            for x, name, count in zip(maps, self.names, self.boxes_per_cell, strict=True)
        ]
        return join(parts)

    def _head(self, x: jax.Array, name: str, boxes: int, values: int) -> jax.Array:  # -> [B, h * w * boxes, values]
        conv = layers.Conv(
            boxes * values,
            (3, 3),
            padding=1,
            dtype=self.options.dtype,
            kernel_init=layers.CAFFE_XAVIER,
            name=name,
        )
        return flatten(conv(x), boxes)


def scale_stage(stage: Stage, width_multiplier: float) -> Stage:
    """Returns the stage with its channels scaled."""
    bottleneck, channels = (layers.scale_channels(c, width_multiplier) for c in stage[:2])
    return (bottleneck, channels, *stage[2:])


def _extra_stage(x: jax.Array, conv: Callable[..., jax.Array], name: str, stage: Stage) -> jax.Array:
    bottleneck, channels, kernel, stride, padding = stage
    x = conv(x, f"{name}_1", bottleneck, 1)
    return conv(x, f"{name}_2", channels, kernel, stride=stride, padding=padding)


def check_stage(x: jax.Array, index: int, stage: Stage) -> None:
    """Raises ValueError if the map [B, H, W, C] is too small for the extra stage ``index``."""
    _, _, kernel, _, padding = stage
    height, width = x.shape[1:3]
    if min(height, width) + 2 * padding < kernel:
        raise ValueError(
            f"extras[{index}] ({Extras.name_of(index)}_2): a {kernel}x{kernel} kernel with padding {padding} does not "
            f"fit the {height}x{width} feature map; expected fewer extras, more padding or a larger image_size"
        )


def flatten(x: jax.Array, boxes: int) -> jax.Array:  # [B, h, w, boxes * values] -> [B, h * w * boxes, values] float32
    """Gives each default box a row.

    Channels are box-major; with channels last this is already Caffe's permute and flatten: row,
    column, box, the order of ``priors.default_boxes``.
    """
    batch, height, width, channels = x.shape
    return x.astype(jnp.float32).reshape(batch, height * width * boxes, channels // boxes)


def join(parts: Sequence[tuple[jax.Array, jax.Array]]) -> Predictions:
    """Concatenates the (offsets, logits) of the feature maps."""
    offsets, logits = (jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return Predictions(offsets, logits)
