"""NumPy's archives: what numpy.savez writes, and damage of every kind."""

import io
import pickle
import random
import struct
import time
import tracemalloc
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest
from mutated_files import mutate

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import numpy_npz

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def write(tmp_path):
    def write_(data: bytes):
        path = tmp_path / "weights.npz"
        path.write_bytes(data)
        return path

    return write_


def refusal(path) -> str:
    """Returns the one sentence with which a file is refused, without its beginning."""
    with pytest.raises(InputError) as caught:
        numpy_npz.read(path)
    message, start = str(caught.value), f"{path}: expected a .npz file of NumPy arrays, "
    assert message.startswith(start) and "\n" not in message and len(message) < 600, message
    return message.removeprefix(start)


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made, warnings.catch_warnings(action="ignore"):
        for name, data in members:
            made.writestr(name, data)
    return file.getvalue()


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + data


def header(shape: str, descr: str = "'<f4'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(tmp_path, save):
    arrays = {
        "backbone/conv1_1/kernel": KERNEL,
        "z": np.asfortranarray(KERNEL),
        "a": np.float64(2.5),
        "half": np.float16([1, np.nan]),
        "big": KERNEL.astype(">f4"),
        "count": np.int64([3]),
        "flag": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
        "bfloat16": np.arange(3).astype(ml_dtypes.bfloat16),
    }
    save(tmp_path / "a.npz", **arrays)
    file = numpy_npz.read(tmp_path / "a.npz")
    assert file.format == "NumPy" and dict(file.metadata) == {}
    assert list(file.tensors) == list(arrays)
    for name, array in arrays.items():
        expected = np.asarray(array).astype(np.asarray(array).dtype.newbyteorder("="))
        np.testing.assert_array_equal(file.tensors[name], expected, strict=True)


def test_a_large_array_in_memory_no_larger_than_itself(tmp_path):
    array = np.random.default_rng(0).random(2**20)  # 8 MiB
    np.savez(tmp_path / "a.npz", a=array)
    tracemalloc.start()
    try:
        file = numpy_npz.read(tmp_path / "a.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(file.tensors["a"], array, strict=True)
    assert peak < 1.2 * array.nbytes


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.array([{"a": 1}], object))
    return file.getvalue()


def with_flag(data: bytes, flag: int) -> bytes:
    """Sets a flag of the only member, in its own header and in the directory."""
    changed = bytearray(data)
    directory = data.rindex(b"PK\x01\x02")
    changed[6] |= flag
    changed[directory + 8] |= flag
    return bytes(changed)


def directory_of(length: int) -> bytes:
    """Returns an archive with an array and so many bytes of a directory that lists the array again and again."""
    data = archive(("a.npy", npy(header("(1,)"), bytes(4))))
    start, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entries = data[start:end] * (length // (end - start))
    return data[:start] + entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(entries), start, 0)


REFUSED = {
    "empty": b"",
    "text": b"weights\n" * 100,
    "one array": npy(header("(2,)"), bytes(8)),
    "nothing in it": archive(),
    "other members": archive(("a.txt", b"text")),
    "pickled objects": pickled(),
    "a pickle as it is": archive(("a.npy", pickle.dumps({"a": 1}))),
    "objects by name": archive(("a.npy", npy(header("(1,)", "'|O'"), pickle.dumps(1)))),
    "text array": archive(("a.npy", npy(header("(1,)", "'<U4'"), bytes(16)))),
    "structured": archive(("a.npy", npy(header("(1,)", "[('a', '|u1'), ('b', '|u1')]"), bytes(2)))),
    "array in array": archive(("a.npy", npy(header("(1,)", "('<f4', (2,))"), bytes(8)))),
    "long double": archive(("a.npy", npy(header("(1,)", "'<f16'"), bytes(16)))),
    "complex": archive(("a.npy", npy(header("(1,)", "'<c8'"), bytes(8)))),
    "version 3": archive(("a.npy", npy(header("(1,)"), bytes(4), (3, 0)))),
    "negative": archive(("a.npy", npy(header("(-1, -1)"), bytes(4)))),
    "too short": archive(("a.npy", npy(header("(2,)"), bytes(4)))),
    "too long": archive(("a.npy", npy(header("(1,)"), bytes(8)))),
    "absurd": archive(("a.npy", npy(header("(999999999999, 999999999999)"), bytes(4)))),
    "absurd nothing": archive(("a.npy", npy(header("(0, 9223372036854775807, 9223372036854775807)")))),
    "many axes": archive(("a.npy", npy(header(f"({'1, ' * 60})"), bytes(4)))),
    "deep header": archive(("a.npy", npy("(" * 4900 + ")" * 4900))),
    "long header": archive(("a.npy", npy("'" + "a" * 60000 + "'"))),
    "code": archive(("a.npy", npy("__import__('os').system('touch canary')"))),
    "odd header": archive(("a.npy", npy("{'descr': L 'x'"))),
    "two of one name": archive(*2 * [("a.npy", npy(header("(1,)"), bytes(4)))]),
    "line break": archive(("a\nb.npy", npy(header("(1,)"), bytes(4)))),
    "no name": archive((".npy", npy(header("(1,)"), bytes(4)))),
    "zip bomb": archive(("a.npy", npy(header("(10000000,)"), bytes(40_000_000))), compression=zipfile.ZIP_DEFLATED),
    "bzip2": archive(("a.npy", npy(header("(1,)"), bytes(4))), compression=zipfile.ZIP_BZIP2),
    "lzma": archive(("a.npy", npy(header("(1,)"), bytes(4))), compression=zipfile.ZIP_LZMA),
    "encrypted": with_flag(archive(("a.npy", npy(header("(1,)"), bytes(4)))), 1),
    "patched": with_flag(archive(("a.npy", npy(header("(1,)"), bytes(4)))), 0x20),
    "wrong checksum": archive(("a.npy", npy(header("(1,)"), b"abcd"))).replace(b"abcd", b"abce"),
    "a directory without end": directory_of(6 * 2**20),
    "claims a directory": archive(("a.npy", b""))[:-10] + struct.pack("<LLH", 2**31, 0, 0),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_one_sentence(write, case, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = write(REFUSED[case])
    tracemalloc.start()
    try:
        refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(REFUSED[case]) + 2**22  # Python's parser takes 3 MB for 4,900 brackets
    assert not (tmp_path / "canary").exists()


def test_names_are_names_and_no_paths(write):
    array = npy(header("(1,)"), bytes(4))
    file = numpy_npz.read(write(archive(("../../escape.npy", array), ("/etc/passwd.npy", array))))
    assert list(file.tensors) == ["../../escape", "/etc/passwd"]  # read, and written nowhere


def test_reasons_say_what_is_wrong(write):
    assert "the type 'object'" in refusal(write(REFUSED["pickled objects"]))
    assert "'a' has 132 bytes" in refusal(write(archive(("a.npy", npy(header("(3,)").ljust(117), bytes(4))))))
    assert "is no array (.npy)" in refusal(write(REFUSED["other members"]))
    assert refusal(write(REFUSED["two of one name"])) == "but two arrays are called 'a'"
    for case in ("deep header", "long header", "code", "odd header", "version 3", "a pickle as it is"):
        assert "'a' does not begin with a header of NumPy's format" in refusal(write(REFUSED[case]))


def test_no_file_at_all(tmp_path):
    refusal(tmp_path / "absent.npz")
    refusal(tmp_path)


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_files(write, count):
    """Each is refused in one sentence, or read: a checksum stands behind every number."""
    seeds = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **{"a/kernel": KERNEL, "a/bias": np.float32([1, 2]), "step": np.int64(7)})
        seeds.append(file.getvalue())
    read = 0
    for seed in range(count):
        rng = random.Random(seed)
        data = mutate(rng, rng.choice(seeds))
        path = write(data)
        tracemalloc.start()
        start = time.perf_counter()
        try:
            file = numpy_npz.read(path)
        except InputError:
            file = None
        seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < 2 and peak < 20 * len(data) + 2**20, (seed, seconds, peak)
        if file is None:
            refusal(path)
            continue
        read += 1
        for name, array in file.tensors.items():  # shapes are in the checksum, names are not
            assert any(np.array_equal(array, known) for known in (KERNEL, np.float32([1, 2]), np.int64(7))), (
                seed,
                name,
            )
    assert 0 < read < count // 2
