"""Which default boxes each ground truth takes, level by level: figure 1 of the paper for one's own image."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ssd_jax import augment, matching, parallel
from ssd_jax import recipe as recipes
from ssd_jax.inspection import samples
from ssd_jax.models import Model
from ssd_jax.priors import PriorLevel, inside
from ssd_jax.types import Batch, Example, Targets
from ssd_jax.visualize import Panel, grid

DRAWN_SIDE = 900  # pixels of the shorter side while the grid is drawn; a sheet reduces it and keeps it smooth


class Assignment(NamedTuple):
    """The matched default boxes of one level."""

    level: PriorLevel
    boxes: np.ndarray  # [N, 4] normalized xyxy
    labels: np.ndarray  # [N] int32


def panels(
    source: Sequence[Example],
    indices: Sequence[int],
    recipe: recipes.Recipe,
    model: Model,
    default_boxes: np.ndarray,  # [P, 4]
    *,
    max_boxes: int | None = None,
) -> list[tuple[Panel, ...]]:
    """Returns for each image the picture with its ground truth, then for each level what matching assigns to it.

    Images are warped to the network's input but not augmented. On each level's picture its grid is
    drawn; matched default boxes are dashed in the color of their class, the centers of their cells
    dotted, ground truth solid. An image that cannot be decoded is left out.

    Args:
      source: of the images.
      indices: their positions.
      recipe: sections ``loader``, ``model``, ``match``, ``loss`` are read.
      model: tells the levels and their names.
      default_boxes: of the levels, in their order.
      max_boxes: rows of ground truth; None: as training has them.
    """
    assembler = samples.make_assembler(source, recipe, max_boxes)
    prior_mask = jnp.asarray(inside(default_boxes)) if recipe["loss"]["ignore_cross_boundary"] else None
    match = parallel.compile(functools.partial(match_first, recipe=recipe, prior_mask=prior_mask))
    levels, names = model.levels, model.level_names
    groups = []
    for index in indices:
        if (batch := samples.load(assembler, index)) is None:
            continue
        image, targets = jax.device_get(match(batch, jnp.asarray(default_boxes)))
        first = _truth_panel(source[index].id, image, batch, targets)
        found = assign(targets.labels, levels, default_boxes)
        groups.append((first, *(_level_panel(first, name, one) for name, one in zip(names, found, strict=True))))
    return groups


def match_first(
    batch: Batch, default_boxes: jax.Array, *, recipe: recipes.Recipe, prior_mask: jax.Array | None
) -> tuple[jax.Array, Targets]:
    """Returns the first image of a batch as evaluation sees it, [H, W, 3], and its targets as training has them."""
    image = augment.resize(batch.canvas[0], batch.size[0], output_size=recipe["model"]["image_size"])
    return image, matching.match(
        batch.boxes[0],
        batch.labels[0],
        default_boxes,
        ignored=batch.ignored[0],
        prior_mask=prior_mask,
        **recipe["match"],
    )


def assign(
    labels: np.ndarray,  # [P] int32: of matching.match
    levels: Sequence[PriorLevel],
    default_boxes: np.ndarray,  # [P, 4]
) -> list[Assignment]:
    """Sorts the matched default boxes by level.

    Raises:
      ValueError: if there are not as many labels and default boxes as the levels have.
    """
    total = sum(level.num_boxes for level in levels)
    if not len(labels) == len(default_boxes) == total:
        raise ValueError(
            f"labels, default_boxes: expected {total} as the levels have, got {len(labels)} and {len(default_boxes)}"
        )
    found, start = [], 0
    for level in levels:
        rows = start + np.flatnonzero(labels[start : start + level.num_boxes])
        found.append(Assignment(level, default_boxes[rows], labels[rows]))
        start += level.num_boxes
    return found


def _truth_panel(name: str, image: np.ndarray, batch: Batch, targets: Targets) -> Panel:
    height, width = image.shape[:2]
    objects, matched = int((batch.labels[0] > 0).sum()), int((targets.labels > 0).sum())
    return Panel(
        image.astype(np.uint8),  # whole numbers already
        batch.boxes[0] * [width, height, width, height],
        batch.labels[0],
        ignored=batch.ignored[0],
        caption=f"{name}: objects: {objects}, default boxes: {matched}",
    )


def _level_panel(picture: Panel, name: str, found: Assignment) -> Panel:
    """Draws the grid and the matched default boxes at a larger scale; the ground truth is left to the sheet."""
    height, width = picture.image.shape[:2]
    scale = DRAWN_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    image = np.asarray(Image.fromarray(picture.image).resize(size, Image.Resampling.BICUBIC))
    step = found.level.step[0] * scale, found.level.step[1] * scale
    image = grid.draw_grid(image, step)
    image = grid.draw_matches(image, found.boxes * np.tile(size, 2), found.labels)
    rows, columns = found.level.grid
    count = len(found.labels)
    return picture._replace(
        image=image,
        boxes=picture.boxes * scale,
        caption=f"{name} {rows}x{columns}: {count} default {'box' if count == 1 else 'boxes'}",
    )
