"""From a configuration to the objects it describes: the one place where derived values come about.

A recipe is the plain form of a ``ConfigDict``: nested dicts of numbers, strings and tuples, the same
whether it comes from a file in ``configs/`` or from a checkpoint. Each section is splatted into the
one function that owns it, so a misspelt key fails by itself.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ssd_jax import models, optim, postprocess, priors
from ssd_jax.errors import InputError

Recipe = Mapping[str, Any]


def plain(config: Any) -> Any:
    """Returns a configuration (or its JSON form) as nested dicts and tuples."""
    if hasattr(config, "items"):
        return {key: plain(value) for key, value in config.items()}
    return tuple(plain(value) for value in config) if isinstance(config, list | tuple) else config


def splat(section: str, function: Callable, options: Mapping[str, Any], **derived: Any) -> Any:
    """Calls the owner of a section with its options.

    Raises:
      InputError: if an option is unknown, missing or out of range, naming the section.
    """
    try:
        return function(**derived, **options)
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError) and "argument" not in str(error):
            raise  # not a wrong key, but a mistake of ours
        raise InputError(f"config.{section}: {error}") from error


def build_network(
    recipe: Recipe, num_classes: int, *, axis_name: str | None = None
) -> tuple[models.Model, np.ndarray]:  # priors: [P, 4]
    """Builds the network and its default boxes.

    Args:
      recipe: sections ``model`` and ``priors`` are read.
      num_classes: classes with the background.
      axis_name: mapped axis over which batch statistics are synchronized.
    """
    model = splat("model", models.build, recipe["model"], num_classes=num_classes, axis_name=axis_name)
    default_boxes = functools.partial(priors.default_boxes, model.levels, recipe["model"]["image_size"])
    return model, splat("priors", default_boxes, recipe["priors"])


def build_optimizer(recipe: Recipe) -> optim.Optimizer:
    """Builds the optimizer of the section ``optimizer`` for the length of training."""
    return splat("optimizer", optim.make_optimizer, recipe["optimizer"], num_steps=recipe["train"]["num_steps"])


def augment_options(recipe: Recipe) -> dict[str, Any]:
    """Returns the options of ``augment.augment``, but the output's size; expansion fills with the network's mean."""
    return {"mean": recipe["model"]["mean"], **recipe["augment"]}


def build_detect(recipe: Recipe, default_boxes: np.ndarray) -> Callable:
    """Returns detect(offsets, logits) of one image, by the sections ``detect`` and ``match``."""
    variances = recipe["match"]["variances"]
    return functools.partial(
        postprocess.detect, priors=jnp.asarray(default_boxes), variances=variances, **recipe["detect"]
    )


MATMUL_PRECISIONS = ("default", "tensorfloat32", "float32")
# What detecting needs of a recipe; None = the whole section.
DETECTION: dict[str, tuple[str, ...] | None] = {
    "model": None,
    "priors": None,
    "match": ("variances",),
    "detect": None,
    "loader": ("canvas",),
}


def detection_part(recipe: Recipe) -> dict[str, Any]:
    """Returns the settings that a trained network needs to detect, and no others.

    ``runtime.matmul_precision`` is one of them only where it is not "default".

    Raises:
      InputError: if one is absent, by its name, or the precision is unknown.
    """
    part = {}
    for section, keys in DETECTION.items():
        if section not in recipe:
            raise InputError(f"config.{section}: expected settings, got none")
        options = recipe[section]
        missing = [key for key in keys or () if key not in options]
        if missing:
            raise InputError(f"config.{section}.{missing[0]}: expected a value, got none")
        part[section] = {key: options[key] for key in keys or options}
    precision = recipe.get("runtime", {}).get("matmul_precision", "default")
    if precision not in MATMUL_PRECISIONS:
        raise InputError(
            f"config.runtime.matmul_precision: expected one of {', '.join(MATMUL_PRECISIONS)}; got {precision!r}"
        )
    return part if precision == "default" else {**part, "runtime": {"matmul_precision": precision}}


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of a recipe with other values, by dotted names ("model.image_size").

    Raises:
      InputError: if the recipe has no such setting.
    """
    changed = {section: dict(options) for section, options in recipe.items()}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        if key not in changed.get(section, {}):
            raise InputError(f"config.{name}: expected a setting of the recipe, which has none of this name")
        changed[section][key] = plain(value)
    return changed
