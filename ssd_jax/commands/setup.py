"""What train.py and evaluate.py both need before their loops: sources, network, mesh, evaluator."""

import contextlib
import functools
import platform
import re
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import checkpoint, data, inference, models, parallel, training, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import checks
from ssd_jax.data.loader import Stream
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, coco_files, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth

VERSIONED = ("ssd_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow")


class Network(NamedTuple):
    """A network for given classes on the devices at hand."""

    class_names: tuple[str, ...]
    mesh: jax.sharding.Mesh
    model: models.Model
    default_boxes: np.ndarray  # [P, 4]


def open_source(recipe: recipes.Recipe, split: str, class_names: tuple[str, ...] = ()) -> Any:
    """Opens the split "train" or "eval" of the recipe's data.

    Args:
      recipe: section ``data`` is read.
      split: "train" or "eval".
      class_names: of the network, when they are already known.
    """
    section = recipe["data"]
    options = {
        "kind": section["kind"],
        "root": str(Path(section["root"]).expanduser()) if section["root"] else "",
        "split": section[f"{split}_split"],
        "negatives": str(Path(negatives).expanduser()) if (negatives := section[f"{split}_negatives"]) else "",
        "class_names": class_names or section["class_names"],
        "unknown": section["unknown"],
        **section.get(section["kind"], {}),  # options of this kind alone
    }
    try:
        return recipes.splat("data", data.make_source, options)
    except InputError as error:  # the library does not know what its arguments are called on the command line
        raise InputError(name_settings(str(error), split)) from error


def name_settings(message: str, split: str) -> str:
    """Turns "data split ..." at the start of a message into "config.data.train_split ...", and likewise the others."""
    match = re.match(r"data ([a-z_]+(?:\.[a-z_]+)?)", message)
    if not match:
        return message
    setting = f"{split}_{match[1]}" if match[1] in ("split", "negatives") else match[1]
    return f"config.data.{setting}{message[match.end() :]}"


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
        augment_options={"mean": recipe["model"]["mean"], **recipe["augment"]},
        match_options=recipe["match"],
        ema_decay=recipe["train"]["ema_decay"],
    )
    return training.compile_train_step(step, network.mesh)


def check_train_step(recipe: recipes.Recipe, step: Callable, state: training.TrainState, source: Any) -> None:
    """Traces the training step, so that wrong options are said at once."""
    batch = checks.abstract_batch(recipe, recipe["train"]["batch_size"], padded_boxes(recipe, source))
    checks.check_step(step, state, batch, "augment, match, loss")


def make_evaluator(recipe: recipes.Recipe, network: Network, source: Any, cache: Any = None) -> Callable:
    """Returns evaluate(variables) -> (detections, ground truth, VocResult) over a whole source.

    ``cache`` is of :func:`open_cache`; without it, each evaluation opens the one that the recipe wants.
    """
    step = inference.make_detect_step(
        network.model,
        recipes.build_detect(recipe, network.default_boxes),
        output_size=recipe["model"]["image_size"],
    )
    detect_step = inference.compile_detect_step(step, network.mesh)
    variables = jax.eval_shape(network.model.init, jax.random.key(0))
    batch = checks.abstract_batch(recipe, recipe["evaluate"]["batch_size"], data.padded_boxes(source))
    checks.check_step(detect_step, variables, batch, "detect, match")
    truth = data.ground_truth(source)
    checks.check_ground_truth(source, truth)
    log = data.OnceLog()

    def evaluate(variables: Any) -> tuple[list[ImageDetections], list[ImageGroundTruth], voc.VocResult]:
        stream = data.make_eval_loader(
            source,
            batch_size=recipe["evaluate"]["batch_size"],
            canvas=recipe["loader"]["canvas"],
            num_threads=recipe["loader"]["num_threads"],
            cache=cache or recipe["loader"]["cache"],
            log=log,
        )
        with contextlib.closing(stream) as batches:
            detections = inference.detect_source(detect_step, variables, batches, source, network.mesh)
        return detections, truth, voc.evaluate(detections, truth, class_names=network.class_names)

    return evaluate


def coco_figures(
    source: Any, detections: list[ImageDetections], truth: list[ImageGroundTruth], class_names: tuple[str, ...]
) -> coco.CocoResult:
    """Returns the COCO figures; against the annotation files themselves, as published ones are, where there are any."""
    dataset = source.coco_dataset() if hasattr(source, "coco_dataset") else None
    if dataset is None:
        return coco.evaluate(detections, truth, class_names=class_names)
    missing = len(dataset["images"]) - len(source)
    if missing:
        print(f"data: in the COCO figures the objects of {missing} listed images that cannot be used count as missed")
    return coco.evaluate_dataset(dataset, coco_files.as_results(detections, source.image_ids, source.category_ids))


def headline(recipe: recipes.Recipe, result: voc.VocResult) -> float:
    """Returns the figure by which checkpoints are compared."""
    return float({"11point": result.map_11point, "area": result.map_area}[recipe["evaluate"]["metric"]])


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


def padded_boxes(recipe: recipes.Recipe, source: Any) -> int:
    """Returns M, the rows of ground truth a training image is padded to."""
    return recipe["loader"]["max_boxes"] or data.padded_boxes(source)


def train_batches(recipe: recipes.Recipe, source: Any, start_step: int, cache: Any = None) -> Stream:
    """Returns the endless batches of training, from a step on; ``cache`` as in :func:`make_evaluator`."""
    options = {**recipe["loader"], "max_boxes": padded_boxes(recipe, source)}
    options["cache"] = cache or options["cache"]
    train = recipe["train"]
    return recipes.splat(
        "loader",
        data.make_loader,
        options,
        source=source,
        batch_size=train["batch_size"],
        seed=train["seed"],
        start_step=start_step,
    )


def open_cache(recipe: recipes.Recipe, source: Any) -> Any:
    """Returns the cache of decoded images that the recipe wants, built where it lacks some; None if it wants none."""
    folder = recipe["loader"]["cache"]
    try:
        return data.open_cache(source, recipe["loader"]["canvas"], folder) if folder else None
    except InputError as error:
        raise InputError(f"config.{str(error).replace('loader cache', 'loader.cache', 1)}") from error


def run_description(recipe: recipes.Recipe, source: Any) -> dict[str, Any]:
    """Returns the JSON document saved beside each checkpoint: all that is needed to use its arrays."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):  # ssd_jax run from its folder, not installed
            versions[name] = metadata.version(name)
    derived = {"max_boxes": padded_boxes(recipe, source), "training_images": len(source), "source": source.name}
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
