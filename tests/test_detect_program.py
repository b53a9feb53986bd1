"""detect.py itself, in processes of its own: options, exit statuses, Ctrl-C, closed pipes, and a real network."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import detect_stand_in
import numpy as np
import pytest
import tiny_run
import trained_network
from PIL import Image

from ssd_jax.inference import Detector
from ssd_jax.weights import published

ROOT = Path(__file__).resolve().parent.parent
# detect.py with a detector that needs no network, and takes its time.
STAND_IN = f"""
import runpy, sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
from ssd_jax import inference
import detect_stand_in

class Slow(detect_stand_in.Bright):
    def detect(self, picture):
        time.sleep(0.02)
        return super().detect(picture)

inference.Detector.load = lambda *place, **options: Slow()
runpy.run_path("detect.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    return {**os.environ, **tiny_run.environment(tmp_path_factory.mktemp("compiled"))}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    published.write(path, trained_network.trained())
    return path


def start(arguments, environment, *, program=("detect.py",), **options) -> subprocess.Popen:
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **options)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        detect_stand_in.scene().save(folder / f"{number:03}.png")
    return folder


def look_at_a_list(tmp_path, environment, network) -> tuple[list[str], dict[str, dict], str, str]:
    """Looks at three pictures and two that are none; returns the former, their lines, and what was said."""
    folder = tmp_path / "in put"
    folder.mkdir()
    for number, pixels in enumerate(trained_network.pictures(3)):
        Image.fromarray(pixels).save(folder / f"ż {number}.png")
    (folder / "text.jpg").write_text("no image")
    names = ["ż 0.png", "text.jpg", "ż 1.png", "", "ż 2.png", "gone.png"]
    arguments = [f"--ckpt={network}", "--input=-", f"--output={tmp_path / 'out'}", "--score_threshold=0.2", "--top_k=3"]
    process = start(arguments, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    listed = "\n".join(str(folder / name) if name else "" for name in names)
    said, complained = (text.decode() for text in process.communicate(listed.encode(), timeout=300))
    assert process.returncode == 3, complained
    found = {line["path"]: line for line in lines_of(tmp_path / "out" / "detections.jsonl") if "objects" in line}
    return [str(folder / f"ż {number}.png") for number in range(3)], found, said, complained


def test_a_list_of_files_and_a_real_network(tmp_path, environment, network):
    paths, found, said, complained = look_at_a_list(tmp_path, environment, network)
    assert complained.count("skipped: ") == 2 and "Traceback" not in complained
    assert "gone.png: skipped: there is no such file" in complained
    assert "in 4 images" in said and "skipped: 2 files, named above" in said
    assert list(found) == paths
    for line, pixels in zip(found.values(), trained_network.pictures(3), strict=True):
        assert (line["height"], line["width"]) == pixels.shape[:2] and len(line["objects"]) == 3
        scores = [entry["score"] for entry in line["objects"]]
        assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.2
        for entry in line["objects"]:
            x0, y0, x1, y1 = entry["box"]
            assert 0 <= x0 <= x1 <= line["width"] and 0 <= y0 <= y1 <= line["height"]
            assert trained_network.NAMES[entry["label"]] == entry["name"]
        with Image.open(tmp_path / "out" / line["picture"]) as copy:
            assert copy.size == (line["width"], line["height"])


@pytest.mark.slow
def test_it_finds_what_the_detector_finds(tmp_path, environment, network):
    paths, found, _, _ = look_at_a_list(tmp_path, environment, network)
    for objects in Detector.of(trained_network.trained(), batch_size=4)(paths, score_threshold=0.2):
        entries = found[objects.id]["objects"]
        assert [entry["name"] for entry in entries] == list(objects.names[:3])
        # The tests' eight devices and the program's one may differ in the last digits.
        np.testing.assert_allclose([entry["box"] for entry in entries], objects.boxes[:3], atol=1e-2)
        np.testing.assert_allclose([entry["score"] for entry in entries], objects.scores[:3], atol=1e-5)


def test_ctrl_c_keeps_what_is_done(tmp_path, environment):
    folder, output = pictures(tmp_path / "in", 400), tmp_path / "out"
    arguments = ["--ckpt=x", f"--input={folder}", f"--output={output}", "--write=pictures,jsonl,coco"]
    process = start(arguments, environment, program=("-c", STAND_IN), stdout=subprocess.PIPE)
    path = output / "detections.jsonl"
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_bytes().count(b"\n") > 5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, complained = (text.decode() for text in process.communicate(timeout=60))
    assert process.returncode == 130, complained
    assert "stopping when what has been read is done" in complained and "Traceback" not in complained
    lines = lines_of(path)
    assert 5 < len(lines) < 400 and f"in {len(lines)} images" in said
    copies = sorted(output.glob("*.png"))
    assert [line["picture"] for line in lines] == [copy.name for copy in copies]
    for copy in copies:
        Image.open(copy).load()
    assert len(json.loads((output / "coco_results.json").read_text())) == len(lines)
    assert not list(output.glob(".ssd_jax-*"))


def test_a_closed_pipe_is_one_sentence(tmp_path, environment):
    arguments = ["--ckpt=x", f"--input={pictures(tmp_path / 'in', 1)}", f"--output={tmp_path / 'out'}"]
    read, write = os.pipe()
    os.close(read)
    process = start(arguments, environment, program=("-c", STAND_IN), stdout=write)
    os.close(write)
    _, complained = process.communicate(timeout=120)
    assert process.returncode == 2 and b"Traceback" not in complained
    assert b"what it says cannot be written (Broken pipe)" in complained


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input=a.jpg"], r"--ckpt is required"),
        (["--ckpt=x"], r"--input is required"),
        (["--ckpt=x", "--input=README.md", "--write=pdf"], r"--write: expected some of pictures, jsonl, .* got 'pdf'"),
        (["--ckpt=x", "--input=README.md", "--top_k=0"], r"--top_k=0"),
        (["--ckpt=x", "--input=README.md", "--score_threshold=nan"], r"--score_threshold: .* from 0 to 1, got nan"),
        (["--ckpt=x", "--input=README.md", "more.jpg"], r"expected options only .* got 'more.jpg'"),
    ],
)
def test_what_the_user_got_wrong_is_one_sentence(tmp_path, environment, arguments, says):
    process = start([*arguments, f"--output={tmp_path / 'out'}"], environment, stdout=subprocess.PIPE)
    said, complained = (text.decode() for text in process.communicate(timeout=120))
    assert process.returncode == 2 and not said
    assert re.fullmatch(rf"detect.py: error: .*{says}.*\n", complained), complained
    assert not (tmp_path / "out").exists()


def test_what_is_no_form_is_said_before_jax_is_imported(tmp_path, environment):
    (tmp_path / "jax.py").write_text("raise SystemExit('JAX is imported')")
    arguments = ["--ckpt=x", "--input=README.md", "--write=pdf"]
    process = start(arguments, {**environment, "PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE)
    _, complained = process.communicate(timeout=120)
    assert complained == b"detect.py: error: --write: expected some of pictures, jsonl, comp4, coco, got 'pdf'\n"
