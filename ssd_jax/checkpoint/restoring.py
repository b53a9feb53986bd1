"""What is read of the checkpoints of a run, and what becomes of a damaged one."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from ssd_jax import processes
from ssd_jax.checkpoint import folder
from ssd_jax.checkpoint.faults import DamagedCheckpoint, GoneCheckpoint
from ssd_jax.checkpoint.run import folder_of
from ssd_jax.errors import InputError

DAMAGED = "checkpoints_damaged"  # beside the folder of checkpoints, where nothing lists them
T = TypeVar("T")


def restore_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """Reads what was saved beside the arrays.

    Raises:
      DamagedCheckpoint: if there is no such document, or not the one that was saved.
    """
    meta = folder.read_document(_path(manager, step))
    for key in ("config", "class_names"):
        if key not in meta:
            raise DamagedCheckpoint(f"{_path(manager, step)}: its document has no {key!r}")
    return meta


def restore(manager: ocp.CheckpointManager, step: int, like: Any, mesh: Mesh) -> Any:
    """Reads a state onto every device of the mesh, however many wrote it.

    Args:
      manager: of :func:`open_manager` or :func:`open_existing`.
      step: one of :func:`steps`.
      like: arrays or shapes of the expected structure.
      mesh: of ``parallel.data_mesh``.

    Raises:
      InputError: if the checkpoint holds another structure, other shapes or types.
      DamagedCheckpoint: if it cannot be read or differs from what was saved.
    """
    return folder.load_tree(_path(manager, step), like, mesh)


def restore_variables(manager: ocp.CheckpointManager, step: int, like: Any, mesh: Mesh) -> Any:
    """Reads the variables of the network, whatever optimizer they were trained with.

    Args:
      manager, step, mesh: as in :func:`restore`.
      like: {"params": ..., other collections}, arrays or shapes.

    Returns:
      The same structure; the moving average of the parameters where one was kept.

    Raises:
      InputError: if the checkpoint holds another network.
      DamagedCheckpoint: if it cannot be read or differs from what was saved.
    """
    path = _path(manager, step)
    stored = folder.stored(path)
    folder.check_fit(path, {**stored["model_state"], "params": stored["params"]}, like)
    state = folder.read_arrays(path, stored, mesh)
    params = state["params"] if state.get("ema") is None else state["ema"]
    return {"params": params, **{name: state["model_state"][name] for name in like if name != "params"}}


def first_readable(
    manager: ocp.CheckpointManager, candidates: Iterable[int], read: Callable[[int], T]
) -> tuple[T, int, dict[int, DamagedCheckpoint]]:
    """Reads the first of some checkpoints that is not damaged; every process of a run gets the same one.

    Args:
      manager: of :func:`open_manager` or :func:`open_existing`.
      candidates: steps, at least one, in the order in which they are wanted.
      read: step -> what is wanted of it, by the functions above.

    Returns:
      What was read, its step, and the errors of the damaged ones before it, by step.

    Raises:
      InputError: if all are damaged, naming them, or if one does not fit, which is no damage.
      GoneCheckpoint: if one was deleted while it was read: the list of candidates is out of date.
    """
    damaged: dict[int, DamagedCheckpoint] = {}
    for step in candidates:
        try:
            found, error = read(step), None
        except DamagedCheckpoint as caught:
            found, error = None, caught
        if not processes.anywhere(error is not None):
            return found, step, damaged  # pyright: ignore[reportReturnType]
        if processes.anywhere(isinstance(error, GoneCheckpoint)):
            raise GoneCheckpoint(f"{_path(manager, step)}: cannot be read (it is gone)")
        elsewhere = DamagedCheckpoint(f"{_path(manager, step)}: cannot be read by another process")
        damaged[step] = error or elsewhere
    if len(damaged) == 1:
        raise next(iter(damaged.values()))
    listed = "; ".join(str(error) for error in damaged.values())
    raise InputError(f"{manager.directory}: no checkpoint can be read: {listed}")


def set_aside(manager: ocp.CheckpointManager, step: int) -> Path:
    """Moves a damaged checkpoint to ``checkpoints_damaged``, so that its step can be saved again.

    Args:
      manager: of :func:`open_manager`.
      step: one of :func:`steps`; every process of a run calls this.

    Returns:
      Where it lies now.

    Raises:
      InputError: if it cannot be moved.
    """
    path = _path(manager, step)
    place = path.parent.parent / DAMAGED
    number = 0
    while (target := place / (f"{step}.{number}" if number else str(step))).exists():
        number += 1
    processes.wait_for_all("damaged checkpoint named")
    if jax.process_index() == 0:
        try:
            place.mkdir(exist_ok=True)
            path.rename(target)
        except OSError as error:
            raise InputError(f"{path}: is damaged and cannot be moved to {target} ({error.strerror})") from error
    processes.wait_for_all("damaged checkpoint moved")
    manager.reload()
    return target


def _path(manager: ocp.CheckpointManager, step: int) -> Path:
    return folder_of(manager) / str(step)
