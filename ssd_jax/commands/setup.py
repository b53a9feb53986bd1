"""What train.py and evaluate.py both need before their loops: sources, network, mesh, evaluator."""

import contextlib
import functools
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import checkpoint, files, models, objective, parallel, processes, training, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import checks, inputs, provenance
from ssd_jax.errors import InputError

LOCK = ".training.lock"


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


def initial_state(
    recipe: recipes.Recipe, network: Network, workdir: Path | None = None
) -> tuple[training.TrainState, dict[str, Any]]:
    """Returns the state before the first step, on every device, and where it comes from.

    It is random, or from the recipe's weights or run; those are described as JSON, {} where there are none.

    Args:
      recipe: the training.
      network: of :func:`build_network`.
      workdir: of a run that ``resume.resume`` may go on with; what it once started from is not needed any more.
    """
    optimizer = recipes.build_optimizer(recipe)
    key, ema_decay = jax.random.key(recipe["train"]["seed"]), recipe["train"]["ema_decay"]
    init = parallel.compile(lambda key: training.init_state(key, network.model, optimizer, ema_decay=ema_decay))
    state = recipes.splat("optimizer", init, {}, key=key)  # names a layer of ``freeze`` that there is not
    origin: dict[str, Any] = {}
    if workdir is None or not is_run(workdir):
        state, origin = start_from(recipe, network, state)
    ema = jax.tree.map(jnp.copy, state.params) if ema_decay else None  # a copy: the step donates both
    return parallel.replicate(state._replace(ema=ema), network.mesh), origin


def start_from(
    recipe: recipes.Recipe, network: Network, state: training.TrainState
) -> tuple[training.TrainState, dict[str, Any]]:
    """Replaces the random parameters of a state by those of the recipe's weights or run, which is said in a line."""
    init = recipe["init"]
    fresh = {"params": state.params, **state.model_state}
    start = recipes.splat("init", weights.initialize, init, variables=fresh, recipe=recipe)
    if init["ckpt"]:
        trained = weights.read_trained(init["ckpt"])
        tune = functools.partial(weights.fine_tune, fresh, network.class_names, network.default_boxes, trained)
        variables, report = recipes.splat("init", tune, {"heads": init["heads"]})
        origin = {**weights.describe(init["ckpt"]), "step": trained.step, "heads": init["heads"]}
        origin["origin"] = dict(trained.origin)
        start = weights.Start(variables, report, origin)
    if start.report:
        print(start.report, flush=True)
    params, model_state = start.variables["params"], {k: v for k, v in start.variables.items() if k != "params"}
    return state._replace(params=params, model_state=model_state), dict(start.origin)


def is_run(workdir: Path) -> bool:
    """Whether a folder holds a checkpoint to resume from."""
    try:
        with checkpoint.open_existing(workdir):
            return True
    except InputError:
        return False


def compile_train_step(recipe: recipes.Recipe, network: Network) -> Callable:
    """Returns the compiled step(state, batch) -> (state, metrics) of the recipe."""
    train = recipe["train"]
    step = _with_loss_options(
        training.make_train_step,
        recipe,
        network,
        optimizer=recipes.build_optimizer(recipe),
        accumulation_steps=train["accumulation_steps"],
        ema_decay=train["ema_decay"],
        halt=train["on_nonfinite"] == "stop",
    )
    return training.compile_train_step(step, network.mesh)


def make_loss_fn(recipe: recipes.Recipe, network: Network) -> Callable:
    """Returns what a step differentiates, loss(params, model_state, batch), not compiled."""
    return _with_loss_options(objective.make_loss_fn, recipe, network)


def _with_loss_options(make: Callable, recipe: recipes.Recipe, network: Network, **options: Any) -> Callable:
    return recipes.splat(
        "loss",
        make,
        recipe["loss"],
        model=network.model,
        priors=network.default_boxes,
        seed=recipe["train"]["seed"],
        output_size=recipe["model"]["image_size"],
        augment_options=recipes.augment_options(recipe),
        match_options=recipe["match"],
        **options,
    )


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


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Iterator[None]:
    """Keeps a second training out of a folder; reading it, as evaluate.py does, needs no lock.

    The first process of a run holds the lock for all. It ends with that process, however it ends.

    Raises:
      InputError: on every process of the run, if another one holds it.
    """
    busy = f"{workdir}: expected a folder that no other run writes to, but another program is at work there"
    holder = f" (process {os.getpid()} on {platform.node()})"
    error = None
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            try:
                stack.enter_context(files.exclusive(workdir / LOCK, busy, holder=holder))
            except InputError as caught:
                error = caught
        if processes.anywhere(error is not None):
            raise error or InputError(busy)
        yield


def run_description(recipe: recipes.Recipe, source: Any, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the JSON document saved beside each checkpoint: all that is needed to use its arrays.

    Args:
      recipe: the training.
      source: of its images.
      origin: of :func:`initial_state`.
    """
    derived = {"max_boxes": inputs.padded_boxes(recipe, source), "training_images": len(source), "source": source.name}
    return {
        "config": recipe,
        "class_names": list(source.class_names),
        "derived": derived,
        "origin": dict(origin),
        "versions": provenance.versions(),
        "commit": provenance.git_commit(),
    }


def parameter_count(params: Any) -> int:
    """Returns the number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
