"""Default boxes ("priors"): NumPy only, computed once, a constant of the network.

Two rules give the sizes: the paper's equation 4 (:func:`linear_scales`) and the integer-percent
rule of the original scripts (:func:`caffe_sizes`), which is what every published model uses.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class PriorLevel(NamedTuple):
    """The default boxes of one feature map; hashable."""

    grid: tuple[int, int]  # (rows, columns) of the feature map
    step: tuple[float, float]  # (y, x) pixels of the image between neighboring centers
    shapes: tuple[tuple[float, float], ...]  # (width, height) in pixels of the boxes of a cell, in order

    @property
    def num_boxes(self) -> int:
        """Boxes of the whole level."""
        return self.grid[0] * self.grid[1] * len(self.shapes)


def linear_scales(s_min: float, s_max: float, m: int) -> tuple[float, ...]:
    """Returns the scales s_1 ... s_m of the paper's equation 4, evenly spaced from s_min to s_max.

    Raises:
      ValueError: if ``m`` is less than 2 (the equation divides by m - 1).
    """
    if m < 2:
        raise ValueError(f"m: expected at least 2 levels, got {m}")
    return tuple(s_min + (s_max - s_min) * k / (m - 1) for k in range(m))


def caffe_sizes(
    image_size: int, *, num_levels: int, ratios: tuple[int, int] = (20, 90), first: tuple[int, int] = (10, 20)
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns (min_sizes, max_sizes) of all levels by the integer-percent rule of ssd_pascal.py.

    The first level has its own pair ``first``; the others start at ``ratios[0]`` percent of the
    image and grow by ``floor((ratios[1] - ratios[0]) / (num_levels - 2))`` percent. Known pairs
    (ratios, first): VOC300 (20, 90), (10, 20); COCO300 (15, 90), (7, 15); VOC512 (15, 90), (7, 15);
    COCO512 (10, 90), (4, 10).

    Args:
      image_size: side of the square image in pixels.
      num_levels: number of feature maps, at least 3.
      ratios: smallest and largest size of the levels after the first, in percent.
      first: min and max size of the first level, in percent.
    """
    if num_levels < 3:
        raise ValueError(f"num_levels: expected at least 3, got {num_levels}")
    step = (ratios[1] - ratios[0]) // (num_levels - 2)
    low = [first[0], *(ratios[0] + step * k for k in range(num_levels - 1))]
    high = [first[1], *(ratios[0] + step * (k + 1) for k in range(num_levels - 1))]
    return tuple(image_size * r / 100 for r in low), tuple(image_size * r / 100 for r in high)


def box_shapes(
    min_sizes: Sequence[float], max_sizes: Sequence[float], aspect_ratios: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """Returns the (width, height) of the boxes of one cell, in the order of Caffe's prior_box layer.

    For each min size s: (s, s); the square of side sqrt(s * max) if there are max sizes; then for
    each aspect ratio r the box (s * sqrt(r), s / sqrt(r)) and its flip, unless there is that shape already:
    ratio 1, or 1/r beside r.

    Raises:
      ValueError: if there are max sizes but not one for each min size.
    """
    if len(max_sizes) not in (0, len(min_sizes)):
        raise ValueError(f"max_sizes: expected none or {len(min_sizes)} as min_sizes has, got {len(max_sizes)}")
    ratios: list[float] = []
    for ratio in aspect_ratios:
        known = (1, *ratios, *(1 / other for other in ratios))
        if all(abs(ratio - other) >= 1e-6 for other in known):  # as close as prior_box_layer.cpp takes for the same
            ratios.append(ratio)
    shapes = []
    for k, size in enumerate(min_sizes):
        shapes.append((size, size))
        if max_sizes:
            side = math.sqrt(size * max_sizes[k])
            shapes.append((side, side))
        for ratio in ratios:
            long, short = size * math.sqrt(ratio), size / math.sqrt(ratio)
            shapes += [(long, short), (short, long)]
    return tuple(shapes)


def caffe_shapes(
    min_sizes: Sequence[float], max_sizes: Sequence[float], aspect_ratios: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """Returns :func:`box_shapes` of the sizes truncated to whole pixels.

    The layer's C++ code keeps the sizes as ``int``: SSD512's 35.84 is used as 35.
    """
    return box_shapes([int(s) for s in min_sizes], [int(s) for s in max_sizes], aspect_ratios)


def default_boxes(
    levels: Sequence[PriorLevel],
    image_size: tuple[int, int],
    *,
    offset: float = 0.5,
    clip: bool = False,
    clip_centers: bool = False,
) -> np.ndarray:
    """Computes the default boxes of all levels.

    Order: level, row, column, shape, as in Caffe (prior_box_layer.cpp). The center of cell (i, j)
    lies at ((j + offset) * step_x, (i + offset) * step_y) pixels; with the original's steps the
    last centers of some maps lie beyond the paper's (j + 0.5) / f_k.

    Args:
      levels: the feature maps, fine to coarse.
      image_size: (height, width) in pixels.
      offset: position of the center within a cell, in cells.
      clip: whether to clip the boxes to the image; the original does not.
      clip_centers: whether centers beyond the image are moved to its border, sizes staying; ssd.pytorch and its
        descendants do (layers/functions/prior_box.py clamps the center form), the original does not.

    Returns:
      float32 [P, 4] xyxy, normalized by the image size.

    Raises:
      ValueError: if ``clip`` or ``clip_centers`` is not a bool.
    """
    for name, value in {"clip": clip, "clip_centers": clip_centers}.items():
        if not isinstance(value, bool):  # the text "False" would be true
            raise ValueError(f"{name}: expected True or False, got {value!r}")
    height, width = image_size
    boxes = []
    for level in levels:
        rows, columns = level.grid
        y = (np.arange(rows) + offset) * level.step[0]
        x = (np.arange(columns) + offset) * level.step[1]
        if clip_centers:
            y, x = y.clip(0, height), x.clip(0, width)
        center = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)[:, :, None, :]
        half = np.asarray(level.shapes, np.float64).reshape(-1, 2) / 2
        corners = np.concatenate([center - half, center + half], axis=-1)  # [rows, columns, shapes, 4]
        boxes.append(corners.reshape(-1, 4) / (width, height, width, height))
    all_boxes = np.concatenate(boxes)
    return (all_boxes.clip(0, 1) if clip else all_boxes).astype(np.float32)


def inside(boxes: np.ndarray) -> np.ndarray:  # [P, 4] -> [P] bool
    """Tells which default boxes lie in the image entirely; the paper's Table 3 trains with these alone, or with all."""
    return np.all((boxes >= 0) & (boxes <= 1), axis=1)
