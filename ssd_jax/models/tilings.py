"""From the sizes, ratios and steps of a recipe and the grids of a network to the levels of its default boxes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ssd_jax import priors

Shapes = tuple[tuple[float, float], ...]  # (width, height) of the boxes of a cell


def per_map(argument: str, values: Sequence[Any], names: Sequence[str]) -> Sequence[Any]:
    """Returns ``values``.

    Raises:
      ValueError: if there is not one for each feature map.
    """
    if len(values) != len(names):
        raise ValueError(
            f"{argument}: expected {len(names)} values, one for each feature map ({', '.join(names)}), "
            f"got {len(values)}: {values}"
        )
    return values


def ruled_shapes(
    rule: Callable[[Any, Any, Any], Shapes],
    names: Sequence[str],
    min_sizes: Sequence[float | Sequence[float]],
    max_sizes: Sequence[float | Sequence[float]],
    aspect_ratios: Sequence[Sequence[float]],
) -> tuple[Shapes, ...]:
    """Returns the shapes of a cell of each feature map by ``priors.caffe_shapes`` or ``priors.box_shapes``.

    Raises:
      ValueError: if one of the arguments does not have a value for each feature map, a map has max
        sizes, but not as many as min sizes, or a box would have no area.
    """
    low = per_map("min_sizes", min_sizes, names)
    high = per_map("max_sizes", max_sizes, names)
    ratios = per_map("aspect_ratios", aspect_ratios, names)
    for argument, values, least in (("min_sizes", low, 1), ("max_sizes", high, 1), ("aspect_ratios", ratios, 1e-3)):
        for value in values:
            if not all(least <= number < math.inf for number in _several(value)):
                unit = "pixels, at least 1" if least == 1 else "positive ratios"
                raise ValueError(f"{argument}: expected {unit}, got {value} in {tuple(values)}")
    return tuple(rule(_several(a), _several(b), _several(r)) for a, b, r in zip(low, high, ratios, strict=True))


def stated_shapes(
    names: Sequence[str], shapes: Sequence[Sequence[Sequence[float]]], **ruled: Any
) -> tuple[Shapes, ...]:
    """Returns ``shapes`` as tuples.

    Args:
      names: of the feature maps.
      shapes: for each feature map the (width, height) of its boxes.
      **ruled: arguments of the rule, which have to be empty.

    Raises:
      ValueError: if sizes are stated twice, there are no shapes for a feature map, or one has no area.
    """
    for argument, value in ruled.items():
        if len(value):
            raise ValueError(f"{argument}: expected () beside shapes, which state all sizes, got {value}")
    per_map("shapes", shapes, names)
    for name, boxes in zip(names, shapes, strict=True):
        if not boxes or any(len(box) != 2 or not all(0 < side < math.inf for side in box) for box in boxes):
            raise ValueError(f"shapes: expected (width, height) in pixels of each box of {name}, got {boxes}")
    return tuple(tuple((float(width), float(height)) for width, height in boxes) for boxes in shapes)


def levels(
    grids: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
    shapes: Sequence[Shapes],
    steps: Sequence[Any],
) -> tuple[priors.PriorLevel, ...]:
    """Joins the grids of the feature maps with the steps (none: image size / grid) and box shapes.

    Raises:
      ValueError: if steps are not positive or lead out of the image.
    """
    if not steps:
        steps = [(image_size[0] / rows, image_size[1] / columns) for rows, columns in grids]
    pairs = [step if isinstance(step, Sequence) else (step, step) for step in steps]
    for grid, pair in zip(grids, pairs, strict=True):
        if len(pair) != 2 or not all(0 < step < math.inf for step in pair):
            raise ValueError(
                f"steps: expected a positive number of pixels, or (y, x), for each feature map, got {pair}"
            )
        for cells, step, side in zip(grid, pair, image_size, strict=True):
            if (cells - 0.5) * step > side + step / 2:  # the original's own reach that far, not farther
                raise ValueError(
                    f"steps: {step:g} pixels carry the {cells} cells of a map beyond an image of {side} pixels; "
                    "give the steps of this image size, or () for image size / map size"
                )
    return tuple(
        priors.PriorLevel(grid, (float(y), float(x)), boxes)
        for grid, (y, x), boxes in zip(grids, pairs, shapes, strict=True)
    )


def _several(sizes: float | Sequence[float]) -> Sequence[float]:
    return sizes if isinstance(sizes, Sequence) else (sizes,)
