"""Where functions are compiled and mapped over devices: the only place in the library that does."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
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


def gather(tree: Any, mesh: Mesh) -> Any:
    """Fetches arrays that :func:`split` or a mapped function left split over the mesh.

    Args:
      tree: arrays on the mesh; every process calls this with its part of the same ones.
      mesh: of :func:`data_mesh`.

    Returns:
      The whole arrays, NumPy, on every process.
    """
    if mesh.is_multi_process:
        tree = _replicator(mesh)(tree)
    return jax.device_get(tree)


@functools.cache  # one compilation for each shape, not for each call
def _replicator(mesh: Mesh) -> Callable:
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, REPLICATED))


def start_maximum(number: int, mesh: Mesh) -> jax.Array:
    """Starts to compute the largest of the numbers that the processes give, in a program of its own.

    Nobody waits: on the devices it comes after what was dispatched before, and ``int()`` of the result
    waits for that.

    Args:
      number: int32; every process calls this at the same place of its program.
      mesh: of :func:`data_mesh`.

    Returns:
      [] int32, the same on every process.
    """
    sharding = NamedSharding(mesh, SPLIT)
    local = np.full(mesh.local_mesh.size, number, np.int32)
    return _maximum(mesh)(jax.make_array_from_process_local_data(sharding, local))


@functools.cache
def _maximum(mesh: Mesh) -> Callable:
    return jax.jit(jnp.max, out_shardings=NamedSharding(mesh, REPLICATED))
