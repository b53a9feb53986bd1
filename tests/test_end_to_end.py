"""The commands as a person runs them: train, interrupt, resume, evaluate; and what bad input gets."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_run
from PIL import Image
from tiny_run import REPOSITORY, TINY


def command(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory) -> Iterator[None]:
    """One device, since the eight fake ones would only slow these runs down; and each program is compiled once."""
    variables = tiny_run.environment(tmp_path_factory.mktemp("compiled"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def assert_one_sentence(result: subprocess.CompletedProcess, *fragments: str) -> None:
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("no initial weights")]
    assert len(lines) == 1 and "error:" in lines[0], result.stderr
    for fragment in fragments:
        assert fragment in lines[0]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """A finished tiny run; its folder's name has a space."""
    folder = tmp_path_factory.mktemp("runs") / "tiny run"
    result = run("train.py", *TINY, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    assert "default boxes" in result.stdout and "evaluate.py" in result.stdout
    return folder


def test_training_leaves_metrics_and_checkpoints(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert lines[-1]["step"] == 6 and 0 <= lines[-1]["map_11point"] <= 1
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["3", "6"]


def test_evaluation_reads_everything_from_the_checkpoint(workdir, tmp_path):
    output = tmp_path / "pictures and figures"
    result = run("evaluate.py", f"--ckpt={workdir}", f"--output={output}", "--num_pictures=2")
    assert result.returncode == 0, result.stderr
    assert "step 6 (best by metric" in result.stdout and "VOC07 11-point" in result.stdout
    metrics = json.loads((output / "metrics.json").read_text())
    trained = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()][-1]
    assert metrics["voc"]["mean_ap"]["voc07_11point"] == pytest.approx(trained["map_11point"], abs=1e-6)
    with Image.open(output / "detections.png") as sheet:
        assert min(sheet.size) > 100


def test_a_finished_run_has_nothing_left_to_do(workdir):
    result = run("train.py", *TINY, f"--workdir={workdir}")
    assert result.returncode == 0 and "resuming after step 6 of 6" in result.stdout


@pytest.mark.slow  # more signals at more moments: test_signals.py
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    arguments = ["train.py", *TINY, f"--workdir={tmp_path}", "--config.train.num_steps=2000"]
    process = subprocess.Popen(command(*arguments), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and metrics.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    stopped = int(re.search(r"stopped after step (\d+); saved", stdout)[1])

    arguments[-1] = f"--config.train.num_steps={stopped + 2}"
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert f"resuming after step {stopped} of {stopped + 2}" in result.stdout
    assert "config.train.num_steps was 2000" in result.stdout


@pytest.mark.slow
def test_a_step_that_is_not_finite_ends_the_run_and_names_itself(tmp_path):
    result = run(
        "train.py",
        *TINY,
        f"--workdir={tmp_path}",
        "--config.optimizer.learning_rate=1e30",
        "--config.optimizer.warmup_steps=0",
    )
    assert_one_sentence(result, "not finite", "step ", "learning_rate")


def test_bad_input_is_one_sentence(workdir, tmp_path):
    (tmp_path / "empty").mkdir()
    custom = ["train.py", "--config=configs/ssd300_custom.py", f"--workdir={tmp_path / 'run'}"]
    assert_one_sentence(run("train.py", "--config=configs/ssd300_voc.py"), "config.data.root", "config.init.weights")
    assert_one_sentence(run(*custom, "--config.data.root=/no/such/folder"), "/no/such/folder")
    assert_one_sentence(run(*custom, f"--config.data.root={tmp_path / 'empty'}"), str(tmp_path / "empty"))
    assert_one_sentence(run("train.py", *TINY, "--config.train.batchsize=4"), "batchsize", "batch_size")
    assert_one_sentence(run("evaluate.py", f"--ckpt={tmp_path / 'empty'}"), "empty")
    assert_one_sentence(run("evaluate.py", f"--ckpt={workdir}", "--step=5"), "step: expected one of [3, 6]")


def test_other_classes_than_the_checkpoints_are_refused(workdir, tmp_path):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (60, 50)).save(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><size><width>60</width><height>50</height></size><object><name>zebra</name>"
        "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    # The checkpoint's data section describes shapes; another kind of source is another section.
    overrides = ["--config.data.kind=voc", f"--config.data.root={tmp_path}", "--config.data.eval_split=val"]
    result = run("evaluate.py", f"--ckpt={workdir}", *overrides)
    assert_one_sentence(result, "zebra")
