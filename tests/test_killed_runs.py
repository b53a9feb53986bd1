"""A run that is killed again and again ends where the unbroken one ends, bit for bit."""

import json
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from ssd_jax.commands import metrics_log

STEPS, KILLS = 60, 20
OPTIONS = [
    *tiny_run.TINY,
    f"--config.train.num_steps={STEPS}",
    "--config.train.checkpoint_every=5",
    "--config.train.evaluate_every=20",
    "--config.train.ema_decay=0.9",
]


def last_state(workdir: Path) -> dict[str, dict]:
    """The checksum, shape and type of every array of the last checkpoint, by name: all that training changes.

    That they are the checksums of the arrays is the business of tests/test_checkpoint.py.
    """
    meta = json.loads((workdir / "checkpoints" / str(STEPS) / "meta" / "metadata").read_text())
    return meta["checksums"]["arrays"]


def assert_same_run(workdir: Path, unbroken: Path) -> None:
    found, expected = last_state(workdir), last_state(unbroken)
    assert found.keys() == expected.keys() and len(found) > 100
    for name, array in expected.items():
        assert found[name] == array, name
    lines, wanted = ((folder / "metrics.jsonl").read_text().splitlines() for folder in (workdir, unbroken))
    assert [metrics_log.comparable(line) for line in lines] == [metrics_log.comparable(line) for line in wanted]


@pytest.fixture(scope="module")
def environ(tmp_path_factory) -> dict[str, str]:
    return tiny_run.environment(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, environ) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    process = tiny_run.start(*OPTIONS, f"--workdir={folder}", environ=environ, log=folder / "log")
    assert tiny_run.end_of(process) == 0, (folder / "log").read_text()
    return folder


@pytest.mark.slow
def test_two_unbroken_runs_are_alike(tmp_path, unbroken, environ):
    """The control: without it, the next test could fail for another reason. Other threads, the same numbers."""
    more = ("--config.loader.num_threads=1", "--config.loader.num_workers=1")
    process = tiny_run.start(*OPTIONS, *more, f"--workdir={tmp_path}", environ=environ, log=tmp_path / "log")
    assert tiny_run.end_of(process) == 0, (tmp_path / "log").read_text()
    assert_same_run(tmp_path, unbroken)


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path, unbroken, environ):
    """SIGKILL at seeded moments after the first save: every other one while a checkpoint is being written."""
    rng, kills, in_save = random.Random(0), 0, 0
    checkpoints = tmp_path / "checkpoints"

    def saved() -> int:
        return max((int(path.name) for path in checkpoints.glob("[0-9]*") if path.name.isdigit()), default=0)

    def saving() -> bool:
        return any(checkpoints.glob("*orbax-checkpoint-tmp*"))

    while True:
        process = tiny_run.start(*OPTIONS, f"--workdir={tmp_path}", environ=environ, log=tmp_path / "log")
        if kills == KILLS:
            break
        before, lines = saved(), _size(tmp_path / "metrics.jsonl")
        if kills == 0:
            reached = tiny_run.wait_for(lambda: saved() > 0, process)
        elif kills % 2:
            reached = tiny_run.wait_for(saving, process)
        else:  # at any moment from its first line on; a step takes some 20 ms
            reached = tiny_run.wait_for(lambda lines=lines: _size(tmp_path / "metrics.jsonl") != lines, process)
            time.sleep(rng.uniform(0, 0.2))
        assert reached and process.poll() is None, f"finished before it was killed (kill {kills}, checkpoint {before})"
        process.kill()
        process.wait()
        kills, in_save = kills + 1, in_save + saving()
    assert tiny_run.end_of(process) == 0, (tmp_path / "log").read_text()
    assert in_save >= 3, "no kill hit a checkpoint half written: the test did not test that"
    assert_same_run(tmp_path, unbroken)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log and log.count("resuming after step") == KILLS


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
def test_another_number_of_devices_goes_on_from_the_same_checkpoint(tmp_path, unbroken, environ):
    """Four devices, then one: the state fits either; sums in another order differ in the last digits only."""
    four = {**environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    options = [*OPTIONS, f"--workdir={tmp_path}"]
    process = tiny_run.start(*options, "--config.train.num_steps=10", environ=four, log=tmp_path / "log")
    assert tiny_run.end_of(process) == 0, (tmp_path / "log").read_text()
    process = tiny_run.start(*options, environ=environ, log=tmp_path / "log")
    assert tiny_run.end_of(process) == 0, (tmp_path / "log").read_text()
    assert "resuming after step 10" in (tmp_path / "log").read_text()
    losses, expected = (
        [
            line["loss"]
            for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
            if "loss" in line
        ]
        for folder in (tmp_path, unbroken)
    )
    np.testing.assert_allclose(losses[:5], expected[:5], rtol=1e-3)  # ten steps on four devices
    assert len(losses) == len(expected) and np.isfinite(losses).all()
    shutil.rmtree(tmp_path / "checkpoints")
