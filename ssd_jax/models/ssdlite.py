"""SSDLite (Sandler et al. 2018, section 6.2): extra layers and heads of depthwise convolutions.

The layers and their parameters are those of qfgaohao/pytorch-ssd's mb2-ssd-lite. Of an extra stage,
conv6_1 widens or narrows, conv6_depthwise works on each channel by itself, conv6_2 projects; of a
head, <map>_mbox_loc_depthwise comes before <map>_mbox_loc. Batch normalizations end in _bn.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from ssd_jax.models import layers, mobilenet
from ssd_jax.models.heads import Extras, Stage, check_stage, flatten, join
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
        for index, (hidden, channels, kernel, stride, padding) in enumerate(self.stages):
            name, before = Extras.name_of(index), x
            check_stage(x, index, kernel, padding)
            hidden, channels = (layers.scale_channels(c, self.width_multiplier) for c in (hidden, channels))
            x = nn.relu6(conv(x, f"{name}_1", hidden, 1))
            names, geometry = (f"{name}_depthwise", f"{name}_2"), {"kernel": kernel, "stride": stride}
            x = mobilenet.depthwise_project(x, conv, names, channels, padding=padding, **geometry)
            x = x + before if stride == 1 and x.shape == before.shape else x
            maps.append(x)
        return tuple(maps)


class SeparableHeads(nn.Module):
    """A depthwise 3x3 and a 1x1 convolution for the offsets and for the logits of each feature map.

    On a map of a single cell only the middle of a 3x3 kernel meets the image; there the 1x1 stands alone.
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
                x = nn.Conv(groups, (3, 3), padding=1, feature_group_count=groups, name=before, **shared)(x)
                x = nn.relu6(layers.batch_norm(x, before, options=self.options, train=train))
            return flatten(nn.Conv(boxes * values, (1, 1), name=name, **shared)(x), boxes)

        parts = [
            (head(x, f"{name}_mbox_loc", count, 4), head(x, f"{name}_mbox_conf", count, self.num_classes))
            for x, name, count in zip(maps, self.names, self.boxes_per_cell, strict=True)
        ]
        return join(parts)
