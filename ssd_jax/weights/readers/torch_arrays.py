"""From tensors by their place to arrays: every place is checked before the first storage is read."""

from collections.abc import Callable, Mapping

import numpy as np

from ssd_jax.weights.readers.bounds import check_expansion, check_shape
from ssd_jax.weights.readers.raw import shown
from ssd_jax.weights.readers.torch_values import Storage, Tensor


def make_arrays(
    tensors: Mapping[str, Tensor], read: Callable[[Storage], np.ndarray], size: int
) -> dict[str, np.ndarray]:
    """Reads the storages of tensors and returns the tensors, read-only; those that share a storage share memory.

    Args:
      tensors: by name.
      read: returns the bytes of a storage's whole run, uint8 [storage.nbytes]; called once a key.
      size: bytes of the file.

    Raises:
      ValueError: a tensor does not lie within its storage, or all together are far larger than the file.
    """
    check_expansion(sum(_check(name, tensor) for name, tensor in tensors.items()), size)
    runs: dict[str, np.ndarray] = {}
    arrays = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        if key not in runs:
            runs[key] = read(tensor.storage)
        arrays[name] = _view(tensor, runs[key])
        arrays[name].flags.writeable = False
    return arrays


def _check(name: str, tensor: Tensor) -> int:
    """Returns the bytes of a tensor if it lies within its storage."""
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"its tensor {shown(name)} has a shape, strides or an offset that make no sense")
    count = check_shape(tensor.shape, name)
    last = tensor.offset + sum((axis - 1) * stride for axis, stride in zip(tensor.shape, tensor.strides, strict=True))
    if count and last >= _length(tensor):
        raise ValueError(f"its tensor {shown(name)} reaches beyond its storage of {_length(tensor):,} numbers")
    return count * tensor.dtype.itemsize


def _length(tensor: Tensor) -> int:
    """Returns how many numbers of the tensor's kind its storage holds."""
    return tensor.storage.length * tensor.storage.dtype.itemsize // tensor.dtype.itemsize


def _view(tensor: Tensor, run: np.ndarray) -> np.ndarray:
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, tensor.dtype)
    width = tensor.dtype.itemsize
    start = tensor.storage.first * tensor.storage.dtype.itemsize + tensor.offset * width
    # An axis of one number may have any stride, also one that NumPy cannot hold.
    strides = [stride * width if axis > 1 else width for axis, stride in zip(tensor.shape, tensor.strides, strict=True)]
    if tensor.dtype == np.bool_:  # NumPy's are 0 and 1, those of a file anything
        return np.ndarray(tensor.shape, np.uint8, run.data, start, strides) != 0
    return np.ndarray(tensor.shape, tensor.dtype, run.data, start, strides)
