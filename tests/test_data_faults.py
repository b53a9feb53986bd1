"""Files and records that vanish, readers that hang, worker processes that die: a slot stays empty, or the run ends."""

import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import add_image

from ssd_jax import data
from ssd_jax.data import watch
from ssd_jax.errors import InputError
from ssd_jax.types import Example

pytest.importorskip("grain")
CANVAS = (8, 8)
TESTS = Path(__file__).parent
SEED, ROWS = 7, 4


class Faulty:
    """Ten images; the bad ones do what they are told. Picklable, so that worker processes can have it."""

    max_boxes = 1

    def __init__(self, bad=(5,), fault=None, length=10):
        self.bad, self.fault, self.length = bad, fault, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if self.fault == "hang" and index in self.bad:
            threading.Event().wait()
        if isinstance(self.fault, Exception) and index in self.bad:
            raise self.fault
        box, flag = np.array([[0, 0, 0.5, 0.5]], np.float32), np.zeros(1, bool)
        return Example(
            np.full((8, 8, 3), index, np.uint8), CANVAS, box, np.ones(1, np.int32), flag, flag, f"id {index}"
        )


def open_stream(source, **options):
    return data.make_loader(source, batch_size=ROWS, seed=SEED, canvas=CANVAS, **{"num_threads": 0, **options})


def step_of(index):
    """Returns the first step that holds an image, counted from 0, and the image's row in it."""
    with_it = [np.flatnonzero(batch.index == index) for batch in take(3, Faulty())]
    step = next(step for step, rows in enumerate(with_it) if len(rows))
    return step, int(with_it[step][0])


def take(count, source, **options):
    stream = open_stream(source, **options)
    try:
        return [next(stream) for _ in range(count)]
    finally:
        stream.close()


UNREADABLE = [
    FileNotFoundError(2, "No such file or directory", "/data/5.jpg"),
    ValueError("record 5 is cut off"),
    RuntimeError("chunk data hash mismatch"),  # ArrayRecord's
    TimeoutError("the server has not answered"),  # a file's own time limit, which is not loader.timeout_s
    data.ImageError("5.jpg: not an image"),
]
BUGS = [TypeError("bug"), AttributeError("bug"), IndexError("bug"), KeyError("bug")]


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("error", UNREADABLE, ids=lambda error: type(error).__name__)
def test_a_record_that_cannot_be_read_is_an_empty_image_and_changes_no_other(error, num_threads, caplog):
    with caplog.at_level(logging.WARNING, "ssd_jax.data"):
        batches = take(8, Faulty(fault=error), num_threads=num_threads)  # three epochs
    for batch, sound in zip(batches, take(8, Faulty()), strict=True):
        bad = sound.index == 5
        np.testing.assert_array_equal(batch.valid, ~bad)
        assert (batch.size[bad] == 1).all() and not batch.labels[bad].any() and not batch.canvas[bad].any()
        np.testing.assert_array_equal(batch.index, sound.index)
        for values, expected in zip(batch, sound, strict=True):
            np.testing.assert_array_equal(values[~bad], expected[~bad])
    assert len(caplog.records) == 1 and str(error) in caplog.text and "image 5" in caplog.text


@pytest.mark.parametrize("on_error", ["skip", "stop"])
@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_mistake_in_code_surfaces_as_it_is(error, num_threads, on_error):
    with pytest.raises(type(error)) as caught:
        take(3, Faulty(fault=error), num_threads=num_threads, on_error=on_error)
    assert caught.value.args == error.args


def test_what_a_source_has_to_tell_the_user_is_told_with_the_step():
    with pytest.raises(InputError, match=f"^training step {step_of(5)[0] + 1}: the disk is unplugged"):
        take(3, Faulty(fault=InputError("the disk is unplugged")))


@pytest.mark.parametrize("num_threads", [0, 2])
def test_stop_ends_the_stream_at_the_step_of_the_image_in_one_sentence(num_threads):
    stream = open_stream(Faulty(fault=ValueError("record\n5 is cut")), num_threads=num_threads, on_error="stop")
    for _ in range(step_of(5)[0]):
        assert next(stream).valid.all()
    with pytest.raises(InputError) as caught:
        next(stream)
    stream.close()
    assert (
        str(caught.value)
        == f"training step {step_of(5)[0] + 1}: image 5: ValueError: record 5 is cut (loader.on_error is 'stop')"
    )


def test_stop_ends_an_evaluation_too_and_uses_the_ids_that_a_source_knows_without_reading():
    class Named(Faulty):
        def ids(self):
            return [f"id {index}" for index in range(10)]

    stream = data.make_eval_loader(Named(fault=OSError("gone")), batch_size=4, canvas=CANVAS, on_error="stop")
    assert next(stream)[0].valid.all()
    with pytest.raises(InputError, match="^evaluation batch 2 of 3: id 5: OSError: gone"):
        next(stream)
    stream.close()


