"""What train.py and evaluate.py both need before their loops: sources, network, mesh, evaluator."""

import contextlib
import functools
import platform
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import checkpoint, models, parallel, training, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import checks, inputs
from ssd_jax.errors import InputError

VERSIONED = ("ssd_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow")


class Network(NamedTuple):
    """A network for given classes on the devices at hand."""

    class_names: tuple[str, ...]
    mesh: jax.sharding.Mesh
    model: models.Model
    default_boxes: np.ndarray  # [P, 4]


def build_network(recipe: recipes.Recipe, class_names: tuple[str, ...]) -> Network:
    """Builds the network for these classes, on all devices."""
    model, default_boxes = recipes.build_network(recipe, len(class_names), axis_name=parallel.AXIS)
    return Network(class_names, parallel.data_mesh(), model, default_boxes)


def initial_state(recipe: recipes.Recipe, network: Network, workdir: Path | None = None) -> training.TrainState:
    """Returns the state before the first step, on every device: random, or from the recipe's weights or run.

    Args:
      recipe: the training.
      network: of :func:`build_network`.
      workdir: of a run that :func:`resume` may go on with; what it once started from is not needed any more.
    """
    optimizer = recipes.build_optimizer(recipe)
    key, ema_decay = jax.random.key(recipe["train"]["seed"]), recipe["train"]["ema_decay"]
    init = parallel.compile(lambda key: training.init_state(key, network.model, optimizer, ema_decay=ema_decay))
    state = recipes.splat("optimizer", init, {}, key=key)  # names a layer of ``freeze`` that there is not
    if workdir is None or not is_run(workdir):
        state = start_from(recipe, network, state)
    ema = jax.tree.map(jnp.copy, state.params) if ema_decay else None  # a copy: the step donates both
    return parallel.replicate(state._replace(ema=ema), network.mesh)


def start_from(recipe: recipes.Recipe, network: Network, state: training.TrainState) -> training.TrainState:
    """Replaces the random parameters of a state by those of the recipe's weights or run, which is said in a line."""
    init = recipe["init"]
    params = recipes.splat("init", lambda **init: weights.initialize(state.params, **init), init)
    if not init["ckpt"]:
        return state._replace(params=params)
    trained = weights.read_run(init["ckpt"])
    fresh = {"params": params, **state.model_state}
    start = functools.partial(weights.fine_tune, fresh, network.class_names, network.default_boxes, trained)
    variables, report = recipes.splat("init", start, {"heads": init["heads"]})
    print(report, flush=True)
    return state._replace(params=variables.pop("params"), model_state=variables)


def is_run(workdir: Path) -> bool:
    """Whether a folder holds a checkpoint to resume from."""
    try:
        with checkpoint.open_existing(workdir):
            return True
    except InputError:
        return False


def compile_train_step(recipe: recipes.Recipe, network: Network) -> Callable:
    """Returns the compiled step(state, batch) -> (state, metrics) of the recipe."""
    step = recipes.splat(
        "loss",
        training.make_train_step,
        recipe["loss"],
        model=network.model,
        priors=network.default_boxes,
        optimizer=recipes.build_optimizer(recipe),
        seed=recipe["train"]["seed"],
        output_size=recipe["model"]["image_size"],
        augment_options=recipes.augment_options(recipe),
        match_options=recipe["match"],
        ema_decay=recipe["train"]["ema_decay"],
    )
    return training.compile_train_step(step, network.mesh)


def check_train_step(recipe: recipes.Recipe, step: Callable, state: training.TrainState, source: Any) -> None:
    """Traces the training step, so that wrong options are said at once."""
    batch = checks.abstract_batch(recipe, recipe["train"]["batch_size"], inputs.padded_boxes(recipe, source))
    checks.check_step(step, state, batch, "augment, match, loss")


