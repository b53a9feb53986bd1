"""Starting from a network trained before: its parameters, and of its classes those that are wanted again."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights import trained as sources
from ssd_jax.weights.class_names import find_classes
from ssd_jax.weights.network import TrainedNetwork, named_arrays

HEADS = "heads/"  # where the heads lie in the parameter tree
CONFIDENCE = "_mbox_conf"  # how the layers end whose channels are class scores, box-major: box * classes + class
SHOWN = 8  # renamed classes that the report lists


def read_trained(ckpt: str) -> TrainedNetwork:
    """Reads what ``config.init.ckpt`` names: a run (``WORKDIR`` or ``WORKDIR@STEP``), or a published file.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        return sources.read(ckpt)
    except InputError as error:
        raise InputError(f"config.init.ckpt: {error}") from error


def fine_tune(
    variables: Mapping[str, Any],
    class_names: Sequence[str],
    default_boxes: np.ndarray,  # [P, 4]
    trained: TrainedNetwork,
    *,
    heads: str = "copy",
) -> tuple[dict[str, Any], str]:
    """Replaces fresh variables by trained ones.

    Backbone, extra layers and the location heads are copied as they are; of the confidence heads the
    rows of each class:

    * "copy": those of the class of the same name (see :mod:`ssd_jax.weights.class_names`), and of
      the background; a class that the run did not know keeps its fresh rows;
    * "keep": all, and the classes must be the same;
    * "reset": none; the location heads are fresh as well, and all heads may have other shapes.

    Args:
      variables: of the new network, freshly initialized: {"params": ..., "batch_stats": ...}.
      class_names: of the new network, [0] == "background".
      default_boxes: of the new network; others than the run's are mentioned.
      trained: of :func:`read_trained`.
      heads: "copy", "keep" or "reset".

    Returns:
      The variables, and a line that says what was copied.

    Raises:
      ValueError: if ``heads`` is unknown.
      InputError: if classes differ that are to be kept, or an array differs in shape or is absent on
        either side, by its name.
    """
    if heads not in ("copy", "keep", "reset"):
        raise ValueError(f"heads: expected 'copy', 'keep' or 'reset', got {heads!r}")
    rows = _class_rows(class_names, trained, heads)
    fresh, old = named_arrays(variables), named_arrays(trained.variables)
    if heads == "reset":
        old = {name: array for name, array in old.items() if not _of_head(name)}
    copied = {}
    # Parameters first: a layer that differs is better known by its kernel than by its batch statistics.
    for name in sorted({**fresh, **old}, key=lambda name: name.startswith("batch_stats/")):
        if heads == "reset" and _of_head(name):
            continue
        if name not in fresh or name not in old:
            raise _misfit(name, trained, _shape(fresh.get(name)), _shape(old.get(name)))
        copied[name] = _copy_rows(name, fresh[name], old[name], rows, trained) if _is_confidence(name) else old[name]
        if copied[name].shape != fresh[name].shape:
            raise _misfit(name, trained, _shape(fresh[name]), _shape(old[name]))
    structure = jax.tree.structure(dict(variables))
    merged = [np.asarray(copied[name], np.float32) if name in copied else leaf for name, leaf in fresh.items()]
    report = _report(copied, class_names, rows, trained, heads)
    if heads != "reset" and not np.array_equal(default_boxes, trained.default_boxes):
        report += "; note: its location heads were trained for other default boxes"
    return jax.tree.unflatten(structure, merged), report


def _class_rows(class_names: Sequence[str], trained: TrainedNetwork, heads: str) -> list[int | None]:
    """Returns for each class the trained one whose rows it takes over."""
    if heads == "reset":
        return [None] * len(class_names)
    # Index 0 is the background whatever it is called.
    rows = [0, *(None if k is None else k + 1 for k in find_classes(class_names[1:], trained.class_names[1:]))]
    if heads == "keep" and rows != list(range(len(trained.class_names))):
        ours = [name for name, row in zip(class_names, rows, strict=True) if row is None]
        theirs = [name for index, name in enumerate(trained.class_names) if index not in rows]
        lists = (("only the data has", ours), ("only the run has", theirs))
        counts = len(class_names) - 1, len(trained.class_names) - 1  # they differ where two names mean the same class
        alike = "their order differs" if counts[0] == counts[1] else f"the data has {counts[0]}, the run {counts[1]}"
        said = "; ".join(f"{side} {', '.join(names)}" for side, names in lists if names) or alike
        raise InputError(
            f"config.init.heads: 'keep' needs the classes of {trained.name}, but {said} ('copy' copies by name)"
        )
    return rows


def _copy_rows(
    name: str, fresh: Any, old: np.ndarray, rows: Sequence[int | None], trained: TrainedNetwork
) -> np.ndarray:  # the shape of fresh
    """Returns the rows of trained classes, and the fresh ones of the others, for every box shape."""
    boxes, old_boxes = fresh.shape[-1] // len(rows), old.shape[-1] // len(trained.class_names)
    if boxes != old_boxes:
        raise _misfit(name, trained, f"{boxes} boxes a cell", f"{old_boxes}")
    if fresh.shape[:-1] != old.shape[:-1]:
        raise _misfit(name, trained, _shape(fresh), _shape(old))
    merged = np.array(fresh).reshape(*fresh.shape[:-1], boxes, len(rows))
    source = old.reshape(*old.shape[:-1], boxes, len(trained.class_names))
    for ours, theirs in enumerate(rows):
        if theirs is not None:
            merged[..., ours] = source[..., theirs]
    return merged.reshape(fresh.shape)


def _report(
    copied: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    rows: Sequence[int | None],
    trained: TrainedNetwork,
    heads: str,
) -> str:
    known = sum(row is not None for row in rows)  # with the background
    share = {name: known / len(rows) if _is_confidence(name) else 1.0 for name in copied}
    params = [name for name in copied if not name.startswith("batch_stats/")]
    count = sum(round(copied[name].size * share[name]) for name in params)
    layers = {name.rpartition("/")[0] for name in params}
    start = f"init: {count:,} parameters of {len(layers)} layers from {trained.name}; "
    if heads == "reset":
        return f"{start}all heads new"
    renamed = [
        f"{name} <- {trained.class_names[row]}"
        for name, row in list(zip(class_names, rows, strict=True))[1:]
        if row is not None and trained.class_names[row] != name
    ]
    new = [name for name, row in zip(class_names, rows, strict=True) if row is None]
    return (
        f"{start}confidence heads: {known - 1} of {len(rows) - 1} classes copied by name{_listed(renamed)}, "
        f"{len(new)} new{_listed(new)}"
    )


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})" if names else ""


def _of_head(name: str) -> bool:
    return name.removeprefix("batch_stats/").startswith(HEADS)


def _is_confidence(name: str) -> bool:
    return _of_head(name) and name.split("/")[-2].endswith(CONFIDENCE)


def _shape(array: Any) -> str:
    return "no such array" if array is None else f"shape {tuple(array.shape)}"


def _misfit(name: str, trained: TrainedNetwork, expected: str, found: str) -> InputError:
    hint = "; --config.init.heads=reset starts all heads anew" if _of_head(name) else ""
    return InputError(
        f"config.init.ckpt: {trained.name}: {name}: expected {expected} by the configuration, got {found}{hint}"
    )
