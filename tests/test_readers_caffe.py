"""Caffe's files: against bytes written by hand, against protobuf's runtime, and against damage of every kind."""

import random
import time
import tracemalloc

import caffe_files
import numpy as np
import pytest
from caffe_files import blob, field, layer, net, numbers, tag, varint
from mutated_files import mutate

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import caffe

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BIAS = np.float32([0.5, -1.5])
CONVOLUTION = layer("V2", "conv1_1", "Convolution", [blob(KERNEL), blob(BIAS)])


@pytest.fixture(scope="module")
def net_class():
    pytest.importorskip("google.protobuf", reason="compares with protobuf's runtime")
    return caffe_files.schema()


@pytest.fixture
def write(tmp_path):
    def write_(data: bytes):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(data)
        return path

    return write_


def refusal(path) -> str:
    """Returns the one sentence with which a file is refused, without its beginning."""
    with pytest.raises(InputError) as caught:
        caffe.read(path)
    message, start = str(caught.value), f"{path}: expected a .caffemodel file, "
    assert message.startswith(start) and "\n" not in message and len(message) < 600, message
    return message.removeprefix(start)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether shape, type and bits are the same, those of NaN included."""
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def test_a_file_written_byte_by_byte(write):
    # NetParameter: name = 1 "n"; layer = 100 (tag 100 << 3 | 2 = 802 = a2 06) of name = 1 "c", type = 2 "T",
    # blobs = 7 of shape = 7 (dim = 1: 2, 1) and data = 5: 1.0, -2.0.
    data = bytes.fromhex("0a016e a20618 0a0163 120154 3a10 3a04 0a020201 2a08 0000803f 000000c0")
    file = caffe.read(write(data))
    assert file.format == "Caffe"
    assert list(file.tensors) == ["c/0"]
    np.testing.assert_array_equal(file.tensors["c/0"], np.float32([[1], [-2]]), strict=True)
    assert file.metadata == {"net": "n", "generation": "V2", "layer_types": {"c": "T"}}


@pytest.mark.parametrize("generation", ["V0", "V1", "V2"])
def test_every_generation_of_layers(write, generation):
    kind = caffe_files.CONVOLUTION[generation]
    path = write(
        net(
            layer(generation, "data", 5 if generation == "V1" else "data"),
            layer(generation, "b/2", kind, [blob(KERNEL, legacy=True), blob(BIAS)]),
            layer(generation, "a", kind, [blob(BIAS.astype(np.float64), diff=True)]),
            name="two layers",
        )
    )
    file = caffe.read(path)
    assert list(file.tensors) == ["b/2/0", "b/2/1", "a/0"]  # the order of the file
    assert same(file.tensors["b/2/0"], KERNEL) and same(file.tensors["b/2/1"], BIAS)
    assert same(file.tensors["a/0"], BIAS.astype(np.float64))
    assert file.metadata["net"] == "two layers" and file.metadata["generation"] == generation
    convolution = {"V0": "conv", "V1": "Convolution", "V2": "Convolution"}[generation]
    data = "Data" if generation == "V1" else "data"
    assert file.metadata["layer_types"] == {"data": data, "b/2": convolution, "a": convolution}
    assert caffe.is_caffemodel(path)


def test_types_of_v1_by_number(write):
    numbers_ = {4: "Convolution", 14: "InnerProduct", 21: "SoftmaxWithLoss", 39: "Deconvolution", 77: "V1 type 77"}
    layers = [layer("V1", f"l{number}", number, [blob(BIAS)]) for number in numbers_]
    types = caffe.read(write(net(*layers))).metadata["layer_types"]
    assert types == {f"l{number}": name for number, name in numbers_.items()}


@pytest.mark.parametrize("generation", ["V0", "V1", "V2"])
def test_random_nets_as_protobuf_reads_them(write, net_class, generation):
    read = 0
    for seed in range(20):
        made = caffe_files.random_net(random.Random(seed), generation)
        theirs = caffe_files.read_by_protobuf(net_class, made.data)
        if made.arrays:
            ours = caffe.read(write(made.data)).tensors
            assert list(ours) == list(theirs) == list(made.arrays)
            assert all(same(ours[name], theirs[name]) and same(ours[name], made.arrays[name]) for name in ours)
            read += len(ours)
    assert read > 50


def test_signaling_nan_keeps_its_bits(write):
    values = np.uint32([0x7F800001, 0xFFC12345, 0x80000000]).view(np.float32)
    for style in ("packed", "unpacked"):
        data = net(layer("V2", "a", "Scale", [blob(values, style=style)]))
        assert same(caffe.read(write(data)).tensors["a/0"], values)


def test_the_real_file_completely(shared, net_class):
    path = shared / "oracles" / "weights" / "tinyssd_imagenet.caffemodel"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    file = caffe.read(path)
    theirs = caffe_files.read_by_protobuf(net_class, path.read_bytes())
    assert sum(array.size for array in file.tensors.values()) == 444_371  # 1,777,484 of its 1,784,319 bytes
    assert list(file.tensors) == list(theirs)
    assert all(same(file.tensors[name], theirs[name]) for name in theirs)
    assert file.tensors["conv1/0"].shape == (57, 3, 3, 3)
    assert file.tensors["conv10/0"].shape == (1000, 83, 1, 1)
    assert len(file.tensors) == 52 and file.metadata["generation"] == "V2"
    assert {file.metadata["layer_types"][name.rpartition("/")[0]] for name in file.tensors} == {"Convolution"}
    assert caffe.is_caffemodel(path)


def test_layers_of_one_name(write):
    again = layer("V2", "conv1_1", "Convolution", [blob(KERNEL, style="unpacked"), blob(BIAS)])
    nothing = layer("V2", "conv1_1", "Data")
    for data in (net(CONVOLUTION, again), net(nothing, CONVOLUTION, nothing)):
        file = caffe.read(write(data))
        assert list(file.tensors) == ["conv1_1/0", "conv1_1/1"]
        assert file.metadata["layer_types"] == {"conv1_1": "Convolution"}
    other = layer("V2", "conv1_1", "Convolution", [blob(KERNEL + 1), blob(BIAS)])
    fewer = layer("V2", "conv1_1", "Convolution", [blob(KERNEL)])
    for second in (other, fewer):
        assert refusal(write(net(CONVOLUTION, second))) == "but two layers of different weights are called 'conv1_1'"


def test_old_dimensions_and_doubles_win_as_in_caffe(write):
    both = field(7, field(1, b"\x06")) + field(3, 2) + field(4, 3) + field(1, 1) + field(2, 1) + numbers(5, range(6))
    doubles = field(7, field(1, 2)) + numbers(5, [1, 2]) + numbers(8, [3, 4], code="d")
    file = caffe.read(write(net(layer("V2", "a", "Scale", [both, doubles]))))
    np.testing.assert_array_equal(file.tensors["a/0"], np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), strict=True)
    np.testing.assert_array_equal(file.tensors["a/1"], np.float64([3, 4]), strict=True)


def test_a_million_numbers_that_are_not_packed(write):
    values = np.arange(1_000_000, dtype=np.float32)
    entries = np.empty(values.size, [("tag", "u1"), ("value", "<f4")])
    entries["tag"], entries["value"] = 5 << 3 | 5, values
    part = field(7, field(1, varint(values.size))) + entries.tobytes()
    start = time.perf_counter()
    file = caffe.read(write(net(layer("V2", "a", "Scale", [part]))))
    assert time.perf_counter() - start < 2  # not one by one
    assert same(file.tensors["a/0"], values)


def test_arrays_do_not_need_the_file(write):
    path = write(net(CONVOLUTION))
    kernel = caffe.read(path).tensors["conv1_1/0"]
    path.write_bytes(b"")
    assert same(kernel, KERNEL) and kernel.flags.aligned and kernel.flags.writeable


def shaped(*dims: int, count: int = 4) -> bytes:
    part = field(7, field(1, b"".join(map(varint, dims)))) + numbers(5, np.zeros(count))
    return net(layer("V2", "a", "Scale", [part]))


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = field(100, data)
    return data


def named(name: bytes) -> bytes:
    return net(field(100, field(1, name) + field(7, blob(BIAS))))


REFUSED = {
    "empty": (b"", "empty"),
    "text": (b'name: "VGG"\nlayer { name: "conv1_1" }\n', ""),
    "no layers": (field(1, "net"), "it has no layers"),
    "layers without weights": (net(layer("V2", "data", "Data")), "none of its layers (data ...) has weights"),
    "cut off": (net(CONVOLUTION)[:-1], "claims 147 bytes of 146 left"),
    "absurd length": (tag(100, 2) + varint(2**63) + b"x", "claims 9,223,372,036,854,775,808 bytes of 1 left"),
    "group": (net(CONVOLUTION) + tag(9, 3) + tag(9, 4), "wire type 3, which Caffe does not write"),
    "wire type 7": (net(CONVOLUTION) + tag(9, 7), "wire type 7"),
    "field 0": (net(CONVOLUTION) + tag(0, 0) + b"\x00", "begins no field"),
    "long varint": (b"\x08" + b"\xff" * 11, "more than 64 bits"),
    "too large a varint": (b"\x08" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
    "mixed generations": (net(CONVOLUTION, layer("V1", "b", 4, [blob(BIAS)])), "mixes layers of V2 and V1"),
    "layer is a number": (field(100, 5), "field 100 is a varint, expected a message"),
    "name is a number": (field(100, field(1, 5)), "field 1 is a varint, expected text"),
    "negative dimension": (shaped(-2, -2), "shape"),
    "absurd shape": (shaped(2**31, 2**31), "shape"),
    "absurd shape of nothing": (shaped(0, 2**62, 2**62, count=0), "shape"),
    "more numbers than its shape": (shaped(3), "'a/0' has 4 numbers, and its shape (3,) needs 3"),
    "fewer numbers than its shape": (shaped(5), "'a/0' has 4 numbers, and its shape (5,) needs 5"),
    "no shape": (shaped(), "'a/0' has 4 numbers, and its shape () needs 1"),
    "33 axes": (shaped(*[1] * 33, count=1), "more than 32 numbers"),
    "broken floats": (net(layer("V2", "a", "S", [field(5, b"12345")])), "5 bytes, expected a multiple of 4"),
    "floats as numbers": (net(layer("V2", "a", "S", [field(5, 3)])), "field 5 is a varint"),
    "doubles as floats": (net(layer("V2", "a", "S", [numbers(8, [1.0], packed=False)])), "expected numbers of 8"),
    "nested": (nested(10_000), ""),
    "name with a line break": (named(b"a\nb"), r"'a\nb'"),
    "name with an escape": (named(b"\x1b[2J"), "x1b[2J"),
    "name that is no UTF-8": (named(b"\xff\xfe"), "is not UTF-8"),
    "no name": (named(b""), "name of a layer"),
    "a name of a megabyte": (named(b"a" * 2**20), "1,048,576 bytes"),
    "two old layers in one": (field(2, field(1, field(1, "a")) * 2), "several of V0"),
    "very many fields": (net(CONVOLUTION) + b"\x28\x00" * 250_000, "more than 200,000 fields"),
    "very many layers": (field(100, b"") * 250_000, "more than 200,000 fields"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_one_sentence(write, case):
    data, expected = REFUSED[case]
    assert expected in refusal(write(data))


def test_no_file_at_all(tmp_path):
    refusal(tmp_path / "absent.caffemodel")
    refusal(tmp_path)


def test_what_is_no_net_is_not_recognized(write):
    others = {
        "text": REFUSED["text"][0],
        "zip": b"PK\x03\x04" + bytes(100),
        "pickle": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "safetensors": b"\x0a\x00\x00\x00\x00\x00\x00\x00" + b'{"a": 1}  ',
        "ONNX": field(1, 8) + field(2, "pytorch") + field(7, b"graph"),
        "TensorFlow graph": field(1, field(1, "input")) * 3 + field(4, field(1, 24)),
        "empty": b"",
        "cut off": net(CONVOLUTION)[:-1],
        "no layers": field(1, "net"),
    }
    assert [name for name, data in others.items() if caffe.is_caffemodel(write(data))] == []


def test_memory_is_that_of_the_arrays(write):
    values = np.zeros(2**21, np.float32)  # 8 MiB
    path = write(net(layer("V2", "a", "Scale", [blob(values, diff=True)])))
    tracemalloc.start()
    try:
        file = caffe.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert file.tensors["a/0"].nbytes == values.nbytes
    assert peak < 1.1 * values.nbytes


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_files(write, net_class, count):
    """Each is refused in one sentence, or read as protobuf reads it."""
    seeds = [caffe_files.random_net(random.Random(5), generation, layers=3).data for generation in ("V0", "V1", "V2")]
    seeds.append(net(CONVOLUTION, layer("V2", "norm", "Normalize", [blob(BIAS, style="mixed")]), name="small"))
    read = 0
    for seed in range(count):
        rng = random.Random(seed)
        data = mutate(rng, rng.choice(seeds))
        path = write(data)
        tracemalloc.start()
        start = time.perf_counter()
        try:
            ours = caffe.read(path).tensors
        except InputError:
            ours = None
        seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < 2 and peak < 20 * len(data) + 2**20, (seed, seconds, peak)
        if ours is None:
            refusal(path)
            continue
        read += 1
        theirs = caffe_files.read_by_protobuf(net_class, data)
        assert list(ours) == list(theirs), seed
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours), seed
    assert count // 20 < read < count // 2  # neither everything nor nothing is refused
