"""What is logged of a training: every step once, whenever it was interrupted; and what is said of a bad step."""

import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax import parallel
from ssd_jax.commands import metrics_log, nonfinite
from ssd_jax.commands.nonfinite import NonFiniteStep, non_finite_message
from ssd_jax.commands.progress import Progress
from ssd_jax.errors import InputError
from ssd_jax.training import METRIC_SPECS, StepMetrics
from ssd_jax.types import Batch

NAMES = {7: "seven", 8: "eight", 9: "nine"}
GOOD, BAD = [1.0, 1.0, 1.0], [1.0, np.nan, 1.0]


def step_of(image_loss: list[float], valid=(True, True, True)) -> tuple[Batch, StepMetrics]:
    index, epoch, size = np.uint32([7, 8, 9]), np.zeros(3, np.uint32), np.ones((3, 2), np.int32)
    batch = Batch(np.zeros(0), size, *[np.zeros(0)] * 3, index=index, epoch=epoch, valid=np.array(valid))
    loss = jnp.asarray(image_loss)
    scalars = dict.fromkeys(StepMetrics._fields, jnp.float32(1))
    finite = jnp.isfinite(loss).all()
    return batch, StepMetrics(**{**scalars, "loss": loss.sum(), "finite": finite, "image_loss": loss})


def open_progress(folder, **options) -> Progress:
    defaults = dict(start=0, total=300, every=5, batch_size=3, name_of=NAMES.__getitem__)
    return Progress(folder, **{**defaults, **options})


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / metrics_log.NAME).read_text().splitlines()]


@pytest.mark.parametrize(
    ("losses", "named", "not_named"),
    [
        (BAD, ["in the images eight"], ["seven", "nine"]),
        ([np.inf, np.nan, 1.0], ["in the images seven, eight"], ["nine"]),
        ([np.nan] * 3, ["every image", "the parameters are the likely cause"], []),
        (GOOD, ["no single image"], ["seven", "eight", "nine"]),
    ],
)
def test_the_message_names_the_step_and_the_images(losses, named, not_named):
    message = non_finite_message(41, *step_of(losses), NAMES.__getitem__)
    assert message.startswith("step 41:")
    assert all(text in message for text in named) and not any(text in message for text in not_named)


def test_the_images_are_told_apart_when_the_batch_is_split_over_devices():
    loss = np.ones(16, np.float32)
    loss[[3, 14]] = np.nan
    split = parallel.data_parallel(
        lambda values: values, parallel.data_mesh(), in_specs=(METRIC_SPECS.image_loss,), out_specs=parallel.SPLIT
    )(loss)
    assert len(split.addressable_shards) == 8
    batch = step_of(GOOD)[0]._replace(index=np.arange(100, 116))
    metrics = step_of(GOOD)[1]._replace(image_loss=split)
    assert nonfinite.culprits(batch, metrics, str) == ["103", "114"]


def test_a_process_without_a_culprit_among_its_rows_says_just_that():
    class Split:  # a part of an array whose other part is on another machine
        is_fully_addressable = False
        addressable_shards = step_of(GOOD)[1].image_loss.addressable_shards

    batch, metrics = step_of(BAD)
    elsewhere = metrics._replace(image_loss=Split())  # pyright: ignore[reportArgumentType]
    assert "in none of this process's images" in non_finite_message(1, batch, elsewhere, str)
    finite = elsewhere._replace(loss=jnp.float32(1))  # then it is no image's fault, here or there
    assert "in no single image" in non_finite_message(1, batch, finite, str)


def test_many_culprits_are_counted():
    batch, metrics = step_of(GOOD)
    loss = jnp.asarray([np.nan] * 19 + [1.0])
    message = non_finite_message(1, batch._replace(index=np.arange(20)), metrics._replace(image_loss=loss), str)
    assert "in the images 0, 1, 2, 3, 4, 5, 6, 7 and 11 more;" in message


def test_a_bad_step_is_noticed_one_step_later_at_the_latest(tmp_path):
    with open_progress(tmp_path) as progress:
        progress.step(1, *step_of(GOOD))
        bad = step_of(BAD)
        progress.step(2, *bad)
        with pytest.raises(NonFiniteStep, match="step 2: .* eight") as caught:
            progress.step(3, *step_of(GOOD))
    assert isinstance(caught.value, InputError)
    assert (caught.value.step, caught.value.batch, caught.value.metrics) == (2, *bad)


def test_what_becomes_of_a_bad_step_must_be_said():
    with pytest.raises(ValueError, match="on_nonfinite: expected one of stop, skip, got 'ignore'"):
        open_progress("", on_nonfinite="ignore")


def test_bad_steps_are_skipped_named_and_counted(tmp_path, capsys):
    with open_progress(tmp_path, on_nonfinite="skip") as progress:
        for step in range(1, 6):
            progress.step(step, *step_of(BAD if step in (2, 5) else GOOD))
    assert progress.skipped_steps == 2
    first, second, logged = lines_of(tmp_path)
    assert first == {"step": 2, "event": "skipped_step", "images": ["eight"]}
    assert second == {"step": 5, "event": "skipped_step", "images": ["eight"]}
    assert logged["step"] == 5 and logged["loss"] is None and logged["gradient_norm"] == 1
    assert "step 2: skipped, its loss, gradient or update is not finite in the images eight" in capsys.readouterr().out


