"""Whole runs of two processes: stopped, killed, resumed, evaluated."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
import tiny_run

from ssd_jax.commands import metrics_log


@pytest.fixture(scope="module")
def environ(tmp_path_factory) -> dict[str, str]:
    compiled = tiny_run.environment(tmp_path_factory.mktemp("compiled"))
    return {**compiled, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def start_pair(program: str, *options: str, environ: dict[str, str], logs: Path) -> list[subprocess.Popen]:
    """Starts a program of the checkout as two processes of two devices; each appends what it says to a file."""
    address = f"127.0.0.1:{tiny_run.free_port()}"
    by_hand = (f"--coordinator_address={address}", "--num_processes=2")
    return [
        tiny_run.start(
            *options, *by_hand, f"--process_id={number}", environ=environ, log=logs / f"log.{number}", program=program
        )
        for number in range(2)
    ]


def wait_all(started: list[subprocess.Popen], logs: Path, *, timeout: float = 300) -> list[int]:
    try:
        return [process.wait(timeout) for process in started]
    except subprocess.TimeoutExpired:
        pytest.fail("\n".join((logs / f"log.{number}").read_text() for number in range(len(started))))
    finally:
        for process in started:
            process.kill()


@pytest.mark.slow
def test_a_run_of_two_processes_stops_by_a_signal_to_one_resumes_and_is_evaluated(tmp_path, environ):
    workdir, logs = tmp_path / "run", tmp_path
    options = (*tiny_run.TINY, f"--workdir={workdir}", "--config.train.num_steps=2000")
    started = start_pair("train.py", *options, environ=environ, logs=logs)
    metrics = workdir / "metrics.jsonl"
    assert tiny_run.wait_for(lambda: metrics.exists() and bool(metrics.read_text()), started[0]), (
        logs / "log.0"
    ).read_text()
    started[1].send_signal(signal.SIGTERM)
    assert wait_all(started, logs) == [143, 143], (logs / "log.1").read_text()
    stopped = int(re.search(r"stopped after step (\d+); saved", (logs / "log.0").read_text())[1])  # pyright: ignore[reportOptionalSubscript]
    assert (workdir / "checkpoints" / str(stopped)).is_dir()
    assert "saved" not in (logs / "log.1").read_text().replace("saving", "")

    end = 6 * (stopped // 6 + 2)  # an evaluation comes every six steps
    more = (*options, f"--config.train.num_steps={end}")
    assert wait_all(start_pair("train.py", *more, environ=environ, logs=logs), logs) == [0, 0]
    assert f"resuming after step {stopped} of {end}" in (logs / "log.0").read_text()
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == sorted(set(steps)) and lines[-1]["step"] == end

    # The same checkpoint, evaluated by two processes and by one.
    figures = []
    for name, count in (("two", 2), ("one", 1)):
        output = ("evaluate.py", f"--ckpt={workdir}", f"--step={end}", f"--output={tmp_path / name}")
        if count == 2:
            assert wait_all(start_pair(*output, environ=environ, logs=logs), logs) == [0, 0]
        else:
            alone = tiny_run.start(*output[1:], environ=environ, log=logs / "log.0", program=output[0])
            assert wait_all([alone], logs) == [0]
        figures.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    assert figures[0]["voc"] == figures[1]["voc"]
    assert figures[0]["validation_loss"] == pytest.approx(figures[1]["validation_loss"], rel=1e-5)
    assert lines[-1]["validation_loss"] == pytest.approx(figures[0]["validation_loss"], rel=1e-5)


@pytest.mark.slow
def test_a_run_of_two_processes_of_which_one_is_killed_three_times_ends_as_the_unbroken_one(tmp_path, environ):
    """The other process ends with it, at the latest when the launcher sees to that, and the job is started again."""
    length = ("--config.train.num_steps=40", "--config.train.checkpoint_every=5", "--config.train.evaluate_every=20")
    found = {}
    for name, victims in (("unbroken", ()), ("broken", (0, 1, 0))):
        workdir, logs = tmp_path / name, tmp_path / f"{name} logs"
        logs.mkdir()
        options = (*tiny_run.TINY, *length, f"--workdir={workdir}")
        metrics = workdir / "metrics.jsonl"
        for victim in victims:
            started = start_pair("train.py", *options, environ=environ, logs=logs)
            before = metrics.read_text() if metrics.exists() else ""
            assert tiny_run.wait_for(
                lambda before=before, metrics=metrics: metrics.exists() and metrics.read_text() != before, started[0]
            ), (logs / "log.0").read_text()
            started[victim].kill()
            started[victim].wait()
            started[1 - victim].kill()  # as srun --kill-on-bad-exit does: by itself it may take 100 s to notice
            assert wait_all(started, logs) == [-signal.SIGKILL] * 2
        assert wait_all(start_pair("train.py", *options, environ=environ, logs=logs), logs) == [0, 0]
        checksums = json.loads((workdir / "checkpoints" / "40" / "meta" / "metadata").read_text())["checksums"]
        found[name] = checksums["arrays"], [metrics_log.comparable(line) for line in metrics.read_text().splitlines()]
    assert found["broken"] == found["unbroken"]
