"""The file of an exported program holds what was written, and what is damaged or hostile is one sentence."""

import io
import json
import pickle
import sys
import zipfile
from pathlib import Path

import exported
import jax
import numpy as np
import pytest
import trained_network as tiny

from ssd_jax import artifact, recipe
from ssd_jax.artifact import archive
from ssd_jax.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
pytest.importorskip("flatbuffers", reason='jax.export needs flatbuffers: pip install "flatbuffers>=24.3.25"')


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "toy.stablehlo"
    exported.toy(path)
    return path


def rewritten(source, target, **changes) -> None:
    """Copies an archive with other members: name -> bytes, None = without it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = changes.get(name, old.read(name))
            if data is not None:
                new.writestr(name, data)


def about(source) -> dict:
    with zipfile.ZipFile(source) as opened:
        return json.loads(opened.read("metadata.json"))


def test_what_is_written_is_read_back(whole):
    found = artifact.read(whole)
    assert artifact.is_artifact(whole) and found.name == str(whole)
    assert (found.platforms, found.batch_size, found.gives) == (("cpu", "cuda"), None, artifact.DETECTIONS)
    assert (found.canvas, found.image_size, found.class_names) == ((48, 40), (32, 32), tiny.NAMES)
    assert found.recipe == recipe.detection_part(exported.mini().recipe)
    assert found.metadata["versions"]["jax"] == jax.__version__ and found.metadata["training"] == {"step": 7}
    assert found.metadata["inputs"]["canvas"]["shape"] == ["batch", 48, 40, 3]
    assert {name: array.tolist() for name, array in found.weights.items()} == {"a/kernel": [1.0] * 4, "b": 0.25}
    with np.load(whole) as arrays:  # the weights can be had without jax.export
        np.testing.assert_array_equal(arrays["a/kernel"], np.ones(4, np.float32))


def test_it_runs_like_the_program_of_a_network(whole):
    found = artifact.read(whole)
    run = artifact.make_run(found)
    canvas = np.random.default_rng(0).integers(0, 256, (5, 48, 40, 3)).astype(np.uint8)
    size = np.array([[1, 1], [2, 3], [48, 40], [5, 7], [9, 9]], np.int32)
    detections = run(found.weights, canvas, size)
    expected = exported.toy_program(found.weights, canvas, size)
    for key, array in expected.items():
        np.testing.assert_allclose(getattr(detections, key), array, rtol=1e-6)


def test_what_the_oldest_supported_jax_wrote_is_read():
    try:
        found = artifact.read(GOLDEN / "toy_jax_0_10_2.stablehlo")
    except InputError as error:
        if jax.__version_info__ < (0, 13):
            raise
        pytest.skip(f"JAX promises to read six months back: {error}")
    assert found.metadata["versions"]["jax"] == "0.10.2" and found.platforms == ("cpu", "cuda", "tpu")
    canvas, size = np.full((2, 48, 40, 3), 150, np.uint8), np.array([[3, 4], [5, 5]], np.int32)
    detections = artifact.make_run(found)(found.weights, canvas, size)
    # By hand: each color is 0.1 + 150 / 300 = 0.6; the score adds 0.25; the label is 1 + height % 3.
    np.testing.assert_allclose(detections.boxes, [[[0.3, 0.3, 0.8, 0.8]]] * 2, rtol=1e-6)
    np.testing.assert_allclose(detections.scores, [[0.85]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(detections.labels, [[1], [3]])


def test_any_byte_may_be_damaged(whole, tmp_path):
    data, path = whole.read_bytes(), tmp_path / "damaged"
    original = artifact.read(whole)
    refused = 0
    for position in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        artifact.is_artifact(path)
        try:
            found = artifact.read(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error) and len(str(error)) < 700
            refused += 1
        else:  # dates and attributes of members mean nothing
            assert found.weights.keys() == original.weights.keys() and found.class_names == original.class_names
    assert refused > 120
    for length in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        assert not artifact.is_artifact(path)
        with pytest.raises(InputError, match="damaged: expected a whole exported program of ssd_jax, but"):
            artifact.read(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "other"}, "its metadata are no 'ssd_jax exported program'"),
        ({"format_version": 2}, "expected version 1 of the format, got 2; a newer ssd_jax may read it"),
        ({"class_names": ["background", 3]}, "class_names: expected names"),
        ({"class_names": ["cat", "dog"]}, "class_names: expected names, 'background' first"),
        ({"class_names": ["background", "a\x1b[2J"]}, "class_names: expected names"),
        ({"canvas": [48, -40]}, r"canvas: expected \(height, width\)"),
        ({"canvas": [48, 41]}, "its program takes .*, and its metadata say"),
        ({"image_size": True}, r"image_size: expected \(height, width\)"),
        ({"batch_size": 0}, "batch_size: expected a number"),
        ({"batch_size": 3}, "other arguments than its metadata say"),
        ({"gives": "nothing"}, "gives: expected detections or candidates"),
        ({"config": {"model": 3}}, "config: expected sections of settings"),
        ({"config": {}}, "config.model: expected settings, got none"),
        ({"versions": None}, "versions: expected names and values"),
    ],
)
def test_metadata_are_checked(whole, tmp_path, changes, sentence):
    path = tmp_path / "odd"
    rewritten(whole, path, **{"metadata.json": json.dumps(about(whole) | changes).encode()})
    with pytest.raises(InputError, match=f"odd: .*{sentence}"):
        artifact.read(path)


def array(value, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, value, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metadata.json": b"["}, "but "),
        ({"metadata.json": b"[" * 100_000}, "but "),
        ({"metadata.json": b"[]"}, "its metadata are no"),
        ({"metadata.json": None}, "metadata.json is missing"),
        ({"program.bin": None}, "program.bin is missing"),
        ({"program.bin": b""}, "its program, made with jax .*, cannot be read by jax"),
        ({"program.bin": bytes(1000)}, "its program, made with jax .*, cannot be read by jax"),
        ({"b.npy": None}, "b.npy is missing"),
        ({"b.npy": array(np.float64(1))}, r"b is float64 \(\), but the program takes float32 \(\)"),
        ({"b.npy": array(np.zeros(3, np.float32))}, r"b is float32 \(3,\)"),
        ({"b.npy": array(np.array([pickle.dumps], object), allow_pickle=True)}, r"b is object \(1,\)"),
        ({"b.npy": b"\x93NUMPY\x01\x00\xff\xff"}, "but "),
        ({"a/kernel.npy": array(np.ones(4, np.float32))[:-4]}, "but "),
        (
            {"a/kernel.npy": array(np.ones((4, 1000), np.float32))},
            "a/kernel.npy has 16128 bytes, expected at most 10016",
        ),
    ],
)
def test_members_are_checked(whole, tmp_path, changes, sentence):
    path = tmp_path / "odd"
    rewritten(whole, path, **changes)
    with pytest.raises(InputError, match=f"odd: .*{sentence}") as error:
        artifact.read(path)
    assert "\n" not in str(error.value)


def test_an_archive_claims_no_more_than_it_has(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("metadata.json", b" " * (1 << 24))
        new.writestr("program.bin", b"")
    with pytest.raises(InputError, match="'metadata.json' is compressed or encrypted"):
        artifact.read(bomb)
    many = tmp_path / "many"
    monkeypatch.setattr(archive, "MAX_MEMBERS", 50)
    with zipfile.ZipFile(many, "w") as new:
        for number in range(archive.MAX_MEMBERS + 1):
            new.writestr(str(number), b"")
    with pytest.raises(InputError, match="at most 50 files"):
        artifact.read(many)
    # Overlapping members: the directory lists the same bytes many times.
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as new:
        new.writestr("metadata.json", b" " * 1000)
        for number in range(10):
            copy = zipfile.ZipInfo(f"copy{number}")
            copy.file_size = copy.compress_size = 1000
            copy.header_offset = copy.CRC = 0
            new.filelist.append(copy)
            new.NameToInfo[copy.filename] = copy
        new._didModify = True
    (tmp_path / "overlap").write_bytes(data.getvalue())
    with pytest.raises(InputError, match="overlap: .*it claims more bytes than it has"):
        artifact.read(tmp_path / "overlap")


def test_what_is_no_artifact(tmp_path):
    (tmp_path / "text").write_text("text")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    for name in ("text", "arrays.npz", "absent", "."):
        assert not artifact.is_artifact(tmp_path / name)
        with pytest.raises(InputError, match="expected a whole exported program|cannot be read"):
            artifact.read(tmp_path / name)


def test_another_platform_and_another_kind_of_program_are_refused(tmp_path):
    exported.toy(tmp_path / "cuda", platforms=("cuda", "tpu"))
    with pytest.raises(InputError, match="cuda: exported for cuda, tpu, but JAX runs on cpu here; .*=cuda,tpu,cpu"):
        artifact.make_run(artifact.read(tmp_path / "cuda"))
    artifact.check_platform(artifact.read(tmp_path / "cuda"), "tpu")
    exported.toy(tmp_path / "raw", gives=artifact.CANDIDATES)
    with pytest.raises(InputError, match="raw: expected a program that gives detections, got one without suppression"):
        artifact.make_run(artifact.read(tmp_path / "raw"))


def test_without_flatbuffers_the_package_is_named(whole, monkeypatch):
    for name in [
        name for name in sys.modules if name.startswith("flatbuffers") or name.endswith("export.serialization")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(InputError, match='needs the package flatbuffers: pip install "flatbuffers>=24.3.25"'):
        artifact.read(whole)


def test_a_fixed_batch_is_told(tmp_path):
    exported.toy(tmp_path / "three", batch_size=3)
    assert artifact.read(tmp_path / "three").batch_size == 3
