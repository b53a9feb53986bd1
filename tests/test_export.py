"""Exports give what the live model gives, run where ssd_jax is not, and are not written if they differ."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import exported
import jax
import numpy as np
import pytest
from PIL import Image

from ssd_jax import artifact, export, inference
from ssd_jax.errors import InputError
from ssd_jax.export import comparing, exporting, pictures, stablehlo
from ssd_jax.export.program import detect_options, make_exportable
from ssd_jax.weights import published

REPOSITORY = Path(__file__).resolve().parents[1]
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiles in half the time


@pytest.fixture(scope="module")
def live():
    return exported.live()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The exported network, not compared yet."""
    pytest.importorskip("flatbuffers", reason='jax.export needs flatbuffers: pip install "flatbuffers>=24.3.25"')
    path = tmp_path_factory.mktemp("export") / "mini.stablehlo"
    stablehlo.write(path, make_exportable(exported.mini()), platforms=("cpu", "cuda", "tpu"))
    return path


def snippet(name: str) -> str:
    """Returns the code of docs/deploy.md under a heading comment, so that it cannot rot."""
    text = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"<!-- run by tests: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    return code


def run_alone(code: str, folder: Path, *arguments: str, without: tuple[str, ...]) -> None:
    """Runs code in a fresh process in which these modules cannot be imported."""
    guard = f"import sys\nfor name in {without}: sys.modules[name] = None\n"
    (folder / "alone.py").write_text(guard + code)
    paths = [
        one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(one or ".").resolve() != REPOSITORY
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "XLA_FLAGS": FAST}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "alone.py", *arguments],
        cwd=folder,
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def assert_equal(found, live, count: int = 8) -> None:
    expected = {key: array[:count] for key, array in live.items()}
    comparison = comparing.compare_detections(expected, found, exported.seen().size[:count], comparing.FULL)
    assert comparison.expected > 5 * count and comparison.unpaired == 0, comparison.line()
    np.testing.assert_array_equal(found["labels"] > 0, expected["labels"] > 0)


def test_the_live_model_finds_something_to_compare(live):
    labels, counts = np.unique(live["labels"][live["labels"] > 0], return_counts=True)
    assert len(labels) >= 2 and counts.sum() > 100 and len(np.unique(live["scores"])) > 100


@pytest.mark.parametrize("counts", [(7,), pytest.param((1, 2, 8), marks=pytest.mark.slow)])
def test_jax_alone_runs_the_program_for_any_batch(program, live, tmp_path, counts):
    seen = exported.seen()
    np.savez(tmp_path / "in.npz", canvas=seen.canvas, size=seen.size)
    (tmp_path / "detector.stablehlo").write_bytes(program.read_bytes())
    for number in range(len(seen.size)):
        height, width = seen.size[number]
        Image.fromarray(seen.canvas[number, :height, :width]).save(tmp_path / f"{number}.png")
    code = (
        snippet("stablehlo")
        + f"""
inputs, counts = np.load("in.npz"), {counts}
"""
        + """
results = {}
for count in counts:
    found = detect(weights, inputs["canvas"][:count], inputs["size"][:count])
    results |= {f"{key}{count}": array for key, array in found.items()}
np.savez("out.npz", **results)
"""
    )
    (tmp_path / "street.jpg").write_bytes((tmp_path / "0.png").read_bytes())
    run_alone(code, tmp_path, without=("ssd_jax", "flax", "orbax", "grain", "ml_collections", "absl"))
    with np.load(tmp_path / "out.npz") as results:
        for count in counts:
            assert_equal({key: results[f"{key}{count}"] for key in live}, live, count)


