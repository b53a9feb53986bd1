"""What is told about an exported detector, whatever the format of its file."""

import contextlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata as packages
from typing import Any

from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND

FORMAT, VERSION = "ssd_jax exported program", 1
DETECTIONS, CANDIDATES = "detections", "candidates"  # what a program gives: with or without suppression
LIBRARIES = ("ssd_jax", "jax", "jaxlib", "flax", "numpy")  # on which its numbers depend
LARGEST = 16_384  # pixels of a side, images of a batch

_BOXES = "xmin, ymin, xmax, ymax, divided by the width and height of the picture"


def describe(
    recipe: recipes.Recipe,
    class_names: tuple[str, ...],
    *,
    gives: str,
    batch_size: int | None,
    rows: int,
    origin: Mapping[str, Any],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns all that the user of an exported detector has to know, JSON.

    Args:
      recipe: with the sections of ``recipe.detection_part``.
      class_names: with the background.
      gives: DETECTIONS or CANDIDATES.
      batch_size: fixed number of images; None: any.
      rows: of its results for one image.
      origin, training: as of ``weights.TrainedNetwork``.
    """
    recipe = recipes.detection_part(recipe)
    canvas, batch = list(recipe["loader"]["canvas"]), "batch" if batch_size is None else batch_size
    inputs = {
        "canvas": _array("uint8", [batch, *canvas, 3], "RGB; the picture in the upper left corner, the rest as it may"),
        "size": _array("int32", [batch, 2], "(height, width) of the picture within its canvas, at least (1, 1)"),
    }
    outputs = {
        DETECTIONS: {
            "boxes": _array("float32", [batch, rows, 4], f"{_BOXES}; best first, zeros in empty rows"),
            "scores": _array("float32", [batch, rows], "0 in empty rows"),
            "labels": _array("int32", [batch, rows], "position in class_names, 0 in empty rows"),
        },
        CANDIDATES: {
            "boxes": _array("float32", [batch, rows, 4], f"{_BOXES}; not clipped, unless detect.clip_first"),
            "scores": _array("float32", [batch, rows, len(class_names)], "probabilities of the class_names"),
        },
    }
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "gives": gives,
        "batch_size": batch_size,
        "class_names": list(class_names),
        "canvas": canvas,
        "image_size": list(recipe["model"]["image_size"]),
        "inputs": inputs,
        "outputs": outputs[gives],
        "config": recipe,
        "origin": dict(origin),
        "training": dict(training),
        "versions": _versions(),
    }


def check(text: bytes) -> dict[str, Any]:
    """Returns what :func:`describe` once returned, its configuration in plain form.

    Raises:
      ValueError: the text is something else.
      InputError: it is of another version of the format, or its configuration lacks a setting.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"its metadata are no {FORMAT!r}")
    if found.get("format_version") != VERSION:
        version = str(found.get("format_version"))[:20]
        raise InputError(f"expected version {VERSION} of the format, got {version}; a newer ssd_jax may read it")
    names = found.get("class_names")
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) and name.isprintable() for name in names)
        or len(names) < 2
        or names[0] != BACKGROUND
    ):
        raise ValueError(f"class_names: expected names, {BACKGROUND!r} first, got {str(names)[:80]}")
    for key in ("canvas", "image_size"):
        sides = found.get(key)
        if not isinstance(sides, list) or len(sides) != 2 or not all(map(_is_size, sides)):
            raise ValueError(f"{key}: expected (height, width), got {str(sides)[:80]}")
    if found.get("gives") not in (DETECTIONS, CANDIDATES):
        raise ValueError(f"gives: expected {DETECTIONS} or {CANDIDATES}, got {str(found.get('gives'))[:80]}")
    if found.get("batch_size") is not None and not _is_size(found["batch_size"]):
        raise ValueError(f"batch_size: expected a number, got {str(found['batch_size'])[:80]}")
    for key in ("config", "versions", "origin", "training"):
        if not isinstance(found.get(key), dict):
            raise ValueError(f"{key}: expected names and values, got {str(found.get(key))[:80]}")
    if not all(isinstance(section, dict) for section in found["config"].values()):
        raise ValueError("config: expected sections of settings")
    found["config"] = recipes.detection_part(recipes.plain(found["config"]))
    return found


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _array(dtype: str, shape: list[Any], meaning: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "meaning": meaning}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(packages.PackageNotFoundError):  # ssd_jax run from its folder, not installed
            found[name] = packages.version(name)
    return found
