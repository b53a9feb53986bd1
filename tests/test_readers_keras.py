"""Keras' HDF5 files: the layouts of Keras 2 and 3, what Keras does not write, and damage of every kind."""

import json
import random
import subprocess
import sys
from pathlib import Path

import hdf5_forks
import ml_dtypes
import numpy as np
import pytest
from mutated_files import mutate

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import keras_h5

RANDOM = np.random.default_rng(0)
KERNELS = {f"block1_conv{index}": RANDOM.random((3, 3, 3, 4), np.float32) for index in (1, 2, 10)}
BIAS = np.float32([1, 2, 3, 4])


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="reading Keras files needs h5py, the extra keras")


@pytest.fixture
def here(monkeypatch, h5py):
    """Runs the other program in this process, which is quicker; its own tests do without."""
    program = hdf5_forks.load()
    monkeypatch.setattr(keras_h5, "_index", lambda path: json.loads(program.describe(str(path))))


def refusal(path) -> str:
    """Returns the one sentence with which a file is refused, without its beginning."""
    with pytest.raises(InputError) as caught:
        keras_h5.read(path)
    message, start = str(caught.value), f"{path}: expected an HDF5 file of Keras, "
    assert message.startswith(start) and "\n" not in message and len(message) < 600, message
    return message.removeprefix(start)


def write_listed(group, *, fixed: bool = True, split: bool = False) -> None:
    """Writes the layout of keras/applications: VGG16's first layers, out of alphabetical order."""
    names = ["input_1", "block1_conv2", "block1_conv10", "block1_conv1"]

    def texts(values: list[str]) -> list:
        return np.array([value.encode() for value in values]) if fixed else values  # of h5py 2 and 3

    if split:
        group.attrs["layer_names0"], group.attrs["layer_names1"] = texts(names[:2]), texts(names[2:])
    else:
        group.attrs["layer_names"] = texts(names)
    group.attrs["keras_version"], group.attrs["backend"] = "2.0.8" if not fixed else b"2.0.8", "tensorflow"
    for name in names:
        layer = group.create_group(name)
        weights = [f"{name}_W_1:0", f"{name}_b_1:0"] if name in KERNELS else []
        layer.attrs["weight_names"] = texts(weights) if weights else []
        for weight, array in zip(weights, (KERNELS.get(name), BIAS), strict=False):
            layer.create_dataset(weight, data=array)


@pytest.mark.parametrize("inside", ["", "model_weights"])
@pytest.mark.parametrize("options", [{}, {"fixed": False}, {"split": True}])
def test_the_layout_with_lists(tmp_path, h5py, here, inside, options):
    path = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
    with h5py.File(path, "w") as file:
        write_listed(file.create_group(inside) if inside else file, **options)
        if inside:
            file.create_dataset("optimizer_weights/iterations", data=3)
    read = keras_h5.read(path)
    assert read.format == "Keras HDF5"
    order = ("block1_conv2", "block1_conv10", "block1_conv1")
    names = {name: (f"{name}/{name}_W_1:0", f"{name}/{name}_b_1:0") for name in order}
    assert list(read.tensors) == [name for pair in names.values() for name in pair]
    for name, (kernel, bias) in names.items():
        np.testing.assert_array_equal(read.tensors[kernel], KERNELS[name], strict=True)
        np.testing.assert_array_equal(read.tensors[bias], BIAS, strict=True)
    assert read.metadata == {
        "layout": "layer_names",
        "layers": {"input_1": (), **names},
        "keras_version": "2.0.8",
        "backend": "tensorflow",
    }


def write_numbered(file) -> None:
    for index, (name, kernel) in enumerate(KERNELS.items()):
        path = f"layers/conv2d_{index * 5}" if index else "layers/conv2d"
        file[f"{path}/vars/0"], file[f"{path}/vars/1"] = kernel, BIAS
        file[f"{path}/vars"].attrs["name"] = name
    file["layers/sequential/layers/dense/vars/0"] = BIAS
    file["optimizer/vars/0"] = 3
    file.create_group("vars").attrs["name"] = "tiny"


