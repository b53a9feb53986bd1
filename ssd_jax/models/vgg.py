"""VGG-16 with the two last layers turned into convolutions: the backbone of the paper."""

from typing import ClassVar

import flax.linen as nn
import jax

from ssd_jax.models import layers

# Channels and number of the 3x3 convolutions of each stage, conv1_1 to conv5_3.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
FC_CHANNELS = 1024  # of fc6 and fc7, 4096 in the classifier they are decimated from


class Vgg16(nn.Module):
    """VGG-16 up to conv5_3, pool5 with stride 1, atrous fc6, fc7 (paper section 3).

    Returns the L2-normalized conv4_3 (1/8 of the image) and fc7 (1/16), sizes rounded up.
    """

    width_multiplier: float = 1.0
    options: layers.LayerOptions = layers.LayerOptions()

    feature_names: ClassVar[tuple[str, ...]] = ("conv4_3_norm", "fc7")

    def _conv(self, x, name, channels, kernel, train, **geometry):
        channels = layers.scale_channels(channels, self.width_multiplier)
        init = layers.HE_NORMAL
        return layers.conv_relu(
            x, name, channels, kernel, options=self.options, train=train, kernel_init=init, **geometry
        )

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:  # [B, H, W, 3] -> 2 maps
        normalized = x  # replaced below
        for stage, (channels, depth) in enumerate(STAGES, start=1):
            for index in range(1, depth + 1):
                x = self._conv(x, f"conv{stage}_{index}", channels, 3, train, padding=1)
            if stage == 4:
                # conv4_3's features are several times larger than those of the other maps.
                normalized = layers.L2Norm(name="conv4_3_norm")(x)
            if stage < 5:
                x = layers.max_pool(x, 2, 2)
        # pool5 keeps the resolution, so fc6's taps, next to each other in the classifier, spread by 6.
        x = layers.max_pool(x, 3, 1, padding=1)
        x = self._conv(x, "fc6", FC_CHANNELS, 3, train, padding=6, dilation=6)
        x = self._conv(x, "fc7", FC_CHANNELS, 1, train)
        return normalized, x
