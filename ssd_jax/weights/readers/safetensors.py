"""safetensors, the format in which weights are published: read and written.

The format (https://github.com/huggingface/safetensors, "Format")::

    8 bytes     n, the length of the header, little-endian
    n bytes     the header: JSON, "{" first, spaces at its end allowed
                {NAME: {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, "__metadata__": {TEXT: TEXT}}
    the rest    the numbers, little-endian, row-major, without holes or overlaps

Why not the package ``safetensors``, which is well kept (0.8.0, 0.5 MB, one wheel for all Pythons) and which the tests
hold this module to: it writes metadata in an order that changes from process to process, so that
the same weights have other bytes and another checksum each time they are published; of two arrays of one
name it silently takes the last; and what NumPy refuses comes out as NumPy's own errors. What is left of its work
is a header of JSON.
"""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from ssd_jax import files
from ssd_jax.weights.readers.bounds import MAX_TENSORS, check_name, check_shape, one_sentence, regular_file
from ssd_jax.weights.readers.raw import read_bytes, shown
from ssd_jax.weights.readers.tensors import TensorFile

EXPECTED = "a safetensors file"
MAX_HEADER = 1 << 23  # bytes; 100 a tensor. The package takes 100 MB, of which JSON would make 3 GB of objects
_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"

# In the order in which arrays are written, that of the package: wide numbers first, which keeps all of them aligned.
DTYPES = {
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads all arrays of a file.

    Args:
      path: of the file.

    Returns:
      format "safetensors"; the arrays in the order of the header, read-only; metadata {text: text}.

    Raises:
      InputError: the file is absent, damaged or no such file.
    """
    size = regular_file(path, EXPECTED)
    with one_sentence(path, EXPECTED, RecursionError), open(path, "rb") as file:
        if size < _LENGTH.size:
            raise ValueError("it ends early")
        (length,) = _LENGTH.unpack(read_bytes(file, 0, _LENGTH.size).tobytes())
        start = _LENGTH.size + length
        if length > MAX_HEADER or start > size:
            raise ValueError(f"its header claims {length:,} bytes")
        header = _parse(read_bytes(file, _LENGTH.size, length).tobytes())
        metadata = header.pop(_METADATA, {})
        if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
            raise ValueError("its metadata are no texts")
        if len(header) > MAX_TENSORS:
            raise ValueError(f"it has more than {MAX_TENSORS:,} arrays")
        places = {check_name(name, "name of an array"): _place(name, entry) for name, entry in header.items()}
        _check_cover(places, size - start)
        data = read_bytes(file, start, size - start)
    tensors = {name: _array(data, *place) for name, place in places.items()}
    return TensorFile("safetensors", tensors, metadata)


def write(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays and texts; the file is complete or not there at all.

    Its bytes follow from the arguments alone, whatever the order of their entries: arrays are ordered as
    :data:`DTYPES` are, then by name, metadata by name.

    Args:
      path: of the file; one that is there is replaced.
      tensors: by name, of the types of :data:`DTYPES`.
      metadata: what is said of them.

    Raises:
      TypeError: an array's type cannot be written, or a name or text is none.
      ValueError: an array has a name that the format or :func:`read` does not take, or the header becomes too long.
      InputError: the file cannot be written.
    """
    for key, value in metadata.items():
        if type(key) is not str or type(value) is not str:
            raise TypeError(f"metadata: expected texts, got {key!r}: {type(value).__name__}")
    for name, array in tensors.items():
        if type(name) is not str:
            raise TypeError(f"tensors: expected names, got {name!r}")
        if check_name(name, "name of an array") == _METADATA:
            raise ValueError(f"tensors: no array may be called {_METADATA}")
        if array.dtype.newbyteorder("=") not in _NAMES:
            raise TypeError(f"tensors: {name}: expected one of {', '.join(map(str, _NAMES))}, got {array.dtype}")
    ranks = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    parts, position = [], 0
    native = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in tensors.items()}
    for name, array in sorted(native.items(), key=lambda item: (ranks[item[1].dtype], item[0])):
        end = position + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        parts.append(array.tobytes())
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned in the file, too
    if len(text) > MAX_HEADER:
        raise ValueError(f"metadata and names: expected at most {MAX_HEADER:,} bytes, got {len(text):,}")
    files.write_bytes(path, b"".join([_LENGTH.pack(len(text)), text, *parts]))


def _parse(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise ValueError("its header is no JSON")
    try:
        return json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("its header is no JSON") from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"its header has {shown(name)} twice")
        entries[name] = value
    return entries


def _place(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Returns type, shape, and where the numbers begin and end; they fit each other."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its array {shown(name)} is described wrongly")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(kind) is not str:
        raise ValueError(f"its array {shown(name)} is described wrongly")
    if kind not in DTYPES:
        raise ValueError(f"its array {shown(name)} has a type that is not known here ({shown(kind)})")
    lists = type(shape) is list and type(offsets) is list and len(offsets) == 2
    if not lists or any(type(number) is not int or not 0 <= number < 2**62 for number in (*shape, *offsets)):
        raise ValueError(f"its array {shown(name)} has a shape or offsets that make no sense")
    begin, end = offsets
    if end - begin != check_shape(shape, name) * DTYPES[kind].itemsize:
        raise ValueError(f"its array {shown(name)} has {end - begin:,} bytes, which do not fit its shape")
    return DTYPES[kind], tuple(shape), begin, end


def _check_cover(places: Mapping[str, tuple[np.dtype, tuple[int, ...], int, int]], size: int) -> None:
    """Refuses holes, overlaps, and numbers that are missing or left over."""
    position = 0
    for name, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != position:
            raise ValueError(f"its array {shown(name)} begins at byte {begin:,} instead of {position:,}")
        position = end
    if position != size:
        raise ValueError(f"its arrays have {position:,} bytes, and it holds {size:,}")


def _array(data: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], begin: int, end: int) -> np.ndarray:
    if begin == end:
        array = np.zeros(shape, dtype)
    elif dtype == np.bool_:  # NumPy's are 0 and 1, those of a file anything
        array = data[begin:end].reshape(shape) != 0
    else:
        array = np.ndarray(shape, dtype, data.data, begin)
    if not array.flags.aligned:
        array = array.copy()
    array.flags.writeable = False
    return array
