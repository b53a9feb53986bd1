"""Writes a detector or a base, reads it back and compares; what fails leaves what was there before."""

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssd_jax import checkpoint, files, training, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import provenance, setup
from ssd_jax.errors import InputError
from ssd_jax.weights import card, foreign, published, readers
from ssd_jax.weights.network import named_arrays


def write_file(trained: weights.TrainedNetwork, path: Path, license_: str, notes: Sequence[str]) -> list[str]:
    """Publishes a detector; returns what is to be told.

    Raises:
      InputError: if file or card cannot be written, or the file differs from the detector; an earlier file stays.
    """
    _make_folder(path.parent)
    with files.staged(path) as copy:
        published.write(copy, trained)
        _compare(trained, published.read(copy), copy)
        size, digest = copy.stat().st_size, foreign.sha256(copy)
        text = card.card(trained, file=path.name, sha256=digest, license_=license_, notes=notes)
        told = _write_card(path, text, digest)
    return [f"written:  {path} ({size:,} bytes)", told]


def write_base(file: foreign.Foreign, path: Path, license_: str) -> list[str]:
    """Publishes the base of a network; returns what is to be told.

    Raises:
      InputError: as :func:`write_file`.
    """
    _make_folder(path.parent)
    converted = file.converted
    with files.staged(path) as copy:
        try:
            published.write_base(copy, converted.arrays, normalization=converted.normalization, origin=file.origin)
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from error
        _compare_arrays(converted.arrays, readers.read(copy).tensors, copy)
        size, digest = copy.stat().st_size, foreign.sha256(copy)
        text = card.base_card(
            converted.arrays,
            file=path.name,
            sha256=digest,
            origin=file.origin,
            normalization=converted.normalization,
            license_=license_,
            notes=converted.notes,
        )
        told = _write_card(path, text, digest)
    next_ = f"next:     python train.py --config=... --config.init.weights={shlex.quote(str(path))}"
    return [f"written:  {path} ({size:,} bytes)", told, next_]


def write_checkpoint(trained: weights.TrainedNetwork, path: Path, recipe: recipes.Recipe) -> list[str]:
    """Writes a run of one checkpoint; returns what is to be told.

    Args:
      trained: what it holds.
      path: of its folder, which may be there but not hold a run.
      recipe: of its training.

    Raises:
      InputError: if it cannot be written or differs, or another program writes there; nothing is left of it.
    """
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
    folder = setup.open_workdir(str(path), option="--output")
    with setup.lock_workdir(folder), _complete_or_absent(folder):
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


@contextlib.contextmanager
def _complete_or_absent(folder: Path) -> Iterator[None]:
    """Refuses a folder with checkpoints; removes those of the block if it raises, or is interrupted."""
    checkpoints = folder / "checkpoints"
    if checkpoints.exists() and any(checkpoints.iterdir()):
        raise InputError(f"--output: expected a folder without checkpoints, or FILE.safetensors, got {folder}")
    try:
        yield
    except BaseException:
        shutil.rmtree(checkpoints, ignore_errors=True)
        raise


def _write_card(path: Path, text: str, sha256: str) -> str:
    place = path.with_suffix(".md")
    if not place.exists():
        files.write_text(place, text)
        return f"card:     {place}"
    try:
        stale = sha256 not in place.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from error
    which = ", although it does not state the SHA-256 of this file" if stale else ""
    return f"card:     {place} is there already and stays as it is{which}; delete it to have it written anew"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output: {folder} cannot be created ({error.strerror})") from error


def _compare(trained: weights.TrainedNetwork, read: weights.TrainedNetwork, place: Path) -> None:
    """Refuses a copy that differs in a bit, a class or a default box."""
    _compare_arrays(named_arrays(trained.variables), named_arrays(read.variables), place)
    if trained.class_names != read.class_names:
        raise InputError(f"{place}: its classes differ from those of {trained.name}; it cannot be used")
    if not np.array_equal(trained.default_boxes, read.default_boxes):
        raise InputError(f"{place}: its default boxes differ from those of {trained.name}; it cannot be used")


def _compare_arrays(old: Mapping[str, Any], new: Mapping[str, Any], place: Path) -> None:
    same = old.keys() == new.keys() and all(np.array_equal(old[name], new[name]) for name in old)
    if not same:
        raise InputError(f"{place}: what was written differs from what was read; it cannot be used")
