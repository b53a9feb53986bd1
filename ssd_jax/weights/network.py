"""A trained detector as it passes between rooms, wherever it was read from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from ssd_jax import recipe as recipes

NOTHING: Mapping[str, Any] = MappingProxyType({})


class TrainedNetwork(NamedTuple):
    """What a run has learned, and all that is needed to detect with it."""

    name: str  # for messages: folder and step, or file
    class_names: tuple[str, ...]  # [0] == "background"
    variables: Mapping[str, Any]  # {"params": ..., "batch_stats": ...}, NumPy arrays
    default_boxes: np.ndarray  # [P, 4]
    recipe: recipes.Recipe = NOTHING  # at least recipe.detection_part
    origin: Mapping[str, Any] = NOTHING  # JSON: where its first weights came from
    training: Mapping[str, Any] = NOTHING  # JSON: step, data, settings, metric, versions, as far as known
    step: int | None = None


def named_arrays(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns each array by its path; that of parameters without "params/", as ``train.py --summary`` lists them."""
    leaves = jax.tree_util.tree_flatten_with_path(dict(variables))[0]
    paths = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves)
    return {path.removeprefix("params/"): leaf for path, (_, leaf) in zip(paths, leaves, strict=True)}
