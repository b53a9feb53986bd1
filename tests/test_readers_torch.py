import zlib
from pathlib import Path

import foreign_files as foreign
import ml_dtypes
import numpy as np
import pytest
from foreign_files import READERS, Call, Name, Raw, W, refusal, same, save, tensor_at, write

from ssd_jax.weights.readers import safetensors, torch_legacy, torch_zip

GOLDEN = Path(__file__).parent / "golden"
both = pytest.mark.parametrize("kind", READERS)


# --- files that torch wrote ---


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_golden_files_of_torch_hold_what_the_package_safetensors_wrote(name):
    # tests/golden/make_torch_files.py: torch 2.13.0, all kinds of numbers, views, parameters, buffers.
    expected = safetensors.read(GOLDEN / "torch_files.safetensors").tensors
    tensors = READERS["zip" if "zip" in name else "legacy"](GOLDEN / name).tensors
    assert tensors.keys() == expected.keys()
    assert all(same(tensors[key], expected[key]) for key in expected)
    assert list(tensors)[:3] == ["base", "view", "transposed"]  # the order of the file


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_golden_numbers_by_hand(name):
    tensors = READERS["zip" if "zip" in name else "legacy"](GOLDEN / name).tensors
    base = np.arange(1, 25, dtype=np.float32).reshape(4, 6) / 8
    np.testing.assert_array_equal(tensors["base"], base)
    np.testing.assert_array_equal(tensors["view"], base[1:, ::2])
    np.testing.assert_array_equal(tensors["transposed"], base.T)
    np.testing.assert_array_equal(tensors["expanded"], np.repeat(base[:1], 3, 0))
    assert tensors["bfloat16"].dtype == ml_dtypes.bfloat16
    assert tensors["scalar"].shape == () and tensors["scalar"] == 3.5
    assert tensors["empty"].shape == (0, 3)
    assert np.shares_memory(tensors["base"], tensors["view"])
    assert not any(tensor.flags.writeable for tensor in tensors.values())


def test_a_checkpoint_of_torch_gives_its_network_and_tells_of_the_rest():
    file = torch_legacy.read(GOLDEN / "torch_checkpoint.pth")
    assert file.format == "PyTorch (legacy)"
    assert list(file.tensors) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    assert file.tensors["1.weight"].tolist() == [2, 3]  # index 2, plus 0 and 1; the gradient was 0
    assert file.metadata["state_dict"] == "model" and file.metadata["stripped_prefix"] == "module."
    assert file.metadata["left_out"] == {"optimizer": 4}  # a momentum buffer of each of the four parameters
    args = {"lr": 0.5, "device": "cuda:0"}
    assert file.metadata["beside"] == {"epoch": 3, "args": args, "best": 0.75}


@pytest.mark.parametrize(
    ("name", "count", "numbers", "checksum"),
    [("version-RFB-320", 244, 281_135, 0xA0772C6F), ("version-slim-320", 184, 264_757, 0xAF773572)],
)
def test_real_files_are_read_completely(shared, name, count, numbers, checksum):
    # Checksum over names, shapes and bytes as torch 2.13.0 read them.
    path = shared / "oracles" / "weights" / f"{name}.pth"
    tensors = torch_legacy.read(path).tensors
    assert (len(tensors), sum(tensor.size for tensor in tensors.values())) == (count, numbers)
    found = 0
    for key, tensor in tensors.items():
        found = zlib.crc32(key.encode() + str(tensor.shape).encode() + tensor.tobytes(), found)
    assert found == checksum


