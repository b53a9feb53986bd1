"""Weights of Caffe: ``.caffemodel`` files, binary messages of type NetParameter.

Field numbers and rules are those of Caffe (src/caffe/proto/caffe.proto, src/caffe/blob.cpp and
src/caffe/util/upgrade_proto.cpp); its code is not needed, nor is protobuf:

* The package ``protobuf`` would be the better kept reader, but there is no schema at hand to compile, and it parses
  a whole file into objects of its own: the file once as bytes, all numbers once more in its containers, those of
  ``diff`` and of other fields included, and each number becomes a Python float on the way to NumPy. A full VGG-16
  has 138 million of them. Here the file is mapped, what is not wanted is stepped over, and each array is copied
  once. What is needed of the format is four wire types. Tests hold this reader to protobuf's, bit by bit.
* There is no recursion: the depth is that of the schema (net, layer, blob, shape), never that of the file.
"""

import mmap
import os
from typing import NamedTuple

import numpy as np

from ssd_jax.weights.readers.bounds import (
    MAX_AXES,
    MAX_NAME,
    MAX_TENSORS,
    check_name,
    check_shape,
    one_sentence,
    regular_file,
)
from ssd_jax.weights.readers.protobuf_wire import LENGTH, MAX_BYTES, VARINT, Field, Wire
from ssd_jax.weights.readers.tensors import TensorFile

EXPECTED = "a .caffemodel file"


class _Generation(NamedTuple):
    """Where the messages of a layer keep what is wanted."""

    name: int
    type: int
    blobs: int


_V2 = _Generation(1, 2, 7)  # LayerParameter, NetParameter.layer = 100
_V1 = _Generation(4, 5, 6)  # V1LayerParameter, NetParameter.layers = 2
_V0 = _Generation(1, 2, 50)  # V0LayerParameter, V1LayerParameter.layer = 1
_NET_NAME, _NET_LAYERS, _NET_LAYER, _V1_LAYER = 1, 2, 100, 1
_NET_FIELDS = {1: LENGTH, 2: LENGTH, 3: LENGTH, 4: None, 5: VARINT, 6: LENGTH, 7: VARINT, 8: LENGTH, 100: LENGTH}
_BLOB_LEGACY, _BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = (1, 2, 3, 4), 5, 7, 8  # num, channels, height, width
_SHAPE_DIM = 1

# V1LayerParameter.LayerType, by number, as upgrade_proto.cpp calls them in V2; 0 is none.
_V1_TYPES = tuple(
    " Accuracy BNLL Concat Convolution Data Dropout EuclideanLoss Flatten HDF5Data HDF5Output Im2col ImageData "
    "InfogainLoss InnerProduct LRN MultinomialLogisticLoss Pooling ReLU Sigmoid Softmax SoftmaxWithLoss Split TanH "
    "WindowData Eltwise Power SigmoidCrossEntropyLoss HingeLoss MemoryData ArgMax Threshold DummyData Slice MVN AbsVal "
    "Silence ContrastiveLoss Exp Deconvolution".split(" ")
)


