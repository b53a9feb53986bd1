"""Which checkpoint of a run is read: the one asked for, the best, or the newest that can be."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ssd_jax.checkpoint.faults import DamagedCheckpoint, GoneCheckpoint
from ssd_jax.checkpoint.restoring import first_readable
from ssd_jax.checkpoint.run import best, open_existing, steps
from ssd_jax.errors import InputError

CHOICES = 10  # of a checkpoint to read, each of which a training deletes before it is read
T = TypeVar("T")


class Chosen(NamedTuple):
    """What was read of a run."""

    value: Any
    step: int
    damaged: dict[int, DamagedCheckpoint]  # steps that were wanted rather
    reason: str  # why this step


def choose_steps(manager: Any, step: int | None) -> tuple[list[int], str]:
    """Returns the steps to try one after the other, and the reason for the first.

    Raises:
      InputError: if there is no checkpoint of the step asked for.
    """
    known = steps(manager)
    if step is not None:
        if step not in known:
            raise InputError(f"{Path(manager.directory).parent}: step: expected one of {known}, got {step}")
        return [step], "as asked"
    newest_first, best_step = known[::-1], best(manager)
    if best_step is None:
        return newest_first, "newest; none was evaluated during training"
    others = [other for other in newest_first if other != best_step]
    return [best_step, *others], f"best by metric; there are steps {', '.join(map(str, known))}"


def read_chosen(workdir: str | Path, step: int | None, read: Callable[[Any, int], T]) -> Chosen:
    """Reads the chosen checkpoint of a run that a training may be adding to; nothing in the folder is changed.

    If the training deletes it meanwhile, the choice is made anew from what there is then.

    Args:
      workdir: folder of the run.
      step: which checkpoint; None = the best by metric if one was measured, else the newest; if that is
        damaged, the newest that is not.
      read: (manager, step) -> what is wanted of the checkpoint.

    Raises:
      InputError: if there is no such checkpoint, or none can be read.
    """
    for _ in range(CHOICES - 1):
        with contextlib.suppress(GoneCheckpoint):
            return _read_once(workdir, step, read)
    return _read_once(workdir, step, read)


def _read_once(workdir: str | Path, step: int | None, read: Callable[[Any, int], T]) -> Chosen:
    with open_existing(workdir) as manager:
        candidates, reason = choose_steps(manager, step)
        value, found, damaged = first_readable(manager, candidates, functools.partial(read, manager))
        return Chosen(value, found, damaged, "the newest that can be read" if damaged else reason)
