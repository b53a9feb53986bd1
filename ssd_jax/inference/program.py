"""A trained network as a function from pictures on a canvas to detections."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ssd_jax import recipe as recipes
from ssd_jax.inference.steps import make_predict
from ssd_jax.types import Detections, Predictions
from ssd_jax.weights import TrainedNetwork


class Program(NamedTuple):
    """What detects; pure functions, not compiled.

    Both take variables, canvas [B, Hc, Wc, 3] uint8 and size [B, 2] int32: (height, width) of the picture, which
    lies in the upper left corner of its canvas.
    """

    run: Callable[[Any, jax.Array, jax.Array], Detections]  # -> [B, K, ...]; boxes are normalized by the picture
    predict: Callable  # -> Predictions [B, P, ...], before decoding and suppression
    detect: Callable  # (offsets [P, 4], logits [P, C]) -> Detections [K, ...] of one image
    canvas: tuple[int, int]  # (height, width)
    image_size: tuple[int, int]  # (height, width) of the network's input
    class_names: tuple[str, ...]


def make_program(trained: TrainedNetwork) -> Program:
    """Makes the program of a trained network: the one that evaluate.py runs, without the losses."""
    recipe = trained.recipe
    model, default_boxes = recipes.build_network(recipe, len(trained.class_names))
    detect = recipes.build_detect(recipe, default_boxes)
    image_size = tuple(recipe["model"]["image_size"])
    network = make_predict(model, image_size)
    precision = recipe.get("runtime", {}).get("matmul_precision", "default")

    def predict(variables: Any, canvas: jax.Array, size: jax.Array) -> Predictions:
        # Of this thread alone, while it traces; "default" leaves it to JAX's settings, as evaluate.py does.
        with contextlib.nullcontext() if precision == "default" else jax.default_matmul_precision(precision):
            return network(variables, canvas, size)

    def run(variables: Any, canvas: jax.Array, size: jax.Array) -> Detections:
        return jax.vmap(detect)(*predict(variables, canvas, size))

    return Program(run, predict, detect, tuple(recipe["loader"]["canvas"]), image_size, trained.class_names)
