import json
import struct
from pathlib import Path

import foreign_files as foreign
import ml_dtypes
import numpy as np
import pytest
from foreign_files import same, write

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import safetensors

GOLDEN = Path(__file__).parent / "golden" / "torch_files.safetensors"
F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_a_file_by_hand(tmp_path):
    numbers = np.array([1.5, -2], np.float32)
    path = write(tmp_path, foreign.safetensors_bytes({"w": F32, "__metadata__": {"a": "b"}}, numbers.tobytes()))
    file = safetensors.read(path)
    assert file.format == "safetensors" and file.metadata == {"a": "b"}
    assert file.tensors["w"].tolist() == [1.5, -2] and not file.tensors["w"].flags.writeable


def test_a_file_of_the_package():
    # tests/golden/make_torch_files.py: torch 2.13.0, safetensors 0.8.0.
    file = safetensors.read(GOLDEN)
    assert file.metadata["torch"].startswith("2.13.0")
    assert file.tensors["bfloat16"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(file.tensors["int8"], np.arange(-2, 3, dtype=np.int8))
    np.testing.assert_array_equal(file.tensors["base"], np.arange(1, 25, dtype=np.float32).reshape(4, 6) / 8)


def test_what_is_written_is_read(tmp_path):
    arrays = foreign.arrays_of_all_kinds()
    arrays |= {kind: np.arange(5).astype(kind) for kind in ("uint16", "uint32", "uint64")}
    arrays |= {kind: np.arange(5).astype(getattr(ml_dtypes, kind)) for kind in ("float8_e4m3fn", "float8_e5m2")}
    arrays |= {"turned": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">f4"), "\u00e4 \u2713": np.ones(1)}
    metadata = {"b": "line\nline", "a": "\u00e4"}
    safetensors.write(tmp_path / "x", arrays, metadata)
    file = safetensors.read(tmp_path / "x")
    assert file.tensors.keys() == arrays.keys() and file.metadata == metadata
    for name, array in arrays.items():
        assert same(file.tensors[name], array.astype(array.dtype.newbyteorder("="))), name
        assert file.tensors[name].flags.aligned
    assert [path.name for path in tmp_path.iterdir()] == ["x"]  # nothing temporary is left


