"""What would otherwise fail hours into a run is looked at before its first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ssd_jax import data, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import tensorboard
from ssd_jax.errors import InputError
from ssd_jax.types import Batch

METRICS = ("11point", "area", "coco", "ilsvrc")
ROOTS = {  # kind of data -> what config.data.root is to name
    "voc": "a folder in VOC layout (VOCdevkit with VOC2007 and VOC2012, from host.robots.ox.ac.uk/pascal/VOC)",
    "coco": "the folder of annotations/ and the images (cocodataset.org), or of your own COCO JSON",
    "yolo": "the folder of images and labels",
    "csv": "the folder of the CSV files",
    "ilsvrc": "the folder ILSVRC, of Annotations/, Data/ and ImageSets/ (image-net.org)",
    "tfds": "the --data_dir of python -m ssd_jax.commands.prepare",
    "folder": "the folder of the images",
}
POSITIVE = {
    "train": (
        "batch_size",
        "num_steps",
        "accumulation_steps",
        "log_every",
        "evaluate_every",
        "checkpoint_every",
        "keep_checkpoints",
    ),
    "evaluate": ("batch_size",),
}


def check_inputs(recipe: recipes.Recipe) -> None:
    """Refuses to start if the recipe needs data or weights that nobody pointed to, naming all at once."""
    missing = []
    kind = recipe["data"]["kind"]
    if kind not in data.KINDS:
        raise InputError(f"config.data.kind: expected one of {', '.join(data.KINDS)}; got {kind!r}")
    if kind in ROOTS and not recipe["data"]["root"]:
        missing.append(
            f"config.data.root: no images are given; point to {ROOTS[kind]} with --config.data.root=DIR "
            "(docs/data.md tells where data comes from)"
        )
    init = recipe["init"]
    if init["required"] and not init["weights"] and not init["ckpt"]:
        missing.append(weights.MISSING_WEIGHTS)
    if missing:
        raise InputError("; and ".join(missing))
    if recipe["train"]["tensorboard"]:
        tensorboard.check_installed()


def check_settings(recipe: recipes.Recipe) -> None:
    """Refuses settings of the loop that are out of range or do not fit the devices."""
    for section, keys in POSITIVE.items():
        for key in keys:
            if recipe[section][key] < 1:
                raise InputError(f"config.{section}.{key}: expected at least 1, got {recipe[section][key]}")
        batch_size, devices = recipe[section]["batch_size"], jax.device_count()
        parts = recipe[section].get("accumulation_steps", 1)
        if batch_size % (devices * parts):
            wanted = f"the {devices} devices" + (f" times {parts} accumulation_steps" if parts > 1 else "")
            raise InputError(f"config.{section}.batch_size: expected a multiple of {wanted}, got {batch_size}")
    if not 0 <= recipe["train"]["ema_decay"] < 1:
        raise InputError(f"config.train.ema_decay: expected a number in [0, 1), got {recipe['train']['ema_decay']}")
    if recipe["train"]["on_nonfinite"] not in ("stop", "skip"):
        raise InputError(
            f"config.train.on_nonfinite: expected 'stop' or 'skip', got {recipe['train']['on_nonfinite']!r}"
        )
    if recipe["priors"]["clip"] and recipe["loss"]["ignore_cross_boundary"]:
        raise InputError(
            "config.loss.ignore_cross_boundary: expected False with config.priors.clip=True, since no clipped "
            "default box crosses the image's edge, got True"
        )
    if recipe["train"]["seed"] < 0:
        raise InputError(f"config.train.seed: expected 0 or more, got {recipe['train']['seed']}")
    if recipe["loader"]["on_error"] not in ("skip", "stop"):
        raise InputError(f"config.loader.on_error: expected 'skip' or 'stop', got {recipe['loader']['on_error']!r}")
    for key in ("timeout_s", "num_threads"):
        if recipe["loader"][key] < 0:
            raise InputError(f"config.loader.{key}: expected 0 or more, got {recipe['loader'][key]}")
    canvas = recipe["loader"]["canvas"]
    cache = Path(recipe["loader"]["cache"]).expanduser()
    if cache.exists() and not cache.is_dir():
        raise InputError(f"config.loader.cache: expected a folder for decoded images, but {cache} is a file")
    if len(canvas) != 2 or min(canvas) < 1:
        raise InputError(f"config.loader.canvas: expected (height, width) in pixels, got {canvas}")
    if recipe["evaluate"]["metric"] not in METRICS:
        raise InputError(
            f"config.evaluate.metric: expected one of {', '.join(METRICS)}, got {recipe['evaluate']['metric']!r}"
        )


def check_objects(recipe: recipes.Recipe, source: Any) -> None:
    """Refuses to train on a source without any object that the recipe learns."""
    if not source.max_boxes:
        raise InputError(f"config.data.train_split: expected annotated objects, found none in {_described(source)}")
    policy = {key: recipe["loader"][key] for key in ("difficult", "crowd")}
    if hasattr(source, "count_learned") and not source.count_learned(**policy):
        raise InputError(
            f"config.data.train_split: expected objects to learn, but all in {source.name} are difficult "
            f"(config.loader.difficult={policy['difficult']}) or crowds"
        )


def check_ground_truth(source: Any, truth: Any) -> None:
    """Refuses to evaluate on a source without any object that counts."""
    if not any((~entry.ignored).any() for entry in truth):
        raise InputError(f"config.data.eval_split: expected annotated objects, found none in {_described(source)}")


def _described(source: Any) -> str:
    return source.name if getattr(source, "annotated", True) else f"{source.name}, which has no annotations"


def abstract_batch(recipe: recipes.Recipe, rows: int, max_boxes: int) -> Batch:
    """Returns the shapes of a batch."""
    spec = jax.ShapeDtypeStruct
    return Batch(
        canvas=spec((rows, *recipe["loader"]["canvas"], 3), jnp.uint8),
        size=spec((rows, 2), jnp.int32),
        boxes=spec((rows, max_boxes, 4), jnp.float32),
        labels=spec((rows, max_boxes), jnp.int32),
        ignored=spec((rows, max_boxes), jnp.bool_),
        index=spec((rows,), jnp.uint32),
        epoch=spec((rows,), jnp.uint32),
        valid=spec((rows,), jnp.bool_),
    )


def check_step(step: Callable, first: Any, batch: Batch, sections: str) -> None:
    """Traces a step, so that a wrong option of the sections it splats is said before anything runs.

    Args:
      step: the mapped step.
      first: its first argument.
      batch: of :func:`abstract_batch`.
      sections: for the message, such as "augment, match".

    Raises:
      InputError: if an option is unknown or out of range.
    """
    try:
        jax.eval_shape(step, first, batch)
    except (TypeError, ValueError) as error:
        raise InputError(f"config.({sections}): {str(error).splitlines()[0]}") from error
