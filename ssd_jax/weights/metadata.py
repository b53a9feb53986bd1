"""What the metadata of a published file say: texts of JSON by anyone, judged before anything is built from them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND
from ssd_jax.weights.mappings import Normalization

FORMAT, VERSION = "ssd_jax", "1"
LARGEST_SIDE = 16_384  # pixels of an input; what a file says is computed with before its arrays are compared
LONGEST_NAME = 200  # letters of a class
MOST_PIXELS = {"model.image_size": 4096**2, "loader.canvas": 8192**2}
MOST_DETECTIONS = 100_000
MOST_ORIGINS = 20  # runs that started from each other
TEXTS = ("file", "run", "sha256", "format", "family")  # of an origin


def holds_detector(metadata: Mapping[str, Any]) -> bool:
    """Whether the metadata of a file are those of a detector of :func:`write`."""
    return metadata.get("format") == FORMAT and "config" in metadata and "class_names" in metadata


def normalization_of(metadata: Mapping[str, Any]) -> Normalization | None:
    """Returns for which images the arrays of a file of ours were trained, as its metadata say.

    Raises:
      InputError: if they say something else there.
    """
    if metadata.get("format") != FORMAT or "preprocessing" not in metadata:
        return None
    stated = _json(metadata, "preprocessing", {})
    parts = tuple(stated.get(key) for key in ("mean", "std"))
    for part in parts:
        if not _numbers(part, 3) or (part is parts[1] and min(part) <= 0):
            raise InputError(f"metadata preprocessing: expected mean and std of three numbers, got {str(stated)[:200]}")
    return Normalization(*(tuple(map(float, part)) for part in parts))  # pyright: ignore[reportArgumentType]


def origin_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns where the arrays of a file of ours come from, as its metadata say; {} if they do not, or it is not ours.

    Everything in it that programs use has its type.

    Raises:
      InputError: if they say something else there.
    """
    if metadata.get("format") != FORMAT:
        return {}
    origin = _json(metadata, "origin", {})
    part: Any = origin
    for _ in range(MOST_ORIGINS):
        if not isinstance(part, dict) or any(type(part.get(key, "")) is not str for key in TEXTS):
            raise InputError(f"metadata origin: expected {', '.join(TEXTS)} as texts, got {str(part)[:80]}")
        if "origin" not in part:
            break
        part = part["origin"]
    else:
        raise InputError(f"metadata origin: expected at most {MOST_ORIGINS} within each other")
    return origin


def training_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is said of the training, of which everything that programs use has its type."""
    training = _json(metadata, "training", {})
    step, settings, metric = training.get("step"), training.get("settings", {}), training.get("metric")
    value = metric.get("value") if isinstance(metric, dict) else 0.0 if metric is None else None
    sound = (
        (step is None or (type(step) is int and 0 <= step < 2**31))
        and isinstance(settings, dict)
        and all(isinstance(section, dict) for section in settings.values())
        and type(value) in (int, float)
        and type(training.get("training_images", 0)) is int
    )
    if not sound:
        raise InputError(
            f"metadata training: expected step, settings and metric as ssd_jax writes them, got {str(training)[:80]}"
        )
    return training


def settings_of(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns configuration and class names, as far as can be judged without building the network."""
    version = metadata.get("format_version")
    if version != VERSION:
        raise InputError(f"metadata format_version: expected {VERSION}, got {version!r}; a newer ssd_jax may read it")
    class_names = _json(metadata, "class_names", [])
    check_names(class_names)
    config = _json(metadata, "config", {})
    if not all(isinstance(section, dict) for section in config.values()):
        raise InputError("metadata config: expected sections of settings")
    recipe = recipes.detection_part(recipes.plain(config))
    sizes = {"model.image_size": recipe["model"].get("image_size"), "loader.canvas": recipe["loader"]["canvas"]}
    for key, size in sizes.items():
        if not _numbers(size, 2) or any(type(side) is not int or not 0 < side <= LARGEST_SIDE for side in size):
            raise InputError(f"config.{key}: expected (height, width) of up to {LARGEST_SIDE} pixels, got {size!r}")
        if size[0] * size[1] > MOST_PIXELS[key]:
            raise InputError(f"config.{key}: expected at most {MOST_PIXELS[key]:,} pixels, got {size[0]} x {size[1]}")
    _check_types(recipe)
    return recipe, tuple(class_names)


def check_names(class_names: Any) -> None:
    """Refuses what is no list of classes, and names that would move a cursor."""
    known = isinstance(class_names, list | tuple) and all(isinstance(name, str) for name in class_names)
    if not known or len(class_names) < 2 or class_names[0] != BACKGROUND or len(set(class_names)) != len(class_names):
        raise InputError(
            f"metadata class_names: expected distinct names, {BACKGROUND!r} first, got {str(class_names)[:200]}"
        )
    if any(not 0 < len(name) <= LONGEST_NAME or not name.isprintable() for name in class_names):
        raise InputError(f"metadata class_names: expected printable names of up to {LONGEST_NAME} letters")


def _check_types(recipe: Mapping[str, Any]) -> None:
    """Refuses what a detector or a card would stumble over."""
    model, detect, variances = recipe["model"], recipe["detect"], recipe["match"]["variances"]
    most = detect.get("max_detections")
    known = {
        "model.backbone: expected a name": type(model.get("backbone")) is str,
        "model.mean: expected three numbers": _numbers(model.get("mean"), 3),
        "model.std: expected three numbers above 0": _numbers(model.get("std"), 3) and min(model["std"]) > 0,
        "match.variances: expected four numbers above 0": _numbers(variances, 4) and min(variances) > 0,
        "detect.max_detections: expected at most 100,000": type(most) is int and 1 <= most <= MOST_DETECTIONS,
        "detect.score_threshold: expected a number": type(detect.get("score_threshold")) in (int, float),
        "detect.iou_threshold: expected a number": type(detect.get("iou_threshold")) in (int, float),
    }
    for sentence, is_so in known.items():
        if not is_so:
            raise InputError(f"config.{sentence}")


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == count
        and all(type(part) in (int, float) and np.isfinite(part) for part in value)
    )


def _json(metadata: Mapping[str, Any], key: str, default: Any) -> Any:
    """Returns what a text of the metadata says, of the type of the default."""
    if key not in metadata:
        return default
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise InputError(f"metadata {key}: expected JSON, got {str(metadata[key])[:80]!r}") from error
    if type(value) is not type(default):
        raise InputError(f"metadata {key}: expected a JSON {type(default).__name__}, got {str(value)[:80]}")
    return value
