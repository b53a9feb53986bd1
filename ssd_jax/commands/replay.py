"""The dump of a step that was not finite, and what can be found out from it.

``train.py`` writes WORKDIR/nonfinite/step_N: the state before that step, its batch and a description of the run.
``train.py --replay=DUMP`` makes the step again, without the data, and tells in which images and where in the
network the trouble begins. ``--config.section.key=value`` beside it tries the step with another setting.
"""

import json
import shlex
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import checkpoint, files, parallel, processes, training
from ssd_jax import recipe as recipes
from ssd_jax.commands import setup
from ssd_jax.commands.progress import NonFiniteStep
from ssd_jax.errors import InputError
from ssd_jax.types import Batch

DESCRIPTION, ARRAYS = "dump.json", "batch_{}.npz"


class Dump(NamedTuple):
    """What was written of a step."""

    step: int
    config: dict[str, Any]
    class_names: tuple[str, ...]
    names: dict[int, str]  # index -> id of each image of the batch
    batch: Batch  # of all processes, in their order


def write(
    workdir: Path,
    error: NonFiniteStep,
    state: training.TrainState,
    description: Mapping[str, Any],
    name_of: Callable[[int], str],
) -> InputError:
    """Writes the dump of a step; all processes of a run call it.

    Args:
      workdir: of the run.
      error: what was raised about the step.
      state: as the step found it, which is how it left it.
      description: of ``setup.run_description``.
      name_of: index -> id of a training image.

    Returns:
      The error with what to do about it, or why there is no dump.
    """
    folder = Path(workdir) / "nonfinite" / f"step_{error.step}"
    # Every process knows the names of its own rows only, and they travel with them.
    document = {"step": error.step, "config": description["config"], "class_names": description["class_names"]}
    document["processes"] = jax.process_count()
    try:
        if jax.process_index() == 0:
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier dump, perhaps of more processes
        processes.wait_for_all("dump begun")
        folder.mkdir(parents=True, exist_ok=True)
        names = np.array([name_of(int(index)) for index in error.batch.index])
        with open(folder / ARRAYS.format(jax.process_index()), "wb") as file:
            np.savez(file, names=names, **error.batch._asdict())
        checkpoint.save_tree(folder / "state", state._replace(halted=jnp.zeros_like(state.halted)))
        if jax.process_index() == 0:
            files.write_text(folder / DESCRIPTION, json.dumps(document, indent=2) + "\n")
    except (OSError, InputError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        return InputError(f"{error}. The step could not be written down for --replay: {reason}")
    command = f"python train.py --replay={shlex.quote(str(folder))}"
    return InputError(f"{error}. The step is in {folder}: {command} makes it again")


def read(folder: str) -> Dump:
    """Reads what :func:`write` wrote, but the state.

    Raises:
      InputError: if the folder is not such a dump.
    """
    path = Path(folder).expanduser()
    try:
        document = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        shares = []
        for number in range(int(document["processes"])):
            with np.load(path / ARRAYS.format(number), allow_pickle=False) as arrays:
                shares.append(dict(arrays))
        joined = {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}
        names = dict(zip(joined["index"].tolist(), joined.pop("names").tolist(), strict=True))
        batch, step = Batch(**joined), int(document["step"])
        return Dump(step, document["config"], tuple(document["class_names"]), names, batch)
    except FileNotFoundError as error:
        raise InputError(
            f"--replay: expected the folder of a step, WORKDIR/nonfinite/step_N, but there is no {error.filename}"
        ) from error
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"--replay: {path} cannot be read, its files are damaged ({reason})") from error


def run(folder: str, recipe: recipes.Recipe) -> str:
    """Makes the step of a dump again and returns what can be said of it.

    Args:
      folder: of the dump.
      recipe: its configuration, with overrides.

    Raises:
      InputError: if the state cannot be read or does not fit the recipe.
    """
    dump = read(folder)
    network = setup.build_network(recipe, dump.class_names)
    fresh = setup.initial_state({**recipe, "init": {**recipe["init"], "weights": "", "ckpt": ""}}, network)[0]
    state = checkpoint.load_tree(Path(folder).expanduser() / "state", fresh, network.mesh)
    step = setup.compile_train_step(recipe, network)
    _, metrics = step(jax.tree.map(jnp.copy, state), parallel.split(dump.batch, network.mesh))
    lines = [
        f"step {dump.step}, {len(dump.batch.index)} images, {network.mesh.size} devices: "
        + ("not finite again" if not metrics.finite else "finite this time"),
        f"loss {float(metrics.loss):.6g}, gradient norm {float(metrics.gradient_norm):.6g}, "
        f"update norm {float(metrics.update_norm):.6g}, learning rate {float(metrics.learning_rate):.3g}",
        _parameter_line(state),
    ]
    if not metrics.finite:
        lines += _culprits(recipe, network, state, dump, np.asarray(metrics.image_loss))
    return "\n".join(lines)


def _parameter_line(state: training.TrainState) -> str:
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(state.params)[0]
    }
    broken = [name for name, leaf in leaves.items() if not np.isfinite(leaf).all()]
    if broken:
        return f"parameters before the step: not finite in {len(broken)} of {len(leaves)} arrays, {_some(broken)}"
    name = max(leaves, key=lambda name: np.abs(leaves[name]).max())
    return f"parameters before the step: finite, the largest {np.abs(leaves[name]).max():.3g} in {name}"


def _culprits(
    recipe: recipes.Recipe, network: setup.Network, state: training.TrainState, dump: Dump, image_loss: np.ndarray
) -> Iterator[str]:
    """Yields a line on each image that is not finite, and one on the gradient."""
    model, _ = recipes.build_network(recipe, len(dump.class_names))  # without a mapped axis
    differentiate = parallel.compile(
        jax.value_and_grad(setup.make_loss_fn(recipe, network._replace(model=model)), has_aux=True)
    )
    # As many rows as one device had, those of the culprits first: more might not fit its memory.
    share = len(image_loss) // network.mesh.size // recipe["train"]["accumulation_steps"]
    rows = np.sort(np.argsort(np.isfinite(image_loss), kind="stable")[:share])
    batch = jax.tree.map(lambda array: array[rows], dump.batch)
    state = jax.device_get(state)
    (_, aux), gradients = jax.device_get(differentiate(state.params, state.model_state, batch))
    found = False
    for row, index in enumerate(batch.index.tolist()):
        values = {
            "offsets": aux.predictions.offsets[row],
            "logits": aux.predictions.logits[row],
            "location loss": aux.parts.location[row],
            "confidence loss": aux.parts.confidence[row],
        }
        broken = [
            f"{name} ({np.sum(~np.isfinite(value)):,} of {np.size(value):,})"
            for name, value in values.items()
            if not np.isfinite(value).all()
        ]
        if broken:
            found = True
            yield f"{dump.names[index]} (index {index}, epoch {batch.epoch[row]}): not finite in {', '.join(broken)}"
    if not found:
        yield "each image alone is finite, in predictions and losses"
    broken = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_flatten_with_path(gradients)[0]
        if not np.isfinite(leaf).all()
    ]
    yield f"gradient: not finite in {len(broken)} arrays, {_some(broken)}" if broken else "gradient: finite"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
