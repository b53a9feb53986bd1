"""Reading a trained detector: from a run of ours, or from a published file."""

from os import PathLike
from pathlib import Path
from typing import Any

from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, published
from ssd_jax.weights.network import TrainedNetwork

__all__ = ["TrainedNetwork", "describe", "read"]


def read(place: str | PathLike[str], *, step: int | None = None) -> TrainedNetwork:
    """Reads a trained detector.

    Args:
      place: the --workdir of a run, ``WORKDIR@STEP``, or a published file (:mod:`ssd_jax.weights.published`).
      step: of a run; None = the best by metric, else the newest.

    Raises:
      InputError: if it is none of these or damaged.
    """
    path = Path(place).expanduser()
    if not path.is_file():
        from ssd_jax.weights import runs  # here, because Orbax takes a third of a second, which files need not wait for

        return runs.read_run(str(place), step=step)
    if step is not None:
        raise InputError(f"{path}: expected no step of a file, got {step}")
    return published.read(path)


def describe(place: str | PathLike[str]) -> dict[str, Any]:
    """Returns a note, JSON, of what :func:`read` was given: the run, or which file.

    Raises:
      InputError: if the file cannot be read.
    """
    path = Path(place).expanduser()
    if not path.is_file():
        return {"run": str(place)}
    about = {"bytes": path.stat().st_size, "sha256": foreign.sha256(path)}
    return {"file": str(place), **about, "format": "safetensors", "family": "ssd_jax"}
