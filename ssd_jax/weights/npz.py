"""Starting values of the parameters: read from a file, or the random ones of the network."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssd_jax.errors import InputError

LOG = logging.getLogger("ssd_jax.weights")
MISSING_WEIGHTS = (
    "config.init.weights: this recipe starts from ImageNet weights of its backbone (VGG-16: fc6, fc7 reduced), "
    "and none are given; "
    "make FILE.npz as docs/weights.md describes and point to it with --config.init.weights=FILE.npz, "
    "start from a trained run with --config.init.ckpt=WORKDIR, "
    "or train from random weights with --config.init.required=False"
)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads named arrays; nothing in the file can be executed (pickled arrays are refused).

    Raises:
      InputError: if the file is absent or no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"config.init.weights: expected a .npz file, but {path} does not exist") from error
    except (ValueError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"config.init.weights: expected a .npz file of arrays, cannot read {path} ({error})"
        ) from error


def initialize(params: Any, *, weights: str = "", ckpt: str = "", heads: str = "copy", required: bool = False) -> Any:
    """Replaces the parameters that a file names; the others keep their random values.

    The keyword arguments are the recipe's section ``init``; what a run of ours gives
    (``ckpt`` and ``heads``) is :func:`ssd_jax.weights.fine_tune`'s to fill in.

    Args:
      params: freshly initialized tree.
      weights: path of a ``.npz`` file; "" = none.
      ckpt, heads: of the run to start from instead; "" = none.
      required: whether to refuse to start without either.

    Raises:
      InputError: if weights are required and absent or incomplete, unreadable, name a parameter
        that the network lacks, or differ from it in shape; or if there is a run besides.
    """
    del heads
    if ckpt:
        if weights:
            raise InputError(
                f"config.init: expected weights of a file or ckpt of a run, not both, got {weights} and {ckpt}"
            )
        return params
    if not weights:
        if required:
            raise InputError(MISSING_WEIGHTS)
        LOG.warning("no initial weights: the whole network starts from random values (He initialization of its base)")
        return params
    arrays = read_npz(weights)
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    named = {"/".join(str(entry.key) for entry in path): leaf for path, leaf in leaves}
    unknown = sorted(set(arrays) - set(named))
    if unknown:
        raise InputError(
            f"{weights}: expected parameters of this network, got {unknown[0]!r} (and {len(unknown) - 1} more)"
        )
    for name, array in arrays.items():
        if array.shape != named[name].shape:
            raise InputError(f"{weights}: {name}: expected shape {named[name].shape}, got {array.shape}")
    absent = [name for name in named if name.startswith("backbone/") and name not in arrays]
    if required and absent:
        raise InputError(
            f"{weights}: expected every array of the backbone, got none for {len(absent)}: {absent[0]} ..."
        )
    LOG.info("%s: read %d of %d parameter arrays", weights, len(arrays), len(named))
    values = [np.asarray(arrays.get(name, leaf), np.float32) for name, leaf in named.items()]
    return jax.tree.unflatten(structure, values)
