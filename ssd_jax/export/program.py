"""What is exported: one function from pictures on a canvas to plain arrays, its weights, and what is told about it."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import artifact, postprocess
from ssd_jax import boxes as box_ops
from ssd_jax import recipe as recipes
from ssd_jax.inference import make_program
from ssd_jax.weights import TrainedNetwork, published
from ssd_jax.weights.network import named_arrays


class Exportable(NamedTuple):
    """A trained network in the form that leaves this library."""

    # (weights, canvas [B, Hc, Wc, 3] uint8, size [B, 2] int32) -> the outputs of the metadata, by their names
    function: Callable[[dict[str, Any], jax.Array, jax.Array], dict[str, jax.Array]]
    weights: dict[str, np.ndarray]  # by the names that are published, too
    metadata: dict[str, Any]  # of artifact.describe
    canvas: tuple[int, int]
    batch_size: int | None  # None: any


def make_exportable(trained: TrainedNetwork, *, nms: bool = True, batch_size: int | None = None) -> Exportable:
    """Makes the function to be exported.

    Args:
      trained: of ``weights.read``.
      nms: whether it suppresses and gives detections; else it gives the decoded box and the
        probabilities of each default box.
      batch_size: fixed number of images; None: any.
    """
    program = make_program(trained)
    structure = jax.tree.structure(trained.variables)
    weights = {name: np.asarray(array) for name, array in named_arrays(trained.variables).items()}
    names = tuple(weights)

    def variables(weights: dict[str, Any]) -> Any:
        return jax.tree.unflatten(structure, [weights[name] for name in names])

    def detections(weights: dict[str, Any], canvas: jax.Array, size: jax.Array) -> dict[str, jax.Array]:
        return program.run(variables(weights), canvas, size)._asdict()

    decode = make_decode(trained.default_boxes, trained.recipe)

    def candidates(weights: dict[str, Any], canvas: jax.Array, size: jax.Array) -> dict[str, jax.Array]:
        boxes, scores = jax.vmap(decode)(*program.predict(variables(weights), canvas, size))
        return {"boxes": boxes, "scores": scores}

    metadata = describe(trained, nms=nms, batch_size=batch_size)
    return Exportable(detections if nms else candidates, weights, metadata, program.canvas, batch_size)


def describe(trained: TrainedNetwork, *, nms: bool, batch_size: int | None) -> dict[str, Any]:
    """Returns what is told about an export; arguments as of :func:`make_exportable`."""
    return artifact.describe(
        trained.recipe,
        trained.class_names,
        gives=artifact.DETECTIONS if nms else artifact.CANDIDATES,
        batch_size=batch_size,
        rows=detect_options(trained.recipe)["max_detections"] if nms else len(trained.default_boxes),
        origin=published.without_folders(trained.origin),
        training=trained.training,
    )


def detect_options(recipe: recipes.Recipe) -> dict[str, Any]:
    """Returns the options of ``postprocess.detect`` that a recipe chooses, and its defaults for the rest."""
    parameters = inspect.signature(postprocess.detect).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    del defaults["variances"]  # of the section ``match``
    return defaults | dict(recipe["detect"])


def make_decode(
    default_boxes: np.ndarray, recipe: recipes.Recipe
) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Returns decode(offsets [P, 4], logits [P, C]) -> boxes [P, 4], probabilities [P, C] of one image.

    These are the first lines of ``postprocess.detect``: where a prediction is not finite, box and probabilities are
    zeros.
    """
    priors, variances = jnp.asarray(default_boxes), recipe["match"]["variances"]
    clip_first = detect_options(recipe)["clip_first"]

    def decode(offsets: jax.Array, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        boxes = box_ops.decode(offsets.astype(jnp.float32), priors, variances=variances)
        scores = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
        finite = jnp.isfinite(boxes).all(axis=-1) & jnp.isfinite(scores).all(axis=-1)
        boxes = jnp.where(finite[:, None], boxes, 0)
        return box_ops.clip(boxes) if clip_first else boxes, jnp.where(finite[:, None], scores, 0)

    return decode
