"""A convolution whose gradient by the kernel is fast on CPUs; elsewhere, and forward, it is XLA's own.

XLA's CPU backend computes that gradient as a convolution whose kernel is as large as the feature map, which it runs
slowly. Here it is what it is by definition, for each tap of the kernel one product of matrices::

    dL/dkernel[i, j] = sum over images and pixels of x[pixel * stride + tap(i, j)]^T  dL/dy[pixel]

The sums are the same, in another order. Forward differentiation (``jax.jvp``) is not defined through it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

FEW_COLUMNS = 64  # taps x input channels up to which all taps go into one product: three colors make thin matrices


def conv_general_dilated(
    lhs: jax.Array,  # [B, H, W, C]
    rhs: jax.Array,  # [h, w, C / groups, F]
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **rest: Any,
) -> jax.Array:  # [B, Ho, Wo, F]
    """Is ``lax.conv_general_dilated``, for Flax's convolutions to call; groups and dilated inputs are left to it."""
    plain = functools.partial(
        lax.conv_general_dilated,
        window_strides=tuple(window_strides),
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        **rest,
    )
    dilated = any(step != 1 for step in lhs_dilation or ())
    if feature_group_count != 1 or dilated or isinstance(padding, str):
        return plain(lhs, rhs)
    pads = tuple((int(low), int(high)) for low, high in padding)
    return _with_own_gradient(plain, tuple(window_strides), pads, tuple(rhs_dilation or (1, 1)))(lhs, rhs)


def _with_own_gradient(
    plain: Callable, strides: tuple[int, ...], padding: tuple[tuple[int, int], ...], dilation: tuple[int, ...]
) -> Callable:
    convolve = jax.custom_vjp(plain)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return plain(x, kernel), (x, kernel)

    def backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, kernel = saved
        (by_input,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(gradient)
        by_kernel = lax.platform_dependent(
            x,
            gradient,
            cpu=lambda x, gradient: kernel_gradient(
                x, gradient, (kernel.shape[0], kernel.shape[1]), strides=strides, padding=padding, dilation=dilation
            ).astype(kernel.dtype),
            default=lambda x, gradient: jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(gradient)[0],
        )
        return by_input, by_kernel

    convolve.defvjp(forward, backward)
    return convolve


def kernel_gradient(
    x: jax.Array,  # [B, H, W, C]
    gradient: jax.Array,  # [B, Ho, Wo, F]
    size: tuple[int, int],
    *,
    strides: tuple[int, ...] = (1, 1),
    padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0)),
    dilation: tuple[int, ...] = (1, 1),
) -> jax.Array:  # [h, w, C, F] float32
    """Returns the gradient of a convolution by its kernel, as products of matrices.

    Args:
      x: what is convolved.
      gradient: by the result.
      size: (height, width) of the kernel.
      strides, padding, dilation: of the convolution, by (rows, columns).
    """
    batch, rows, columns, features = gradient.shape
    channels = x.shape[-1]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    wanted = gradient.reshape(-1, features)

    def seen(i: int, j: int) -> jax.Array:  # [B * Ho * Wo, C], what the tap reads
        top, left = i * dilation[0], j * dilation[1]
        limits = top + (rows - 1) * strides[0] + 1, left + (columns - 1) * strides[1] + 1
        return lax.slice(x, (0, top, left, 0), (batch, *limits, channels), (1, *strides, 1)).reshape(-1, channels)

    taps = [seen(i, j) for i in range(size[0]) for j in range(size[1])]
    if len(taps) * channels <= FEW_COLUMNS:
        return _product(jnp.concatenate(taps, axis=1), wanted).reshape(*size, channels, features)
    return jnp.stack([_product(tap, wanted) for tap in taps]).reshape(*size, channels, features)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:  # [N, C], [N, F] -> [C, F] float32
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
