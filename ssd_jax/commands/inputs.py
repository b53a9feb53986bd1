"""The data of a recipe: its sources, their caches, and the batches of training."""

import re
from pathlib import Path
from typing import Any

import jax

from ssd_jax import data
from ssd_jax import recipe as recipes
from ssd_jax.data.watch import Stream
from ssd_jax.errors import InputError


def open_source(recipe: recipes.Recipe, split: str, class_names: tuple[str, ...] = ()) -> Any:
    """Opens the split "train" or "eval" of the recipe's data.

    Args:
      recipe: section ``data`` is read.
      split: "train" or "eval".
      class_names: of the network, when they are already known.
    """
    section = recipe["data"]
    options = {
        "kind": section["kind"],
        "root": str(Path(section["root"]).expanduser()) if section["root"] else "",
        "split": section[f"{split}_split"],
        "negatives": str(Path(negatives).expanduser()) if (negatives := section[f"{split}_negatives"]) else "",
        "class_names": class_names or section["class_names"],
        "unknown": section["unknown"],
        **section.get(section["kind"], {}),  # options of this kind alone
    }
    try:
        return recipes.splat("data", data.make_source, options)
    except InputError as error:  # the library does not know what its arguments are called on the command line
        raise InputError(name_settings(str(error), split)) from error


def name_settings(message: str, split: str) -> str:
    """Turns "data split ..." at the start of a message into "config.data.train_split ...", and likewise the others."""
    match = re.match(r"data ([a-z_]+(?:\.[a-z_]+)?)", message)
    if not match:
        return message
    setting = f"{split}_{match[1]}" if match[1] in ("split", "negatives") else match[1]
    return f"config.data.{setting}{message[match.end() :]}"


def open_cache(recipe: recipes.Recipe, source: Any) -> Any:
    """Returns the cache of decoded images that the recipe wants, built where it lacks some; None if it wants none."""
    folder = recipe["loader"]["cache"]
    try:
        return data.open_cache(source, recipe["loader"]["canvas"], folder) if folder else None
    except InputError as error:
        raise InputError(f"config.{str(error).replace('loader cache', 'loader.cache', 1)}") from error


def padded_boxes(recipe: recipes.Recipe, source: Any) -> int:
    """Returns M, the rows of ground truth a training image is padded to."""
    return recipe["loader"]["max_boxes"] or data.padded_boxes(source)


def train_batches(recipe: recipes.Recipe, source: Any, start_step: int, cache: Any = None) -> Stream:
    """Returns this process's rows of the endless batches of training, from a step on.

    ``cache`` is of :func:`open_cache`; without it, the one that the recipe wants is opened.
    """
    options = {**recipe["loader"], "max_boxes": padded_boxes(recipe, source)}
    options["cache"] = cache or options["cache"]
    train = recipe["train"]
    return recipes.splat(
        "loader",
        data.make_loader,
        options,
        source=source,
        batch_size=train["batch_size"],
        seed=train["seed"],
        start_step=start_step,
        shard=(jax.process_index(), jax.process_count()),
    )