def test_the_bytes_follow_from_the_contents_alone(tmp_path):
    arrays, metadata = foreign.arrays_of_all_kinds(), {"b": "1", "a": "2"}
    safetensors.write(tmp_path / "x", arrays, metadata)
    safetensors.write(tmp_path / "y", dict(reversed(arrays.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_the_bytes_by_hand(tmp_path):
    safetensors.write(tmp_path / "x", {"b": np.array([1], np.uint8), "a": np.array([2.0], np.float32)}, {"k": "v"})
    header = (
        b'{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}'
    )
    header += b" " * (-len(header) % 8)
    expected = struct.pack("<Q", len(header)) + header + struct.pack("<f", 2) + b"\x01"
    assert (tmp_path / "x").read_bytes() == expected


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}], ids=["bare", "one text"])
def test_the_package_writes_the_same_bytes_and_reads_ours(tmp_path, metadata):
    package = pytest.importorskip("safetensors.numpy", reason="compares with the package safetensors")
    arrays = {name: np.ascontiguousarray(array) for name, array in foreign.arrays_of_all_kinds().items()}
    arrays["scalar"] = np.array(2.5, np.float32)
    safetensors.write(tmp_path / "x", arrays, metadata)
    assert (tmp_path / "x").read_bytes() == package.save(arrays, metadata or None)
    theirs = package.load_file(tmp_path / "x")
    assert theirs.keys() == arrays.keys() and all(same(theirs[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b'{"w":1,"w":1}', "'w' twice"),
        (b'{"w":{"dtype":"F32","dtype":"F32"}}', "'dtype' twice"),
        (b"[]", "no JSON"),
        (b" {}", "no JSON"),
        (b"{", "no JSON"),
        (b'{"\xff":1}', "no JSON"),
        (b"{}x", "no JSON"),
        (b'{"a":' + b"[" * 100_000, "no JSON"),
        ({"w": 1}, "'w' is described wrongly"),
        ({"w": {**F32, "extra": 1}}, "'w' is described wrongly"),
        ({"w": {"dtype": "F32", "shape": [2]}}, "'w' is described wrongly"),
        ({"w": {**F32, "dtype": "F4"}}, "type that is not known here ('F4')"),
        ({"w": {**F32, "dtype": ["F32"]}}, "'w' is described wrongly"),
        ({"w": {**F32, "shape": [3]}}, "8 bytes, which do not fit its shape"),
        ({"w": {**F32, "shape": [-2]}}, "make no sense"),
        ({"w": {**F32, "shape": [10**4000]}}, "make no sense"),
        (b'{"w":' + b"1" * 5000 + b"}", "4300 digits"),
        ({"w": {**F32, "shape": [2.0]}}, "make no sense"),
        ({"w": {**F32, "shape": [True, 2]}}, "make no sense"),
        ({"w": {**F32, "shape": "2"}}, "make no sense"),
        ({"w": {**F32, "shape": [2**62, 2**62, 2**62]}}, "'w'"),
        ({"w": {**F32, "shape": [0, 2**62], "data_offsets": [0, 0]}}, "'w'"),
        ({"w": {**F32, "shape": [1] * 70 + [2]}}, "'w'"),
        ({"w": {**F32, "data_offsets": [0]}}, "make no sense"),
        ({"w": {**F32, "data_offsets": [8, 0]}}, "do not fit its shape"),
        ({"w": {**F32, "data_offsets": [1, 9]}}, "begins at byte 1 instead of 0"),
        ({"w": F32, "x": F32}, "begins at byte 0 instead of 8"),  # an overlap
        ({"w": {**F32, "data_offsets": [8, 16]}}, "begins at byte 8 instead of 0"),  # a hole
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "4 bytes, and it holds 8"),
        ({"w": F32, "__metadata__": []}, "metadata"),
        ({"w": F32, "__metadata__": {"a": 1}}, "metadata"),
        ({"a\nb": F32}, "name of an array"),
        ({"": F32}, "name of an array"),
    ],
)
def test_faults_of_headers(tmp_path, header, said):
    path = write(tmp_path, foreign.safetensors_bytes(header, bytes(8)))
    with pytest.raises(InputError) as info:
        safetensors.read(path)
    message = str(info.value)
    assert said in message and message.startswith(f"{path}: ") and message.isprintable()


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**31, 2**63, 2**64 - 1])
def test_absurd_lengths_of_headers(tmp_path, length):
    data = foreign.safetensors_bytes({"w": F32}, bytes(8), length=length)
    with pytest.raises(InputError, match=r"claims|no JSON"):
        safetensors.read(write(tmp_path, data))


@pytest.mark.parametrize("size", [0, 7, 8, 20])
def test_truncated_files(tmp_path, size):
    with pytest.raises(InputError, match=r"ends early|claims"):
        safetensors.read(write(tmp_path, GOLDEN.read_bytes()[:size]))


def test_files_without_arrays_and_arrays_without_numbers(tmp_path):
    safetensors.write(tmp_path / "x", {}, {})
    assert safetensors.read(tmp_path / "x").tensors == {}
    safetensors.write(tmp_path / "x", {"a": np.zeros((0, 3)), "b": np.array(1.0)}, {})
    tensors = safetensors.read(tmp_path / "x").tensors
    assert tensors["a"].shape == (0, 3) and tensors["b"].shape == ()


def test_numbers_that_are_not_aligned_in_the_file(tmp_path):
    entries = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    data = foreign.safetensors_bytes(entries, b"\x07" + np.array([1, 2], np.float32).tobytes())
    tensors = safetensors.read(write(tmp_path, data)).tensors
    assert tensors["b"].tolist() == [1, 2] and tensors["b"].flags.aligned


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ({"w": np.zeros(2, np.complex64)}, {}, TypeError),
        ({"w": np.array(["a"])}, {}, TypeError),
        ({1: np.zeros(2)}, {}, TypeError),
        ({"w": np.zeros(2)}, {"a": 1}, TypeError),
        ({"__metadata__": np.zeros(2)}, {}, ValueError),
        ({"a\nb": np.zeros(2)}, {}, ValueError),
        ({"w": np.zeros(2)}, {"a": "x" * (safetensors.MAX_HEADER + 1)}, ValueError),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_file_is_made(tmp_path, tensors, metadata, error):
    with pytest.raises(error):
        safetensors.write(tmp_path / "x", tensors, metadata)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        safetensors.write(tmp_path / "absent" / "x", {"w": np.zeros(2)}, {})


def test_the_header_is_json_of_the_format(tmp_path):
    safetensors.write(tmp_path / "x", {"w": np.zeros((2, 3), ml_dtypes.bfloat16)}, {"k": "\u00e4"})
    data = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0 and len(data) == 8 + length + 12
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"k": "\u00e4"},
        "w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    }