def open_workdir(workdir: str | None, *, option: str = "--workdir") -> Path:
    """Creates the folder that an option names.

    Raises:
      InputError: if it is not given, not a folder or not writable.
    """
    if not workdir:
        raise InputError(f"{option}: expected the folder of the run (created if absent, resumed if it holds one)")
    path = Path(workdir).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise InputError(f"{option}: expected a folder to write to, cannot use {path}: {error.strerror}") from error


def run_description(recipe: recipes.Recipe, source: Any) -> dict[str, Any]:
    """Returns the JSON document saved beside each checkpoint: all that is needed to use its arrays."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):  # ssd_jax run from its folder, not installed
            versions[name] = metadata.version(name)
    derived = {"max_boxes": inputs.padded_boxes(recipe, source), "training_images": len(source), "source": source.name}
    return {"config": recipe, "class_names": list(source.class_names), "derived": derived, "versions": versions}


def resume(
    manager: Any, state: training.TrainState, description: Mapping[str, Any], mesh: jax.sharding.Mesh
) -> tuple[training.TrainState, int]:
    """Returns the newest saved state and its step, or the given state and 0 if there is none.

    Raises:
      InputError: if the saved run has other classes or another network.
    """
    step = checkpoint.latest(manager)
    if step is None:
        return state, 0
    saved = checkpoint.restore_meta(manager, step)
    if saved["class_names"] != description["class_names"]:
        raise InputError(
            f"{manager.directory}: the run has the classes {saved['class_names'][1:]}, "
            f"the data {description['class_names'][1:]}; expected the same, or another --workdir"
        )
    for key, (old, new) in changes(saved["config"], description["config"]).items():
        print(f"note: config.{key} was {old} when this run was saved, is {new} now")
    return checkpoint.restore(manager, step, state, mesh), step


def changes(old: Any, new: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns the options that differ between two configurations: dotted name -> (old, new)."""
    old, new = recipes.plain(old), recipes.plain(new)
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {prefix: (old, new)}
    found = {}
    for key in dict.fromkeys([*old, *new]):
        found |= changes(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    return found


def restore_run(workdir: str, step: int | None, recipe: recipes.Recipe) -> tuple[Network, Any, int, str]:
    """Restores a trained network.

    Args:
      workdir: folder of the run.
      step: which checkpoint; None = the best by metric if one was measured, else the newest.
      recipe: of the checkpoint, with overrides.

    Returns:
      The network, its variables, the step and why this step.

    Raises:
      InputError: if there is no such checkpoint or it does not fit the recipe.
    """
    with checkpoint.open_existing(workdir) as manager:
        step, choice = choose_step(manager, step)
        class_names = tuple(checkpoint.restore_meta(manager, step)["class_names"])
        network = build_network(recipe, class_names)
        if recipe["data"]["class_names"] and tuple(recipe["data"]["class_names"]) not in (class_names, class_names[1:]):
            raise InputError(f"config.data.class_names: the checkpoint's classes are {class_names[1:]}, and stay")
        like = jax.eval_shape(network.model.init, jax.random.key(0))
        return network, checkpoint.restore_variables(manager, step, like, network.mesh), step, choice


def choose_step(manager: Any, step: int | None) -> tuple[int, str]:
    """Returns the step to use and the reason for it."""
    known = checkpoint.steps(manager)
    if step is not None:
        if step not in known:
            raise InputError(f"--step: expected one of {known} in {manager.directory}, got {step}")
        return step, "as asked"
    best = checkpoint.best(manager)
    if best is not None:
        return best, f"best by metric; there are steps {', '.join(map(str, known))}"
    return known[-1], "newest; none was evaluated during training"


def checkpoint_config(workdir: str, step: int | None) -> dict[str, Any]:
    """Reads the configuration that a run was saved with."""
    with checkpoint.open_existing(workdir) as manager:
        return checkpoint.restore_meta(manager, choose_step(manager, step)[0])["config"]


def parameter_count(params: Any) -> int:
    """Returns the number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
