"""Pictures of what the training step sees: the loader's canvas, augmented under the step's own keys."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ssd_jax import augment, data, objective, parallel
from ssd_jax import recipe as recipes
from ssd_jax.data.assemble import Assembler, Policy
from ssd_jax.errors import InputError
from ssd_jax.types import Batch, Example
from ssd_jax.visualize import Panel


def augmented(
    source: Sequence[Example],
    indices: Sequence[int],
    recipe: recipes.Recipe,
    *,
    num_draws: int = 3,
    max_boxes: int | None = None,
) -> list[tuple[Panel, ...]]:
    """Returns for each image the picture as loaded and then as the training step sees it in its first epochs.

    The groups are rows for ``visualize.contact_sheet``. An image that cannot be decoded is left out.

    Args:
      source: of the images.
      indices: their positions.
      recipe: sections ``loader``, ``model``, ``augment`` and ``train`` are read.
      num_draws: epochs shown.
      max_boxes: rows of ground truth; None: as training has them.

    Raises:
      InputError: an option of the section ``augment`` is unknown or out of range.
    """
    assembler = make_assembler(source, recipe, max_boxes)
    draw = parallel.compile(functools.partial(augment_batch, recipe=recipe))
    groups = []
    for index in indices:
        if (batch := load(assembler, index, epochs=range(num_draws))) is None:
            continue
        views = jax.device_get(recipes.splat("augment", draw, {}, batch=batch))
        drawn = [_drawn(epoch, batch, jax.tree.map(lambda leaf, row=epoch: leaf[row], views)) for epoch in batch.epoch]
        groups.append((as_loaded(source[index].id, batch), *drawn))
    return groups


def augment_batch(batch: Batch, recipe: recipes.Recipe) -> tuple[Any, ...]:
    """Returns (images, boxes, labels, ignored, draws) as the training step makes them of a batch."""
    options = recipes.augment_options(recipe)
    augment_image = functools.partial(augment.augment, output_size=recipe["model"]["image_size"], **options)
    keys = objective.image_keys(recipe["train"]["seed"], batch.epoch, batch.index)
    return jax.vmap(augment_image)(keys, batch.canvas, batch.size, batch.boxes, batch.labels, batch.ignored)


def make_assembler(source: Sequence[Example], recipe: recipes.Recipe, max_boxes: int | None = None) -> Assembler:
    """Returns what lays images and boxes into a batch, by the section ``loader``; it raises for unreadable images."""
    section = recipe["loader"]
    rows = max_boxes or section["max_boxes"] or data.padded_boxes(source)
    return Assembler(source, section["canvas"], rows, Policy(section["difficult"], section["crowd"]), "stop")


def load(assembler: Assembler, index: int, *, epochs: Sequence[int] = (0,)) -> Batch | None:
    """Returns an image as a batch, a row an epoch; None if it cannot be decoded."""
    try:
        one = assembler.assemble([index], [0])
    except InputError:
        return None
    many = Batch(*(np.repeat(values, len(epochs), axis=0) for values in one))
    return many._replace(epoch=np.array(epochs, np.uint32))


def as_loaded(name: str, batch: Batch) -> Panel:
    """Returns the first image of a batch without the rest of its canvas, with what training learns of it."""
    height, width = batch.size[0]
    count = int((batch.labels[0] > 0).sum())
    return Panel(
        batch.canvas[0, :height, :width],
        batch.boxes[0] * [width, height, width, height],
        batch.labels[0],
        ignored=batch.ignored[0],
        caption=f"{name}: {_boxes(count)}",
    )


def _drawn(epoch: int, batch: Batch, view: tuple[Any, ...]) -> Panel:
    """Returns one augmented image."""
    image, boxes, labels, ignored, draws = view
    height, width = image.shape[:2]
    kept, given = int((labels > 0).sum()), int((batch.labels[0] > 0).sum())
    count = _boxes(given) if kept == given else f"{kept}/{_boxes(given)}"
    return Panel(
        image.astype(np.uint8),  # whole numbers already
        boxes * [width, height, width, height],
        labels,
        ignored=ignored,
        caption=", ".join([f"epoch {epoch}: {count}", *_said(draws)]),
    )


def _said(draws: augment.Draws) -> list[str]:
    """Returns in words what was done to the geometry; a crop's share is that of the area, expansion included."""
    expansion, crop = draws.expansion, draws.crop
    share = np.prod(crop.size / expansion.size)
    return [
        *([f"expand {float(expansion.ratio):.1f}x"] if expansion.fired else []),
        *([f"crop {share:.0%}"] if share < 0.995 else []),
        *(["flip"] if draws.flip else []),
    ]


def _boxes(count: int) -> str:
    return f"{count} box" if count == 1 else f"{count} boxes"