def test_the_detector_runs_an_artifact(tmp_path):
    pytest.importorskip("flatbuffers")
    exported.toy(tmp_path / "toy.stablehlo")
    found = artifact.read(tmp_path / "toy.stablehlo")
    detector = inference.Detector(
        artifact.make_run(found),
        found.weights,
        name=found.name,
        class_names=found.class_names,
        recipe=found.recipe,
        batch_size=8,
    )  # on eight devices, each of which gets a share of the batch
    seen = exported.seen()
    expected = exported.toy_program(found.weights, seen.canvas, seen.size)
    images = [canvas[:height, :width] for canvas, (height, width) in zip(seen.canvas, seen.size, strict=True)]
    for number, one in enumerate(detector(images)):
        np.testing.assert_array_equal(one.labels, expected["labels"][number])
        np.testing.assert_allclose(one.scores, expected["scores"][number], rtol=1e-5)
        height, width = seen.size[number]
        pixels = expected["boxes"][number] * np.array([width, height, width, height])
        np.testing.assert_allclose(one.boxes, pixels, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("platform", stablehlo.PLATFORMS)
def test_every_platform_can_be_lowered_for_without_being_here(platform):
    program = stablehlo.lower(make_exportable(exported.mini()), platforms=[platform])
    assert program.platforms == (platform,) and program.in_avals[-1].shape[1:] == (2,)


@pytest.mark.slow
def test_safetensors_are_compared_and_are_the_same_network(tmp_path):
    place = tmp_path / "mini.safetensors"
    line = export.export(exported.mini(), place, export.Options(export.SAFETENSORS), exported.seen())
    assert re.match(r"(\d+) boxes live and \1 exported; largest difference 0 pixels, score 0; 0 without", line)
    back = published.read(place)
    assert back.class_names == exported.mini().class_names
    jax.tree.map(np.testing.assert_array_equal, dict(back.variables), dict(exported.mini().variables))
    assert [path.name for path in tmp_path.iterdir()] == ["mini.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("nms", [True, False])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_stablehlo_is_compared_in_every_form(tmp_path, nms, batch_size):
    pytest.importorskip("flatbuffers")
    options = export.Options(export.STABLEHLO, nms=nms, batch_size=batch_size, platforms=("cpu",))
    line = export.export(exported.mini(), tmp_path / "it", options, exported.seen())
    assert line.endswith("0 without a partner")
    found = artifact.read(tmp_path / "it")
    assert found.batch_size == batch_size and found.gives == ("detections" if nms else "candidates")


def runner(outputs):
    """Lets every export give certain outputs."""

    def write(path, trained, options):
        path.write_bytes(b"written")
        return lambda canvas, size: {key: array[: len(size)] for key, array in outputs.items()}

    return write


def shifted(live, **changes):
    return {key: (changes[key](array.copy()) if key in changes else array) for key, array in live.items()}


def some(array):
    """Changes the second half of the images, as a bug that shows in large ones only."""
    array[4:] = array[4:] + 0.1
    return array


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": lambda boxes: boxes + 0.01},
        {"boxes": lambda boxes: boxes[..., [1, 0, 3, 2]]},
        {"scores": some},
        {"scores": lambda scores: np.full_like(scores, np.nan)},
        {"labels": lambda labels: np.where(labels == 1, 2, labels)},
        {"labels": np.zeros_like},
    ],
)
def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch, live, changes):
    place = tmp_path / "it"
    place.write_bytes(b"earlier")
    monkeypatch.setattr(exporting, "_write", runner(shifted(live, **changes)))
    monkeypatch.setattr(exporting, "_live", lambda trained, nms: lambda canvas, size: live)
    options = export.Options(export.STABLEHLO)
    with pytest.raises(
        InputError, match="it: not written, since it gives something else than the live model on 8 rendered"
    ):
        export.export(exported.mini(), place, options, exported.seen())
    assert place.read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(exporting, "_write", runner(live))
    assert "0 without a partner" in export.export(exported.mini(), place, options, exported.seen())
    assert place.read_bytes() == b"written" and len(list(tmp_path.iterdir())) == 1


def test_nothing_found_is_said(tmp_path, monkeypatch, live):
    nothing = {key: np.zeros_like(array) for key, array in live.items()}
    monkeypatch.setattr(exporting, "_write", runner(nothing))
    monkeypatch.setattr(exporting, "_live", lambda trained, nms: lambda canvas, size: nothing)
    line = export.export(exported.mini(), tmp_path / "it", export.Options(export.STABLEHLO), exported.seen())
    assert "0 boxes live and 0 exported" in line and line.endswith("give pictures with objects")


def detections(rows):
    """Rows of (xmin, ymin, xmax, ymax, score, label) of one picture."""
    rows = np.array(rows, np.float32).reshape(1, -1, 6)
    return {"boxes": rows[..., :4], "scores": rows[..., 4], "labels": rows[..., 5].astype(np.int32)}


def test_detections_are_paired_and_counted():
    size, tolerance = np.array([[100, 200]]), comparing.Tolerance(pixels=1.0, score=0.1, unpaired=0.0)
    one = detections([[0.1, 0.1, 0.5, 0.5, 0.9, 1], [0.2, 0.2, 0.6, 0.6, 0.5, 2], [0, 0, 0, 0, 0, 0]])
    # Another order, the second box 0.8 pixels (0.004 x 200) to the right and 0.02 less sure.
    other = detections([[0.204, 0.2, 0.6, 0.6, 0.48, 2], [0.1, 0.1, 0.5, 0.5, 0.9, 1], [0, 0, 0, 0, 0, 0]])
    found = comparing.compare_detections(one, other, size, tolerance)
    assert found[:2] == (2, 2) and found.unpaired == 0 and found.within(tolerance)
    assert (found.pixels, found.score) == pytest.approx((0.8, 0.02), abs=1e-4)
    # 1.2 pixels are no pair: one on either side is left.
    other["boxes"][0, 0, 0] = 0.206
    found = comparing.compare_detections(one, other, size, tolerance)
    assert found.unpaired == 2 and not found.within(tolerance) and found.pixels == 0
    # Of two candidates the nearer one is taken, and each only once.
    twice = detections([[0.1, 0.1, 0.5, 0.5, 0.9, 1], [0.104, 0.1, 0.5, 0.5, 0.9, 1]])
    assert comparing.compare_detections(twice, twice, size, tolerance).pixels == 0
    assert (
        comparing.compare_detections(twice, detections([[0.1, 0.1, 0.5, 0.5, 0.9, 1]]), size, tolerance).unpaired == 1
    )