def test_a_file_deleted_during_the_run_is_named_and_its_slot_stays_empty(tmp_path, caplog):
    for name in "abc":
        add_image(tmp_path, name)
    source = data.make_source(kind="voc", root=str(tmp_path), split="train")
    streams = [
        data.make_loader(source, batch_size=3, seed=0, canvas=(80, 100), num_threads=0, on_error=on_error)
        for on_error in ("skip", "stop")
    ]
    assert all(next(stream).valid.all() for stream in streams)
    file = tmp_path / "JPEGImages" / "b.jpg"
    file.unlink()
    with caplog.at_level(logging.WARNING, "ssd_jax.data"):
        batches = [next(streams[0]) for _ in range(3)]
    assert all(batch.index[~batch.valid].tolist() == [1] for batch in batches)
    assert len(caplog.records) == 1 and str(file) in caplog.text
    with pytest.raises(InputError, match=f"{file}.*on_error is 'stop'"):
        next(streams[1])


def test_a_hundred_unreadable_images_in_a_row_end_the_stream_even_so():
    stream = open_stream(Faulty(range(1000), OSError("input/output error"), length=1000))
    assert not any(next(stream).valid.any() for _ in range(24))  # 96 images
    with pytest.raises(InputError, match="OSError: input/output error, and neither can the 99 images tried before"):
        next(stream)
    # 99 before a sound one and 99 after it are only bad luck.
    source = Faulty([*range(99), *range(100, 199)], OSError("bad luck"), length=199)
    pairs = list(data.make_eval_loader(source, batch_size=4, canvas=CANVAS, num_threads=0))
    assert [batch.index[batch.valid].tolist() for batch, _ in pairs if batch.valid.any()] == [[99]]


@pytest.mark.parametrize("num_threads", [0, 8])
def test_a_reader_that_hangs_ends_the_stream_naming_step_and_image(num_threads, monkeypatch):
    monkeypatch.setattr(watch, "CLOSE_S", 0.1)
    step, row = step_of(5)
    stream = open_stream(Faulty(fault="hang"), num_threads=num_threads, timeout_s=0.3)
    for _ in range(step):
        assert next(stream).valid.all()
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        next(stream)
    stream.close()
    assert 0.2 < time.monotonic() - began < 5  # 0.3 s that began when a thread did, and closing
    message = str(caught.value)
    assert message.startswith(
        f"training step {step + 1}: reading image 5 has not ended within 0.3 s (loader.timeout_s)"
    )
    assert f"; {row} of 4 images of the batch were read before it" in message


def test_the_time_of_a_batch_counts_and_not_that_of_the_stream():
    class Slow(Faulty):
        def __getitem__(self, index):
            time.sleep(0.02)
            return super().__getitem__(index)

    assert len(take(8, Slow(), timeout_s=0.4)) == 8  # 0.64 s in all, 0.08 s a batch
    with pytest.raises(InputError, match="within 0.03 s"):
        take(1, Slow(), timeout_s=0.03)
    assert len(take(1, Slow(), timeout_s=0)) == 1


def test_signals_are_handled_while_a_batch_is_waited_for(monkeypatch):
    monkeypatch.setattr(watch, "CLOSE_S", 0.1)

    class SignalledError(Exception):
        pass

    def handle(number, frame):
        raise SignalledError

    for num_threads in (0, 2):
        stream = open_stream(Faulty(fault="hang"), num_threads=num_threads, timeout_s=5.0)
        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        began = time.monotonic()
        try:
            with pytest.raises(SignalledError):
                while True:
                    next(stream)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - began < 2
        stream.close()


def test_closing_does_not_wait_for_a_reader_that_hangs(monkeypatch):
    monkeypatch.setattr(watch, "CLOSE_S", 0.2)
    stream = open_stream(Faulty(fault="hang"), num_threads=8)  # its threads run ahead into the image that hangs
    time.sleep(0.1)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 2


def run(code, **options):
    """Runs code in a process of its own; it may import this module."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [sys.executable, "-c", "from test_data_faults import *\n" + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **options)


def test_a_process_whose_reader_hangs_can_exit():
    code = """
watch.CLOSE_S = 0.2
stream = open_stream(Faulty(fault="hang"), num_threads=4, timeout_s=0.5)
try:
    while True:
        next(stream)
except InputError as error:
    print(error)