def test_a_hundred_bad_steps_in_a_row_end_the_run_even_so(tmp_path):
    with open_progress(tmp_path, on_nonfinite="skip", every=1000) as progress:
        for step in range(1, 100):  # 99 bad ones are not enough
            progress.step(step, *step_of(BAD))
        progress.step(100, *step_of(GOOD))
        for step in range(101, 201):
            progress.step(step, *step_of(BAD))
        with pytest.raises(NonFiniteStep, match=r"step 200: .* 99 steps before it, so the parameters are the cause"):
            progress.check()


def test_images_that_could_not_be_read_are_logged(tmp_path):
    with open_progress(tmp_path) as progress:
        progress.step(1, *step_of(GOOD, valid=(False, True, False)))
        progress.step(2, *step_of(GOOD))
    assert lines_of(tmp_path) == [{"step": 1, "event": "skipped_images", "images": ["seven", "nine"]}]
    assert progress.unreadable == {7, 9}


def test_other_processes_are_silent_but_find_bad_steps(tmp_path, capfd):
    with open_progress(tmp_path, active=False, tensorboard=True) as progress:
        progress.say("a line")
        progress.step(5, *step_of(GOOD, valid=(False, False, False)))
        progress.record({"step": 5, "map": 0.5})
        progress.show(5, None)
        progress.sync()
        progress.step(6, *step_of(BAD))
        with pytest.raises(NonFiniteStep, match="step 6"):
            progress.check()
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


def test_a_line_holds_all_there_is_to_know_and_fits_the_screen(tmp_path, capsys):
    with open_progress(tmp_path, total=120_000, start=119_990) as progress:
        progress.restart_clock()
        for step in range(119_991, 120_001):
            assert progress.timed(iter([3])) == 3  # pyright: ignore[reportArgumentType]
            progress.step(step, *step_of([12.345, 100.0, 10.0]))
    first, last = lines_of(tmp_path)
    told = set(StepMetrics._fields) - {"finite", "image_loss"}
    assert last.keys() == {"step"} | told | set(metrics_log.TIMING_FIELDS)
    assert first["step"] == 119_995 and first["images_per_second"] > 0 and 0 <= first["data_wait"] <= 1
    assert last["loss"] == pytest.approx(122.345) and last["device_memory"] is None  # the CPU does not tell
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and max(map(len, printed)) <= 120


def test_the_rate_counts_the_steps_it_times(tmp_path, monkeypatch):
    seconds = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: seconds)
    with open_progress(tmp_path) as progress:
        for step in range(1, 11):
            seconds += 2  # a step: 3 images in 2 s
            progress.step(step, *step_of(GOOD))
            if step == 8:
                seconds += 1000  # an evaluation
                progress.restart_clock()
    assert [line["images_per_second"] for line in lines_of(tmp_path)] == [1.5, 1.5]


def train(folder, *, start: int, stop: int, rng: random.Random) -> None:
    """Steps of a run as train.py makes them: bad ones, unreadable images, evaluations, saved every fourth step."""
    progress = open_progress(folder, start=start, total=40, every=3, on_nonfinite="skip")
    progress.__enter__()  # and never left: the process is killed
    for step in range(start + 1, stop + 1):
        good, missing = step % 7 != 0 and step % 12 != 0, step % 5 == 0
        progress.step(step, *step_of(GOOD if good else BAD, valid=(not missing, True, True)))
        if step % 8 == 0 and (step < stop or step == 40 or rng.random() < 0.5):
            progress.check()
            progress.record({"step": step, "map": step / 40})
        if step % 4 == 0 and step < stop:
            progress.check()
            progress.sync()
    if stop == 40:
        progress.check()


@pytest.mark.parametrize("seed", range(8))
def test_a_run_killed_anywhere_logs_what_the_unbroken_run_logs(tmp_path, seed):
    rng = random.Random(seed)
    (tmp_path / "unbroken").mkdir()
    (tmp_path / "killed").mkdir()
    train(tmp_path / "unbroken", start=0, stop=40, rng=rng)
    saved = 0
    while saved < 40:
        stop = min(40, rng.randint(saved + 1, saved + 12))
        train(tmp_path / "killed", start=saved, stop=stop, rng=rng)
        if stop < 40 and rng.random() < 0.5:
            with (tmp_path / "killed" / metrics_log.NAME).open("a") as file:
                file.write('{"step": 3')
        saved = 40 if stop == 40 else (stop - 1) // 4 * 4
    runs = [lines_of(tmp_path / name) for name in ("unbroken", "killed")]
    expected, found = ([metrics_log.comparable(line) for line in lines] for lines in runs)
    assert found == expected
    assert sum("event" in line for line in expected) == 8 + 8 and sum("map" in line for line in expected) == 5


def test_the_device_memory_is_logged_where_it_is_known(tmp_path, monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_in_use": 5, "peak_bytes_in_use": 9, "bytes_limit": 20}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    with open_progress(tmp_path, every=1) as progress:
        progress.step(1, *step_of(GOOD))
    assert [lines_of(tmp_path)[0][name] for name in ("device_memory", "device_memory_peak")] == [5, 9]
