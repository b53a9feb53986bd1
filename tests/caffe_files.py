"""Writes files of Caffe byte by byte, and the part of its schema that protobuf needs to read them.

Field numbers: src/caffe/proto/caffe.proto. Nothing of ssd_jax is used.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

NAMES = {"V0": (1, 2, 50), "V1": (4, 5, 6), "V2": (1, 2, 7)}  # name, type and blobs of a layer
CONVOLUTION = {"V0": "conv", "V1": 4, "V2": "Convolution"}


def varint(number: int) -> bytes:
    """Returns a whole number; negative ones take ten bytes."""
    number %= 2**64
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def field(number: int, value: int | str | bytes) -> bytes:
    """Returns a field: a number as a varint, text and messages with their length."""
    if isinstance(value, int):
        return tag(number, 0) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return tag(number, 2) + varint(len(data)) + data


def numbers(number: int, values: Any, *, packed: bool = True, code: str = "f") -> bytes:
    """Returns floats ("f") or doubles ("d"), in one piece or each with its tag."""
    data, width = np.ravel(values).astype(f"<{code}").tobytes(), 4 if code == "f" else 8
    if packed:
        return field(number, data)
    head = tag(number, 5 if code == "f" else 1)
    return b"".join(head + data[start : start + width] for start in range(0, len(data), width))


def blob(values: np.ndarray, *, style: str = "packed", legacy: bool = False, diff: bool = False) -> bytes:
    """Returns a BlobProto.

    Args:
      values: float32 or float64 (double_data).
      style: "packed", "unpacked" or "mixed".
      legacy: with four dimensions instead of a shape; ``values`` have as many.
      diff: with gradients as well.
    """
    code, place = ("d", 8) if values.dtype == np.float64 else ("f", 5)
    flat = values.reshape(-1)
    half = flat.size // 2
    if style == "mixed":
        data = numbers(place, flat[:half], code=code) + numbers(place, flat[half : half + 3], packed=False, code=code)
        data += numbers(place, flat[half + 3 :], code=code)
    else:
        data = numbers(place, flat, packed=style == "packed", code=code)
    if legacy:
        shape = b"".join(field(index + 1, size) for index, size in enumerate(values.shape))
    else:
        shape = field(7, field(1, b"".join(map(varint, values.shape))))
    return shape + data + (numbers(6, np.ones(flat.size)) if diff else b"")


def layer(generation: str, name: str, kind: str | int, blobs: Sequence[bytes] = (), extra: bytes = b"") -> bytes:
    """Returns a layer as a field of the net."""
    fields = NAMES[generation]
    inner = field(fields[0], name) + field(fields[1], kind) + extra
    inner += b"".join(field(fields[2], part) for part in blobs)
    if generation == "V0":
        inner = field(1, inner)
    return field(100 if generation == "V2" else 2, inner)


def net(*layers: bytes, name: str = "") -> bytes:
    return (field(1, name) if name else b"") + b"".join(layers)


class Net(NamedTuple):
    data: bytes
    arrays: Mapping[str, np.ndarray]


def random_net(rng: random.Random, generation: str, layers: int = 5) -> Net:
    """Returns a net of random layers and what has to be read of it, bit by bit, NaN included."""
    parts, arrays = [], {}
    for index in range(layers):
        name, blobs = f"block{index}/conv", []
        for number in range(rng.randrange(4)):
            shape = tuple(rng.randrange(1, 4) for _ in range(rng.randrange(5)))
            legacy = len(shape) == 4 and rng.random() < 0.5
            count = int(np.prod(shape))
            kind = np.float64 if rng.random() < 0.2 else np.float32
            values = _any_numbers(rng, count, kind).reshape(shape)
            style = rng.choice(("packed", "unpacked", "mixed"))
            blobs.append(blob(values, style=style, legacy=legacy, diff=rng.random() < 0.3))
            arrays[f"{name}/{number}"] = values
        # Unknown fields of every wire type, as the parameters of other layers are.
        extra = b"".join((field(106, field(1, 64)), tag(300, 5) + b"abcd", tag(301, 1) + b"abcdefgh", field(302, -5)))
        parts.append(layer(generation, name, CONVOLUTION[generation], blobs, extra if rng.random() < 0.5 else b""))
    return Net(net(*parts, name="a random net"), arrays)


def _any_numbers(rng: random.Random, count: int, kind: type) -> np.ndarray:  # [count]
    """Returns random bits; NaN are quiet, since protobuf's Python floats make them so."""
    values = np.frombuffer(rng.randbytes(count * np.dtype(kind).itemsize), kind).copy()
    words, quiet = (values.view(np.uint32), 2**22) if kind == np.float32 else (values.view(np.uint64), 2**51)
    words[np.isnan(values)] |= words.dtype.type(quiet)
    return values


def schema() -> Any:
    """Returns protobuf's class of a NetParameter with the fields that weights need."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(name="caffe_subset.proto", package="subset", syntax="proto2")
    kinds = file.message_type.add(name="Shape").field.add().Type
    one, many = 1, 3

    def add(message: str, *fields: tuple[str, int, int, Any]) -> None:
        found = [known for known in file.message_type if known.name == message]
        descriptor = found[0] if found else file.message_type.add(name=message)
        del descriptor.field[:]
        for name, number, label, kind in fields:
            entry = descriptor.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                entry.type, entry.type_name = kinds.Value("TYPE_MESSAGE"), f".subset.{kind}"
            else:
                entry.type = kind
                packed = kind in (kinds.Value("TYPE_FLOAT"), kinds.Value("TYPE_DOUBLE"), kinds.Value("TYPE_INT64"))
                entry.options.packed = label == many and packed

    text, whole = kinds.Value("TYPE_STRING"), kinds.Value("TYPE_INT64")
    single, double = kinds.Value("TYPE_FLOAT"), kinds.Value("TYPE_DOUBLE")
    add("Shape", ("dim", 1, many, whole))
    legacy = [(name, index, one, whole) for index, name in enumerate(("num", "channels", "height", "width"), start=1)]
    data = [("data", 5, many, single), ("diff", 6, many, single), ("double_data", 8, many, double)]
    add("Blob", *legacy, *data, ("shape", 7, one, "Shape"))
    add("V0", ("name", 1, one, text), ("type", 2, one, text), ("blobs", 50, many, "Blob"))
    v1 = ("name", 4, one, text), ("type", 5, one, whole), ("blobs", 6, many, "Blob"), ("layer", 1, one, "V0")
    add("V1", *v1)
    add("V2", ("name", 1, one, text), ("type", 2, one, text), ("blobs", 7, many, "Blob"))
    add("Net", ("name", 1, one, text), ("layers", 2, many, "V1"), ("layer", 100, many, "V2"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("subset.Net"))


def read_by_protobuf(net_class: Any, data: bytes) -> dict[str, np.ndarray]:
    """Returns the blobs as protobuf's runtime reads them, shaped by the rules of Caffe's Blob::FromProto."""
    message = net_class.FromString(data)
    layers = [entry.layer if entry.HasField("layer") else entry for entry in message.layers] or message.layer
    arrays = {}
    for entry in layers:
        for index, part in enumerate(entry.blobs):
            values = part.double_data or part.data
            kind = np.float64 if part.double_data else np.float32
            legacy = ("num", "channels", "height", "width")
            old = any(part.HasField(name) for name in legacy)
            shape = [getattr(part, name) for name in legacy] if old else part.shape.dim
            arrays.setdefault(f"{entry.name}/{index}", np.array(list(values), kind).reshape(list(shape)))
    return arrays