class _Layer(NamedTuple):
    name: str
    type: str
    blobs: list[np.ndarray]


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads all blobs of a .caffemodel file.

    Kernels stay as Caffe stores them, (out, in / group, height, width), biases may be (n,) or (1, 1, 1, n), and a
    network that was trained by Caffe expects blue, green, red. Gradients (``diff``) are left out. Shapes are those of
    Caffe's Blob::FromProto: the four dimensions of old files win over ``shape``, and ``double_data`` over ``data``.

    Layers that share weights have them each under its own name in such a file. A name that comes twice is accepted
    if at most one of the layers has blobs (data layers for training and testing) or if their blobs are the same
    bit by bit; it is then kept once. Caffe would silently take the last.

    Args:
      path: of the file. It must not be cut short by another program while it is read.

    Returns:
      format "Caffe"; tensors LAYER/0 (weights), LAYER/1 (bias), ... in the order of the file, float32 or, of
      ``double_data``, float64; metadata "net" (its name, may be ""), "generation" ("V0", "V1" or "V2": how layers
      are written) and "layer_types" (type by layer, in Caffe's present names: "Convolution"; in V0 as written).

    Raises:
      InputError: the file is absent or no such file.
    """
    size = regular_file(path, EXPECTED)
    with one_sentence(path, EXPECTED):
        if size > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, and such files have at most {MAX_BYTES:,}")
        with open(path, "rb") as file:
            # Closed when the last reference is gone: closing here would fail while an exception holds a view.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _net(Wire(data))


def is_caffemodel(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is a NetParameter on its outermost level; nothing inside of layers is read.

    Such files have no signature. What is asked for is that the fields of a net, with their wire types, cover the
    file to its last byte, that there is a layer, and at most one name, which is printable. Other messages
    of protobuf fail: ONNX begins with a number, a TensorFlow graph has many fields 1.

    Raises:
      InputError: the file is absent.
    """
    if not 0 < regular_file(path, EXPECTED) <= MAX_BYTES:
        return False
    layers = names = 0
    with open(path, "rb") as file:
        wire = Wire(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        for field in wire.fields(wire.message()):
            if _NET_FIELDS.get(field.number, -1) not in (field.wire_type, None):
                return False
            if field.number == _NET_NAME:
                names += 1
                if names > 1 or not wire.text(field, MAX_NAME).isprintable():
                    return False
            layers += field.number in (_NET_LAYERS, _NET_LAYER)
    except ValueError:
        return False
    return layers > 0


def _net(wire: Wire) -> TensorFile:
    net, generation, layers = "", "", {}
    types: dict[str, str] = {}
    total = 0
    for field in wire.fields(wire.message()):
        if field.number == _NET_NAME:
            net = wire.text(field, MAX_NAME)
            if net:
                check_name(net, "name of the net")
        elif field.number in (_NET_LAYERS, _NET_LAYER):
            layer, found = _layer(wire, field)
            if generation not in ("", found):
                raise ValueError(f"it mixes layers of {generation} and {found}, of which Caffe takes one")
            generation = found
            total += len(layer.blobs)
            if total > MAX_TENSORS:
                raise ValueError(f"it has more than {MAX_TENSORS:,} blobs")
            _add(layers, types, layer)
    if not generation:
        raise ValueError("it has no layers")
    tensors = {f"{name}/{index}": blob for name, blobs in layers.items() for index, blob in enumerate(blobs)}
    if not tensors:
        raise ValueError(f"none of its layers ({', '.join(list(types)[:3])} ...) has weights")
    return TensorFile("Caffe", tensors, {"net": net, "generation": generation, "layer_types": types})


def _add(layers: dict[str, list[np.ndarray]], types: dict[str, str], layer: _Layer) -> None:
    """Adds a layer in place, unless it is there already."""
    if not layer.blobs:
        types.setdefault(layer.name, layer.type)
        return
    types[layer.name] = layer.type
    if layer.name not in layers:
        layers[layer.name] = layer.blobs
        return
    known = layers[layer.name]
    if len(known) != len(layer.blobs) or not all(map(_same, known, layer.blobs)):
        raise ValueError(f"two layers of different weights are called {layer.name!r}")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    alike = one.shape == other.shape and one.dtype == other.dtype
    return alike and np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))


def _layer(wire: Wire, field: Field) -> tuple[_Layer, str]:
    """Returns a layer and of which generation it is."""
    if field.number == _NET_LAYER:
        return _layer_of(wire, field, _V2), "V2"
    inner = [part for part in wire.fields(field) if part.number == _V1_LAYER]
    if len(inner) > 1:
        raise ValueError("a layer of V1 has several of V0")
    return (_layer_of(wire, inner[0], _V0), "V0") if inner else (_layer_of(wire, field, _V1), "V1")


def _layer_of(wire: Wire, message: Field, generation: _Generation) -> _Layer:
    name, kind, blobs = "", "", []
    for field in wire.fields(message):
        if field.number == generation.name:
            name = wire.text(field, MAX_NAME)
        elif field.number == generation.type:
            kind = _v1_type(wire, field) if generation == _V1 else wire.text(field, MAX_NAME)
        elif field.number == generation.blobs:
            blobs.append(field)  # read below, when the name is known for messages
    if len(blobs) > MAX_TENSORS:
        raise ValueError(f"it has more than {MAX_TENSORS:,} blobs")
    if blobs or name:
        check_name(name, "name of a layer")
    if kind:
        check_name(kind, f"type of {name!r}")
    return _Layer(name, kind, [_blob(wire, blob, f"{name}/{index}") for index, blob in enumerate(blobs)])


def _v1_type(wire: Wire, field: Field) -> str:
    number = wire.integer(field)
    return _V1_TYPES[number] if 0 <= number < len(_V1_TYPES) else f"V1 type {number}"


def _blob(wire: Wire, message: Field, name: str) -> np.ndarray:
    """Returns the numbers of one BlobProto in their shape."""
    legacy: dict[int, int] = {}
    dims: list[int] = []
    data: dict[int, list[Field]] = {_BLOB_DATA: [], _BLOB_DOUBLE_DATA: []}
    for field in wire.fields(message):
        if field.number in _BLOB_LEGACY:
            legacy[field.number] = wire.integer(field)
        elif field.number == _BLOB_SHAPE:
            for part in wire.fields(field):
                dims += wire.integers(part, MAX_AXES) if part.number == _SHAPE_DIM else []
                check_shape(dims, name)
        elif field.number in data:
            data[field.number].append(field)
    shape = tuple(legacy.get(number, 0) for number in _BLOB_LEGACY) if legacy else tuple(dims)
    count = check_shape(shape, name)
    doubles = wire.floats(data[_BLOB_DOUBLE_DATA], np.float64)
    numbers = doubles if doubles.size else wire.floats(data[_BLOB_DATA], np.float32)
    if numbers.size != count:
        raise ValueError(f"{name!r} has {numbers.size:,} numbers, and its shape {shape} needs {count:,}")
    return numbers.reshape(shape)
