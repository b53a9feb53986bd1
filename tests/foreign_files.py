"""Writes the files of other programs without them: PyTorch's two formats, out of values and names."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import torch_legacy, torch_zip

CLASSES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C
NO_STATE = object()


class Name(NamedTuple):
    """A class or function, as a pickle names it."""

    module: str
    name: str


class Call(NamedTuple):
    """What a function returns, with BUILD behind it if there is a state."""

    function: Name
    arguments: Any
    state: Any = NO_STATE
    opcode: bytes = b"R"


class Persistent(NamedTuple):
    identifier: Any


class Raw(NamedTuple):
    """Instructions that leave one value on the stack."""

    code: bytes


def pickled(value: Any, *, python2: bool = False) -> bytes:
    """Returns the pickle of a value, protocol 2, without a memo."""
    return b"\x80\x02" + emit(value, python2) + b"."


def emit(value: Any, python2: bool = False) -> bytes:
    def inner(item: Any) -> bytes:
        return emit(item, python2)

    match value:
        case Raw():
            return value.code
        case Name():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            state = b"" if value.state is NO_STATE else inner(value.state) + b"b"
            return inner(value.function) + inner(value.arguments) + value.opcode + state
        case Persistent():
            return inner(value.identifier) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str() if python2 and value.isascii():
            return b"U" + bytes([len(value)]) + value.encode()
        case str():
            data = value.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(data)) + data
        case bytes():
            return b"C" + bytes([len(value)]) + value
        case tuple():
            return b"(" + b"".join(map(inner, value)) + b"t"
        case list():
            return b"](" + b"".join(map(inner, value)) + b"e"
        case dict():
            items = b"".join(inner(key) + inner(item) for key, item in value.items())
            empty = b"}" if type(value) is dict else b"ccollections\nOrderedDict\n)R"
            return empty + b"(" + items + b"u"
    raise TypeError(type(value))


def storage(key: str, numbers: np.ndarray, *, count: int | None = None, legacy: bool = False, part: Any = None) -> Any:
    """Returns the reference to a storage."""
    kind = Name("torch", CLASSES[numbers.dtype.name])
    end = (part,) if legacy else ()
    return Persistent(("storage", kind, key, "cpu", numbers.size if count is None else count, *end))


def tensor(where: Any, shape: Any, strides: Any = None, offset: Any = 0, function: str = "_rebuild_tensor_v2") -> Call:
    """Returns what a pickle says of a tensor; without strides it is contiguous."""
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    hooks = Call(Name("collections", "OrderedDict"), ())
    end = () if function == "_rebuild_tensor" else (False, hooks)
    return Call(Name("torch._utils", function), (where, offset, shape, strides, *end))


def state_dict(arrays: Mapping[str, np.ndarray], *, legacy: bool = False) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns the value to be pickled for arrays, and the storages, one of each."""
    storages = {str(index): array.reshape(-1) for index, array in enumerate(arrays.values())}
    root = {
        name: tensor(storage(key, storages[key], legacy=legacy), array.shape)
        for (name, array), key in zip(arrays.items(), storages, strict=True)
    }
    return root, storages


def zip_bytes(
    root: Any,
    storages: Mapping[str, np.ndarray | bytes],
    *,
    entries: Mapping[str, bytes] = {},  # further ones, or others instead; b"" leaves one out
    folder: str = "archive/",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Returns a file of PyTorch since 1.6."""
    contents = {
        "data.pkl": root if isinstance(root, bytes) else pickled(root),
        "byteorder": b"little",
        **{f"data/{key}": data if isinstance(data, bytes) else data.tobytes() for key, data in storages.items()},
        "version": b"3\n",
    } | dict(entries)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in contents.items():
            if data or name not in entries:
                archive.writestr(zipfile.ZipInfo(folder + name), data, compression)
    return file.getvalue()


def legacy_bytes(
    root: Any, storages: Mapping[str, np.ndarray], *, keys: Any = None, magic: int = MAGIC, python2: bool = False
) -> bytes:
    """Returns a file of PyTorch before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = [magic, 1001, system]
    parts = [pickled(value, python2=python2) for value in start]
    parts.append(root if isinstance(root, bytes) else pickled(root, python2=python2))
    parts.append(pickled(list(storages) if keys is None else keys, python2=python2))
    for numbers in storages.values():
        parts.append(struct.pack("<q", numbers.size) + numbers.tobytes())
    return b"".join(parts)


def safetensors_bytes(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Returns a safetensors file; the header may be bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def arrays_of_all_kinds() -> dict[str, np.ndarray]:
    """Returns small arrays whose numbers follow from their names' order: no two alike, none zero where it can be."""
    floats = np.arange(1, 13).reshape(3, 4) / 8  # exact in bfloat16 too
    kinds = {name: floats.astype(name) for name in ("float64", "float32", "float16")}
    kinds["bfloat16"] = (floats + 1).astype(ml_dtypes.bfloat16)
    kinds |= {name: (np.arange(7) - 3).astype(name) for name in ("int64", "int32", "int16", "int8", "uint8")}
    kinds |= {"bool": np.array([True, False, True]), "scalar": np.array(2.5, np.float32)}
    return kinds | {"empty": np.zeros((0, 3), np.float32), "one": np.full((1, 1, 1), 7.0, np.float32)}


# What the tests of the readers share.

READERS = {"zip": torch_zip.read, "legacy": torch_legacy.read}
W = np.ones(2, np.float32)


def tensor_at(key: str = "0") -> Call:
    """Returns what a pickle says of a tensor that is W."""
    return tensor(storage(key, W), (2,))


def write(folder: Path, data: bytes | bytearray) -> Path:
    path = folder / "file.pth"
    path.write_bytes(data)
    return path


def save(folder: Path, kind: str, root: Any, storages: Mapping[str, np.ndarray]) -> Path:
    return write(folder, (zip_bytes if kind == "zip" else legacy_bytes)(root, storages))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def refusal(reader: Callable[[Path], Any], path: Path) -> str:
    """Returns what the reader says, which is one sentence that begins with the file."""
    with pytest.raises(InputError) as info:
        reader(path)
    message = str(info.value)
    assert message.startswith(f"{path}: ") and message.isprintable() and len(message) < 600
    return message
