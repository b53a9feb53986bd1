import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import foreign_files as foreign
import numpy as np
import pytest
from foreign_files import READERS, Call, Name, Persistent, Raw, W, refusal, save, tensor_at, write

from ssd_jax.weights.readers import torch_legacy, torch_pickle, torch_state, torch_zip
from ssd_jax.weights.readers.torch_globals import KNOWN

TESTS = Path(__file__).parent
both = pytest.mark.parametrize("kind", READERS)


# --- what a pickle may not do ---


@both
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torchvision.models.resnet", "ResNet"),
        ("collections", "OrderedDict.__init__"),
        ("collections.OrderedDict", "fromkeys"),
        ("torch", "ComplexFloatStorage"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("", ""),
    ],
)
def test_other_names_are_refused_by_name(tmp_path, kind, module, name):
    root = {"w": tensor_at(), "x": Call(Name(module, name), ("touch canary",))}
    message = refusal(READERS[kind], save(tmp_path, kind, root, {"0": W}))
    assert f"'{module}.{name}'".replace("__builtin__", "builtins") in message
    assert module not in sys.modules or not module.startswith("torchvision")


def test_the_names_that_are_known():
    # Written out, so that nobody adds a name without being seen to.
    packages = {name.split(".")[0] for name in KNOWN}
    assert packages == {"torch", "collections", "builtins", "_codecs", "numpy", "argparse", "pathlib"}
    makers = {name for name in KNOWN if name.startswith(("builtins.", "_codecs.", "numpy."))}
    inert = {f"builtins.{name}" for name in ("list", "dict", "int", "float", "str", "bool", "tuple")}
    assert makers == inert | {
        "builtins.set",
        "builtins.frozenset",
        "_codecs.encode",
        "numpy.dtype",
        "numpy._core.multiarray.scalar",
    }


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"cbuiltins\nlist\n)R", "calls what is no function"),
        (b"ctorch\nFloatStorage\n)R", "calls what is no function"),
        (b"ccollections\nOrderedDict\n]R", "calls what is no function"),  # arguments that are no tuple
        (b"ccollections\nOrderedDict\nK\x01\x85R", "arguments that do not fit"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "arguments that do not fit"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n}b", "state of a value that has none"),
        (b"ccollections\nOrderedDict\n}b", "state of a value that has none"),
        (b"]K\x01b", "state of a value that has none"),
        (b"(S'x'\nios\nsystem\n", "the instruction STRING"),
        (b"(ios\nsystem\n", "the instruction INST"),
        (b"(cos\n", "damaged at byte 3"),
        (b"\x82\x01", "the instruction EXT1"),
        (b")}\x92", "the instruction NEWOBJ_EX"),
        (b"\x8b\xff\xff\xff\x7f", "the instruction LONG4"),
        (b"K\x01Q", "no storage"),
        (b"P0\n", "the instruction PERSID"),
        (b"\xff", "what is no instruction"),
        (b"h\x05", "damaged"),
        (b"X\xff\xff\xff\xff", "damaged"),
        (b"X\x01\x00\x00\x00\xff", "damaged"),
        (b"t", "damaged"),
        (b"K\x01\x86", "damaged"),
        (b"N(K\x01K\x02u", "adds items to what is no dictionary"),
        (b"}(K\x01u", "adds items to what is no dictionary"),
        (b"NK\x01a", "appends to what is no list"),
        (b"", "damaged"),
    ],
)
def test_instructions_that_are_refused(code, said):
    with pytest.raises(ValueError, match=said):
        torch_pickle.Machine(b"\x80\x02" + code + b".").load()


