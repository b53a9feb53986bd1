"""Checkpoints: the only room that imports Orbax.

A run's folder holds ``checkpoints/STEP``: the arrays of the training state and, beside them, a JSON
document with all that is needed to use them (configuration, class names, versions) and the checksum
of each array. ``folder`` writes and reads one such folder, ``run`` keeps the list of a run, ``restoring``
reads from it, ``choosing`` decides which one is read, ``faults`` turns what Orbax raises and logs into sentences.
"""

from ssd_jax.checkpoint.choosing import Chosen, choose_steps, read_chosen
from ssd_jax.checkpoint.faults import DamagedCheckpoint, GoneCheckpoint
from ssd_jax.checkpoint.folder import load_tree, save_tree
from ssd_jax.checkpoint.restoring import first_readable, restore, restore_meta, restore_variables, set_aside
from ssd_jax.checkpoint.run import (
    add_metrics,
    best,
    check_space,
    is_evaluated,
    latest,
    metric,
    open_existing,
    open_manager,
    save,
    steps,
    wait,
)

__all__ = [
    "Chosen",
    "DamagedCheckpoint",
    "GoneCheckpoint",
    "add_metrics",
    "best",
    "check_space",
    "choose_steps",
    "first_readable",
    "is_evaluated",
    "latest",
    "load_tree",
    "metric",
    "open_existing",
    "open_manager",
    "read_chosen",
    "restore",
    "restore_meta",
    "restore_variables",
    "save",
    "save_tree",
    "set_aside",
    "steps",
    "wait",
]
