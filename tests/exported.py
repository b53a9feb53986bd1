"""What the tests of exports share: a very small network, and an artifact whose program compiles at once."""

import functools
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import trained_network as tiny

from ssd_jax import artifact, inference, parallel
from ssd_jax import recipe as recipes
from ssd_jax.export import pictures
from ssd_jax.weights import TrainedNetwork

BATCH = "batch"


@functools.cache
def mini(seed: int = 0) -> TrainedNetwork:
    """Returns a network of ten narrow convolutions and one head; it is random and finds objects everywhere."""
    changed = {"image_size": (32, 32), "extras": (), "sources": ("conv4_3_norm",), "batch_norm": True}
    sizes = {"min_sizes": (8.0,), "max_sizes": (14.0,), "aspect_ratios": ((2,),)}
    settings = tiny.recipe(**{f"model__{key}": value for key, value in {**changed, **sizes}.items()})
    settings["loader"] = {**settings["loader"], "canvas": (48, 40)}
    model, default_boxes = recipes.build_network(settings, len(tiny.NAMES))
    shapes, random = jax.eval_shape(model.init, jax.random.key(0)), np.random.default_rng(seed)

    def noise(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith(("var", "scale")):
            return random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        if "kernel" not in name:
            return random.normal(0, 0.1, leaf.shape).astype(np.float32)
        scale = 0.1 if "heads" in name else 1.0
        return (scale * random.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(noise, shapes)
    return TrainedNetwork("mini", tiny.NAMES, variables, default_boxes, settings, {"file": "vgg.pth"}, {"step": 7}, 7)


def seen() -> pictures.Pictures:
    return pictures.rendered((48, 40))


@functools.cache
def live() -> dict:
    """What the live network finds in these pictures."""
    program, pictures_seen = inference.make_program(mini()), seen()
    run = parallel.compile(program.run)
    return jax.device_get(run(mini().variables, pictures_seen.canvas, pictures_seen.size))._asdict()


def toy_program(weights, canvas, size):
    """One object an image, by the colors of its canvas."""
    mean = 0.1 + canvas.astype(jnp.float32).mean((1, 2)) / 300  # [B, 3]
    boxes = jnp.concatenate([mean[:, :2] / 2, 0.5 + mean[:, 1:] / 2], axis=-1) * weights["a/kernel"]
    return {"boxes": boxes[:, None], "scores": mean[:, :1] + weights["b"], "labels": 1 + size[:, :1] % 3}


def toy(path: Path, *, platforms=("cpu", "cuda"), gives=artifact.DETECTIONS, batch_size=None) -> dict:
    """Writes an artifact; returns its weights."""
    weights = {"a/kernel": np.ones(4, np.float32), "b": np.float32(0.25)}
    batch = jax.export.symbolic_shape(BATCH)[0] if batch_size is None else batch_size
    arrays = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), weights)
    canvas = jax.ShapeDtypeStruct((batch, 48, 40, 3), jnp.uint8), jax.ShapeDtypeStruct((batch, 2), jnp.int32)
    program = jax.export.export(parallel.compile(toy_program), platforms=platforms)(arrays, *canvas)
    trained = mini()
    about = artifact.describe(
        trained.recipe,
        trained.class_names,
        gives=gives,
        batch_size=batch_size,
        rows=1,
        origin=trained.origin,
        training=trained.training,
    )
    artifact.write(path, program, weights, about)
    return weights