TOO_MUCH = "takes more than 100,000 steps"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        # Each takes years or many GB in a machine without limits; 60 levels of two mean 2**60.
        pytest.param(b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns", "keys are neither", id="key of tuples"),
        pytest.param(b"]" + b"q\x00](h\x00h\x00e" * 60, "holds a list", id="list of lists"),
        pytest.param(
            b"}("
            + foreign.emit("w")
            + foreign.emit(tensor_at())
            + b"u"
            + (b"q\x00}(" + b"".join(foreign.emit(letter) + b"h\x00" for letter in "abcdefgh") + b"u") * 8,
            "more than 10,000 tensors",
            id="names of dictionaries",
        ),
        pytest.param(b"]r\xff\xff\xff\xff", "holds a list", id="memo"),
        pytest.param(b"]" * 45_000 + b"a" * 44_999, "holds a list", id="deep"),
        pytest.param(
            b"](" + b"N" * 9_000 + b"e\x85q\x00" + b"c__builtin__\nset\nh\x00R" * 1_000, TOO_MUCH, id="copies of a list"
        ),
        pytest.param(
            foreign.emit("a" * 200_000) + b"q\x00cpathlib\nPosixPath\n(" + b"h\x00" * 500 + b"tR",
            TOO_MUCH,
            id="copies of a text",
        ),
        pytest.param(b"N" * 100_001, TOO_MUCH, id="steps"),
    ],
)
def test_work_and_memory_are_bounded(tmp_path, monkeypatch, code, said):
    monkeypatch.setattr(torch_pickle, "MAX_WORK", 100_000)  # of 1,000,000, for a fast test
    monkeypatch.setattr(torch_state, "MAX_TENSORS", 10_000)  # likewise
    path = write(tmp_path, foreign.zip_bytes(b"\x80\x02" + code + b".", {"0": W}))
    tracemalloc.start()
    try:
        assert said in refusal(torch_zip.read, path)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_a_circle_of_plain_values_ends(tmp_path):
    root = {"w": tensor_at(), "x": Raw(b"]q\x00h\x00a"), "y": Raw(b"}q\x01(" + foreign.emit("z") + b"h\x01u")}
    beside = torch_zip.read(write(tmp_path, foreign.zip_bytes(root, {"0": W}))).metadata["beside"]
    assert json.dumps(beside).count("[") == json.dumps(beside).count("{") - 1 == 10 and "..." in json.dumps(beside)


# --- faults of the two formats ---

ROOT, STORAGES = foreign.state_dict({"w": np.arange(64, dtype=np.float32)})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
        ({"compression": zipfile.ZIP_BZIP2}, "is compressed"),
        ({"entries": {"data/9": bytes(9_000_000)}, "compression": zipfile.ZIP_DEFLATED}, "is compressed"),  # a bomb
        ({"entries": {"../evil": b"x"}}, "'archive/../evil', which leads out"),
        ({"folder": "/etc/"}, "leads out of a folder"),
        ({"folder": "..\\x/"}, "leads out of a folder"),
        ({"folder": ""}, "no entry data.pkl in one folder"),
        ({"folder": "a/b/"}, "no entry data.pkl in one folder"),
        ({"entries": {"data.pkl": b""}}, "no entry data.pkl"),
        ({"entries": {"x/data.pkl": b"."}}, "no entry data.pkl in one folder"),
        ({"entries": {"constants.pkl": b"."}}, "TorchScript"),
        ({"entries": {"data/0": b""}}, "no entry 'data/0'"),
        ({"entries": {"data/0": bytes(255)}}, "255 bytes instead of 256"),
        ({"entries": {"data/0": bytes(257)}}, "257 bytes, expected at most 256"),
        ({"entries": {"version": b""}}, "no entry 'version'"),
        ({"entries": {"version": b"11"}}, "version b'11'"),
        ({"entries": {"version": b"3" * 9_000}}, "expected at most 20"),
        ({"entries": {"byteorder": b"middle"}}, "byte order is b'middle'"),
    ],
)
def test_faults_of_archives(tmp_path, options, said):
    assert said in refusal(torch_zip.read, write(tmp_path, foreign.zip_bytes(ROOT, STORAGES, **options)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path):
    path = write(tmp_path, foreign.zip_bytes(ROOT, STORAGES))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(256))
    assert "two entries" in refusal(torch_zip.read, path)


