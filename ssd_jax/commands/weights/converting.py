"""From any source of weights to a published file or a checkpoint."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssd_jax import recipe as recipes
from ssd_jax import weights
from ssd_jax.commands.weights import naming, writing
from ssd_jax.commands.weights.sources import Source
from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, mappings

SUFFIX = ".safetensors"
FOREIGN_SUFFIXES = (".safetensors", ".pth", ".pt", ".h5", ".npz", ".caffemodel", ".onnx", ".stablehlo", ".md")


def given_options(arguments: Sequence[str]) -> set[str]:
    """Returns what a command line says of the recipe: "config", "config.section.key"."""
    found = (re.match(r"--?(config(\.[A-Za-z_]\w*)*)(=|$)", argument) for argument in arguments)
    return {match[1] for match in found if match}


def convert(
    source: Source, output: str, *, config: Any, given: set[str], class_names: Sequence[str], license_: str
) -> list[str]:
    """Writes what a source holds, reads it back and compares.

    Args:
      source: of ``sources.open_source``.
      output: FILE.safetensors, else a folder.
      config: the recipe of a foreign detector, or of a published one that becomes a checkpoint; None: there is none.
      given: of :func:`given_options`; these settings stay, whatever a foreign file says.
      class_names: of a foreign detector, without background; () = the usual ones of so many.
      license_: for the card.

    Returns:
      What is to be told, a line a string.

    Raises:
      InputError: if it cannot be converted or written.
    """
    path = Path(output).expanduser()
    _check_output(source, path, output)
    is_file = path.suffix == SUFFIX
    base = None if config is None else recipes.plain(config)
    told, notes = [], ()
    if source.foreign is not None and source.foreign.converted.num_classes is None:
        if not is_file:
            raise InputError(
                f"--output: expected FILE{SUFFIX}, since {source.foreign.path} holds no detector, got {output}; "
                f"training starts from it by --config.init.weights={source.foreign.path}"
            )
        _refuse([*given, *["class_names"] * bool(class_names)], f"{source.foreign.path} holds no detector")
        return writing.write_base(source.foreign, path, license_)
    if source.foreign is not None:
        trained, report = detector_of(source.foreign, _needed(base), given, class_names)
        told, notes = [f"{source.foreign.path} ({source.foreign.format})", mappings.as_table(report)], report.notes
    elif source.trained is not None:
        trained = source.trained
        stated = given if is_file or "train" in trained.recipe else given & _settings(trained.recipe).keys()
        _refuse([*stated, *["class_names"] * bool(class_names)], f"{trained.name} has its own")
    else:
        raise ValueError("source: expected one of a known network")
    if is_file:
        return [*told, *writing.write_file(trained, path, license_, notes)]
    _refuse(["license"] * bool(license_), "a checkpoint has no card")
    return [*told, *writing.write_checkpoint(trained, path, _whole_recipe(trained, base))]


def _check_output(source: Source, path: Path, output: str) -> None:
    """Refuses names that stand for another format, and the source itself."""
    if not output or (path.suffix.lower() in FOREIGN_SUFFIXES and path.suffix != SUFFIX):
        raise InputError(f"--output: expected FILE{SUFFIX}, or a folder for a checkpoint, got {output!r}")
    if path.exists() and Path(source.place).exists() and path.samefile(source.place):
        raise InputError(f"--output: expected another place than the source, got {output}")


def detector_of(
    file: foreign.Foreign, base: recipes.Recipe, given: set[str], class_names: Sequence[str]
) -> tuple[weights.TrainedNetwork, mappings.Report]:
    """Makes a detector of a foreign file, which detects as it did where it comes from.

    Args:
      file: of a detector.
      base: the recipe, which the file's own settings override but for those ``given``.
      given: of :func:`given_options`; settings that stay.
      class_names: without background; () = the usual ones.

    Raises:
      InputError: if classes are missing, or the arrays do not fill the network.
    """
    converted = file.converted
    names = naming.class_names(converted.num_classes or 0, class_names)
    stated = {key: value for key, value in converted.config.items() if f"config.{key}" not in given}
    recipe = recipes.with_overrides(base, {**stated, "init.weights": "", "init.ckpt": "", "init.required": False})
    model, default_boxes = recipes.build_network(recipe, len(names))
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.shapes)
    variables, report = foreign.fill(file, fresh, foreign.normalization_of(recipe))
    if report.random:
        raise InputError(
            f"{file.path}: expected every array of the detector, got none for {len(report.random)}: {report.random[0]}"
        )
    name = Path(file.path).name
    return weights.TrainedNetwork(name, names, variables, default_boxes, recipe, file.origin), report


def _refuse(options: Sequence[str], reason: str) -> None:
    """Refuses the first of some options, which would do nothing."""
    if options:
        raise InputError(f"--{min(options)}: expected none, since {reason}")


def _settings(recipe: recipes.Recipe) -> dict[str, Any]:
    """Returns all settings by their options' names."""
    return {f"config.{section}.{key}": value for section, part in recipe.items() for key, value in part.items()}


def _whole_recipe(trained: weights.TrainedNetwork, base: Any) -> recipes.Recipe:
    """Returns the recipe of a checkpoint; a published file has of it what detecting needs."""
    recipe = trained.recipe
    if "train" in recipe:
        return recipe
    stated = {name.removeprefix("config."): value for name, value in _settings(recipe).items()}
    return recipes.with_overrides(_needed(base), {**stated, "init.weights": "", "init.required": False})


def _needed(base: Any) -> recipes.Recipe:
    if base is None:
        raise InputError("--config: expected the recipe of the detector, a file of configs/, got none")
    return base