@pytest.mark.parametrize(
    "options", [{"pickle_protocol": protocol} for protocol in (2, 3, 4, 5)] + [{"legacy": True}], ids=str
)
def test_the_same_bits_as_torch(tmp_path, options):
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    base = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    kinds = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    kinds += [] if "legacy" in options else "uint16 uint32 uint64 float8_e4m3fn float8_e5m2".split()
    values = {kind: (base.abs() * 9).to(getattr(torch, kind)) for kind in kinds}
    values |= {"view": base[1:, ::2], "turned": base.t(), "parameter": torch.nn.Parameter(base)}
    path = tmp_path / "x.pth"
    legacy = options.get("legacy", False)
    protocol = options.get("pickle_protocol", 2)
    torch.save(values, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    tensors = READERS["legacy" if legacy else "zip"](path).tensors
    assert list(tensors) == list(values)
    for name, value in values.items():
        assert str(value.dtype) == f"torch.{tensors[name].dtype.name}" and tuple(value.shape) == tensors[name].shape
        theirs = value.detach().contiguous().view(torch.uint8).numpy().tobytes()
        assert tensors[name].tobytes() == theirs, name


# --- files written here: what torch of today does not write ---


@both
def test_arrays_of_all_kinds(tmp_path, kind):
    arrays = foreign.arrays_of_all_kinds()
    root, storages = foreign.state_dict(arrays, legacy=kind == "legacy")
    tensors = READERS[kind](save(tmp_path, kind, root, storages)).tensors
    assert list(tensors) == list(arrays) and all(same(tensors[name], arrays[name]) for name in arrays)


@both
def test_views_are_those_of_numpy(tmp_path, kind):
    # 200 random views of one storage against numpy.lib.stride_tricks.as_strided; some overlap themselves.
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(60).astype(np.float32)
    where = foreign.storage("7", numbers, legacy=kind == "legacy")
    root, expected = {}, {}
    while len(expected) < 200:
        shape = tuple(map(int, rng.integers(1, 5, rng.integers(0, 4))))
        strides, offset = tuple(map(int, rng.integers(0, 20, len(shape)))), int(rng.integers(0, 60))
        if offset + sum((axis - 1) * stride for axis, stride in zip(shape, strides, strict=True)) < 60:
            name = f"view{len(expected)}"
            root[name] = foreign.tensor(where, shape, strides, offset)
            steps = [4 * stride for stride in strides]
            expected[name] = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps)
    tensors = READERS[kind](save(tmp_path, kind, root, {"7": numbers})).tensors
    for name, view in expected.items():
        np.testing.assert_array_equal(tensors[name], view)


@both
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((2,), (1,), 9),  # 9, 10 of 10 numbers
        ((1,), (1,), 10),
        ((), (), 10),
        ((2, 2), (9, 1), 0),  # the last is 10
        ((2**40,), (1,), 0),
        ((2**31, 2**31), (1, 1), 0),
        ((2,), (2**63,), 0),
        ((2,), (1,), 2**63),
        ((-1,), (1,), 0),
        ((2,), (-1,), 5),
        ((2,), (1, 1), 0),
        ((2.0,), (1,), 0),
        ((True,), (1,), 0),
        (("2",), (1,), 0),
        ((2,), (1,), -1),
        ((2,), (1,), None),
        ((1,) * 70, (1,) * 70, 0),
        ((0, 2**62), (1, 1), 0),
    ],
)
def test_places_outside_of_a_storage_are_refused(tmp_path, kind, shape, strides, offset):
    numbers = np.arange(10, dtype=np.float32)
    where = foreign.storage("0", numbers, legacy=kind == "legacy")
    path = save(tmp_path, kind, {"w": foreign.tensor(where, shape, strides, offset)}, {"0": numbers})
    assert "'w'" in refusal(READERS[kind], path)


@both
def test_expanded_tensors_are_bounded_by_the_file(tmp_path, kind):
    numbers = np.arange(1, dtype=np.float32)
    where = foreign.storage("0", numbers, legacy=kind == "legacy")
    root = {f"w{index}": foreign.tensor(where, (2**16,), (0,)) for index in range(8)}
    assert "w0" in READERS[kind](save(tmp_path, kind, {"w0": root["w0"]}, {"0": numbers})).tensors  # 256 KiB
    message = refusal(READERS[kind], save(tmp_path, kind, root, {"0": numbers}))  # 2 MiB out of 2 KB
    assert "2,097,152 bytes" in message


