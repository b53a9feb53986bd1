"""metrics.jsonl: nothing is lost by a kill, nothing is said twice after a resume."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssd_jax import files
from ssd_jax.commands import metrics_log
from ssd_jax.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]
# Written by hand, so that "byte for byte" can fail: json.dumps would set other spaces.
LINES = [b'{"step":1, "loss": 2.50}', b'{"step": 2,"loss":null}', b'{"step": 2, "map": 0.5}', b'{"step": 3}']


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / metrics_log.NAME


def after(path: Path, data: bytes, step: int) -> bytes:
    path.write_bytes(data)
    metrics_log.drop_after(path, step)
    return path.read_bytes()


def text(lines) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (1, 1), (2, 3), (3, 4), (99, 4)])
def test_lines_of_later_steps_are_dropped_and_the_others_stay_byte_for_byte(path, step, kept):
    assert after(path, text(LINES), step) == text(LINES[:kept])


@pytest.mark.parametrize("cut", range(1, len(LINES[3])))
def test_a_torn_last_line_is_dropped_wherever_it_was_cut(path, cut):
    assert after(path, text(LINES[:3]) + LINES[3][:cut], 3) == text(LINES[:3])


def test_a_line_that_lacks_its_end_alone_is_kept(path):
    assert after(path, text(LINES)[:-1], 3) == text(LINES)


def test_what_a_power_failure_leaves_behind_is_dropped(path):
    # Some file systems know of a file's new length before they have its data.
    assert after(path, text(LINES) + b"\0" * 40, 9) == text(LINES)
    assert after(path, text(LINES) + b"\0" * 40 + b"\n", 9) == text(LINES)


def test_what_is_not_ours_stays(path):
    data = b'# a remark\n{"note": "no step"}\n' + text(LINES)
    assert after(path, data, 1) == b'# a remark\n{"note": "no step"}\n' + text(LINES[:1])


def test_a_log_that_fits_is_not_written_again(path, monkeypatch):
    path.write_bytes(text(LINES))
    monkeypatch.setattr(files, "write_bytes", lambda *_: pytest.fail("written"))
    metrics_log.drop_after(path, 3)
    metrics_log.drop_after(path.with_name("absent"), 3)


def test_writing_goes_on_behind_what_is_kept(path):
    path.write_bytes(text(LINES) + b'{"st')
    with metrics_log.MetricsLog(path, start=2) as log:
        log.write({"step": 3, "loss": np.float32(0.5), "norm": float("nan"), "count": np.int64(7), "event": "x"})
        log.sync()
    line = b'{"step": 3, "loss": 0.5, "norm": null, "count": 7, "event": "x"}\n'
    assert path.read_bytes() == text(LINES[:3]) + line


def test_a_killed_process_leaves_every_line_behind(path):
    program = (
        "import os, pathlib, signal, sys\nfrom ssd_jax.commands.metrics_log import MetricsLog\n"
        "log = MetricsLog(pathlib.Path(sys.argv[1]), start=0)\n"
        "for step in range(1, 4): log.write({'step': step})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(path)], cwd=REPOSITORY, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_full_disk_is_one_sentence_and_the_torn_line_is_mended(path):
    # A limit on the size of files stands in for the end of the disk: both take a part of a line, then refuse.
    program = (
        "import pathlib, resource, sys\nfrom ssd_jax.commands.metrics_log import MetricsLog\n"
        "from ssd_jax.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))\n"
        "log = MetricsLog(pathlib.Path(sys.argv[1]), start=0)\n"
        "try:\n    for step in range(1, 9): log.write({'step': step})\n"
        "except InputError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == f"{path}: cannot be written (File too large)\n", result.stderr
    assert path.stat().st_size == 40  # three lines of 12 bytes and a third of the fourth
    metrics_log.drop_after(path, 8)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_a_log_that_cannot_be_used_is_one_sentence(path):
    with pytest.raises(InputError, match=r"no such file.*--workdir"):
        metrics_log.read(path)
    path.mkdir()
    for use in (metrics_log.read, lambda path: metrics_log.MetricsLog(path, start=0)):
        with pytest.raises(InputError, match="cannot be read"):
            use(path)


def test_reading_tells_what_it_leaves_out(path):
    path.write_bytes(text([LINES[0], b"", b"[1]", b'{"step": "x"}', b'{"step": true}', LINES[3]]) + LINES[3])
    reading = metrics_log.read(path)
    assert [line["step"] for line in reading.lines] == [1, 3]
    assert reading.unusable == [3, 4, 5] and reading.is_torn
    path.write_bytes(text(LINES))
    assert metrics_log.read(path)[1:] == ([], False)


def test_a_series_holds_the_last_value_of_each_step_and_nan_for_what_is_no_number():
    values = [(3, 1.5), (1, 2), (2, None), (1, 4), (4, "x"), (5, True), (6, float("inf")), (7, 10**400)]
    lines = [{"step": step, "loss": value} for step, value in values] + [{"step": 9}]
    steps, found = metrics_log.series(lines, "loss")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(found, [4, np.nan, 1.5, np.nan, np.nan, np.nan, np.nan])
    assert [array.tolist() for array in metrics_log.series([], "loss")] == [[], []]


def test_comparable_lines_are_without_what_depends_on_the_machine():
    line = {"step": 1, "loss": 0.5, **dict.fromkeys(metrics_log.TIMING_FIELDS, 7)}
    assert metrics_log.comparable(line) == metrics_log.comparable(json.dumps(line)) == {"step": 1, "loss": 0.5}
