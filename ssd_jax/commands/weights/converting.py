"""From any source of weights to a published file or a checkpoint."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssd_jax import checkpoint, files, training, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import provenance, setup
from ssd_jax.commands.weights.sources import Source
from ssd_jax.commands.weights.usual_names import USUAL_NAMES
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND
from ssd_jax.weights import card, foreign, mappings, published
from ssd_jax.weights.network import named_arrays

SUFFIX = ".safetensors"
FOREIGN_SUFFIXES = (".safetensors", ".pth", ".pt", ".h5", ".npz", ".caffemodel", ".onnx", ".stablehlo", ".md")


def given_settings(arguments: Sequence[str]) -> set[str]:
    """Returns the settings that a command line overrides, as "section.key"."""
    found = (re.match(r"--?config\.([A-Za-z_]\w*\.[A-Za-z_]\w*)", argument) for argument in arguments)
    return {match[1] for match in found if match}


def convert(
    source: Source, output: str, *, config: Any, given: set[str], class_names: Sequence[str], license_: str
) -> list[str]:
    """Writes what a source holds, reads it back and compares.

    Args:
      source: of ``sources.open_source``.
      output: FILE.safetensors, else a folder.
      config: the recipe of a foreign detector's checkpoint; None: there is none.
      given: its settings that were stated and hence stay, whatever a foreign file says.
      class_names: of a foreign detector, without background; () = the usual ones of so many.
      license_: for the card.

    Returns:
      What is to be told, a line a string.

    Raises:
      InputError: if it cannot be converted or written.
    """
    path = Path(output).expanduser()
    _check_output(source, path, output)
    is_file = path.suffix == SUFFIX
    base = None if config is None else recipes.plain(config)
    told, notes = [], ()
    if source.foreign is not None and source.foreign.converted.num_classes is None:
        if not is_file:
            raise InputError(
                f"--output: expected FILE{SUFFIX}, since {source.foreign.path} holds no detector, got {output}; "
                f"training starts from it by --config.init.weights={source.foreign.path}"
            )
        return _write_base(source.foreign, path, license_)
    if source.foreign is not None:
        trained, report = detector_of(source.foreign, _needed(base), given, class_names)
        told, notes = [f"{source.foreign.path} ({source.foreign.format})", mappings.as_table(report)], report.notes
    elif source.trained is not None:
        if class_names:
            raise InputError(f"--class_names: expected none, since {source.trained.name} has its own")
        trained = source.trained
    else:
        raise ValueError("source: expected one of a known network")
    if is_file:
        return [*told, *_write_file(trained, path, license_, notes)]
    return [*told, *_write_checkpoint(trained, path, base)]


def _check_output(source: Source, path: Path, output: str) -> None:
    """Refuses names that stand for another format, and the source itself."""
    if not output or (path.suffix.lower() in FOREIGN_SUFFIXES and path.suffix != SUFFIX):
        raise InputError(f"--output: expected FILE{SUFFIX}, or a folder for a checkpoint, got {output!r}")
    if path.exists() and Path(source.place).exists() and path.samefile(source.place):
        raise InputError(f"--output: expected another place than the source, got {output}")


def detector_of(
    file: foreign.Foreign, base: recipes.Recipe, given: set[str], class_names: Sequence[str]
) -> tuple[weights.TrainedNetwork, mappings.Report]:
    """Makes a detector of a foreign file, which detects as it did where it comes from.

    Args:
      file: of a detector.
      base: the recipe, which the file's own settings override but for those ``given``.
      given: settings that stay.
      class_names: without background; () = the usual ones.

    Raises:
      InputError: if classes are missing, or the arrays do not fill the network.
    """
    converted = file.converted
    names = _class_names(converted.num_classes or 0, class_names)
    stated = {key: value for key, value in converted.config.items() if key not in given}
    recipe = recipes.with_overrides(base, {**stated, "init.weights": "", "init.ckpt": "", "init.required": False})
    model, default_boxes = recipes.build_network(recipe, len(names))
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(model.init, jax.random.key(0)))
    variables, report = foreign.fill(file, fresh, foreign.normalization_of(recipe))
    if report.random:
        raise InputError(
            f"{file.path}: expected every array of the detector, got none for {len(report.random)}: {report.random[0]}"
        )
    name = Path(file.path).name
    return weights.TrainedNetwork(name, names, variables, default_boxes, recipe, file.origin), report


def _class_names(num_classes: int, stated: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in stated)
    names = names[1:] if names[:1] == (BACKGROUND,) else names
    if not names:
        if num_classes not in USUAL_NAMES:
            known = " or ".join(map(str, USUAL_NAMES))
            raise InputError(
                f"--class_names: expected the {num_classes - 1} classes of the file, which does not name them (with "
                f"{known} classes, background included, VOC's or COCO's would be taken), got none"
            )
        names = USUAL_NAMES[num_classes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or BACKGROUND in names or "" in names:
        raise InputError(f"--class_names: expected distinct names, got {', '.join(repeated) or 'an empty one'} twice")
    unprintable = [name for name in names if not name.isprintable() or len(name) > published.LONGEST_NAME]
    if unprintable:
        longest = published.LONGEST_NAME
        raise InputError(
            f"--class_names: expected printable names of up to {longest} letters, got {unprintable[0][:80]!a}"
        )
    if len(names) != num_classes - 1:
        raise InputError(f"--class_names: expected {num_classes - 1}, as many as the file has, got {len(names)}")
    return (BACKGROUND, *names)


def _needed(base: Any) -> recipes.Recipe:
    if base is None:
        raise InputError("--config: expected the recipe of the detector, a file of configs/, got none")
    return base


def _write_file(trained: weights.TrainedNetwork, path: Path, license_: str, notes: Sequence[str]) -> list[str]:
    _make_folder(path.parent)
    published.write(path, trained)
    _compare(trained, published.read(path), path)
    text = card.card(trained, file=path.name, sha256=foreign.sha256(path), license_=license_, notes=notes)
    return [f"written:  {path} ({path.stat().st_size:,} bytes)", *_write_card(path, text)]


def _write_base(file: foreign.Foreign, path: Path, license_: str) -> list[str]:
    _make_folder(path.parent)
    converted = file.converted
    published.write_base(path, converted.arrays, normalization=converted.normalization, origin=file.origin)
    text = card.base_card(
        file=path.name,
        sha256=foreign.sha256(path),
        origin=file.origin,
        numbers=sum(np.size(array) for array in converted.arrays.values()),
        license_=license_,
        notes=converted.notes,
    )
    lines = [f"written:  {path} ({path.stat().st_size:,} bytes)", *_write_card(path, text)]
    return [*lines, f"next:     python train.py --config=... --config.init.weights={shlex.quote(str(path))}"]


def _write_card(path: Path, text: str) -> list[str]:
    place = path.with_suffix(".md")
    if place.exists():
        return [f"card:     {place} is there already and stays as it is; delete it to have it written anew"]
    files.write_text(place, text)
    return [f"card:     {place}"]


def _write_checkpoint(trained: weights.TrainedNetwork, path: Path, base: Any) -> list[str]:
    recipe = trained.recipe
    if "train" not in recipe:  # a published file has what detecting needs
        stated = {f"{section}.{key}": value for section, part in recipe.items() for key, value in part.items()}
        recipe = recipes.with_overrides(_needed(base), {**stated, "init.weights": "", "init.required": False})
    folder = setup.open_workdir(str(path), option="--output")
    if setup.is_run(folder):
        raise InputError(f"--output: expected a folder without checkpoints, or FILE{SUFFIX}, got {folder}")
    optimizer, step = recipes.build_optimizer(recipe), trained.step or 0
    state = training.state_of(trained.variables, optimizer, ema_decay=recipe["train"]["ema_decay"], step=step)
    meta = {
        "config": recipe,
        "class_names": list(trained.class_names),
        "derived": {},
        "origin": dict(trained.origin),
        "training": dict(trained.training),
        "versions": provenance.versions(),
        "commit": provenance.git_commit(),
    }
    checkpoint.check_space(folder, state)
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, step, state, meta)
    _compare(trained, weights.read(folder), folder)
    quoted = shlex.quote(str(folder))
    return [
        f"written:  {folder / 'checkpoints' / str(step)}",
        f"next:     python evaluate.py --ckpt={quoted} --config.data.root=DIR, or python detect.py --ckpt={quoted} "
        "--input=FOLDER",
    ]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output: {folder} cannot be created ({error.strerror})") from error


def _compare(trained: weights.TrainedNetwork, read: weights.TrainedNetwork, place: Path) -> None:
    """Refuses a copy that differs in a bit, a class or a default box."""
    old: Mapping[str, Any]
    old, new = named_arrays(trained.variables), named_arrays(read.variables)
    same = old.keys() == new.keys() and all(np.array_equal(old[name], new[name], equal_nan=True) for name in old)
    if not (same and trained.class_names == read.class_names):
        raise InputError(f"{place}: what was written differs from what was read; it cannot be used")
    if not np.array_equal(trained.default_boxes, read.default_boxes):
        raise InputError(f"{place}: its default boxes differ from those of {trained.name}; it cannot be used")
