"""Detection over a whole source: the loop that evaluation runs on."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from ssd_jax import augment, parallel
from ssd_jax.models import Model
from ssd_jax.types import Batch, Detections, ImageDetections


def make_detect_step(
    model: Model, detect: Callable, *, output_size: tuple[int, int], interpolation: str = "linear"
) -> Callable[[Any, Batch], Detections]:
    """Makes step(variables, batch) -> Detections [B, K, ...]: resize, predict, decode, suppress.

    Args:
      model: of ``models.build``.
      detect: detect(offsets, logits) of one image, as ``recipe.build_detect`` makes it.
      output_size: (height, width) of the network's input.
      interpolation: of the resize; the original tests with "linear".
    """
    resize = functools.partial(augment.resize, output_size=output_size, interpolation=interpolation)

    def step(variables: Any, batch: Batch) -> Detections:
        images = jax.vmap(resize)(batch.canvas, batch.size)
        return jax.vmap(detect)(*model.apply(variables, images))

    return step


def compile_detect_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Maps a detection step over the devices of the mesh."""
    return parallel.data_parallel(step, mesh, in_specs=(parallel.REPLICATED, parallel.SPLIT), out_specs=parallel.SPLIT)


def to_pixels(detections: Detections, size: tuple[int, int], image_id: str) -> ImageDetections:
    """Converts the detections of one image (host arrays) to pixels, without the empty slots.

    Args:
      detections: boxes [K, 4], scores [K], labels [K].
      size: (height, width) of the original image.
      image_id: its id.
    """
    found = np.asarray(detections.labels) > 0
    scale = np.array([size[1], size[0], size[1], size[0]], np.float32)
    boxes = np.asarray(detections.boxes)[found] * scale
    return ImageDetections(image_id, boxes, np.asarray(detections.scores)[found], np.asarray(detections.labels)[found])


def detect_source(
    detect_step: Callable, variables: Any, batches: Iterable[tuple[Batch, np.ndarray]], source: Any, mesh: Any
) -> list[ImageDetections]:
    """Detects the objects of every image of a source.

    Args:
      detect_step: of :func:`compile_detect_step`.
      variables: of the model.
      batches: of ``data.make_eval_loader``: pairs of a batch and which of its rows are real.
      source: tells the original size and the id of each image.
      mesh: of ``parallel.data_mesh``.

    Returns:
      One entry an image, in the order of the source.
    """
    results = []
    for batch, valid in batches:
        found = jax.device_get(detect_step(variables, parallel.split(batch, mesh)))
        for row in np.flatnonzero(valid):
            example = source[int(batch.index[row])]
            results.append(to_pixels(jax.tree.map(lambda array, row=row: array[row], found), example.size, example.id))
    return results
