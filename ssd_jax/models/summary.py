"""The table of layers and default boxes of a network (paper figure 2), read off the network itself."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssd_jax import priors
from ssd_jax.models import ssd


class Layer(NamedTuple):
    """One layer that has parameters."""

    name: str  # path within the network
    shape: tuple[int, ...]  # (rows, columns, channels) of the output
    parameters: int
    macs: int  # multiply-accumulates of the convolution for one image; 0 for other layers


def layers(model: ssd.Model, image_size: tuple[int, int]) -> tuple[Layer, ...]:
    """Lists the layers in the order in which they run, from an abstract forward pass.

    MACs count the taps that fall on padding too, as is usual, and neither biases nor norms.
    """
    found = []

    def record(call, args, kwargs, context):
        output = call(*args, **kwargs)
        module = context.module
        if "params" in module.variables and context.method_name == "__call__" and not _has_children(module):
            own = module.variables["params"]
            shape = output.shape[1:]
            macs = math.prod(shape[:2]) * own["kernel"].size if isinstance(module, nn.Conv) else 0
            parameters = sum(value.size for value in own.values())
            found.append(Layer("/".join(module.path), shape, parameters, macs))
        return output

    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(lambda v, x: model.apply(v, x), model.shapes, images)  # a new function: never cached
    return tuple(found)


def summarize(*, image_size: tuple[int, int] = ssd.IMAGE_SIZE, **options: Any) -> str:
    """Returns two tables as text: layers with shapes, parameters and MACs; default boxes a level.

    Args:
      image_size: (height, width).
      **options: the other arguments of ``models.build``.
    """
    model = ssd.build(image_size=image_size, **options)
    found = layers(model, image_size)
    rows = [("layer", "output", "parameters", "MMAC")]
    rows += [(x.name, _times(x.shape), f"{x.parameters:,}", f"{x.macs / 1e6:,.1f}") for x in found]
    parameters, macs = sum(x.parameters for x in found), sum(x.macs for x in found)
    rows.append(("total", "", f"{parameters:,}", f"{macs / 1e6:,.1f}"))
    return f"{_table(rows, '<>>>')}\n\n{_table(_box_rows(model.levels), '<>>><')}\n"


def _box_rows(levels: Sequence[priors.PriorLevel]) -> list[tuple[str, ...]]:
    rows = [("grid", "step", "a cell", "boxes", "width x height in pixels")]
    for level in levels:
        step = f"{level.step[0]:g}" if level.step[0] == level.step[1] else "{:g} x {:g}".format(*level.step)
        sizes = ", ".join(f"{width:.0f}x{height:.0f}" for width, height in level.shapes)
        rows.append((_times(level.grid), step, str(len(level.shapes)), f"{level.num_boxes:,}", sizes))
    rows.append(("total", "", "", f"{sum(level.num_boxes for level in levels):,}", ""))
    return rows


def _has_children(module: nn.Module) -> bool:
    """Whether the parameters belong to modules inside this one."""
    return any(not hasattr(value, "shape") for value in module.variables["params"].values())


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _table(rows: Sequence[tuple[str, ...]], alignment: str) -> str:
    """Lines up the columns by ``alignment``, a < or > for each, with rules around the body."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    formats = list(zip(alignment, widths, strict=True))
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, (side, width) in zip(row, formats, strict=True)).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
