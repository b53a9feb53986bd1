"""Going on from what a run has saved: which checkpoint, what has changed since, and what if it is damaged."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from ssd_jax import checkpoint, training
from ssd_jax import recipe as recipes
from ssd_jax.commands import provenance, setup
from ssd_jax.errors import InputError

UNREADABLE = "unreadable_images"  # key of a checkpoint's document


def resume(
    manager: Any, state: training.TrainState, description: Mapping[str, Any], mesh: jax.sharding.Mesh
) -> tuple[training.TrainState, int]:
    """Returns the newest saved state and its step, or the given state and 0 if there is none.

    A damaged checkpoint is moved aside, and the run goes on from the one before it, which is said.

    Args:
      manager: of ``checkpoint.open_manager``.
      state: the state before the first step.
      description: of ``setup.run_description``.
      mesh: of ``parallel.data_mesh``.

    Raises:
      InputError: if the saved run has other classes or another network, or none of its checkpoints
        can be read.
    """
    known = checkpoint.steps(manager)
    if not known:
        return state, 0

    def read(step: int) -> tuple[dict[str, Any], training.TrainState]:
        saved = checkpoint.restore_meta(manager, step)
        if saved["class_names"] != description["class_names"]:
            raise InputError(
                f"{manager.directory}: the run has the classes {saved['class_names'][1:]}, "
                f"the data {description['class_names'][1:]}; expected the same, or another --workdir"
            )
        try:
            return saved, checkpoint.restore(manager, step, state, mesh)
        except checkpoint.DamagedCheckpoint:
            raise
        except InputError as error:  # which names an array, not the option that decides about it
            changed = changes(saved["config"], description["config"])
            listed = "; ".join(
                f"config.{key} was {old!r}, is {new!r}"
                for key, (old, new) in changed.items()
                if key.split(".")[0] in ("model", "optimizer") or key == "train.ema_decay"
            )
            raise InputError(f"{error}; since it was saved, {listed}" if listed else str(error)) from error

    # Moved only when another one has been read: a run whose checkpoints are all damaged must not begin anew.
    (saved, restored), step, damaged = checkpoint.first_readable(manager, reversed(known), read)
    for number, error in damaged.items():
        place = checkpoint.set_aside(manager, number)
        print(f"note: {error}; moved to {place}; going on from step {step}")
    for key, (old, new) in changes(saved["config"], description["config"]).items():
        unread = "; it is not read again" if key.startswith("init.") else ""
        print(f"note: config.{key} was {old!r} when this run was saved, is {new!r} now{unread}")
    if upgrades := provenance.version_changes(saved.get("versions", {}), description.get("versions", {})):
        print(f"note: other versions than when this run was saved: {', '.join(upgrades)}; the last digits may differ")
    return restored, step


class Carried(NamedTuple):
    """What a resumed run takes over from what it has said of itself."""

    unreadable: set[int]  # indices of the images that it could not read so far
    origin: dict[str, Any]  # where its first weights came from, which are not read again


def carried_over(manager: Any, step: int, origin: Mapping[str, Any]) -> Carried:
    """Returns what the run has said at this step; of a new one (step 0), no images and the given origin."""
    if not step:
        return Carried(set(), dict(origin))
    saved = checkpoint.restore_meta(manager, step)
    return Carried(set(saved.get(UNREADABLE, ())), dict(saved.get("origin") or {}))


def changes(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns the options that differ between two configurations: dotted name -> (old, new)."""
    old, new = recipes.plain(old), recipes.plain(new)
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {prefix: (old, new)}
    found = {}
    for key in dict.fromkeys([*old, *new]):
        found |= changes(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    return found


def restore_run(workdir: str, step: int | None, recipe: recipes.Recipe) -> tuple[setup.Network, Any, int, str]:
    """Restores a trained network. Nothing in the folder is changed; a training may be writing to it.

    Args:
      workdir: folder of the run.
      step: which checkpoint; None = the best by metric if one was measured, else the newest; if that is
        damaged, the newest that is not.
      recipe: of the checkpoint, with overrides.

    Returns:
      The network, its variables, the step and why this step.

    Raises:
      InputError: if there is no such checkpoint, if it is damaged or does not fit the recipe.
    """

    def read(manager: Any, step: int) -> tuple[setup.Network, Any]:
        class_names = tuple(checkpoint.restore_meta(manager, step)["class_names"])
        wanted = tuple(recipe["data"]["class_names"])
        if wanted and wanted not in (class_names, class_names[1:]):
            raise InputError(f"config.data.class_names: the checkpoint's classes are {class_names[1:]}, and stay")
        network = setup.build_network(recipe, class_names)
        return network, checkpoint.restore_variables(manager, step, network.model.shapes, network.mesh)

    chosen = checkpoint.read_chosen(workdir, step, read)
    for error in chosen.damaged.values():
        print(f"note: {error}; step {chosen.step} is taken instead")
    return *chosen.value, chosen.step, chosen.reason


def checkpoint_config(workdir: str, step: int | None) -> dict[str, Any]:
    """Reads the configuration that a run was saved with."""
    return checkpoint.read_chosen(workdir, step, _read_config).value


def _read_config(manager: Any, step: int) -> dict[str, Any]:
    return checkpoint.restore_meta(manager, step)["config"]
