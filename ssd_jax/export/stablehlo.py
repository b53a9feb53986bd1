"""StableHLO through ``jax.export``: one program for several platforms and any batch size."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ssd_jax import artifact, parallel
from ssd_jax.errors import InputError
from ssd_jax.export.program import Exportable

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # JAX's words; none of them has to be at hand


def write(path: str | PathLike[str], exportable: Exportable, *, platforms: Sequence[str]) -> None:
    """Lowers the program for platforms and writes it.

    Unless ``jax_traceback_in_locations_limit`` is 0, as export.py sets it, JAX notes beside each operation in which
    source file it was called, with the folder of this installation.

    Args:
      path: of the file.
      exportable: of ``program.make_exportable``.
      platforms: some of PLATFORMS; no such device has to be here.

    Raises:
      InputError: if a platform is unknown or cannot be lowered for, or the file cannot be written.
    """
    artifact.write(path, lower(exportable, platforms=platforms), exportable.weights, exportable.metadata)


def lower(exportable: Exportable, *, platforms: Sequence[str]) -> jax.export.Exported:
    """Traces the program and lowers it for platforms; arguments as of :func:`write`."""
    check_platforms(platforms)
    batch = jax.export.symbolic_shape("batch")[0] if exportable.batch_size is None else exportable.batch_size
    weights = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in exportable.weights.items()}
    canvas = jax.ShapeDtypeStruct((batch, *exportable.canvas, 3), jnp.uint8)
    size = jax.ShapeDtypeStruct((batch, 2), jnp.int32)
    compiled: Any = parallel.compile(exportable.function)
    export = jax.export.export(compiled, platforms=tuple(dict.fromkeys(platforms)))
    try:
        return export(weights, canvas, size)
    except NotImplementedError as error:  # what JAX says of an operation that a platform does not have
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--platforms: cannot be lowered for {', '.join(platforms)} ({reason})") from error


def check_platforms(platforms: Sequence[str]) -> None:
    """Raises InputError if there is none, or one that JAX cannot export for."""
    for platform in platforms or ("",):
        if platform not in PLATFORMS:
            raise InputError(f"--platforms: expected some of {', '.join(PLATFORMS)}, got {platform!r}")


def open_runner(path: str | PathLike[str]) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Returns run(canvas, size) -> outputs of a file, on the device that JAX chooses.

    Raises:
      InputError: if it cannot be read, or was not exported for that device.
    """
    found = artifact.read(path)
    artifact.check_platform(found)
    weights, call = jax.device_put(found.weights), parallel.compile(found.program.call)
    return lambda canvas, size: jax.device_get(call(weights, canvas, size))