def test_candidates_are_compared_within_the_picture_where_they_count():
    size = np.array([[100, 200]])
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5], [-9, 0, 1, 1], [0, 0, 1, 1]]], np.float32)
    scores = np.array([[[0.5, 0.5], [0.5, 0.5], [1, 0]]], np.float32)
    other = boxes.copy()
    other[0, 0, 1], other[0, 1, 0], other[0, 2] = 0.11, -8, 0.7  # 1 pixel; outside; never a detection
    found = comparing.compare_candidates(
        {"boxes": boxes, "scores": scores}, {"boxes": other, "scores": scores}, size, score_threshold=0.01
    )
    assert found[:2] == (2, 2) and found.pixels == pytest.approx(1.0, abs=1e-4) and found.score == 0
    other[0, 0, 0] = np.nan
    found = comparing.compare_candidates(
        {"boxes": boxes, "scores": scores}, {"boxes": other, "scores": scores}, size, score_threshold=0.01
    )
    assert found.pixels == np.inf and not found.within(comparing.REDUCED)


def test_pictures_are_of_many_sizes_and_files_are_read(tmp_path):
    seen = exported.seen()
    assert len({tuple(size) for size in seen.size.tolist()}) >= 4 and (seen.size <= (48, 40)).all()
    assert seen.canvas.shape == (8, 48, 40, 3) and seen.name == "8 rendered pictures"
    for number in range(10):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    some = pictures.from_files(str(tmp_path), (48, 40))
    assert some.canvas[:, 0, 0, 0].tolist() == list(range(8)) and some.size.tolist() == [[20, 30]] * 8
    assert pictures.from_files(str(tmp_path / "3.png"), (48, 40)).canvas[0, 19, 29, 2] == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected a folder with images"):
        pictures.from_files(str(tmp_path / "empty"), (48, 40))
    with pytest.raises(InputError, match="notes.txt: cannot be used: "):
        pictures.from_files(str(tmp_path / "notes.txt"), (48, 40))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "tflite"}, "--format: expected one of stablehlo, onnx, safetensors, got 'tflite'"),
        ({"format": "onnx", "platforms": ("cpu",)}, "--platforms: expected --format=stablehlo, got onnx"),
        ({"format": "stablehlo", "batch_size": 0}, "--batch_size: expected at least 1, got 0"),
        (
            {"format": "safetensors", "nms": False},
            "--format=safetensors: expected neither --nms=False nor --batch_size",
        ),
        (
            {"format": "stablehlo", "platforms": ("cpu", "gpu")},
            "--platforms: expected some of cpu, cuda, rocm, tpu, got",
        ),
        ({"format": "stablehlo", "platforms": ()}, "--platforms: expected some of cpu, cuda, rocm, tpu, got ''"),
        (
            {"format": "stablehlo", "platforms": ("cuda",)},
            "--platforms: expected cpu among them, on which JAX runs here",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_done(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        export.export(exported.mini(), tmp_path / "it", export.Options(**options), exported.seen())
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch, live):
    options = export.Options(export.SAFETENSORS)
    with pytest.raises(InputError, match="--output: expected a file to write, got /.*, a folder"):
        export.export(exported.mini(), tmp_path, options, exported.seen())
    with pytest.raises(InputError, match=r"absent/it: cannot be written \(No such file or directory\)"):
        export.export(exported.mini(), tmp_path / "absent" / "it", options, exported.seen())


def test_settings_that_an_older_run_lacks_take_their_defaults():
    assert detect_options({"detect": {"max_detections": 3}}) == {
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "pre_nms_top_k": 400,
        "max_detections": 3,
        "clip_first": False,
    }


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "export.py", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_wrong_command_is_one_sentence():
    done = command("--ckpt=x", "--output=y")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "export.py: error: --format is required\n")


@pytest.mark.slow
def test_the_command_exports_and_says_so(tmp_path):
    pytest.importorskip("flatbuffers")
    published.write(tmp_path / "mini.safetensors", exported.mini())
    place = tmp_path / "mini.stablehlo"
    chosen = f"--ckpt={tmp_path / 'mini.safetensors'}", "--format=stablehlo", f"--output={place}"
    done = command(*chosen)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("mini.safetensors (step 7): 3 classes")
    assert re.match("compared with the live model on 8 rendered pictures: .* 0 without a partner", lines[1])
    assert lines[2] == f"written: {place}"
    with zipfile.ZipFile(place) as opened:
        assert str(REPOSITORY).encode() not in opened.read("program.bin")  # nor any other folder of this machine
        assert not re.search(rb"/\w+\.py", opened.read("program.bin"))
        assert json.loads(opened.read("metadata.json"))["origin"] == {"file": "vgg.pth"}
    before = place.read_bytes()
    assert command(*chosen).returncode == 0 and place.read_bytes() == before
