"""The command as its user starts it, with a network that is small but real."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs Starlette: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install -e .[serve]")

from serve_stand_in import ask, detect, encoded

from configs import ssd_demo
from ssd_jax import recipe as recipes
from ssd_jax.data.shapes import layout
from ssd_jax.inference import Detector
from ssd_jax.types import BACKGROUND
from ssd_jax.weights import published
from ssd_jax.weights.network import TrainedNetwork

pytestmark = pytest.mark.slow  # compiles a network twice

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A detector of the rendered shapes that has learned nothing, in a published file."""
    config = ssd_demo.get_config()
    config.model.update(width_multiplier=0.125, image_size=(64, 64))
    config.loader.canvas = (64, 64)
    recipe = recipes.plain(config)
    names = (BACKGROUND, *layout.NAMES)
    model, boxes = recipes.build_network(recipe, len(names))
    variables = jax.device_get(model.init(jax.random.key(0)))
    place = tmp_path_factory.mktemp("published") / "tiny.safetensors"
    published.write(place, TrainedNetwork("tiny", names, variables, boxes, recipe))
    return place


def start(*options):
    return subprocess.Popen(
        [sys.executable, "-m", "ssd_jax.commands.serve", *options],
        cwd=REPOSITORY,
        env=os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_from_the_command_to_boxes_and_to_its_end(path):
    process = start(f"--ckpt={path}", "--port=0")
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        port = int(re.fullmatch(r"page: http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", said[2])[1])
        assert said[1].startswith("ready: ") and said[0].endswith(": 7 classes\n")
        picture = encoded(200, 100, "JPEG", quality=95)
        status, _, answer = detect(port, picture, "?score_threshold=0.3")
        assert status == 200 and answer["image"]["width"] == 200
        [expected] = Detector.load(path, devices=jax.devices()[:1], batch_size=1)(picture, score_threshold=0.3)
        found = answer["detections"]
        assert [one["name"] for one in found] == list(expected.names) and len(found) > 10
        # The picture is reduced to the canvas in both; the boxes are scaled to pixels in one step or in two.
        np.testing.assert_allclose([one["box"] for one in found], expected.boxes, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose([one["score"] for one in found], expected.scores, rtol=1e-5)
        assert ask(port, path="/examples/7")[0] == 200
        model = ask(port, path="/api/model")[2]
        assert model["input"] == {"width": 64, "height": 64} and len(model["classes"]) == 7
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (130, "", "\nserve: interrupted\n")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["score_threshold", "max_megabytes", "max_megapixels"])
def test_nan_is_no_number(name):
    process = start("--ckpt=x", "--port=0", f"--{name}=nan")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (2, f"serve: error: --{name}: expected a number, got nan\n")


def test_what_cannot_be_loaded_is_one_sentence(tmp_path):
    process = start(f"--ckpt={tmp_path / 'none'}", "--port=0")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and errors.startswith("serve: error: ") and errors.count("\n") == 1
