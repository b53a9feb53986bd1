"""Convolutions as CPUs compute them fast; elsewhere they are XLA's own.

* A 3x3 convolution with many channels goes through :mod:`ssd_jax.models.winograd`, and so does its gradient by the
  input, which is one, too.
* XLA's CPU backend computes the gradient by the kernel as a convolution whose kernel is as large as the feature map,
  which it runs slowly. Here it is what it is by definition, for each tap of the kernel one product of matrices::

      dL/dkernel[i, j] = sum over images and pixels of x[pixel * stride + tap(i, j)]^T  dL/dy[pixel]

The sums are the same, in another order. Forward differentiation (``jax.jvp``) is not defined through it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ssd_jax.models import winograd

# From where on the fewer multiplications outweigh the sums before and after them.
LEAST_CHANNELS, LEAST_ROWS = 128, 16
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
    geometry = Geometry(tuple(window_strides), pads, tuple(rhs_dilation or (1, 1)))
    return _with_own_gradient(plain, geometry)(lhs, rhs)


class Geometry(NamedTuple):
    """Of a convolution, by (rows, columns)."""

    strides: tuple[int, ...] = (1, 1)
    padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))
    dilation: tuple[int, ...] = (1, 1)


THREE_BY_THREE = Geometry(padding=((1, 1), (1, 1)))  # that keeps the size of a map


def _has_many_products(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> bool:
    """Whether :mod:`ssd_jax.models.winograd` computes a convolution, and in less time than XLA."""
    three = kernel.shape[:2] == (3, 3) and geometry == THREE_BY_THREE and x.dtype == kernel.dtype == jnp.float32
    return three and min(kernel.shape[2:]) >= LEAST_CHANNELS and x.shape[1] >= LEAST_ROWS


def _with_own_gradient(plain: Callable, geometry: Geometry) -> Callable:
    def value(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if not _has_many_products(x, kernel, geometry):
            return plain(x, kernel)
        return lax.platform_dependent(x, kernel, cpu=winograd.convolve, default=plain)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return value(x, kernel), (x, kernel)

    def by_input(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.linear_transpose(lambda x: plain(x, kernel), x)(gradient)[0]

    def by_input_turned(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return winograd.convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3))

    def by_kernel(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(gradient)[0]

    def by_kernel_tap_by_tap(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return kernel_gradient(x, gradient, kernel.shape[:2], geometry).astype(kernel.dtype)

    def backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        if _has_many_products(*saved, geometry):
            towards_input = lax.platform_dependent(*saved, gradient, cpu=by_input_turned, default=by_input)
        else:
            towards_input = by_input(*saved, gradient)
        return towards_input, lax.platform_dependent(*saved, gradient, cpu=by_kernel_tap_by_tap, default=by_kernel)

    convolve = jax.custom_vjp(value)
    convolve.defvjp(forward, backward)
    return convolve


def kernel_gradient(
    x: jax.Array,  # [B, H, W, C]
    gradient: jax.Array,  # [B, Ho, Wo, F]
    size: tuple[int, ...],
    geometry: Geometry,
) -> jax.Array:  # [h, w, C, F] float32
    """Returns the gradient of a convolution by its kernel, as products of matrices.

    Args:
      x: what is convolved.
      gradient: by the result.
      size: (height, width) of the kernel.
      geometry: of the convolution.
    """
    batch, rows, columns, features = gradient.shape
    channels = x.shape[-1]
    strides, padding, dilation = geometry
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
