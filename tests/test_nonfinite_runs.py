"""A poisoned image: the run stops at its step, names it, leaves a dump, and the dump makes the same step again."""

import json
import re

import numpy as np
import pytest
import tiny_run

from configs import ssd_demo
from ssd_jax import data
from ssd_jax.data.loader import shuffled

INDEX, LENGTH, BATCH = 7, 10, 4
# Without batch normalization, which would spread the fault over the whole batch.
OPTIONS = [
    *tiny_run.TINY,
    "--config.model.batch_norm=False",
    "--config.train.num_steps=8",
    "--config.train.checkpoint_every=2",
]
POISONED = "tests/poisoned_train.py"


@pytest.fixture(scope="module")
def environ(tmp_path_factory) -> dict[str, str]:
    image = source()[INDEX].image
    total = int(np.asarray(image, np.uint64).sum())
    assert [int(np.asarray(example.image, np.uint64).sum()) for example in source()].count(total) == 1
    return {**tiny_run.environment(tmp_path_factory.mktemp("compiled")), "POISONED_SUM": str(total)}


def source():
    shapes = {**ssd_demo.get_config().data.shapes.to_dict(), "image_size": (64, 64), "length": LENGTH}
    return data.make_source(kind="shapes", root="", split="train", **shapes)


def run(environ, log, *arguments: str, program: str = POISONED) -> tuple[int, str]:
    log.unlink(missing_ok=True)
    status = tiny_run.end_of(tiny_run.start(*arguments, environ=environ, log=log, program=program))
    return status, log.read_text()


def first_step_with_it() -> int:
    place = int(np.flatnonzero(shuffled(0, 0, LENGTH) == INDEX)[0])
    return place // BATCH + 1


@pytest.mark.slow
def test_a_poisoned_image_stops_the_run_is_named_and_replayed(tmp_path, environ):
    workdir, log = tmp_path / "a run", tmp_path / "log"
    name, step = source()[INDEX].id, first_step_with_it()
    status, printed = run(environ, log, *OPTIONS, f"--workdir={workdir}")
    assert status == 2 and "Traceback" not in printed
    assert f"step {step}: the loss, gradient or update is not finite (loss nan), in the images {name};" in printed
    saved = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    assert all(number < step for number in saved), "a step after the poisoned one was saved"

    dump = re.search(r"--replay='?(.+?/nonfinite/step_\d+)'? ", printed)[1]
    status, printed = run(environ, log, f"--replay={dump}")
    assert status == 0 and f"step {step}, {BATCH} images, 1 device" in printed and "not finite again" in printed
    assert re.search(rf"{re.escape(name)} \(index {INDEX}, epoch 0\): not finite in offsets", printed)
    assert "parameters before the step: finite" in printed and "gradient: not finite in" in printed
    # The same dump without the fault, and with a setting changed.
    status, printed = run(environ, log, f"--replay={dump}", program="train.py")
    assert status == 0 and "finite this time" in printed
    status, printed = run(environ, log, f"--replay={dump}", "--config.optimizer.learning_rate=1e-5", program="train.py")
    assert status == 0 and "learning rate 1e-06" in printed  # a tenth of it: the demo's warm-up has just begun


@pytest.mark.slow
def test_a_poisoned_image_is_skipped_if_asked_and_the_run_goes_on(tmp_path, environ):
    workdir = tmp_path / "run"
    status, printed = run(
        environ, tmp_path / "log", *OPTIONS, "--config.train.on_nonfinite=skip", f"--workdir={workdir}"
    )
    assert status == 0 and "Traceback" not in printed
    events = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    skipped = [event for event in events if event.get("event") == "skipped_step"]
    # 8 steps of 4 are 3.2 epochs of 10: the image comes up three or four times.
    assert len(skipped) in (3, 4) and skipped[0]["step"] == first_step_with_it()
    assert all(event["images"] == [source()[INDEX].id] for event in skipped)
    assert all(np.isfinite(event["update_norm"]) for event in events if event.get("loss") is not None)


@pytest.mark.slow
def test_what_is_no_dump_is_refused(tmp_path, environ):
    for folder in (tmp_path, tmp_path / "absent"):
        status, printed = run(environ, tmp_path / "log", f"--replay={folder}", program="train.py")
        assert status == 2 and len(printed.splitlines()) == 1
        assert "--replay: expected the folder of a step, WORKDIR/nonfinite/step_N" in printed and str(folder) in printed