def test_parts_of_storages(tmp_path):
    numbers = np.arange(10, dtype=np.float32)
    root = {
        "a": foreign.tensor(foreign.storage("0", numbers, legacy=True, part=("1", 2, 4)), (2,), (1,), 1),
        "b": foreign.tensor(foreign.storage("0", numbers, legacy=True), (10,)),
    }
    tensors = torch_legacy.read(write(tmp_path, foreign.legacy_bytes(root, {"0": numbers}))).tensors
    assert tensors["a"].tolist() == [3, 4] and np.shares_memory(tensors["a"], tensors["b"])
    for part, offset in [(("1", 2, 9), 0), (("1", 2, 4), 3), (("1", -1, 4), 0), (("1", 2), 0)]:
        where = foreign.storage("0", numbers, legacy=True, part=part)
        data = foreign.legacy_bytes({"a": foreign.tensor(where, (2,), (1,), offset)}, {"0": numbers})
        refusal(torch_legacy.read, write(tmp_path, data))


def test_files_of_python_2_and_of_pytorch_before_0_4(tmp_path):
    # Names are byte strings, an OrderedDict a list of pairs, a parameter a class that is called and has a state.
    numbers = np.arange(4, dtype=np.float32)
    tensor = foreign.tensor(foreign.storage("140", numbers, legacy=True), (2, 2), function="_rebuild_tensor")
    parameter = Call(Name("torch.nn.parameter", "Parameter"), (tensor,), (True, False, {}))
    root = Call(Name("collections", "OrderedDict"), ([["conv.weight", parameter], ["conv.mean", tensor]],))
    data = foreign.legacy_bytes(root, {"140": numbers}, python2=True)
    tensors = torch_legacy.read(write(tmp_path, data)).tensors
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "conv.weight": [[0, 1], [2, 3]],
        "conv.mean": [[0, 1], [2, 3]],
    }


def test_big_endian_archives(tmp_path):
    arrays = foreign.arrays_of_all_kinds()
    root, storages = foreign.state_dict(arrays)
    swapped = {
        key: array.view(f"u{array.itemsize}").byteswap() if array.itemsize > 1 else array
        for key, array in storages.items()
    }
    path = write(tmp_path, foreign.zip_bytes(root, swapped, entries={"byteorder": b"big"}))
    tensors = torch_zip.read(path).tensors
    assert all(same(tensors[name], arrays[name]) for name in arrays)
    path = write(tmp_path, foreign.zip_bytes(root, storages, entries={"byteorder": b""}))  # before PyTorch 2.1
    assert all(same(torch_zip.read(path).tensors[name], arrays[name]) for name in arrays)


@both
def test_bytes_that_are_no_booleans_are_true(tmp_path, kind):
    root, storages = foreign.state_dict({"w": np.array([0, 1, 2, 255], np.uint8).view(bool)}, legacy=kind == "legacy")
    tensors = READERS[kind](save(tmp_path, kind, root, storages)).tensors
    assert tensors["w"].view(np.uint8).tolist() == [0, 1, 1, 1]


# --- which dictionary is the network ---


