"""Going on from what a run has saved: which checkpoint, what has changed since, and what if it is damaged."""

from collections.abc import Mapping
from typing import Any

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
        return saved, checkpoint.restore(manager, step, state, mesh)

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


def unreadable_images(manager: Any, step: int) -> set[int]:
    """Returns the indices of the images that a run could not read up to this step; none for step 0."""
    return set(checkpoint.restore_meta(manager, step).get(UNREADABLE, ())) if step else set()


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
    with checkpoint.open_existing(workdir) as manager:

        def read(step: int) -> tuple[setup.Network, Any]:
            class_names = tuple(checkpoint.restore_meta(manager, step)["class_names"])
            wanted = tuple(recipe["data"]["class_names"])
            if wanted and wanted not in (class_names, class_names[1:]):
                raise InputError(f"config.data.class_names: the checkpoint's classes are {class_names[1:]}, and stay")
            network = setup.build_network(recipe, class_names)
            like = jax.eval_shape(network.model.init, jax.random.key(0))
            return network, checkpoint.restore_variables(manager, step, like, network.mesh)

        candidates, choice = choose_steps(manager, step)
        (network, variables), found, damaged = checkpoint.first_readable(manager, candidates, read)
        for error in damaged.values():
            print(f"note: {error}; step {found} is taken instead")
        return network, variables, found, "the newest that can be read" if damaged else choice


def choose_steps(manager: Any, step: int | None) -> tuple[list[int], str]:
    """Returns the steps to try one after the other, and the reason for the first."""
    known = checkpoint.steps(manager)
    if step is not None:
        if step not in known:
            raise InputError(f"--step: expected one of {known} in {manager.directory}, got {step}")
        return [step], "as asked"
    newest_first, best = known[::-1], checkpoint.best(manager)
    if best is None:
        return newest_first, "newest; none was evaluated during training"
    others = [other for other in newest_first if other != best]
    return [best, *others], f"best by metric; there are steps {', '.join(map(str, known))}"


def checkpoint_config(workdir: str, step: int | None) -> dict[str, Any]:
    """Reads the configuration that a run was saved with."""
    with checkpoint.open_existing(workdir) as manager:

        def read(step: int) -> dict[str, Any]:
            return checkpoint.restore_meta(manager, step)["config"]

        return checkpoint.first_readable(manager, choose_steps(manager, step)[0], read)[0]
