"""Arrays under our own names: "backbone/conv1_1/kernel", "batch_stats/backbone/conv1_bn/mean" (docs/weights.md)."""

import re
from collections.abc import Mapping

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights.mappings.types import Converted, Family, Options, Use

NAME = "ssd_jax"
PATH = re.compile(r"(batch_stats/)?(backbone|extras|heads)/[^/]+/(kernel|bias|scale|mean|var)")


def find(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns "" if there is an array under one of our names."""
    return "" if any(PATH.fullmatch(name) for name in tensors) else None


def convert(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Takes every array as it is; one that a network does not know is a slip of the pen, and ``fit`` refuses it.

    Raises:
      InputError: if colors are to be reversed; such a file is made once, for RGB.
    """
    del prefix
    if options.channels == "bgr":
        raise InputError("channels: expected 'rgb' for arrays under our own names, got 'bgr'")
    first = next(name for name in tensors if PATH.fullmatch(name))
    uses = tuple(Use(name, name) for name in tensors)
    kernels = [name for name in tensors if name.startswith("backbone/") and tensors[name].shape[2:3] == (3,)]
    if options.normalization is not None and len(kernels) == 1:
        return Converted(NAME, dict(tensors), uses, (), options.normalization, kernels[0], {})
    notes = ("nothing in it says for which images it was trained: it is taken as made for this configuration",)
    return Converted(NAME, dict(tensors), uses, (), None, first, {}, notes=notes)


OWN = Family(NAME, "arrays under our own names", find, convert)