@pytest.mark.parametrize(
    ("root", "place", "names", "left"),
    [
        ({"a.w": 1}, "", ["a.w"], {}),
        ({"state_dict": {"a": 1}, "best_acc1": 1}, "state_dict", ["a"], {"best_acc1": 1}),
        ({"model": {"a": 1, "b": 1}, "optimizer": {"state": {0: {"m": 1}}}}, "model", ["a", "b"], {"optimizer": 1}),
        ({"ema": {"a": 1}, "model": {"a": 1}}, "model", ["a"], {"ema": 1}),
        ({"ema": {"a": 1}, "epoch": None}, "ema", ["a"], {}),
        ({"model": {"state_dict": {"a": 1}}}, "model.state_dict", ["a"], {}),
        ({"weights_of_mine": {"a": 1, "b": 1}, "mean": 1}, "weights_of_mine", ["a", "b"], {"mean": 1}),
        ({"backbone": {"a": 1}, "heads": {"0": {"a": 1}}}, "", ["backbone.a", "heads.0.a"], {}),
        ({"backbone": {"a": 1}, "heads": {"a": 1}, "optim_g": [1]}, "", ["backbone.a", "heads.a"], {"optim_g": 1}),
        ({"a": 1, "b": 1, "c": {"d": 1}}, "", ["a", "b", "c.d"], {}),
        ({"layers": [1, (1,)], 3: 1}, "", ["layers.0", "layers.1.0", "3"], {}),
    ],
)
def test_the_network_is_found(tmp_path, root, place, names, left):
    def fill(value):  # 1 stands for a tensor
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return type(value)(map(fill, value)) if isinstance(value, list | tuple) else (value and tensor_at())

    file = torch_zip.read(write(tmp_path, foreign.zip_bytes(fill(root), {"0": W})))
    assert (file.metadata["state_dict"], list(file.tensors), file.metadata["left_out"]) == (place, names, left)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["module.a", "module.b"], "module."),
        (["module.a", "b"], ""),
        (["module._orig_mod.a", "module._orig_mod.b"], "module._orig_mod."),
        (["module.a", "module.module.b"], "module."),
        (["module.", "module.a"], ""),  # a name would be empty
    ],
)
def test_prefixes_that_all_names_have_are_stripped(tmp_path, names, prefix):
    file = torch_zip.read(write(tmp_path, foreign.zip_bytes({name: tensor_at() for name in names}, {"0": W})))
    assert list(file.tensors) == [name.removeprefix(prefix) for name in names]
    assert file.metadata["stripped_prefix"] == prefix


def test_plain_values_stand_in_the_metadata(tmp_path):
    scalar = Call(
        Name("numpy.core.multiarray", "scalar"),
        (
            Call(Name("numpy", "dtype"), ("f4", 0, 1), (3, "<", None, None, None, -1, -1, 0)),
            np.float32(0.5).tobytes(),
        ),
    )
    root = {
        "w": tensor_at(),
        "epoch": 3,
        "big": 2**70,
        "acc": 0.25,
        "scalar": scalar,
        "old_bytes": Call(Name("_codecs", "encode"), ("\xff\x00", "latin1")),
        "path": Call(Name("pathlib", "PosixPath"), ("/", "a", "b")),
        "size": Call(Name("torch", "Size"), ((1, 2),)),
        "kind": Name("torch", "float16"),
        "device": Call(Name("torch", "device"), ("cuda", 1)),
        "set": Call(Name("__builtin__", "set"), ([1, 2],)),
        "counter": Call(Name("collections", "Counter"), ({3: 1},)),
        "default": Call(Name("collections", "defaultdict"), (Name("__builtin__", "list"),)),
        "args": Call(Name("argparse", "Namespace"), (), {"lr": 0.5, "nested": {"a": [None, True]}}, b"\x81"),
    }
    assert torch_zip.read(write(tmp_path, foreign.zip_bytes(root, {"0": W}))).metadata["beside"] == {
        "epoch": 3,
        "big": 2**70,
        "acc": 0.25,
        "scalar": 0.5,
        "old_bytes": "2 bytes",
        "path": "/a/b",
        "size": [1, 2],
        "kind": "torch.float16",
        "device": "cuda:1",
        "set": [1, 2],
        "counter": {"3": 1},
        "default": {},
        "args": {"lr": 0.5, "nested": {"a": [None, True]}},
    }


@pytest.mark.parametrize(
    ("root", "said"),
    [
        (tensor_at(), "holds a tensor instead of named tensors"),
        ([tensor_at()], "holds a list instead of named tensors"),
        ({}, "no named tensors"),
        ({"epoch": 3}, "no named tensors"),
        ({"a": {"b": tensor_at()}, "a.b": tensor_at()}, "two of its tensors are called 'a.b'"),
        ({"a\nb": tensor_at()}, "name of a tensor"),
        ({"": tensor_at()}, "name of a tensor"),
        ({(1, 2): tensor_at()}, "keys are neither text nor numbers"),
        (Raw(b"}q\x00(" + foreign.emit("w") + foreign.emit(tensor_at()) + foreign.emit("x") + b"h\x00u"), "nested"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, root, said):
    assert said in refusal(torch_zip.read, write(tmp_path, foreign.zip_bytes(root, {"0": W})))