stream.close()
sys.exit(2)
"""
    done = run(code)
    assert done.returncode == 2 and "reading image 5 has not ended" in done.stdout and not done.stderr


@pytest.mark.slow
def test_a_worker_process_reports_the_image_that_ends_the_stream():
    """The same sentence as without worker processes, at the same step; what a bug raises keeps its type."""
    options = dict(num_threads=1, num_workers=2)
    stream = open_stream(Faulty(fault=ValueError("cut off")), on_error="stop", **options)
    for _ in range(step_of(5)[0]):
        assert next(stream).valid.all()
    with pytest.raises(InputError) as caught:
        next(stream)
    stream.close()
    assert (
        str(caught.value)
        == f"training step {step_of(5)[0] + 1}: image 5: ValueError: cut off (loader.on_error is 'stop')"
    )
    with pytest.raises(TypeError, match="bug"):
        take(4, Faulty(fault=TypeError("bug")), **options)
    with pytest.raises(
        InputError, match=f"training step {step_of(5)[0] + 1}: reading image 5 has not ended within 1 s"
    ):
        take(4, Faulty(fault="hang"), timeout_s=1.0, **options)


KILLED = """
import multiprocessing
stream = open_stream(Faulty(), num_threads=1, num_workers=2, timeout_s=20.0)
next(stream), next(stream)
children = [child.pid for child in multiprocessing.active_children()]
print(*children, flush=True)
"""


@pytest.mark.slow
def test_a_worker_process_that_is_killed_ends_the_run_within_seconds():
    code = """
os.kill(children[0], signal.SIGKILL)
began = time.monotonic()
try:
    for step in range(2, 100):
        next(stream)
except InputError as error:
    assert time.monotonic() - began < 10
    print(error)
    print(step, *(f"image {i}" for i in take(step + 1, Faulty())[step].index))
stream.close()
assert not multiprocessing.active_children()
sys.exit(2)
"""
    done = run(KILLED + code)
    assert done.returncode == 2, done.stderr
    _, message, facts = done.stdout.splitlines()
    step, *images = facts.split(maxsplit=1)
    images = ", ".join(f"image {number}" for number in images[0].removeprefix("image ").split(" image "))
    assert message == (
        f"training step {int(step) + 1}: the worker process that read it has died (exit code -9); "
        f"in flight were {images}"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_worker_processes_do_not_outlive_a_parent_that_is_killed():
    done = run(KILLED + "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    left = {int(number) for number in done.stdout.split()}
    assert len(left) == 2
    while left and time.monotonic() < deadline:
        left = {number for number in left if _runs(number)}
        time.sleep(0.1)
    assert not left


def _runs(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_damaged_array_record_costs_the_image_it_hits(tmp_path):
    module = pytest.importorskip("array_record.python.array_record_module")
    reader = pytest.importorskip("array_record.python.array_record_data_source")
    path, noise = tmp_path / "images.array_record", np.random.default_rng(0)
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for _ in range(10):
        buffer = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
        writer.write(buffer.getvalue())
    writer.close()
    records = reader.ArrayRecordDataSource([str(path)])
    content = bytearray(path.read_bytes())
    middle = content.index(records[5][40:60])
    content[middle : middle + 4] = bytes(byte ^ 0xFF for byte in content[middle : middle + 4])
    path.write_bytes(content)
    records = reader.ArrayRecordDataSource([str(path)])

    class Records(Faulty):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(image=records[index])

    skipped = [index for batch in take(5, Records()) for index in data.skipped(batch)]
    assert skipped == [5, 5]  # 20 rows: two epochs


@pytest.mark.slow
def test_a_worker_process_that_does_not_answer_is_given_up():
    code = """
watch.WORKER_MARGIN_S, watch.CLOSE_S = -18.0, 1.0  # 2 s in all, now that the workers run
for pid in children:
    os.kill(pid, signal.SIGSTOP)
try:
    while True:
        next(stream)
except InputError as error:
    print(error)
began = time.monotonic()
stream.close()
print(time.monotonic() - began < 5)
for pid in children:  # or Grain waits 25 s for each at exit
    os.kill(pid, signal.SIGKILL)
"""
    done = run(KILLED + code)
    assert done.returncode == 0, done.stderr
    assert "a worker process has not answered for 2 s; in flight were image" in done.stdout
    assert done.stdout.endswith("True\n")


@pytest.mark.slow
def test_signals_to_all_processes_of_a_job_leave_the_workers_reading():
    """The main process ends its step first, for which it may need a batch."""
    code = """
for pid in children:
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
for _ in range(20):
    next(stream)
stream.close()
print(len(multiprocessing.active_children()), "left")
"""
    done = run(KILLED + code)
    assert done.returncode == 0 and done.stdout.endswith("0 left\n"), done.stderr
