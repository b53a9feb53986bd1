"""Reading and writing the file of an exported program, and calling what was read."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from ssd_jax import files
from ssd_jax import recipe as recipes
from ssd_jax.artifact import archive, metadata
from ssd_jax.errors import InputError
from ssd_jax.types import Detections

METADATA, PROGRAM = "metadata.json", "program.bin"
MAX_METADATA, MAX_PROGRAM = 1 << 24, 1 << 28  # bytes; SSD300 has 10 kB and 0.3 MB
FLATBUFFERS = 'needs the package flatbuffers: pip install "flatbuffers>=24.3.25"'


class Artifact(NamedTuple):
    """An exported program and all that is needed to use it."""

    name: str  # of the file, for messages
    program: jax.export.Exported  # call(weights, canvas [B, Hc, Wc, 3] uint8, size [B, 2] int32) -> dict of arrays
    weights: dict[str, np.ndarray]  # its first argument
    class_names: tuple[str, ...]  # [0] == "background"
    canvas: tuple[int, int]  # (height, width)
    image_size: tuple[int, int]  # (height, width) of the network's input
    recipe: recipes.Recipe  # recipe.detection_part
    platforms: tuple[str, ...]  # that it was exported for, in JAX's words: cpu, cuda, rocm, tpu
    batch_size: int | None  # that it takes; None: any
    gives: str  # metadata.DETECTIONS or CANDIDATES
    metadata: dict[str, Any]  # of metadata.describe


def is_artifact(path: str | PathLike[str]) -> bool:
    """Whether a file looks like one of :func:`write`, damaged or not."""
    try:
        with zipfile.ZipFile(path) as opened:
            return {METADATA, PROGRAM} <= set(opened.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return False


def write(
    path: str | PathLike[str], program: jax.export.Exported, weights: Mapping[str, np.ndarray], about: dict[str, Any]
) -> None:
    """Writes a file, whole or not at all.

    Args:
      path: of the file; an earlier one is replaced.
      program: of ``jax.export.export``, with the arguments (dict of weights, canvas, size).
      weights: by their names.
      about: of ``metadata.describe``.

    Raises:
      InputError: if the file cannot be written, or flatbuffers is missing.
    """
    try:
        serialized = bytes(program.serialize())
    except ImportError as error:
        raise InputError(f"{path}: writing an exported program {FLATBUFFERS}") from error
    files.write_bytes(
        path, archive.pack({METADATA: json.dumps(about, indent=1).encode(), PROGRAM: serialized}, weights)
    )


def read(path: str | PathLike[str]) -> Artifact:
    """Reads a file of :func:`write`. Nothing in it is run, and memory stays within a few times its size.

    Raises:
      InputError: if it is none, is damaged, or was made by a JAX too new or too old for this one.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as opened:
            members = archive.Members(opened, file.seek(0, io.SEEK_END))
            about = metadata.check(members.take(METADATA, MAX_METADATA))
            program = _program(bytearray(members.take(PROGRAM, MAX_PROGRAM)), about["versions"].get("jax"))
            weights = {name: members.array(name, like) for name, like in _expected_weights(program, about).items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # What zipfile, json and NumPy raise on bytes that are not theirs.
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: expected a whole exported program of ssd_jax, but {reason}") from error
    return Artifact(
        name=fspath(path),
        program=program,
        weights=weights,
        class_names=tuple(about["class_names"]),
        canvas=tuple(about["canvas"]),
        image_size=tuple(about["image_size"]),
        recipe=about["config"],
        platforms=tuple(program.platforms),
        batch_size=about["batch_size"],
        gives=about["gives"],
        metadata=about,
    )


def make_run(found: Artifact) -> Callable[[Any, jax.Array, jax.Array], Detections]:
    """Returns run(weights, canvas, size) -> Detections, as that of ``inference.Program``: to be compiled and mapped.

    Raises:
      InputError: if the program does not suppress, or was not exported for the platform at hand.
    """
    if found.gives != metadata.DETECTIONS:
        raise InputError(
            f"{found.name}: expected a program that gives detections, got one without suppression (--nms=False)"
        )
    check_platform(found)

    def run(weights: Any, canvas: jax.Array, size: jax.Array) -> Detections:
        outputs: Any = found.program.call(weights, canvas, size)
        return Detections(outputs["boxes"], outputs["scores"], outputs["labels"])

    return run


def check_platform(found: Artifact, platform: str | None = None) -> None:
    """Raises InputError if a program was not exported for a platform, by default the one that JAX runs on."""
    platform = platform or jax.export.default_export_platform()
    if platform not in found.platforms:
        raise InputError(
            f"{found.name}: exported for {', '.join(found.platforms)}, but JAX runs on {platform} here; "
            f"export it again with --platforms={','.join((*found.platforms, platform))}"
        )


def _program(serialized: bytearray, made_with: str | None) -> jax.export.Exported:
    try:
        program = jax.export.deserialize(serialized)
        program.mlir_module()  # parses it, as the first call would
        return program
    except ImportError as error:
        raise InputError(f"reading an exported program {FLATBUFFERS}") from error
    except Exception as error:  # flatbuffers and MLIR raise anything
        raise InputError(
            f"its program, made with jax {made_with}, cannot be read by jax {jax.__version__}, which reads what was "
            f"written up to six months before it and nothing newer; export it again, with the oldest JAX that is to "
            f"read it ({' '.join(str(error).split())[:200]})"
        ) from error


def _expected_weights(program: jax.export.Exported, about: dict[str, Any]) -> dict[str, Any]:
    """Returns shapes of what the program wants as its first argument, after comparing the rest with the metadata."""
    (weights, canvas, size), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    batch = about["batch_size"]
    if tuple(canvas.shape[1:]) != (*about["canvas"], 3) or tuple(size.shape[1:]) != (2,):
        raise ValueError(f"its program takes {canvas.shape}, and its metadata say {about['canvas']}")
    fixed = canvas.shape[0] if isinstance(canvas.shape[0], int) else None
    if not isinstance(weights, dict) or fixed != batch:
        raise ValueError(f"its program takes other arguments than its metadata say (a batch of {fixed}, not {batch})")
    return weights