def test_entries_that_lie_on_each_other_are_refused(tmp_path):
    # 100 names in the directory for the same bytes: the parts of an archive that unpacks to more than it has.
    data = foreign.zip_bytes(ROOT, STORAGES, entries={f"data/{index}": bytes(1000) for index in range(10, 99)})
    start, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    small = foreign.zip_bytes(ROOT, STORAGES)[:400]
    moved = bytearray(data[start:end])
    tail = bytearray(data[end:])
    tail[16:20] = len(small).to_bytes(4, "little")
    assert "more bytes than it has" in refusal(torch_zip.read, write(tmp_path, small + moved + tail))


def test_a_flipped_bit_is_noticed_where_there_are_checksums(tmp_path):
    data = bytearray(foreign.zip_bytes(ROOT, STORAGES))
    place = data.index(np.float32(5).tobytes() + np.float32(6).tobytes())
    data[place] ^= 1
    assert "its checksum differs" in refusal(torch_zip.read, write(tmp_path, data))
    for signature, offset in [(b"PK\x01\x02", 16), (b"PK\x03\x04", 14)]:  # torch's set_crc32_options(False) writes 0
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            data[start + offset : start + offset + 4] = bytes(4)
    assert torch_zip.read(write(tmp_path, data)).tensors["w"][6] == 6


@pytest.mark.parametrize("cut", [0, 1, 21, 100, 400, -1])
@both
def test_truncated_files_are_refused(tmp_path, kind, cut):
    path = save(tmp_path, kind, ROOT, STORAGES)
    refusal(READERS[kind], write(tmp_path, path.read_bytes()[:cut]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (foreign.legacy_bytes(ROOT, STORAGES, magic=1), "magic number"),
        (foreign.legacy_bytes(ROOT, STORAGES, keys=["0", "0"]), "'0' belongs to no tensor or comes twice"),
        (foreign.legacy_bytes(ROOT, STORAGES, keys=["1"]), "'1' belongs to no tensor"),
        (foreign.legacy_bytes(ROOT, STORAGES, keys=[]), "numbers of its storage '0' are missing"),
        (foreign.legacy_bytes(ROOT, STORAGES, keys="0"), "list of its storages"),
        (foreign.legacy_bytes(ROOT, STORAGES, keys=[0]), "list of its storages"),
        (foreign.legacy_bytes(ROOT, {"0": np.zeros(63, np.float32)}), "63 numbers instead of 64"),
        (foreign.legacy_bytes({"v": tensor_at(), **ROOT}, STORAGES), "storage '0' in two ways"),
        (bytes(257) + b"ustar" + bytes(300), "a tar archive"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x80\x02}.", "magic number"),
        (b"", "magic number"),
    ],
)
def test_faults_of_legacy_files(tmp_path, data, said):
    assert said in refusal(torch_legacy.read, write(tmp_path, data))


@both
def test_files_that_are_none(tmp_path, kind):
    assert "No such file" in refusal(READERS[kind], tmp_path / "absent.pth")
    refusal(READERS[kind], tmp_path)
    os.mkfifo(tmp_path / "pipe")
    refusal(READERS[kind], tmp_path / "pipe")


@both
def test_a_storage_outside_is_not_opened(tmp_path, kind):
    (tmp_path / "secret").write_bytes(W.tobytes())
    where = Persistent(("storage", Name("torch", "FloatStorage"), f"../../{tmp_path}/secret", "cpu", 2))
    refusal(READERS[kind], save(tmp_path, kind, {"w": foreign.tensor(where, (2,))}, {"0": W}))


@pytest.mark.parametrize(
    ("count", "seed"), [pytest.param(200, 0, id="200"), pytest.param(1_000, 1, id="1000", marks=pytest.mark.slow)]
)
def test_damaged_and_hostile_files(tmp_path, count, seed):
    command = [sys.executable, TESTS / "foreign_fuzz.py", str(count), str(seed), tmp_path]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert summary["bad"] == []  # neither read nor one sentence
    assert summary["events"] == [] and not summary["canary"]  # nothing imported, opened, run
    assert "os.system" in summary["control"] and summary["control_canary"]  # which would have been noticed
    assert summary["read"] + summary["refused"] == count and summary["read"] > count / 50
    assert summary["messages"] > count / 8  # many kinds of faults
    assert summary["memory"] < 1 and summary["seconds"] < 10
