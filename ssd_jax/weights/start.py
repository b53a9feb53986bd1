"""Starting values of a network's variables: read from a file of anyone's, or the random ones of the network."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, mappings
from ssd_jax.weights.mappings import Converted

LOG = logging.getLogger("ssd_jax.weights")
MISSING_WEIGHTS = (
    "config.init.weights: this recipe starts from ImageNet weights of its backbone (VGG-16: fc6, fc7 reduced), "
    "and none are given; point to a published file of them with --config.init.weights=FILE (docs/weights.md), "
    "start from a trained run with --config.init.ckpt=WORKDIR, "
    "or train from random weights with --config.init.required=False"
)

# What the default boxes and offsets of a detector's heads follow from.
BOXES = (
    *(f"model.{key}" for key in ("min_sizes", "max_sizes", "aspect_ratios", "shapes", "steps", "truncate_sizes")),
    *("priors.clip", "priors.clip_centers", "match.variances"),
)


class Start(NamedTuple):
    """The variables that a training starts from."""

    variables: dict[str, Any]
    report: str = ""  # what became of each array of the file, several lines; "" without a file
    origin: Mapping[str, Any] = MappingProxyType({})  # JSON: which file, and how much of it; or which run


def initialize(
    variables: Mapping[str, Any],
    recipe: recipes.Recipe,
    *,
    weights: str = "",
    ckpt: str = "",
    heads: str = "copy",
    required: bool = False,
    family: str = "",
    channels: str = "",
) -> Start:
    """Replaces the variables that a file holds; the others keep their random values.

    The options are the recipe's section ``init``; what a run of ours gives (``ckpt``) is
    :func:`ssd_jax.weights.fine_tune`'s to fill in.

    Args:
      variables: {"params": ..., "batch_stats": ...}, freshly initialized.
      recipe: of the network; its sections ``model``, ``priors`` and ``match`` are read.
      weights: a file that :mod:`ssd_jax.weights.readers` reads and :mod:`ssd_jax.weights.mappings` knows; "" = none.
      ckpt: of the run to start from instead; "" = none.
      heads: "copy" or "keep": the heads of a detector's file, which has no names of classes and has to have as
        many; "reset": random ones.
      required: whether to refuse to start without either.
      family: whose network the file holds, one of ``mappings.NAMES``; "" = told by its arrays.
      channels: "rgb" or "bgr", the colors that its first convolution expects; "" = what the family is known for.

    Raises:
      InputError: if weights are required and absent or incomplete for the backbone, cannot be read, or do not fit
        the network; or if there is a run besides.
    """
    if ckpt:
        if weights:
            raise InputError(
                f"config.init: expected weights of a file or ckpt of a run, not both, got {weights} and {ckpt}"
            )
        return Start(dict(variables))
    if not weights:
        if required:
            raise InputError(MISSING_WEIGHTS)
        LOG.warning("no initial weights: the whole network starts from random values (He initialization of its base)")
        return Start(dict(variables))
    if heads not in ("copy", *mappings.HEADS):
        raise InputError(f"config.init.heads: expected 'copy', 'keep' or 'reset', got {heads!r}")
    _check_choices(family, channels)
    try:
        file = foreign.read_foreign(weights, family=family, channels=channels)
    except InputError as error:
        raise InputError(f"config.init.weights: {error}") from error
    kept = "reset" if heads == "reset" else "keep"
    if file.names_classes and kept == "keep":
        raise InputError(
            f"config.init.weights: {weights} is a detector whose classes have names; expected it as "
            f"--config.init.ckpt={weights}, which goes by them, or --config.init.heads=reset"
        )
    filled, report = foreign.fill(file, variables, foreign.normalization_of(recipe), heads=kept)
    # The norm of conv4_3 is SSD's own: no classifier has it, and its scale starts at 20.
    absent = [path for path in report.random if path.startswith("backbone/") and "_norm/" not in path]
    if required and absent:
        raise InputError(
            f"{weights}: expected every array of the backbone, got none for {len(absent)}: {absent[0]} ... "
            "(--config.init.required=False leaves those random)"
        )
    if kept == "keep" and file.converted.num_classes:
        report = report._replace(notes=(*report.notes, *_other_boxes(file.converted, recipe)))
    used = {"arrays": len(report.uses), "numbers": report.numbers}
    return Start(filled, f"{weights} ({file.format})\n{mappings.as_table(report)}", {**file.origin, **used})


def _check_choices(family: str, channels: str) -> None:
    for option, value, known in (("family", family, mappings.NAMES), ("channels", channels, ("rgb", "bgr"))):
        if value and value not in known:
            raise InputError(f"config.init.{option}: expected one of {', '.join(known)}, or '', got {value!r}")


def _other_boxes(converted: Converted, recipe: recipes.Recipe) -> tuple[str, ...]:
    """Returns a sentence if heads were trained for other default boxes, or variances, than those of the recipe."""
    classes = converted.num_classes or 0
    wanted = recipes.with_overrides(recipe, {key: value for key, value in converted.config.items() if key in BOXES})
    _, boxes = recipes.build_network(recipe, classes)
    _, others = recipes.build_network(wanted, classes)
    same = boxes.shape == others.shape and np.allclose(boxes, others, atol=1e-6)
    variances = wanted["match"]["variances"] == recipe["match"]["variances"]
    if same and variances:
        return ()
    different = [key for key in BOXES if _value(wanted, key) != _value(recipe, key)]
    stated = " ".join(f"--config.{key}={_value(wanted, key)!r}".replace(" ", "") for key in different)
    return (f"its heads were trained for other default boxes than this configuration's; those are {stated}",)


def _value(recipe: recipes.Recipe, key: str) -> Any:
    section, _, name = key.partition(".")
    return recipe[section].get(name)
