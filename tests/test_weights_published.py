"""Published detectors: what their metadata may say, that nothing is missing, and their cards."""

import json

import numpy as np
import pytest
import trained_network as tiny

from ssd_jax import recipe as recipes
from ssd_jax import weights
from ssd_jax.errors import InputError
from ssd_jax.weights import card, published, readers
from ssd_jax.weights.mappings import Normalization


# A file from elsewhere says what is to be built before its arrays are compared.
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("format_version", "2", "metadata format_version: expected 1, got '2'"),
        ("class_names", '["a", "b"]', "metadata class_names: expected distinct names, 'background' first"),
        ("class_names", '["background", "a\\u001b[2J", "b", "c"]', "expected printable names"),
        ("class_names", "{}", "metadata class_names: expected a JSON list"),
        ("config", "no JSON", "metadata config: expected JSON, got 'no JSON'"),
        ("config", "[" * 10_000, "metadata config: expected JSON"),
        ("config", "{}", "config.model: expected settings, got none"),
        ("config", ("loader", "canvas", [10**9, 10**9]), "config.loader.canvas: expected (height, width) of up to"),
        ("config", ("model", "image_size", [0, 64]), "config.model.image_size: expected (height, width)"),
        ("config", ("model", "backbone", "vgg99"), "config.model: "),
        ("config", ("model", "steps", 3), "its configuration describes no network"),
        ("config", ("model", "width_multiplier", 0.25), "expected shape"),
        ("config", ("model", "unknown", 1), "config.model: "),
        ("config", ("loader", "canvas", [9000, 9000]), "config.loader.canvas: expected at most 67,108,864 pixels"),
        ("config", ("detect", "max_detections", 10**9), "config.detect.max_detections: expected at most 100,000"),
        ("config", ("detect", "score_threshold", "x"), "config.detect.score_threshold: expected a number"),
        ("config", ("detect", "unknown", 1), "its configuration describes no network"),
        ("config", ("match", "variances", [0.1, 0.1, 0.2, 0]), "config.match.variances: expected four numbers above 0"),
        (
            "config",
            ("runtime", "matmul_precision", "half"),
            "config.runtime.matmul_precision: expected one",
        ),
        ("config", ("model", "std", [1, 1, 0]), "config.model.std: expected three numbers above 0"),
        ("config", ("priors", "offset", float("nan")), "its configuration describes no network"),
        ("origin", "[]", "metadata origin: expected a JSON dict"),
        ("origin", '{"file": 5}', "metadata origin: expected file, run,"),
        ("origin", '{"origin":' * 30 + "{}" + "}" * 30, "metadata origin: expected at most 20 within each other"),
        ("training", '{"step": -3}', "metadata training: expected step, settings and metric"),
        ("training", '{"metric": {"value": "x"}}', "metadata training: expected step, settings and metric"),
        ("training", '{"settings": []}', "metadata training: expected step, settings and metric"),
    ],
)
def test_damaged_metadata_are_one_sentence(tmp_path, key, value, expected):
    path = tmp_path / "a.safetensors"
    published.write(path, tiny.trained())
    file = readers.read(path)
    texts = dict(file.metadata)
    if isinstance(value, tuple):
        config = json.loads(texts["config"])
        config.setdefault(value[0], {})[value[1]] = value[2]
        value = json.dumps(config)
    readers.safetensors.write(path, file.tensors, {**texts, key: value})
    with pytest.raises(InputError) as caught:
        weights.read(path)
    assert str(caught.value).startswith(f"{path}: ") and expected in str(caught.value), str(caught.value)


def test_missing_and_surplus_arrays_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    published.write(path, tiny.trained())
    file = readers.read(path)
    tensors = dict(file.tensors)
    lost = tensors.pop("heads/conv4_3_norm_mbox_loc/kernel")
    readers.safetensors.write(path, tensors, dict(file.metadata))
    with pytest.raises(InputError, match=r"conv4_3_norm_mbox_loc/kernel: expected shape .*, got no such array"):
        weights.read(path)
    readers.safetensors.write(path, {**file.tensors, "more": lost}, dict(file.metadata))
    with pytest.raises(InputError, match="more: expected no such array by its configuration, got shape"):
        weights.read(path)


