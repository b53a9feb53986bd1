"""Checkpoints of a run: the only file that imports Orbax.

A run's folder holds ``checkpoints/STEP``: the arrays of the training state and, beside them, a JSON
document with all that is needed to use them (configuration, class names, versions).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding

from ssd_jax import parallel
from ssd_jax.errors import InputError

METRIC = "map"
managers = ocp.checkpoint_managers


def open_manager(workdir: str | Path, *, keep: int = 2) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run for writing; close it (or use ``with``) to finish pending saves.

    Args:
      workdir: folder of the run, created if absent.
      keep: how many of the newest are kept. The best by metric is kept as well: Orbax's own
        best-only retention would delete the newest one, and a resumed run would go back.
    """
    best = managers.BestN(get_metric_fn=lambda metrics: metrics[METRIC], n=1, keep_checkpoints_without_metrics=False)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(keep), best]),
        best_fn=lambda metrics: metrics[METRIC],
        create=True,
    )
    folder = (Path(workdir) / "checkpoints").absolute()
    # What a killed save left behind; Orbax's own clean-up runs in a thread that nothing waits for.
    for unfinished in folder.glob("*.orbax-checkpoint-tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)
    return _manager(folder, options)


def open_existing(workdir: str | Path) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run for reading.

    Raises:
      InputError: if the folder holds none.
    """
    folder = (Path(workdir) / "checkpoints").absolute()
    if not folder.is_dir():
        reason = "there is no such folder" if not Path(workdir).exists() else "it holds no 'checkpoints' folder"
        raise InputError(f"{workdir}: expected the --workdir of a training run, but {reason}")
    options = ocp.CheckpointManagerOptions(read_only=True, best_fn=lambda metrics: metrics[METRIC])
    manager = _manager(folder, options)
    if manager.latest_step() is None:
        raise InputError(f"{folder}: expected at least one checkpoint, found none")
    return manager


def _manager(folder: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)


def save(
    manager: ocp.CheckpointManager,
    step: int,
    state: Any,
    meta: Mapping[str, Any],
    *,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Saves a state in the background.

    Args:
      manager: of :func:`open_manager`.
      step: updates made.
      state: the arrays.
      meta: JSON-compatible description of the run.
      metrics: ``{"map": ...}`` if the state was evaluated.

    Raises:
      InputError: if the disk is too full; earlier checkpoints stay as they are.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(manager.directory).free
    if free < 1.1 * needed:
        raise InputError(
            f"{manager.directory}: expected {needed / 2**20:.0f} MiB free on the disk for checkpoint {step}, "
            f"found {free / 2**20:.0f} MiB; the newest complete checkpoint is {latest(manager)}"
        )
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(dict(meta)))
    if not manager.save(step, args=items, metrics=metrics and dict(metrics), force=True):
        raise RuntimeError(f"checkpoint {step} was not written: a newer one exists in {manager.directory}")


def steps(manager: ocp.CheckpointManager) -> list[int]:
    """Returns the steps for which there is a complete checkpoint, oldest first."""
    return sorted(manager.all_steps())


def latest(manager: ocp.CheckpointManager) -> int | None:
    """Returns the newest step, or None."""
    return manager.latest_step()


def best(manager: ocp.CheckpointManager) -> int | None:
    """Returns the step with the best metric, or None if none was evaluated."""
    return manager.best_step()


def restore_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """Reads what was saved beside the arrays.

    Raises:
      InputError: if there is no such document.
    """
    try:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        return {key: meta[key] for key in ("config", "class_names", *meta)}
    except (KeyError, ValueError, OSError) as error:
        raise _damaged(manager, step) from error


def restore(manager: ocp.CheckpointManager, step: int, like: Any, mesh: Mesh) -> Any:
    """Reads a state onto every device of the mesh, however many wrote it.

    Args:
      manager: of :func:`open_manager` or :func:`open_existing`.
      step: one of :func:`steps`.
      like: arrays or shapes of the expected structure.
      mesh: of ``parallel.data_mesh``.

    Raises:
      InputError: if the checkpoint holds another structure or other shapes.
    """
    _check_fit(manager, step, _stored(manager, step), like)
    target = _on_every_device(like, mesh)
    return _read_state(manager, step, target)


def restore_variables(manager: ocp.CheckpointManager, step: int, like: Any, mesh: Mesh) -> Any:
    """Reads the variables of the network, whatever optimizer they were trained with.

    Args:
      manager, step, mesh: as in :func:`restore`.
      like: {"params": ..., other collections}, arrays or shapes.

    Returns:
      The same structure; the moving average of the parameters where one was kept.

    Raises:
      InputError: if the checkpoint holds another network.
    """
    stored = _stored(manager, step)
    model_state = {name: tree for name, tree in like.items() if name != "params"}
    _check_fit(manager, step, {**stored["model_state"], "params": stored["params"]}, like)
    target = _on_every_device(stored, mesh)
    state = _read_state(manager, step, target)
    params = state["params"] if state.get("ema") is None else state["ema"]
    return {"params": params, **{name: state["model_state"][name] for name in model_state}}


def _stored(manager: ocp.CheckpointManager, step: int) -> Any:
    """Returns the names and shapes that a checkpoint holds, as nested dicts and lists."""
    try:
        return dict(manager.item_metadata(step)["state"].tree)
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise _damaged(manager, step) from error


def _read_state(manager: ocp.CheckpointManager, step: int, target: Any) -> Any:
    try:
        return manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))["state"]
    except (KeyError, ValueError, OSError) as error:
        raise _damaged(manager, step) from error


def _damaged(manager: ocp.CheckpointManager, step: int) -> InputError:
    others = [other for other in steps(manager) if other != step]
    hint = f"; delete that folder to go on from step {others[-1]}" if others else ""
    return InputError(f"{manager.directory}/{step}: expected a checkpoint of ssd_jax, cannot read it{hint}")


def _on_every_device(like: Any, mesh: Mesh) -> Any:
    sharding = NamedSharding(mesh, parallel.REPLICATED)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)


def _check_fit(manager: ocp.CheckpointManager, step: int, stored: Any, like: Any) -> None:
    found, expected = _shapes(stored), _shapes(like)
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise InputError(
                f"{manager.directory}/{step}: {name}: expected {_shown(expected.get(name))} by the configuration, "
                f"got {_shown(found.get(name))} in the checkpoint"
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each leaf by its path; NamedTuple fields and dict keys read alike."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "no such array" if shape is None else f"shape {shape}"
