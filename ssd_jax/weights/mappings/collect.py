"""From the arrays of a file, under its names and in its layout, to arrays under our names and in ours.

Kernels of Caffe and PyTorch are (output, input, height, width), ours (height, width, input, output). What
they know as a fully connected layer on a map of 7x7 cells is a convolution of that size here.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights.mappings.types import Use

Tensors = Mapping[str, np.ndarray]
Pair = tuple[str, str]  # name in the file without its prefix, path in our variables

TRANSPOSED, RESHAPED, REVERSED = "transposed", "reshaped", "channels reversed"


def find_prefix(names: Iterable[str], signature: Sequence[str]) -> str | None:
    """Returns what stands before all names of the signature, the shortest if several do; None if nothing does.

    Checkpoints keep a network under "model.", "state_dict.", DataParallel puts "module." before its names.
    """
    known, first = set(names), signature[0]
    prefixes = [name.removesuffix(first) for name in known if name.endswith(first)]
    fitting = [p for p in prefixes if p[-1:] in ("", ".", "/") and all(p + name in known for name in signature)]
    return min(fitting, key=lambda prefix: (len(prefix), prefix), default=None)


def collect(
    tensors: Tensors, prefix: str, pairs: Sequence[Pair], *, family: str, reverse: str = "", map_side: int = 7
) -> tuple[dict[str, np.ndarray], tuple[Use, ...], tuple[str, ...]]:
    """Returns arrays by path, what was done to each, and the names that were not asked for.

    Args:
      tensors: by name in the file.
      prefix: what stands before the names of ``pairs``.
      pairs: which array goes where. A path that ends in "/kernel" makes a kernel of it.
      family: for messages.
      reverse: path of the kernel whose input channels are reversed, BGR to RGB; "" = none.
      map_side: cells of a side of the map that the fully connected layer fc6 reads.

    Raises:
      InputError: if an array is absent or has other axes than its layer needs.
    """
    arrays, uses = {}, []
    for name, path in pairs:
        source = prefix + name
        if source not in tensors:
            raise InputError(f"{source}: expected this array in weights of {family} (for {path}), found none")
        array = tensors[source]
        if path.endswith("/kernel"):
            array, how = _kernel(source, array, map_side if path.endswith("/fc6/kernel") else 1)
        else:
            array, how = _vector(source, array)
        if path == reverse:
            array, how = array[:, :, ::-1], (*how, REVERSED)
        arrays[path] = array
        uses.append(Use(source, path, how))
    used = {use.source for use in uses}
    return arrays, tuple(uses), tuple(name for name in tensors if name not in used)


def _kernel(source: str, array: np.ndarray, side: int) -> tuple[np.ndarray, tuple[str, ...]]:
    if array.ndim == 4 and array.shape[:2] != (1, 1):
        return array.transpose(2, 3, 1, 0), (TRANSPOSED,)
    # Caffe's files of before 2015 give everything four axes: an inner product is (1, 1, output, input).
    dense = array.reshape(array.shape[-2:]) if array.ndim == 4 else array
    if dense.ndim != 2 or dense.size == 0 or dense.size // len(dense) % side**2:
        raise InputError(
            f"{source}: expected a kernel (output, input, height, width) or a fully connected layer "
            f"(output, input x {side} x {side}), got shape {array.shape}"
        )
    return dense.reshape(len(dense), -1, side, side).transpose(2, 3, 1, 0), (RESHAPED, TRANSPOSED)


def _vector(source: str, array: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    if sum(side != 1 for side in array.shape) > 1 or array.size == 0:
        raise InputError(f"{source}: expected one number a channel, got shape {array.shape}")
    return array.reshape(-1), () if array.ndim == 1 else (RESHAPED,)
