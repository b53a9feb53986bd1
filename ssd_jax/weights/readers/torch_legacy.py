"""Files of PyTorch before 1.6 (``_use_new_zipfile_serialization=False`` since): pickles, then raw storages.

The layout is that of _legacy_save in torch/serialization.py and of THPStorage_writeFileRaw::

    pickles of     a magic number, the version of the protocol, facts about the machine,
                   what was saved, and the keys of the storages in the order of the file
    each storage   its length in numbers (int64), then the numbers; little-endian on any machine
"""

import os
import struct
from io import BufferedReader

import numpy as np

from ssd_jax.weights.readers.bounds import one_sentence, regular_file
from ssd_jax.weights.readers.raw import read_bytes, shown
from ssd_jax.weights.readers.tensors import TensorFile
from ssd_jax.weights.readers.torch_arrays import make_arrays
from ssd_jax.weights.readers.torch_pickle import MAX_BYTES, Machine
from ssd_jax.weights.readers.torch_state import find_state
from ssd_jax.weights.readers.torch_values import Storage

EXPECTED = "a PyTorch file (legacy)"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_LENGTH = struct.Struct("<q")


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads the tensors of a file that ``torch.save`` wrote; nothing in it is executed.

    Args:
      path: of the file.

    Returns:
      format "PyTorch (legacy)"; the arrays are read-only, and views of the same storage share memory. The metadata
      are those of :func:`ssd_jax.weights.readers.torch_state.find_state`.

    Raises:
      InputError: the file is absent, damaged, no such file, or holds more than tensors and plain values.
    """
    size = regular_file(path, EXPECTED)
    with one_sentence(path, EXPECTED), open(path, "rb") as file:
        machine = Machine(file.read(min(MAX_BYTES, size)))
        _check_start(machine)
        state = find_state(machine.load())
        runs = _find_runs(file, machine, size)
        arrays = make_arrays(state.tensors, lambda storage: read_bytes(file, runs[storage.key], storage.nbytes), size)
    return TensorFile("PyTorch (legacy)", arrays, state.metadata)


def _check_start(machine: Machine) -> None:
    if machine.data[257:262] == b"ustar":
        raise ValueError("it is a tar archive, the format of PyTorch's first releases, which is not read here")
    if machine.data[:2] == b"PK":
        raise ValueError("it is a zip archive")
    try:
        magic = machine.load()
    except ValueError:
        magic = None
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise ValueError("it does not begin with PyTorch's magic number")
    protocol = machine.load()
    if type(protocol) is not int or protocol != PROTOCOL:
        raise ValueError(f"the version of its protocol is not {PROTOCOL}")
    machine.load()  # of the machine that wrote it: the storages do not depend on it


def _find_runs(file: BufferedReader, machine: Machine, size: int) -> dict[str, int]:
    """Returns where the numbers of each storage begin, all of them checked against the file."""
    keys = machine.load()
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("the list of its storages is damaged")
    runs: dict[str, int] = {}
    position = machine.position
    for key in keys:
        storage = machine.storages.get(key)
        if storage is None or key in runs:
            raise ValueError(f"its storage {shown(key)} belongs to no tensor or comes twice")
        if position + _LENGTH.size > size:
            raise ValueError("it ends early")
        _check_length(read_bytes(file, position, _LENGTH.size), storage)
        runs[key] = position + _LENGTH.size
        position = runs[key] + storage.nbytes
        if position > size:
            raise ValueError("it ends early")
    missing = machine.storages.keys() - runs.keys()
    if missing:
        raise ValueError(f"the numbers of its storage {shown(min(missing))} are missing")
    return runs


def _check_length(data: np.ndarray, storage: Storage) -> None:
    (length,) = _LENGTH.unpack(data.tobytes())
    if length != storage.count:
        raise ValueError(f"its storage {shown(storage.key)} has {length:,} numbers instead of {storage.count:,}")
