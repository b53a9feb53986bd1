"""Starting values of a network's variables: read from a file of anyone's, or the random ones of the network."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ssd_jax.errors import InputError
from ssd_jax.weights import mappings, readers
from ssd_jax.weights.mappings import Normalization

LOG = logging.getLogger("ssd_jax.weights")
MISSING_WEIGHTS = (
    "config.init.weights: this recipe starts from ImageNet weights of its backbone (VGG-16: fc6, fc7 reduced), "
    "and none are given; point to a published file of them with --config.init.weights=FILE (docs/weights.md), "
    "start from a trained run with --config.init.ckpt=WORKDIR, "
    "or train from random weights with --config.init.required=False"
)


def initialize(
    variables: Mapping[str, Any],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    weights: str = "",
    ckpt: str = "",
    heads: str = "copy",
    required: bool = False,
) -> tuple[dict[str, Any], str]:
    """Replaces the variables that a file holds; the others keep their random values.

    The options are the recipe's section ``init``; what a run of ours gives (``ckpt``) is
    :func:`ssd_jax.weights.fine_tune`'s to fill in.

    Args:
      variables: {"params": ..., "batch_stats": ...}, freshly initialized.
      mean, std: what the network does to images, ``model.mean`` and ``model.std``.
      weights: a file that :mod:`ssd_jax.weights.readers` reads and :mod:`ssd_jax.weights.mappings` knows; "" = none.
      ckpt: of the run to start from instead; "" = none.
      heads: "copy" or "keep": the heads of a detector's file, which has no names of classes and has to have as
        many; "reset": random ones.
      required: whether to refuse to start without either.

    Returns:
      The variables, and what became of each array of the file, as text of several lines ("" without a file).

    Raises:
      InputError: if weights are required and absent or incomplete for the backbone, cannot be read, or do not fit
        the network; or if there is a run besides.
    """
    if ckpt:
        if weights:
            raise InputError(
                f"config.init: expected weights of a file or ckpt of a run, not both, got {weights} and {ckpt}"
            )
        return dict(variables), ""
    if not weights:
        if required:
            raise InputError(MISSING_WEIGHTS)
        LOG.warning("no initial weights: the whole network starts from random values (He initialization of its base)")
        return dict(variables), ""
    if heads not in ("copy", *mappings.HEADS):
        raise InputError(f"config.init.heads: expected 'copy', 'keep' or 'reset', got {heads!r}")
    try:
        file = readers.read(weights)
    except InputError as error:
        raise InputError(f"config.init.weights: {error}") from error
    normalization = Normalization(tuple(mean), tuple(std))  # pyright: ignore[reportArgumentType]
    try:
        filled, report = mappings.fit(
            mappings.convert(file.tensors),
            variables,
            normalization=normalization,
            heads="reset" if heads == "reset" else "keep",
        )
    except InputError as error:  # begins with the name of an array
        raise InputError(f"{weights}: {error}") from error
    # The norm of conv4_3 is SSD's own: no classifier has it, and its scale starts at 20.
    absent = [path for path in report.random if path.startswith("backbone/") and "_norm/" not in path]
    if required and absent:
        raise InputError(
            f"{weights}: expected every array of the backbone, got none for {len(absent)}: {absent[0]} ..."
        )
    return filled, f"{weights} ({file.format})\n{mappings.as_table(report)}"
