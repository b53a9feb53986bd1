"""Putting converted arrays into a network: what depends on the network, and not on the file alone."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights import decimate
from ssd_jax.weights.mappings import folding, own
from ssd_jax.weights.mappings.types import Converted, Normalization, Report, Use

DECIMATED = "decimated"
HEADS = ("keep", "reset")
DECIMATION = {
    "backbone/fc6/kernel": decimate.decimate_fc6,
    "backbone/fc6/bias": decimate.decimate_bias,
    "backbone/fc7/kernel": decimate.decimate_fc7,
    "backbone/fc7/bias": decimate.decimate_bias,
}


def fit(
    converted: Converted, variables: Mapping[str, Any], *, normalization: Normalization, heads: str = "keep"
) -> tuple[dict[str, Any], Report]:
    """Replaces the variables of a network by those of a file; what the file lacks keeps its values.

    * fc6 and fc7 of a full VGG-16 are decimated where the network has them as atrous convolutions.
    * If the network normalizes images in another way than the weights expect, that is folded into the first
      convolution (:mod:`ssd_jax.weights.mappings.folding`, which says what is exact).
    * Arrays of the backbone that the network lacks are left: layers that no feature map needs, biases where batch
      normalization follows. Elsewhere, and in files under our own names, what the network lacks is refused.

    Args:
      converted: of :func:`ssd_jax.weights.mappings.convert`.
      variables: {"params": ..., "batch_stats": ...} of ``models.build(...).init``.
      normalization: what the network does to images, ``model.mean`` and ``model.std``.
      heads: "keep": those of the file, which has to have as many classes; "reset": none of them.

    Returns:
      The variables as float32 NumPy arrays where they come from the file, and what became of each array.

    Raises:
      ValueError: if ``heads`` is unknown.
      InputError: if an array does not fit or holds numbers that are not finite, by its name.
    """
    if heads not in HEADS:
        raise ValueError(f"heads: expected one of {HEADS}, got {heads!r}")
    leaves, structure = jax.tree_util.tree_flatten_with_path(dict(variables))
    paths = (jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/") for path, _ in leaves)
    network = {path: leaf for path, (_, leaf) in zip(paths, leaves, strict=True)}
    wanted, skipped = _select(converted, network, heads)
    arrays, uses = _decimate(converted, wanted, network)
    for use in uses:
        _check(converted, use, arrays[use.target], network[use.target].shape)
    # Only now: these are views of the file's arrays, and the full fc6 alone is 400 MB.
    with np.errstate(over="ignore"):  # of float64; infinity is refused below
        arrays = {path: np.ascontiguousarray(array, np.float32) for path, array in arrays.items()}
    for use in uses:
        if not np.isfinite(arrays[use.target]).all():
            raise InputError(f"{use.source}: expected finite numbers, got NaN or infinity")
    arrays, uses, folded = folding.fold(converted, arrays, uses, normalization)
    left = (*((name, "no counterpart here") for name in converted.left), *skipped)
    random = tuple(path for path in network if path not in arrays)
    numbers = sum(array.size for array in arrays.values())
    report = Report(converted.family, uses, numbers, left, random, (*converted.notes, *folded))
    return jax.tree.unflatten(structure, [arrays.get(path, leaf) for path, leaf in network.items()]), report


def _select(converted: Converted, network: Mapping[str, Any], heads: str) -> tuple[list[Use], list[tuple[str, str]]]:
    """Returns which arrays are to be used, and the others with the reason."""
    wanted, skipped = [], []
    if converted.first not in network:
        first = next(iter(network), "none")
        raise InputError(
            f"{converted.family}: expected a network with {converted.first}, got one with others, such as {first} "
            "(see model.backbone)"
        )
    for use in converted.uses:
        group = use.target.removeprefix("batch_stats/").split("/")[0]
        if group == "heads" and heads == "reset":
            skipped.append((use.source, "heads are new"))
        elif use.target in network:
            wanted.append(use)
        elif group == "backbone" and converted.family != own.NAME:
            skipped.append((use.source, "the network lacks it"))
        else:
            raise InputError(f"{use.source}: expected an array of this network, which has no {use.target}")
    return wanted, skipped


def _decimate(
    converted: Converted, uses: list[Use], network: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[Use, ...]]:
    """Subsamples fc6 and fc7 if the file has the classifier's and the network the reduced ones."""
    arrays = {use.target: np.asarray(converted.arrays[use.target]) for use in uses}
    fc6 = "backbone/fc6/kernel"
    if fc6 not in arrays or arrays[fc6].shape[:2] != (7, 7) or network[fc6].shape[:2] != (3, 3):
        return arrays, tuple(uses)
    # Arrays of other axes are left to the check of shapes, which names them.
    fitting = [path for path in DECIMATION if path in arrays and arrays[path].ndim == len(network[path].shape)]
    changed = {path: DECIMATION[path](arrays[path]) for path in fitting}
    uses = [use._replace(how=(*use.how, DECIMATED)) if use.target in changed else use for use in uses]
    return arrays | changed, tuple(uses)


def _check(converted: Converted, use: Use, array: np.ndarray, expected: tuple[int, ...]) -> None:
    if not jnp.issubdtype(array.dtype, jnp.floating):  # unlike NumPy's, it knows bfloat16
        raise InputError(f"{use.source}: expected numbers of floating point, got {array.dtype}")
    if array.shape == expected:
        return
    if use.target.split("/")[0] == "heads" and converted.num_classes and array.shape[:-1] == expected[:-1]:
        kind = "4 x boxes a cell" if "_mbox_loc/" in use.target else "classes x boxes a cell"
        raise InputError(
            f"{use.source}: expected {expected[-1]} outputs ({kind}), got {array.shape[-1]}, of weights for "
            f"{converted.num_classes} classes with the background; heads='reset' leaves all heads out"
        )
    raise InputError(f"{use.source}: expected shape {expected} for {use.target}, got {array.shape}")
