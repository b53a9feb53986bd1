"""What follows a backbone: the extra feature layers, and the heads that read the feature maps.

``ssdlite`` has the lighter versions of both.
"""

from collections.abc import Sequence

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
        maps = []
        for index, (bottleneck, channels, kernel, stride, padding) in enumerate(self.stages):
            name = self.name_of(index)
            check_stage(x, index, kernel, padding)
            shared = {"options": self.options, "train": train, "kernel_init": layers.CAFFE_XAVIER}
            bottleneck, channels = (layers.scale_channels(c, self.width_multiplier) for c in (bottleneck, channels))
            x = layers.conv_relu(x, f"{name}_1", bottleneck, 1, **shared)
            x = layers.conv_relu(x, f"{name}_2", channels, kernel, stride=stride, padding=padding, **shared)
            maps.append(x)
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
        conv = nn.Conv(
            boxes * values,
            (3, 3),
            padding=1,
            dtype=self.options.dtype,
            kernel_init=layers.CAFFE_XAVIER,
            name=name,
        )
        return flatten(conv(x), boxes)


def check_stage(x: jax.Array, index: int, kernel: int, padding: int) -> None:
    """Raises ValueError if the map [B, H, W, C] is too small for the extra stage ``index``."""
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
