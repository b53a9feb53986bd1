"""Where functions are compiled and mapped over devices: the only place in the library that does."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"  # the name of the axis over which a batch is split
REPLICATED = PartitionSpec()
SPLIT = PartitionSpec(AXIS)


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the one-dimensional mesh of all devices (of every process), or of those given."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def data_parallel(fn: Callable, mesh: Mesh, *, in_specs: Any, out_specs: Any, donate: Sequence[int] = ()) -> Callable:
    """Maps a per-device function over the mesh and compiles it.

    ``fn`` sees its own share of every argument marked SPLIT and may reduce over the axis ``AXIS``.
    This is ``jax.pmap`` without its extra leading axis: pmap itself has been a wrapper of shard_map
    since JAX 0.8. ``check_vma=False`` keeps gradients per device until the step sums them itself.

    Args:
      fn: the per-device function.
      mesh: of :func:`data_mesh`.
      in_specs: REPLICATED or SPLIT for each argument (or for each of its leaves).
      out_specs: the same for the results.
      donate: positions of arguments whose memory the results may take over.
    """
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    return jax.jit(mapped, donate_argnums=tuple(donate))


def compile(fn: Callable, *, donate: Sequence[int] = ()) -> Callable:
    """Compiles a function for the default device."""
    return jax.jit(fn, donate_argnums=tuple(donate))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Places a copy of each array on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def split(batch: Any, mesh: Mesh) -> Any:
    """Splits the leading axis of this process's arrays over its devices of the mesh.

    Raises:
      ValueError: if the number of examples is not divisible by the number of devices.
    """
    local = mesh.local_mesh.size
    for array in jax.tree.leaves(batch):
        if np.shape(array)[0] % local:
            raise ValueError(f"batch: expected a multiple of {local} devices, got {np.shape(array)[0]} examples")
    sharding = NamedSharding(mesh, SPLIT)
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), batch)
