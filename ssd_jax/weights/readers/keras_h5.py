"""Weights of Keras in HDF5: those of its applications (VGG16 ...), of whole models, and ``.weights.h5`` of Keras 3.

The layouts are those of keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py. HDF5's
library (h5py, the extra "keras") only tells where the arrays lie, in a process of its own
(:mod:`ssd_jax.weights.readers.hdf5_index`); they are read here.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.weights.readers.bounds import MAX_TENSORS, check_name, check_shape, one_sentence, regular_file
from ssd_jax.weights.readers.tensors import TensorFile

EXPECTED = "an HDF5 file of Keras"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PROGRAM = Path(__file__).with_name("hdf5_index.py")
_SECONDS = 30.0  # it takes half a second; a cold file system may need more to start it. Computing has its own limit
_DTYPES = {np.dtype(kind).str for kind in ("?", *"bhiqBHIQefd")}  # by size and byte order, as NumPy writes them
_BIG_ENDIAN = {kind.replace("<", ">") for kind in _DTYPES}
_SHOWN = 300  # letters of a reason


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads the weights of a model; those of its optimizer are left out.

    Two layouts are known. Up to Keras 2 (and in .h5 files of Keras 3), the attribute "layer_names" of the root or of
    the group "model_weights" lists the layers, and "weight_names" of each its arrays; names and order are theirs. In
    .weights.h5 of Keras 3, arrays are numbered in groups "vars"; the order is that of the names, numbers within them
    by value (conv2d_2 before conv2d_10).

    Args:
      path: of the file, which begins with HDF5's signature.

    Returns:
      format "Keras HDF5"; tensors by their path below the root or "model_weights"
      ("block1_conv1/block1_conv1_W_1:0", "layers/conv2d/vars/0"), as stored: kernels are (height, width, in, out);
      metadata "layout" ("layer_names" or "vars"), "layers" (layer -> its tensors in order; by the layer's own name,
      "block1_conv1", in both layouts, or by the path of its group where the file has none or it comes twice) and,
      where stated, "keras_version" and "backend" (kernels of "theano" are flipped).

    Raises:
      InputError: the file is absent or no such file, or h5py is not installed.
    """
    size = regular_file(path, EXPECTED)
    with one_sentence(path, EXPECTED), open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise ValueError("it does not begin with HDF5's signature")
    if importlib.util.find_spec("h5py") is None:
        raise InputError(
            f'{path}: files of Keras need h5py, which is not installed; run: python -m pip install "h5py>=3.11"'
        )
    with one_sentence(path, EXPECTED):
        return tensors(path, size, _index(path))


def _index(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what the other process says; raises ValueError if it does not come to an end, or to a bad one."""
    # -P: the folder of the program holds modules that are called as packages are (safetensors).
    command = [sys.executable, "-P", str(_PROGRAM), os.path.abspath(path)]
    threads = {"OPENBLAS_NUM_THREADS": "1"}  # each would take address space
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, env={**os.environ, **threads}
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"HDF5 did not come to an end with it within {_SECONDS:g} s") from error
    if -done.returncode in (getattr(signal, "SIGXCPU", None), getattr(signal, "SIGKILL", None)):
        raise ValueError("HDF5 did not come to an end with it")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"HDF5 failed on it ({last[:_SHOWN] or f'exit status {done.returncode}'})")
    return json.loads(done.stdout)


def tensors(path: str | os.PathLike[str], size: int, index: dict[str, Any]) -> TensorFile:
    """Reads the arrays that lie where an index says.

    Args:
      path: of the file.
      size: of the file in bytes; arrays behind it are refused.
      index: of :func:`ssd_jax.weights.readers.hdf5_index.describe`, from JSON.

    Raises:
      ValueError: the index tells an error, or of arrays that the file cannot have.
    """
    if "error" in index:
        raise ValueError(index["error"][:_SHOWN])
    if not 0 < len(index["arrays"]) <= MAX_TENSORS:
        raise ValueError(f"it has {len(index['arrays']):,} weights of layers, expected 1 to {MAX_TENSORS:,}")
    places: dict[str, tuple[str, tuple[int, ...], int]] = {}
    layers: dict[str, tuple[str, ...]] = {}
    for name, kind, shape, offset in index["arrays"]:
        if check_name(name, "name of an array") in places:
            raise ValueError(f"it lists {name!r} twice")
        if kind not in _DTYPES | _BIG_ENDIAN | {"bfloat16"}:
            raise ValueError(f"{name!r} has the type {kind!r}, expected real numbers of at most 8 bytes")
        places[name] = kind, tuple(shape), offset
    for own, place, names in index["layers"]:
        layer = check_name(place or "model" if not own or own in layers else own, "name of a layer")
        layers[layer] = tuple(names)
    claimed = sum(check_shape(shape, name) * _dtype(kind).itemsize for name, (kind, shape, _) in places.items())
    if claimed > size:
        raise ValueError(f"its arrays claim {claimed:,} bytes, and the file has {size:,}")
    with open(path, "rb") as file:
        arrays = {name: _array(file, size, name, *place) for name, place in places.items()}
    stated = {name: check_name(index[name], name) for name in ("keras_version", "backend") if name in index}
    return TensorFile("Keras HDF5", arrays, {"layout": index["layout"], "layers": layers, **stated})


def _dtype(kind: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if kind == "bfloat16" else np.dtype(kind)


def _array(file: Any, size: int, name: str, kind: str, shape: tuple[int, ...], offset: int) -> np.ndarray:
    dtype, count = _dtype(kind), check_shape(shape, name)
    if offset + count * dtype.itemsize > size:
        raise ValueError(f"{name!r} ends behind the file")
    file.seek(offset)
    numbers = np.fromfile(file, dtype, count)
    if numbers.size != count:
        raise ValueError(f"{name!r} was cut off while it was read")
    return numbers.astype(dtype.newbyteorder("="), copy=False).reshape(shape)
