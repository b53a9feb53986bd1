"""python -m ssd_jax.commands.weights: what it lists, converts and writes, and that nothing changes on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run
import trained_network as tiny
from test_weights_start import write_caffe

from configs import ssd300_voc
from ssd_jax import checkpoint, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands.weights import converting, listing, sources
from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, published, readers
from ssd_jax.weights.mappings import ssd_pytorch, torchvision_ssd
from ssd_jax.weights.network import named_arrays

NARROW = "--config.model.width_multiplier=0.125"


def run(*arguments, status=0, folder=None):
    """Runs the command and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "ssd_jax.commands.weights", *map(str, arguments)],
        cwd=folder or tiny_run.REPOSITORY,
        env={**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(tiny_run.REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def convert(place, output, *settings, class_names=(), license_="", channels=""):
    """Does what the command does, in this process; settings are options of the recipe."""
    config = ssd300_voc.get_config()
    for setting in settings:
        name, value = setting.removeprefix("--config.").split("=")
        config[name.split(".")[0]][name.split(".")[1]] = json.loads(value.lower())
    source = sources.open_source(str(place), step=None, family="", channels=channels, tiling="", need_family=True)
    options = {"given": converting.given_options(settings), "class_names": class_names, "license_": license_}
    return "\n".join(converting.convert(source, str(output), config=config, **options))


def listing_of(place):
    options = {"step": None, "family": "", "channels": "", "tiling": "", "need_family": False}
    return "\n".join(listing.lines(sources.open_source(str(place), **options)))


def foreign_detector(path, pairs, num_classes=21):
    """Writes random arrays of a narrow SSD300 under the names of others, in the layout of PyTorch."""
    config = ssd300_voc.get_config()
    config.model.width_multiplier = 0.125
    model, _ = recipes.build_network(recipes.plain(config), num_classes)
    shapes = named_arrays(jax.eval_shape(model.init, jax.random.key(0)))
    random = np.random.default_rng(0)
    arrays = {ours: random.normal(0, 0.1, leaf.shape).astype(np.float32) for ours, leaf in shapes.items()}
    assert {ours for _, ours in pairs} == set(arrays)
    tensors = {}
    for theirs, ours in pairs:
        tensors[theirs] = arrays[ours].transpose(3, 2, 0, 1) if arrays[ours].ndim == 4 else arrays[ours]
    readers.safetensors.write(path, {name: np.ascontiguousarray(array) for name, array in tensors.items()}, {})
    return arrays


def test_a_foreign_detector_becomes_one_of_ours_and_back_without_a_changed_bit(tmp_path):
    folder = tmp_path / "with spaces"
    folder.mkdir()
    arrays = foreign_detector(folder / "theirs.safetensors", torchvision_ssd.detector_pairs(4))
    out = folder / "ours.safetensors"
    told = run(folder / "theirs.safetensors", f"--output={out}", NARROW, "--license=bsd-3-clause")
    assert "torchvision_ssd300: 71 arrays" in told and f"written:  {out}" in told
    trained = weights.read(out)
    assert trained.class_names[1:4] == ("aeroplane", "bicycle", "bird") and len(trained.class_names) == 21
    for name, array in named_arrays(trained.variables).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    model = trained.recipe["model"]
    assert model["mean"] == pytest.approx((0.48235 * 255, 0.45882 * 255, 0.40784 * 255))
    assert trained.recipe["detect"]["clip_first"]
    assert trained.recipe["model"]["shapes"][0][0] == (21.0, 21.0)  # COCO's sizes, which torchvision has for all
    assert trained.origin["file"] == "theirs.safetensors"  # no folder of ours
    assert trained.origin["sha256"] == foreign.sha256(folder / "theirs.safetensors")

    text = (folder / "ours.md").read_text(encoding="utf-8")
    assert 'license: "bsd-3-clause"' in text and foreign.sha256(out) in text and "theirs.safetensors" in text
    assert "Detector.load" in text and "before suppression" not in text and str(tmp_path) not in text
    (folder / "ours.md").write_text("by hand", encoding="utf-8")

    with pytest.raises(InputError, match="another place than the source"):
        convert(out, out)
    checkpoint_ = tmp_path / "run"
    assert "next:     python evaluate.py --ckpt=" in convert(out, checkpoint_)
    again = tmp_path / "again.safetensors"
    convert(f"{checkpoint_}@0", again)
    assert named_arrays(weights.read(again).variables).keys() == arrays.keys()
    for name, array in named_arrays(weights.read(again).variables).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    assert weights.read(again).training == trained.training == {}
    assert weights.read(again).recipe == trained.recipe and weights.read(again).origin == trained.origin
    assert "stays as it is" in convert(again, out) and (folder / "ours.md").read_text() == "by hand"


def test_what_is_stated_on_the_command_line_stays(tmp_path):
    foreign_detector(tmp_path / "theirs.safetensors", ssd_pytorch.detector_pairs(4, ssd_pytorch.OWN), num_classes=4)
    out = tmp_path / "ours.safetensors"
    settings = (NARROW, "--config.detect.max_detections=7")
    convert(tmp_path / "theirs.safetensors", out, *settings, class_names=("cat", "dog", "owl"), channels="bgr")
    trained = weights.read(out)
    assert trained.recipe["detect"]["max_detections"] == 7 and trained.recipe["detect"]["pre_nms_top_k"] == 200
    assert trained.class_names == ("background", "cat", "dog", "owl")
    first = named_arrays(trained.variables)["backbone/conv1_1/kernel"]
    tensors = readers.read(tmp_path / "theirs.safetensors").tensors
    np.testing.assert_array_equal(first[:, :, ::-1], tensors["vgg.0.weight"].transpose(2, 3, 1, 0))
    assert trained.origin["colors_reversed"] is True


def test_a_base_keeps_the_images_it_was_trained_for(tmp_path):
    random = np.random.default_rng(0)
    shapes = named_arrays(tiny.trained().variables)
    base = {
        name: random.normal(size=leaf.shape).astype(np.float16)
        for name, leaf in shapes.items()
        if name.startswith("backbone/") and "_norm" not in name
    }
    normalization = published.Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    origin = {"file": "/home/me/a.pth", "sha256": "0" * 64}
    published.write_base(tmp_path / "base.safetensors", base, normalization=normalization, origin=origin)
    read = foreign.read_foreign(tmp_path / "base.safetensors")
    assert read.converted.normalization == normalization and read.origin["mean"] == (1.0, 2.0, 3.0)
    listed = listing_of(tmp_path / "base.safetensors")
    assert "images:   (RGB in 0..255 - (1, 2, 3)) / (4, 5, 6)" in listed and "float16" in listed
    copy = tmp_path / "copy.safetensors"
    assert "--config.init.weights=" in convert(tmp_path / "base.safetensors", copy)
    for name, array in readers.read(copy).tensors.items():
        np.testing.assert_array_equal(array, base[name])
    with pytest.raises(InputError, match="holds no detector"):
        convert(copy, tmp_path / "folder")


def test_everything_is_listed_also_what_is_of_no_known_network(shared):
    listed = run(shared / "oracles" / "weights" / "tinyssd_imagenet.caffemodel")
    assert "Caffe, 52 arrays, 444,371 numbers" in listed and "note: " in listed
    lines = [line for line in listed.splitlines() if line.startswith(("conv", "fire"))]
    assert len(lines) == 52 and "1000 x 83 x 1 x 1" in listed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("{folder}/absent.pth",), "expected a file of weights or the folder of a run, but there is nothing of that"),
        (("{folder}",), "it holds no 'checkpoints' folder"),
        (("{folder}/theirs.safetensors", "--family=vgg"), "--family: expected one of ssd_jax, caffe_ssd, "),
        (("{folder}/theirs.safetensors", "--step=3"), "--step: expected the folder of a run, got the file"),
        (("{folder}/tiny.safetensors", "--channels=bgr"), "--channels: expected a file of others, got"),
        (("{folder}/tiny.safetensors", "--class_names=a", "--output={folder}/x"), "--class_names: expected none"),
        (("{folder}/theirs.safetensors", "--output={folder}/x"), "--class_names: expected the 3 classes of the file"),
        (
            ("{folder}/theirs.safetensors", "--output={folder}/x", "--class_names=a,b"),
            "--class_names: expected 3, as many as the file has, got 2",
        ),
        (
            ("{folder}/theirs.safetensors", "--output={folder}/x", "--class_names=a,b,a"),
            "--class_names: expected distinct names, got a twice",
        ),
        (
            ("{folder}/theirs.safetensors", "--output={folder}/x", "--class_names=a,,b"),
            "--class_names: expected names, got an empty one as number 2",
        ),
        (
            ("{folder}/theirs.safetensors", "--output={folder}/x", "--class_names=a,background,b"),
            "--class_names: expected 'background' in the first place or not at all",
        ),
        (
            ("{folder}/theirs.safetensors", "--output={folder}/x", "--class_names=a,b,c", "--license=mit", NARROW),
            "--license: expected none, since a checkpoint has no card",
        ),
        (
            ("{folder}/tiny.safetensors", "--output={folder}/y.safetensors", "--class_names=a,b,c"),
            "--class_names: expected none, since ",
        ),
        (
            ("{folder}/tiny.safetensors", "--output={folder}/y.safetensors", NARROW),
            "--config.model.width_multiplier: expected none, since ",
        ),
        (
            ("{folder}/tiny.safetensors", "--output={folder}/x", NARROW),
            "--config.model.width_multiplier: expected none",
        ),
        (("{folder}/base.npz", "--output={folder}/y.safetensors", "--tiling=coco"), "--tiling: expected none, since "),
        (("{folder}/base.npz", "--output={folder}/y.safetensors", NARROW), "--config.model.width_multiplier: expected"),
        (("{folder}/base.npz", "--output={folder}/y.safetensors", "--class_names=a"), "--class_names: expected none"),
        (("{folder}/unknown.npz", "--family=torchvision_vgg16"), "unknown.npz: expected "),
        (("{folder}/text.md", "--output={folder}/x"), "expected a file of weights"),
        (("{folder}/tiny.safetensors", "--output={folder}/x.pth"), "--output: expected FILE.safetensors, or a folder"),
        (
            ("{folder}/theirs.safetensors", "--output={folder}/x", "--class_names=a,b,c\x1b"),
            "--class_names: expected printable names",
        ),
        (("{folder}/theirs.safetensors", "--output={folder}/text.md/x", "--class_names=a,b,c", NARROW), "text.md"),
    ],
)
def test_bad_input_is_one_sentence(bad_input, arguments, expected):
    place, *options = (argument.format(folder=bad_input) for argument in arguments)
    given = dict(option.removeprefix("--").split("=") for option in options)
    output, class_names = given.pop("output", None), given.pop("class_names", "")
    step = int(given.pop("step")) if "step" in given else None
    config = ssd300_voc.get_config()
    settings = {name: given.pop(name) for name in list(given) if name.startswith("config.")}
    config.model.width_multiplier = float(settings.get(NARROW[2:].split("=")[0], 1))
    license_ = given.pop("license", "")
    foreign_options = {"family": "", "channels": "", "tiling": "", **given}
    with pytest.raises(InputError) as caught:
        source = sources.open_source(place, step=step, need_family=output is not None, **foreign_options)
        names = class_names.split(",") if class_names else ()
        options = {"config": config, "given": set(settings), "class_names": names, "license_": license_}
        converting.convert(source, output, **options)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert not (bad_input / "x").exists() and not (bad_input / "y.safetensors").exists()


