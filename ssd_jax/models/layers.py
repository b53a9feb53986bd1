"""The layers that backbones, extras and heads are made of.

Feature maps are [B, H, W, C]. Parameters are always float32; :class:`LayerOptions` says in which
type the convolutions compute, whether they are followed by batch normalization, and what the backward
pass finds of their results.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssd_jax.models.convolution import conv_general_dilated

# Caffe's "xavier" filler with its default variance norm: uniform on +-sqrt(3 / fan_in).
CAFFE_XAVIER = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
# He et al. 2015: keeps the variance through ReLU layers that start without ImageNet weights.
HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

BATCH_NORM_SUFFIX = "_bn"  # of the names of batch normalizations, which no weight decay applies to


class LayerOptions(NamedTuple):
    """What all convolutions of a network have in common."""

    batch_norm: bool = False
    axis_name: str | None = None  # mapped axis over which batch statistics are averaged
    dtype: Any = jnp.float32  # of the convolutions; parameters and statistics stay float32
    remat: bool = False  # whether blocks are computed again for the backward pass, instead of kept


def scale_channels(channels: int, width_multiplier: float) -> int:
    """Returns ``channels * width_multiplier`` rounded to a multiple of 8, at least 8.

    Up, where the nearest one takes away more than a tenth: the rule of the published narrow MobileNetV2.
    """
    if width_multiplier == 1:
        return channels
    scaled = channels * width_multiplier
    nearest = max(8, 8 * int(scaled / 8 + 0.5))
    return nearest if nearest >= 0.9 * scaled else nearest + 8


def remat(
    block: Callable[[jax.Array], Any], x: jax.Array, *, module: nn.Module, options: LayerOptions
) -> Any:  # what block(x) returns
    """Applies a block; with ``options.remat`` only its input is kept for the backward pass.

    ``module`` is the one whose compact method builds the layers of the block. They belong to it either
    way, so that the parameters have the same names. Sums over devices are kept, not communicated twice.
    """
    if not options.remat:
        return block(x)
    return nn.remat(lambda _, x: block(x), policy=_is_sum_over_devices)(module, x)


def _is_sum_over_devices(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name.startswith("psum")


def _cast_all_but_bias(*arrays: Any, dtype: Any = None, **_: Any) -> Any:
    inputs, kernel, bias = arrays
    return inputs.astype(dtype), kernel.astype(dtype), bias


# A convolution in ``dtype`` whose bias is added in float32, the type of its result then. The gradient of a bias is a
# sum over all pixels of the batch; in bfloat16 it would be rounded at each addition (on the CPU 18% short of the sum of
# 8 x 300 x 300 numbers of mean 0.1).
Conv = functools.partial(nn.Conv, promote_dtype=_cast_all_but_bias, conv_general_dilated=conv_general_dilated)


def convolution(
    x: jax.Array,  # [B, H, W, C]
    name: str,
    channels: int,
    kernel: int,
    *,
    options: LayerOptions,
    train: bool,
    kernel_init: nn.initializers.Initializer,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:  # [B, h, w, channels]
    """Convolution ``name`` and, if asked for, batch normalization ``name_bn``; no activation.

    To be called inside a compact module. It is a function and not a module so that the parameters
    lie flat, under the names that the original network gives them.
    """
    x = Conv(
        channels,
        (kernel, kernel),
        strides=stride,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=not options.batch_norm,
        dtype=options.dtype,
        kernel_init=kernel_init,
        name=name,
    )(x).astype(options.dtype)
    return batch_norm(x, name, options=options, train=train) if options.batch_norm else x


def conv_relu(x: jax.Array, name: str, channels: int, kernel: int, **rest: Any) -> jax.Array:
    """:func:`convolution`, ReLU."""
    return nn.relu(convolution(x, name, channels, kernel, **rest))


def batch_norm(x: jax.Array, name: str, *, options: LayerOptions, train: bool) -> jax.Array:
    """Batch normalization of the layer ``name``, whatever ``options.batch_norm`` says.

    Momentum and epsilon are PyTorch's defaults, 1 - 0.1 and 1e-5. Flax reduces in float32 whatever the
    dtype, and does not average over the axis in init; its running variance is the biased one.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        axis_name=options.axis_name,
        dtype=options.dtype,
        name=name + BATCH_NORM_SUFFIX,
    )(x)


def max_pool(
    x: jax.Array,  # [B, H, W, C]
    window: int,
    stride: int,
    padding: int = 0,
    *,
    round_up: bool = True,
) -> jax.Array:  # [B, h, w, C] with h = ceil((H + 2 * padding - window) / stride) + 1, w likewise
    """Maximum over square windows; sizes are rounded up as in Caffe, else down as is PyTorch's default.

    A last window that sticks out at the bottom or right takes the maximum of what it covers.

    It is written as the maximum of shifted slices, first of rows, then of columns, because the
    gradient of ``lax.reduce_window`` is a select-and-scatter, which XLA runs slowly on the CPU
    (forward and backward on [4, 150, 150, 64]: 52 ms against 6 ms; 3x3 on [4, 19, 19, 512]: 25 ms
    against 1 ms, 2 cores). The two differ in one point: where several elements of a window are
    the maximum, they share the gradient here, while there one of them receives it all. Both are
    subgradients; behind a ReLU nearly all ties are between zeros, which pass no gradient on.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        windows = (size + 2 * padding - window + (stride - 1 if round_up else 0)) // stride + 1
        span = (windows - 1) * stride  # from the start of the first window to the start of the last
        widths = [(0, 0)] * 4
        widths[axis] = (padding, max(0, span + window - size - padding))
        x = jnp.pad(x, widths, constant_values=-jnp.inf)
        shifted = [jax.lax.slice_in_dim(x, k, k + span + 1, stride, axis) for k in range(window)]
        x = functools.reduce(jnp.maximum, shifted)
    return x


class L2Norm(nn.Module):
    """Scales each pixel's feature vector to length 1, then each channel by a learned factor.

    Liu, Rabinovich, Berg: ParseNet (2015), section 3.3; SSD paper, section 3.1. Computed in float32.
    The epsilon lies inside the square root as in normalize_layer.cpp: with it outside, the gradient
    at an all-zero pixel is 0/0.
    """

    initial_scale: float = 20.0
    epsilon: float = 1e-10

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C] -> [B, H, W, C] float32
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), (x.shape[-1],))
        x = x.astype(jnp.float32)
        return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + self.epsilon) * scale
