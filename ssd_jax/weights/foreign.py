"""A file of anyone's weights, read, understood and put into a network, with a note of which file it was."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.weights import mappings, metadata, readers
from ssd_jax.weights.mappings import Converted, Normalization, Report


class Foreign(NamedTuple):
    """A file of anyone's, read and understood."""

    path: str
    format: str  # of readers.READERS
    converted: Converted
    names_classes: bool  # whether it is a detector that we published
    origin: dict[str, Any]  # JSON: file, bytes, SHA-256, format, family, colors


def read_foreign(path: str | os.PathLike[str], *, family: str = "", channels: str = "", tiling: str = "") -> Foreign:
    """Reads a file of anyone's and tells what it means.

    Args:
      path: of the file.
      family, channels, tiling: of ``mappings.convert``.

    Raises:
      InputError: it cannot be read, or is of no known network.
    """
    place = str(Path(path).expanduser())
    file = readers.read(place)
    try:
        converted = mappings.convert(
            file.tensors,
            name=family,
            channels=channels,
            tiling=tiling,
            normalization=metadata.normalization_of(file.metadata),
        )
        before = metadata.origin_of(file.metadata)
    except InputError as error:  # begins with the name of an array
        raise InputError(f"{place}: {error}") from error
    origin: dict[str, Any] = {
        "file": place,
        "bytes": os.stat(place).st_size,
        "sha256": sha256(place),
        "format": file.format,
        "family": converted.family,
        "colors_reversed": any(mappings.REVERSED in use.how for use in converted.uses),
    }
    if before:
        origin["origin"] = before
    if converted.normalization is not None:
        origin |= {"mean": converted.normalization.mean, "std": converted.normalization.std}
    return Foreign(place, file.format, converted, metadata.holds_detector(file.metadata), origin)


def fill(
    file: Foreign, variables: Mapping[str, Any], normalization: Normalization, *, heads: str = "keep"
) -> tuple[dict[str, Any], Report]:
    """Puts the arrays of a file into a network, as ``mappings.fit`` does; messages begin with the file's name."""
    try:
        return mappings.fit(file.converted, variables, normalization=normalization, heads=heads)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from error


def normalization_of(recipe: recipes.Recipe) -> Normalization:
    """Returns what the network of a recipe does to images."""
    return Normalization(tuple(recipe["model"]["mean"]), tuple(recipe["model"]["std"]))  # pyright: ignore[reportArgumentType]


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, 64 hexadecimal digits.

    Raises:
      InputError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
