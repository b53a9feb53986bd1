"""SSDLite (Sandler et al. 2018, section 6.2): extra layers and heads of depthwise convolutions.

The layers and their parameters are those of qfgaohao/pytorch-ssd's mb2-ssd-lite. Of an extra stage,
conv6_1 widens or narrows, conv6_depthwise works on each channel by itself, conv6_2 projects; of a
head, <map>_mbox_loc_depthwise comes before <map>_mbox_loc. Batch normalizations end in _bn.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax

from ssd_jax.models import layers, mobilenet
from ssd_jax.models.heads import Extras, Stage, check_stage, flatten, join, scale_stage
from ssd_jax.types import Predictions


class InvertedResiduals(nn.Module):
    """Extra stages as the blocks of MobileNetV2: 1x1, depthwise, linear 1x1; no shortcut where the map shrinks."""

    stages: tuple[Stage, ...]
    width_multiplier: float
    options: layers.LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, C] -> one map a stage
        conv = mobilenet.convolution(self.options, train, layers.CAFFE_XAVIER)
        maps = []
        for index, stage in enumerate(self.stages):
            check_stage(x, index, stage)
            stage = scale_stage(stage, self.width_multiplier)
            block = functools.partial(_inverted_residual, conv=conv, name=Extras.name_of(index), stage=stage)
            maps.append(x := layers.remat(block, x, module=self, options=self.options))
        return tuple(maps)


def _inverted_residual(x: jax.Array, conv: mobilenet.Convolution, name: str, stage: Stage) -> jax.Array:
    hidden, channels, kernel, stride, padding = stage
    names, geometry = (f"{name}_depthwise", f"{name}_2"), {"kernel": kernel, "stride": stride, "padding": padding}
    expanded = nn.relu6(conv(x, f"{name}_1", hidden, 1))
    projected = mobilenet.depthwise_project(expanded, conv, names, channels, **geometry)
    return projected + x if stride == 1 and projected.shape == x.shape else projected


class SeparableHeads(nn.Module):
    """A depthwise 3x3 and a 1x1 convolution for the offsets and for the logits of each feature map.

    On a map of a single cell only the middle of a 3x3 kernel meets the image; there the 1x1 stands alone.
    Hence the parameters depend on the size of the image: at 300x300 the last map is a single cell, and a
    network trained so lacks the depthwise layers that a larger image needs there.
    """

    names: tuple[str, ...]  # of the feature maps
    boxes_per_cell: tuple[int, ...]  # of each feature map
    num_classes: int
    options: layers.LayerOptions

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool) -> Predictions:
        def head(x: jax.Array, name: str, boxes: int, values: int) -> jax.Array:
            shared = {"dtype": self.options.dtype, "kernel_init": layers.CAFFE_XAVIER}
            if x.shape[1:3] != (1, 1):
                before, groups = f"{name}_depthwise", x.shape[-1]
                # The bias, to which batch normalization makes no difference, is there because the original has it.
                x = layers.Conv(groups, (3, 3), padding=1, feature_group_count=groups, name=before, **shared)(x)
                x = nn.relu6(layers.batch_norm(x, before, options=self.options, train=train))
            return flatten(layers.Conv(boxes * values, (1, 1), name=name, **shared)(x), boxes)

        parts = [
            (head(x, f"{name}_mbox_loc", count, 4), head(x, f"{name}_mbox_conf", count, self.num_classes))
            for x, name, count in zip(maps, self.names, self.boxes_per_cell, strict=True)
        ]
        return join(parts)