def test_the_layout_with_numbers(tmp_path, h5py, here):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        write_numbered(file)
        half = file.create_dataset("layers/dense/vars/0", data=BIAS.astype(ml_dtypes.bfloat16))
        half.attrs["dtype"] = "bfloat16"
    read = keras_h5.read(tmp_path / "a.weights.h5")
    names = ["conv2d/vars/0", "conv2d/vars/1", "conv2d_5/vars/0", "conv2d_5/vars/1", "conv2d_10/vars/0"]
    names += ["conv2d_10/vars/1", "dense/vars/0", "sequential/layers/dense/vars/0"]
    assert list(read.tensors) == [f"layers/{name}" for name in names]
    np.testing.assert_array_equal(read.tensors["layers/conv2d_10/vars/0"], KERNELS["block1_conv10"], strict=True)
    expected = BIAS.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(read.tensors["layers/dense/vars/0"], expected, strict=True)
    layers = read.metadata["layers"]
    assert layers["block1_conv10"] == ("layers/conv2d_10/vars/0", "layers/conv2d_10/vars/1")
    assert layers["tiny"] == () and layers["layers/dense"] == ("layers/dense/vars/0",)


@pytest.mark.parametrize("kind", ["?", "i1", "u2", "<i4", ">i8", "<f2", ">f4", ">f8"])
def test_types(tmp_path, h5py, here, kind):
    array = np.arange(3).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layers/a/vars/0"], file["layers/a/vars/1"], file["layers/a/vars/2"] = array, array[0], array[:0]
    read = list(keras_h5.read(tmp_path / "a.h5").tensors.values())
    native = array.astype(array.dtype.newbyteorder("="))
    for found, expected in zip(read, (native, native[0], native[:0]), strict=True):
        np.testing.assert_array_equal(found, np.asarray(expected), strict=True)


def add(file, name: str = "layers/a/vars/0", **options):
    return file.create_dataset(name, **{"data": BIAS, **options})


def listed(file, weight: str, layer: str = "a") -> None:
    file.attrs["layer_names"] = np.array([layer.encode()])
    file.require_group("a").attrs["weight_names"] = np.array([weight.encode()])
    add(file, "a/w")


def link(target):
    def make(file, h5py):
        add(file)
        file["layers/a/vars/1"] = target(h5py)

    return make


def cycle(file, _) -> None:
    add(file)
    file["layers/b/again"] = file["layers"]


def virtual(file, h5py) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(4,))
    file.create_virtual_dataset("layers/a/vars/0", layout)


def long_names(file, h5py) -> None:
    add(file)
    file["layers/a/vars"].attrs["name"] = "x" * 50_000


