"""The list of checkpoints of a run: which are kept, how one is added."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_manager import METRIC_ITEM_NAME

from ssd_jax import files, processes
from ssd_jax.checkpoint import faults, folder
from ssd_jax.errors import InputError

METRIC = "map"
_METRICS = METRIC_ITEM_NAME  # a folder of a checkpoint, and the JSON file in it
logger = logging.getLogger(__name__)
managers = ocp.checkpoint_managers


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which a damaged file of metrics would keep from opening any checkpoint."""

    def metrics(self, step: int) -> Any:
        try:
            metrics = super().metrics(step)
            return metrics and {METRIC: float(metrics[METRIC])}
        except (KeyError, TypeError, ValueError):
            logger.warning("%s/%s: its metrics cannot be read; it counts as not evaluated", self.directory, step)
            return None


@contextlib.contextmanager
def open_manager(workdir: str | Path, *, keep: int = 2) -> Iterator[ocp.CheckpointManager]:
    """Opens the checkpoints of a run for writing, and waits for pending saves at the end.

    Only one process (or one multi-process run) may do so at a time; others may read meanwhile.

    Args:
      workdir: folder of the run, created if absent.
      keep: how many of the newest are kept. The best by metric is kept as well: Orbax's own
        best-only retention would delete the newest one, and a resumed run would go back.

    Raises:
      InputError: if the folder cannot be written to, or, at the end, if the last save failed and that
        was not said before. If the body ends by an error of its own, this one is only logged.
    """
    place = _place(workdir)
    if jax.process_index() == 0:
        with faults.writing(place):
            place.mkdir(parents=True, exist_ok=True)
        # What a killed save left behind; Orbax's own clean-up runs in a thread that nothing waits for.
        faults.remove_unfinished(place)
    processes.wait_for_all("checkpoints opened")
    best = managers.BestN(get_metric_fn=lambda metrics: metrics[METRIC], n=1, keep_checkpoints_without_metrics=False)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(keep), best]),
        best_fn=lambda metrics: metrics[METRIC],
        # Created in the background, folders that cannot be would be waited for by other threads, for minutes.
        async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
    )
    # All the time, because a save fails in the background.
    with faults.quiet(faults.is_traceback), faults.no_complaints_of_given_up_work():
        manager = _Manager(place, options=options, item_handlers=folder.handlers())
        try:
            yield manager
        except BaseException:
            try:
                _close(manager)
            except InputError as error:
                logger.error("%s", error)
            raise
        _close(manager)


def _close(manager: ocp.CheckpointManager) -> None:
    try:
        wait(manager)
    finally:
        with faults.writing(folder_of(manager)):
            manager.close()


def open_existing(workdir: str | Path) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run for reading; a training may be adding to them.

    Raises:
      InputError: if the folder holds none.
    """
    place = _place(workdir)
    if not place.is_dir():
        reason = "there is no such folder" if not Path(workdir).exists() else "it holds no 'checkpoints' folder"
        raise InputError(f"{workdir}: expected the --workdir of a training run, but {reason}")
    manager = _open_for_reading(place)
    if manager.latest_step() is None:
        manager.close()
        raise InputError(f"{place}: expected at least one checkpoint, found none")
    return manager


def _open_for_reading(place: Path) -> ocp.CheckpointManager:
    with faults.quiet(faults.is_read_only_remark):
        options = ocp.CheckpointManagerOptions(read_only=True, best_fn=lambda metrics: metrics[METRIC])
        for _ in range(10):
            # While Orbax looks at the folders that it has listed, a training may delete one: then it is listed again.
            with contextlib.suppress(FileNotFoundError):
                return _Manager(place, options=options, item_handlers=folder.handlers())
    raise InputError(f"{place}: cannot be read, its folders vanish while they are listed")


def check_space(workdir: str | Path, state: Any) -> None:
    """Refuses to start a run whose first checkpoint would not fit on the disk.

    Args:
      workdir: folder of the run, which exists.
      state: the arrays to be saved.

    Raises:
      InputError: naming the space needed and found.
    """
    folder.check_space(Path(workdir), state)


def save(
    manager: ocp.CheckpointManager,
    step: int,
    state: Any,
    meta: Mapping[str, Any],
    *,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Saves a state in the background, after waiting for the save before.

    Args:
      manager: of :func:`open_manager`.
      step: updates made.
      state: the arrays; every process has the same.
      meta: JSON-compatible description of the run.
      metrics: ``{"map": ...}`` if the state was evaluated.

    Raises:
      InputError: if the disk is too full or fails, now or since the save before; earlier checkpoints
        stay as they are.
    """
    wait(manager)
    folder.check_space(folder_of(manager), state, _newest(manager))
    items = folder.parts(state, meta)
    with _writing(manager):
        written = manager.save(step, args=items, metrics=metrics and dict(metrics), force=True)
    if not written:
        raise RuntimeError(f"checkpoint {step} was not written: a newer one exists in {manager.directory}")


def wait(manager: ocp.CheckpointManager) -> None:
    """Waits for the save in the background.

    Raises:
      InputError: if it failed because of the disk. That is raised once.
    """
    with _writing(manager):
        manager.wait_until_finished()


@contextlib.contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
    def said() -> str:
        manager.reload()  # as is on the disk: Orbax has struck off what was to be deleted after this save
        return _newest(manager)

    with faults.writing(folder_of(manager), said):
        yield


def _newest(manager: ocp.CheckpointManager) -> str:
    step = latest(manager)
    return "" if step is None else f"; the newest complete checkpoint is {step}"


def steps(manager: ocp.CheckpointManager) -> list[int]:
    """Returns the steps for which there is a complete checkpoint, oldest first."""
    return sorted(manager.all_steps())


def latest(manager: ocp.CheckpointManager) -> int | None:
    """Returns the newest step, or None."""
    return manager.latest_step()


def best(manager: ocp.CheckpointManager) -> int | None:
    """Returns the step with the best metric, or None if none was evaluated."""
    return manager.best_step()


def metric(manager: ocp.CheckpointManager, step: int) -> float | None:
    """Returns the metric that a checkpoint was saved with, or None."""
    metrics = manager.metrics(step)
    return metrics and metrics[METRIC]


def is_evaluated(manager: ocp.CheckpointManager, step: int) -> bool:
    """Whether a checkpoint was saved with a metric."""
    return manager.metrics(step) is not None


def add_metrics(manager: ocp.CheckpointManager, step: int, metrics: Mapping[str, float]) -> None:
    """Adds the metric to a checkpoint that was saved without one; its arrays are not written again.

    Args:
      manager: of :func:`open_manager`; every process of the run calls this.
      step: one of :func:`steps`.
      metrics: as for :func:`save`.

    Raises:
      InputError: if the disk is full or fails; the checkpoint stays as it is.
    """
    wait(manager)
    place = folder_of(manager) / str(step) / _METRICS
    with _writing(manager):
        if jax.process_index() == 0:
            place.mkdir(exist_ok=True)
            files.write_text(place / _METRICS, json.dumps(dict(metrics)))
        processes.wait_for_all("metrics added")
        manager.reload()


def _place(workdir: str | Path) -> Path:
    return (Path(workdir) / "checkpoints").absolute()


def folder_of(manager: ocp.CheckpointManager) -> Path:
    """Returns the folder of the checkpoints, one a step."""
    return Path(manager.directory)
