"""Signals to a run: during a step, an evaluation and a save; and a real run that is interrupted three times."""

import json
import signal
from pathlib import Path

import pytest
import tiny_run

from ssd_jax import checkpoint
from ssd_jax.commands import metrics_log

# 600 images to evaluate on take some seconds, so that a signal can hit the evaluation.
OPTIONS = [
    *tiny_run.TINY,
    "--config.data.shapes.length=600",
    "--config.train.num_steps=8",
    "--config.train.evaluate_every=4",
    "--config.train.checkpoint_every=3",
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environ(tmp_path_factory) -> dict[str, str]:
    return tiny_run.environment(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, environ) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    run_to_its_end(folder, environ, OPTIONS)
    return folder


def run_to_its_end(workdir: Path, environ, options) -> None:
    process = tiny_run.start(*options, f"--workdir={workdir}", environ=environ, log=workdir / "log")
    assert tiny_run.end_of(process) == 0, (workdir / "log").read_text()


def logged_steps(workdir: Path) -> list[int]:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def metrics_of(workdir: Path) -> list:
    return [metrics_log.comparable(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def is_saving(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("*orbax-checkpoint-tmp*"))


MOMENTS = {
    "step": lambda workdir: 2 in logged_steps(workdir),
    "evaluation": lambda workdir: 4 in logged_steps(workdir),  # logged, and not evaluated for some seconds
    "save": is_saving,
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_saves_and_the_same_command_ends_as_the_unbroken_run(tmp_path, unbroken, environ, moment, number):
    options = [*OPTIONS, f"--workdir={tmp_path}"]
    process = tiny_run.start(*options, environ=environ, log=tmp_path / "log")
    assert tiny_run.wait_for(lambda: MOMENTS[moment](tmp_path), process), (tmp_path / "log").read_text()
    process.send_signal(number)
    assert tiny_run.end_of(process) == 128 + number
    printed = (tmp_path / "log").read_text()
    assert "Traceback" not in printed and "stopped after step" in printed
    with checkpoint.open_existing(tmp_path) as manager:
        saved = checkpoint.latest(manager)
        assert f"stopped after step {saved}; saved in" in printed
        if moment == "evaluation":
            assert saved == 4 and not checkpoint.is_evaluated(manager, 4)
    run_to_its_end(tmp_path, environ, OPTIONS)
    assert f"resuming after step {saved} of 8" in (tmp_path / "log").read_text()
    assert metrics_of(tmp_path) == metrics_of(unbroken)
    with checkpoint.open_existing(tmp_path) as manager:
        assert checkpoint.is_evaluated(manager, 8)


def test_the_only_checkpoint_gets_the_score_of_the_evaluation_that_was_interrupted(tmp_path, unbroken, environ):
    options = [*OPTIONS, f"--workdir={tmp_path}", "--config.train.checkpoint_every=100"]
    # The second time, the run begins with that evaluation, and is interrupted again.
    for evaluating in (
        lambda: MOMENTS["evaluation"](tmp_path),
        lambda: "resuming after step 4" in (tmp_path / "log").read_text(),
    ):
        process = tiny_run.start(*options, environ=environ, log=tmp_path / "log")
        assert tiny_run.wait_for(evaluating, process), (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert tiny_run.end_of(process) == 143
        with checkpoint.open_existing(tmp_path) as manager:
            assert checkpoint.steps(manager) == [4] and not checkpoint.is_evaluated(manager, 4)
    process = tiny_run.start(*options, environ=environ, log=tmp_path / "log")
    assert tiny_run.end_of(process) == 0, (tmp_path / "log").read_text()
    with checkpoint.open_existing(tmp_path) as manager:
        assert checkpoint.steps(manager) == [4, 8]
        assert checkpoint.is_evaluated(manager, 4) and checkpoint.is_evaluated(manager, 8)
    assert metrics_of(tmp_path) == metrics_of(unbroken)


def test_a_real_run_interrupted_three_times_ends_at_the_metric_of_the_unbroken_one(tmp_path, shared, environ):
    """60 steps on photographs of blood cells, stopped by SIGTERM, Ctrl-C and SIGKILL."""
    options = [
        "--config=configs/ablation.py:full",
        f"--config.data.root={shared / 'data' / 'bccd'}",
        "--config.data.train_split=train",
        "--config.data.eval_split=test",
        "--config.train.num_steps=60",
        "--config.train.log_every=5",
        "--config.train.evaluate_every=30",
        "--config.train.checkpoint_every=10",
        "--config.loader.num_workers=1",
    ]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    run_to_its_end(whole, environ, options)
    for number, step in ((signal.SIGTERM, 15), (signal.SIGINT, 35), (signal.SIGKILL, 50)):
        process = tiny_run.start(*options, f"--workdir={broken}", environ=environ, log=broken / "log")
        reached = tiny_run.wait_for(lambda step=step: step in logged_steps(broken), process, timeout=500)
        assert reached, (broken / "log").read_text()
        process.send_signal(number)
        assert tiny_run.end_of(process) == (-number if number == signal.SIGKILL else 128 + number)
    run_to_its_end(broken, environ, options)
    assert metrics_of(broken) == metrics_of(whole)
    assert any("map_11point" in json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines())