REFUSED = {
    "soft link": (link(lambda h5py: h5py.SoftLink("/layers")), "'1' is a link to elsewhere"),
    "external link": (link(lambda h5py: h5py.ExternalLink("other.h5", "/secret")), "'1' is a link to elsewhere"),
    "external group": (lambda f, h: f.__setitem__("layers", h.ExternalLink("other.h5", "/")), "is a link to elsewhere"),
    "virtual": (virtual, "lies in another file"),
    "external": (lambda f, _: add(f, external=[("/etc/passwd", 0, 16)]), "lies in another file"),
    "compressed": (lambda f, _: add(f, compression="gzip"), "h5repack -f NONE"),
    "chunked": (lambda f, _: add(f, chunks=(2,)), "h5repack -f NONE"),
    "objects": (lambda f, h: add(f, data=["a", "b"], dtype=h.string_dtype()), "has the type 'object'"),
    "references": (lambda f, h: add(f, data=[f.ref], dtype=h.ref_dtype), "has the type 'object'"),
    "fields": (lambda f, _: add(f, data=np.zeros(2, "f4,i4")), "expected real numbers"),
    "complex": (lambda f, _: add(f, data=np.zeros(2, "c8")), "expected real numbers"),
    "long double": (lambda f, _: add(f, data=np.zeros(2, np.longdouble)), "expected real numbers"),
    "not written": (lambda f, _: add(f, data=None, shape=(10**12,), dtype="f4"), "was never written"),
    "no room": (lambda f, h: add(f, data=h.Empty("f4")), "is no array"),
    "group for an array": (lambda f, _: f.create_group("layers/a/vars/0"), "is no array"),
    "array for a group": (lambda f, _: add(f, "layers/a/vars"), "'layers/a/vars' is no group"),
    "cycle": (cycle, "contain themselves"),
    "deep": (lambda f, _: add(f, "a/" * 60 + "vars/0"), "nested deeper than 24"),
    "nothing": (lambda f, _: None, "0 weights of layers"),
    "Caffe's": (lambda f, _: add(f, "data/conv1/0"), "0 weights of layers"),
    "listed and absent": (lambda f, _: listed(f, "v"), "'v' is listed and not there"),
    "layer absent": (lambda f, _: listed(f, "w", "b"), "'b' is listed and not there"),
    "dots": (lambda f, _: listed(f, "../a/w"), "empty part or dots"),
    "from the root": (lambda f, _: listed(f, "/a/w"), "empty part or dots"),
    "weights below an array": (lambda f, _: listed(f, "w/w"), "what is no group"),
    "line break in a name": (lambda f, _: add(f, "layers/a\nb/vars/0"), "printable"),
    "names as numbers": (lambda f, _: f.attrs.__setitem__("layer_names", [1, 2]), "is no list of names"),
    "a long name": (long_names, "too long"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_one_sentence(tmp_path, monkeypatch, h5py, here, case):
    monkeypatch.chdir(tmp_path)  # where an external link would find it
    with h5py.File("other.h5", "w") as file:
        file["secret"] = BIAS
    make, expected = REFUSED[case]
    with h5py.File("a.h5", "w") as file:
        make(file, h5py)
    assert expected in refusal(Path("a.h5"))


def test_a_list_that_names_an_array_twice(tmp_path, h5py, here):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        listed(file, "w")
        file["a"].attrs["weight_names"] = np.array([b"w", b"w"])
    assert "lists 'a/w' twice" in refusal(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (("<f4", [4], 90), "'a' ends behind the file"),
        (("<f4", [4], 2**64 - 2), "'a' ends behind the file"),
        (("<f4", [26], 0), "claim 104 bytes, and the file has 100"),
        (("<f4", [-1], 0), "which no array can have"),
        (("<f4", [2**62, 0, 2**62], 0), "which no array can have"),
        (("|O", [1], 0), "has the type '|O'"),
        (("<c16", [1], 0), "has the type '<c16'"),
    ],
)
def test_an_index_is_not_believed(tmp_path, place, expected):
    (tmp_path / "a.h5").write_bytes(bytes(100))
    index = {"layout": "vars", "layers": [["a", "a", ["a"]]], "arrays": [["a", *place]]}
    with pytest.raises(ValueError, match=".") as caught:
        keras_h5.tensors(tmp_path / "a.h5", 100, index)
    assert expected in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x89HDF", b"PK\x03\x04" + bytes(100), bytes(512) + keras_h5.SIGNATURE])
def test_what_is_no_hdf5(tmp_path, data):
    (tmp_path / "a.h5").write_bytes(data)
    assert "does not begin with HDF5's signature" in refusal(tmp_path / "a.h5")


def test_no_file_at_all(tmp_path):
    refusal(tmp_path / "absent.h5")
    refusal(tmp_path)


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(keras_h5.SIGNATURE)
    monkeypatch.setattr(keras_h5.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'need h5py, .*: python -m pip install "h5py>=3.11"'):
        keras_h5.read(tmp_path / "a.h5")


def test_the_other_process(tmp_path, monkeypatch, h5py):
    path = tmp_path / "-odd name ü.h5"
    with h5py.File(path, "w") as file:
        write_numbered(file)
    monkeypatch.chdir(tmp_path)
    assert len(keras_h5.read(path.name).tensors) == 7
    path.write_bytes(path.read_bytes()[:3000])
    assert "truncated file" in refusal(path)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("while True: pass", "HDF5 did not come to an end with it within 0.5 s"),
        ("import os; os.kill(os.getpid(), 11)", "HDF5 failed on it (exit status -11)"),
        ("raise MemoryError", "HDF5 failed on it (MemoryError)"),
        ("print('not JSON')", "Expecting value"),
    ],
)
def test_another_process_that_does_not_come_to_a_good_end(tmp_path, monkeypatch, program, expected):
    (tmp_path / "a.h5").write_bytes(keras_h5.SIGNATURE)
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(keras_h5.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(keras_h5, "_PROGRAM", tmp_path / "program.py")
    monkeypatch.setattr(keras_h5, "_SECONDS", 0.5)
    assert expected in refusal(tmp_path / "a.h5")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_memory_of_the_other_process_is_limited(tmp_path, monkeypatch, h5py):
    program = tmp_path / "program.py"
    source = hdf5_forks.PROGRAM.read_text(encoding="utf-8")
    program.write_text(source.replace("    print(describe", "    bytearray(2**30)\n    print(describe"))
    assert program.read_text() != source
    monkeypatch.setattr(keras_h5, "_PROGRAM", program)
    (tmp_path / "a.h5").write_bytes(keras_h5.SIGNATURE)
    assert "HDF5 failed on it (MemoryError)" in refusal(tmp_path / "a.h5")


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_files(tmp_path, h5py, count):
    """Each is refused in one sentence or read; the other process ends, or is stopped."""
    seeds = []
    for fixed in (True, False):
        with h5py.File(tmp_path / "seed.h5", "w") as file:
            write_listed(file, fixed=fixed)
        seeds.append((tmp_path / "seed.h5").read_bytes())
    with h5py.File(tmp_path / "seed.h5", "w") as file:
        write_numbered(file)
    seeds.append((tmp_path / "seed.h5").read_bytes())
    paths = []
    for seed in range(count):
        rng = random.Random(seed)
        paths.append(tmp_path / f"{seed}.h5")
        paths[-1].write_bytes(mutate(rng, rng.choice(seeds), head=4096))
    command = [sys.executable, "-P", str(hdf5_forks.__file__), "1"]
    result = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    outcomes = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(outcomes) == count
    read = stopped = 0
    for path, outcome in zip(paths, outcomes, strict=True):
        assert outcome["memory"] < 800 * 2**20, path  # 512 MiB beyond the interpreter
        if outcome["code"]:
            stopped += 1
            continue
        try:
            tensors = keras_h5.tensors(path, path.stat().st_size, outcome["index"]).tensors
        except ValueError as error:
            assert str(error)
        else:
            read += 1
            assert sum(array.nbytes for array in tensors.values()) <= path.stat().st_size
    assert count // 20 < read < count // 2
    assert stopped < count // 20  # HDF5 2.0.0 does not come to an end with 1 of 100


@pytest.mark.slow
def test_what_keras_writes(tmp_path, monkeypatch, here):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="compares with Keras")
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(4, 3, name="block1_conv1")(inputs)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, name="predictions")(keras.layers.Flatten()(hidden)))
    theirs = {layer.name: layer.get_weights() for layer in model.layers}
    for name in ("model.weights.h5", "model.h5"):
        model.save_weights(tmp_path / name) if name.endswith("weights.h5") else model.save(tmp_path / name)
        read = keras_h5.read(tmp_path / name)
        assert len(read.tensors) == 8
        for layer, arrays in theirs.items():
            ours = [read.tensors[tensor] for tensor in read.metadata["layers"].get(layer, ())]
            assert len(ours) == len(arrays)
            assert all(np.array_equal(one, other) for one, other in zip(ours, arrays, strict=True))
