"""The form in which a trained detector is published: one file of safetensors with all that is needed to detect.

The arrays have our names ("backbone/conv1_1/kernel", "batch_stats/..."). The metadata are texts of JSON:

    format          "ssd_jax", and format_version "1"
    config          the settings of ``recipe.detection_part``
    class_names     with "background" first
    preprocessing   what is done to images, for those who read the file without this library
    origin          where the first weights came from: file, SHA-256, kind; or the run
    training        step, data, settings, metric, versions

A file may also hold the base of a network alone, converted from someone's classifier: then there are no class names
and no config, and ``preprocessing`` tells which images its first convolution expects.
"""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import PureWindowsPath
from typing import Any

import jax
import ml_dtypes
import numpy as np

from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.weights import metadata, readers
from ssd_jax.weights.mappings import Normalization
from ssd_jax.weights.network import TrainedNetwork, named_arrays
from ssd_jax.weights.readers import safetensors


def write(path: str | PathLike[str], trained: TrainedNetwork) -> None:
    """Writes a detector; the same one gives the same bytes.

    Raises:
      InputError: if the file cannot be written, or the recipe lacks a setting.
    """
    metadata.check_names(trained.class_names)
    recipe = recipes.detection_part(trained.recipe)
    arrays = {name: np.asarray(array, np.float32) for name, array in named_arrays(trained.variables).items()}
    model = recipe["model"]
    described = preprocessing(Normalization(model["mean"], model["std"]), model["image_size"])
    texts = {
        "config": recipe,
        "class_names": trained.class_names,
        "preprocessing": {**described, "canvas": recipe["loader"]["canvas"]},
        "origin": without_folders(trained.origin),
        "training": dict(trained.training),
    }
    safetensors.write(path, arrays, _texts(texts))


def write_base(
    path: str | PathLike[str],
    arrays: Mapping[str, np.ndarray],
    *,
    normalization: Normalization | None,
    origin: Mapping[str, Any],
) -> None:
    """Writes the base of a network.

    Args:
      path: of the file.
      arrays: by our names.
      normalization: of the images that the first convolution expects; None: not known.
      origin: where the arrays come from.

    Raises:
      InputError: if an array has other than finite numbers, or the file cannot be written.
    """
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating) and array.dtype != ml_dtypes.bfloat16:
            raise InputError(f"{name}: expected numbers of a floating type, got {array.dtype}")
        if not np.isfinite(array).all():
            raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    texts: dict[str, Any] = {"origin": without_folders(origin)}
    if normalization is not None:
        texts["preprocessing"] = preprocessing(normalization)
    safetensors.write(path, {name: np.asarray(array) for name, array in arrays.items()}, _texts(texts))


def read(path: str | PathLike[str]) -> TrainedNetwork:
    """Reads a detector of :func:`write`.

    Raises:
      InputError: if the file is no such one, is damaged, or its arrays are not those of its configuration.
    """
    file = readers.read(path)
    if not metadata.holds_detector(file.metadata):
        raise InputError(
            f"{path}: expected a run's folder or a detector published as safetensors, got {file.format} without a "
            "configuration; python -m ssd_jax.commands.weights makes one of a known kind of file (docs/weights.md)"
        )
    try:
        recipe, class_names = metadata.settings_of(file.metadata)
        like, default_boxes = _build(recipe, len(class_names))
        expected, found = named_arrays(like), dict(file.tensors)
        for name in dict.fromkeys([*expected, *found]):
            wanted, got = (f"shape {one[name].shape}" if name in one else "no such array" for one in (expected, found))
            if wanted != got:
                raise InputError(f"{name}: expected {wanted} by its configuration, got {got}")
        leaves = [np.asarray(found[name], np.float32) for name in expected]
        variables = jax.tree.unflatten(jax.tree.structure(like), leaves)
        origin, training = metadata.origin_of(file.metadata), metadata.training_of(file.metadata)
        for name, leaf in zip(expected, leaves, strict=True):
            if not np.isfinite(leaf).all():
                raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    step = training.get("step")
    name = str(path) if step is None else f"{path} (step {step})"
    return TrainedNetwork(name, class_names, variables, default_boxes, recipe, origin, training, step)


def _build(recipe: recipes.Recipe, num_classes: int) -> tuple[Any, np.ndarray]:
    """Returns the shapes of the variables and the default boxes, or says that the configuration makes no sense."""
    try:
        model, default_boxes = recipes.build_network(recipe, num_classes)
        if not np.isfinite(default_boxes).all():
            raise ValueError("default boxes are not finite")
        rows = len(default_boxes)
        shapes = (jax.ShapeDtypeStruct((rows, columns), np.float32) for columns in (4, num_classes))
        jax.eval_shape(recipes.build_detect(recipe, default_boxes), *shapes)
        return model.shapes, default_boxes
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"its configuration describes no network ({type(error).__name__}: {reason})") from error


def preprocessing(normalization: Normalization, image_size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Returns what is done to images before the first convolution, in words and numbers."""
    stated: dict[str, Any] = {
        "color_order": "RGB",
        "range": "0 to 255",
        "mean": tuple(normalization.mean),
        "std": tuple(normalization.std),
        "formula": "(pixel - mean) / std",
    }
    if image_size is not None:
        stated["image_size"] = tuple(image_size)  # (height, width)
        stated["resize"] = "bilinear without regard to the aspect, to whole levels"
    return stated


def without_folders(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an origin with the names of files and runs alone: the folders are its owner's affair."""
    told: dict[str, Any] = {}
    for key, value in origin.items():
        if isinstance(value, Mapping):
            told[key] = without_folders(value)
        else:
            # Of Windows, which takes both slashes: the file may come from any system. "." has no other name.
            told[key] = (PureWindowsPath(value).name or value) if key in ("file", "run") else value
    return told


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    texts = {key: json.dumps(value, sort_keys=key != "class_names") for key, value in values.items() if value}
    return {"format": metadata.FORMAT, "format_version": metadata.VERSION, **texts}