def test_a_published_file_is_the_same_each_time_and_tells_no_folder(tmp_path):
    trained = tiny.trained()
    for name in ("a", "b"):
        published.write(tmp_path / f"{name}.safetensors", trained)
    first, second = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second and b"/home/me" not in first
    read = weights.read(tmp_path / "a.safetensors")
    assert read.class_names == trained.class_names and read.step == 7
    assert read.recipe == recipes.detection_part(trained.recipe)
    np.testing.assert_array_equal(read.default_boxes, trained.default_boxes)
    stated = json.loads(readers.read(tmp_path / "a.safetensors").metadata["preprocessing"])
    assert stated["image_size"] == [64, 64] and stated["color_order"] == "RGB"
    with pytest.raises(InputError, match="expected no step of a file, got 3"):
        weights.read(tmp_path / "a.safetensors", step=3)


def test_the_card_tells_what_is_known_and_what_is_not():
    trained = tiny.trained()
    text = card.card(trained, file="a.safetensors", sha256="1" * 64)
    assert "Not measured" in text and "Not stated" in text and "disk, square, triangle" in text
    training = {"step": 7, "metric": {"name": "11point", "value": 0.5}, "settings": {"data": {"kind": "voc"}}}
    text = card.card(trained._replace(training=training), file="a.safetensors", sha256="1" * 64, license_="mit")
    assert "0.5000 (11point)" in text and "for 7 steps on voc data" in text and 'license: "mit"' in text
    hostile = trained._replace(class_names=("background", "<img src=x>", "[a](b)", "c\x1b[2J"))
    text = card.card(hostile, file="a.safetensors", sha256="1" * 64)
    assert r"\<img src=x\>, \[a\](b), c?\[2J" in text
    many = trained._replace(class_names=("background", *(f"c{k}" for k in range(300))))
    assert "and 200 more" in card.card(many, file="a.safetensors", sha256="1" * 64)


def test_the_card_follows_the_history_to_its_beginning():
    vgg = {"file": "C:\\Users\\me\\vgg.pth", "sha256": "2" * 64, "format": "PyTorch", "family": "torchvision_vgg16"}
    base = {"file": "/home/me/base.safetensors", "sha256": "3" * 64, "format": "safetensors", "origin": vgg}
    origin = {"run": "/home/me/runs/first@7", "step": 7, "origin": base}
    told = published.without_folders(origin)
    assert told["run"] == "first@7" and told["origin"]["origin"]["file"] == "vgg.pth"
    assert published.without_folders({"run": "."}) == {"run": "."}
    text = card.card(tiny.trained()._replace(origin=origin), file="a.safetensors", sha256="1" * 64)
    parts = ["the run first@7 at step 7", "base.safetensors (safetensors, ?), SHA-256 333", "vgg.pth (PyTorch, "]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert "/home" not in text and "Users" not in text


@pytest.mark.parametrize(
    ("array", "recipe"),
    [
        ("backbone/conv1_1/kernel", "ssd300_voc.py"),
        ("backbone/layer1_0_conv1/kernel", "ssd300_resnet34_coco.py"),
        ("backbone/layer1_0_conv3/kernel", "ssd300_resnet50_coco.py"),
        ("backbone/block10_depthwise/kernel", "ssdlite300_mobilenetv2_voc.py"),
    ],
)
def test_the_card_of_a_base_names_its_recipe_and_images(array, recipe):
    arrays = {array: np.zeros((3, 3, 3, 4)), "backbone/layer1_0_conv1/kernel": np.zeros(5)}
    arrays = arrays if "layer1" in array else {array: arrays[array]}
    options = dict(file="my base.safetensors", sha256="1" * 64, origin={})
    text = card.base_card(arrays, normalization=Normalization((1, 2, 3), (4, 5, 6)), **options)
    assert f"configs/{recipe} --config.init.weights='my base.safetensors'" in text
    assert "mean (1, 2, 3) and deviation (4, 5, 6)" in text
    assert f"{sum(value.size for value in arrays.values())} numbers" in text
    assert "not known which images" in card.base_card(arrays, normalization=None, **options)