def test_a_network_that_the_file_does_not_fill_is_refused(bad_input, monkeypatch):
    fill = foreign.fill

    def fill_less(*arguments):
        variables, report = fill(*arguments)
        return variables, report._replace(random=("extras/conv11_1/kernel",))

    monkeypatch.setattr(foreign, "fill", fill_less)
    with pytest.raises(InputError, match="every array of the detector, got none for 1: extras/conv11_1/kernel"):
        convert(bad_input / "theirs.safetensors", bad_input / "y.safetensors", NARROW, class_names=("a", "b", "c"))
    assert not (bad_input / "y.safetensors").exists()


def test_the_command_ends_with_one_sentence_and_status_2(tmp_path):
    said = run(tmp_path / "absent.pth", status=2)
    assert said.startswith("weights: error: ") and said.count("\n") == 1
    said = run(tmp_path / "absent.pth", NARROW, "--license=mit", status=2)
    assert "--config.model.width_multiplier: expected --output as well, without which nothing is written" in said


@pytest.fixture(scope="module")
def bad_input(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    foreign_detector(folder / "theirs.safetensors", ssd_pytorch.detector_pairs(4, ssd_pytorch.OWN), num_classes=4)
    published.write(folder / "tiny.safetensors", tiny.trained())
    (folder / "text.md").write_text("no weights")
    np.savez(folder / "base.npz", **{"backbone/conv1_1/kernel": np.ones((3, 3, 3, 2), np.float32)})
    np.savez(folder / "unknown.npz", unknown=np.ones(3))
    return folder


def test_usual_names_are_those_of_the_data(shared):
    from ssd_jax.commands.weights.usual_names import USUAL_NAMES

    with open(shared / "data" / "coco2017-mini" / "annotations" / "instances_val2017.json", encoding="utf-8") as file:
        categories = json.load(file)["categories"]
    assert USUAL_NAMES[81] == tuple(one["name"] for one in sorted(categories, key=lambda one: one["id"]))
    by_id = {one["id"]: one["name"] for one in categories}
    assert len(USUAL_NAMES[91]) == 90
    assert all(by_id.get(k, f"unused {k}") == name for k, name in enumerate(USUAL_NAMES[91], start=1))


@pytest.mark.slow
def test_a_training_from_a_caffe_file_is_resumed_and_remembers_where_it_came_from(tmp_path):
    """The fc-reduced VGG of random numbers; after the first part of the run the file is gone."""
    config = ssd300_voc.get_config()
    config.model.width_multiplier = 0.125
    model, _ = recipes.build_network(recipes.plain(config), 4)
    shapes = jax.eval_shape(model.init, jax.random.key(0))["params"]["backbone"]
    random = np.random.default_rng(0)
    layers = {
        name: {key: random.normal(0, 0.05, leaf.shape).astype(np.float32) for key, leaf in layer.items()}
        for name, layer in shapes.items()
        if "_norm" not in name
    }
    file = tmp_path / "VGG random.caffemodel"
    write_caffe(file, layers)
    options = [*tiny_run.TINY, "--config.model.batch_norm=False", f"--config.init.weights={file}"]
    options += [f"--workdir={tmp_path / 'run'}", "--config.init.required=True"]
    digest, log = foreign.sha256(file), tmp_path / "log"
    environ = tiny_run.environment(tmp_path / "cache")
    assert tiny_run.end_of(tiny_run.start(*options, "--config.train.num_steps=3", environ=environ, log=log)) == 0
    file.unlink()
    assert tiny_run.end_of(tiny_run.start(*options, "--config.train.num_steps=6", environ=environ, log=log)) == 0
    text = log.read_text()
    assert text.count("caffe_vgg16: 30 arrays") == 1 and "resuming after step 3 of 6" in text
    with checkpoint.open_existing(tmp_path / "run") as manager:
        for step in (3, 6):
            origin = checkpoint.restore_meta(manager, step)["origin"]
            assert origin["sha256"] == digest and origin["file"] == str(file) and origin["colors_reversed"] is True
    out = Path(tmp_path / "published.safetensors")
    run(f"{tmp_path / 'run'}@6", f"--output={out}")
    assert weights.read(out).origin["sha256"] == digest and weights.read(out).origin["file"] == file.name
    assert digest in out.with_suffix(".md").read_text()
