"""The benchmarks: how they time, what they put into the table, and that they run with few packages installed."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import pytest

from benchmarks import report, runner, subjects, timing
from benchmarks.subjects import Case, Subject

REPOSITORY = Path(__file__).resolve().parents[1]
# What a machine that is only lent for a measurement may lack: all that the library needs for anything else.
ABSENT = (
    "cv2 grain hypothesis importlib_resources ml_collections orbax pycocotools pytest tensorflow "
    "tensorflow_datasets torch torchvision tqdm"
).split()
BLOCKED = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
"""
CASES = [Case("forward", "SSD300", 8, "float32"), Case("forward", "SSD512", 8, "bfloat16")]


def run_python(code: str, tmp_path: Path) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter with only the few packages, on one CPU device."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", BLOCKED + textwrap.dedent(code)]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)


def clock(monkeypatch, seconds_a_call: float) -> list[int]:
    """Replaces the clock by one that each call advances; returns the list that calls are to append to."""
    calls: list[int] = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: len(calls) * seconds_a_call)
    return calls


def test_measure_groups_short_calls_and_waits_once_a_group(monkeypatch):
    calls, waits = clock(monkeypatch, 0.02), []
    effort = timing.Effort(warm_up=2, seconds=0.6, least=1, most=100)
    found = timing.measure(lambda: calls.append(1), waits.append, effort=effort)
    # 0.05 s / 0.02 s = 3 calls a group (rounded up), 0.6 / 0.06 = 10 groups.
    assert (found.calls_per_sample, found.samples) == (3, 10)
    assert (len(calls), len(waits)) == (2 + 1 + 30, 2 + 1 + 10)
    assert found.median == pytest.approx(0.02) and found.low == pytest.approx(found.high)


def test_measure_of_latency_waits_for_each_call(monkeypatch):
    calls, waits = clock(monkeypatch, 0.001), []
    effort = timing.Effort(warm_up=0, seconds=10, least=1, most=40)
    found = timing.measure(lambda: calls.append(1), waits.append, effort=effort, latency=True)
    assert (found.calls_per_sample, found.samples, len(waits)) == (1, 40, 41)


def test_spread_of_a_hundred_samples():
    found = timing.spread([float(n) for n in range(100, 0, -1)])
    assert (found.median, found.low, found.high, found.p99) == (50.5, 1, 100, 99)


def test_table_shows_ratio_share_and_errors():
    def measured(milliseconds, **more):
        times = dict(median=milliseconds, low=milliseconds, high=2 * milliseconds, p99=1.5 * milliseconds)
        images_per_second = 8 / milliseconds * 1e3
        return dict(
            milliseconds=times,
            samples=100,
            calls_per_sample=1,
            images_per_second=images_per_second,
            tflops=None,
            **more,
        )

    fast = measured(10.0) | dict(tflops=50.0, compile_seconds=3.0)
    result = {
        "question": "forward",
        "matrix_tflops": {"float32": 400.0, "bfloat16": 800.0},
        "rows": [
            {"case": CASES[0]._asdict(), "ours": fast, "peer": measured(40.0)},
            {"case": CASES[1]._asdict(), "ours": {"error": runner.OUT_OF_TIME}},
        ],
    }
    *_, first, second = report.markdown([result]).splitlines()
    cells = [cell.strip() for cell in first.split("|")[1:-1]]
    assert len(cells) == len(report.COLUMNS)
    # 8 images in 10 ms; 50 of 400 TFLOP/s; the peer takes four times as long.
    assert cells[5:10] == ["10.000 (10.000-20.000)", "15.000", "800.0", "50", "12.5%"]
    assert cells[10:] == ["40.000 (40.000-80.000)", "60.000", "200.0", "4.00", "3.0"]
    assert "skipped: out of time" in second


def test_a_failing_row_and_the_end_of_the_time_lose_no_other_row(monkeypatch):
    def prepare(case: Case) -> Subject:
        if case.network == "SSD512":
            raise RuntimeError("out of memory\nsecond line")
        return Subject(call=lambda: 1, wait=lambda x: x, values=lambda x: [subjects.np.ones(1)], flops=1e9)

    monkeypatch.setattr(runner, "matrix_tflops", lambda precision, quick: 1.0)
    monkeypatch.setattr(timing, "machine", dict)

    def results(cases, deadline):
        script = runner.Script("", "forward", lambda device, quick: cases, prepare)
        head, *rows = runner.run_side(script, "ours", deadline=deadline, quick=True)
        assert head["device"] == "cpu"
        return [row["result"] for row in rows]

    failed, measured = results(CASES[::-1], float("inf"))
    assert failed == {"error": "RuntimeError: out of memory"}
    assert measured["tflops"] > 0 and measured["images_per_second"] > 0
    assert results(CASES, float("-inf")) == [{"error": runner.OUT_OF_TIME}] * 2


@pytest.mark.parametrize("installed", [True, False])
def test_both_sides_are_joined_row_by_row(monkeypatch, installed):
    def child(script, side, seconds, quick, device=None):
        assert 0 < seconds <= 100 and device == (None if side == "ours" else "gpu")
        if side == "ours":
            return runner.Side({"device": "gpu"}, {case: {"images_per_second": 30.0} for case in CASES}, "")
        return runner.Side({}, {CASES[0]: {"images_per_second": 10.0}}, runner.OUT_OF_TIME)

    monkeypatch.setattr(runner, "_child", child)
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: installed or None)
    more = Case("forward", "SSD300", 1, "float32")
    monkeypatch.setattr(runner.time, "monotonic", lambda: 0.0)
    script = runner.Script("", "forward", lambda device, quick: [*CASES, more], lambda case: pytest.fail("not here"))
    both, without_peer, late = runner.compare(script, deadline=100.0, quick=False)["rows"]
    assert report.ratio(both) == (3 if installed else None)
    assert "peer" not in without_peer and report.ratio(without_peer) is None
    assert late["peer"] == {"error": runner.OUT_OF_TIME if installed else "torchvision is not installed"}
    assert late["ours"] == {"error": ""}


def test_a_result_that_is_not_finite_is_not_timed():
    subject = Subject(call=lambda: 1, wait=lambda x: x, values=lambda x: [subjects.np.array([1, float("nan")])])
    found = runner.measure_case(lambda case: subject, CASES[0], latency=False, quick=True)
    assert found == {"error": "ValueError: the result is not finite"}


def test_networks_are_those_of_the_paper_and_the_recipe():
    pytest.importorskip("ml_collections")
    from configs import ssd512_voc

    # forward.py asks for the operations after it has compiled the network.
    subjects.forward_flops.cache_clear()
    model, _ = subjects.build("SSD300", "float32")
    abstract = jax.eval_shape(model.init, jax.random.key(0))
    jax.eval_shape(model.apply, abstract, jax.ShapeDtypeStruct((1, 300, 300, 3), "float32"))
    # The figure that OpenVINO publishes for SSD300 is 62.815 GFLOP; the convolutions alone are 0.1 % less.
    assert subjects.forward_flops("SSD300") == pytest.approx(62.8e9, rel=2e-3)
    recipe = ssd512_voc.get_config().model
    for name, value in subjects.NETWORKS["SSD512"].items():
        assert recipe[name] == value, name
    for name in ("SSD300", "SSD512"):
        _, default_boxes = subjects.build(name, "float32")
        assert len(default_boxes) == {"SSD300": 8732, "SSD512": 24564}[name]


def test_forward_and_detect_run_with_few_packages(tmp_path):
    done = run_python(
        """
        import json
        from benchmarks import detect, forward, runner, train_step  # train_step runs in the slow test

        for script in (forward, detect):
            latency = script is detect
            for case in script.cases("cpu", True)[: 2 if latency else 1]:
                found = runner.measure_case(script.ours, case, latency=latency, quick=True)
                print(json.dumps({"question": case.question, "scene": case.scene, **found}))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["question"] for row in found] == ["forward", "detect", "detect"]
    for row in found:
        assert 0 < row["milliseconds"]["low"] <= row["milliseconds"]["median"] <= row["milliseconds"]["high"]
        assert row["compile_seconds"] > 0
    assert found[0]["tflops"] > 0
    sparse, crowded = (row["detections_per_image"] for row in found[1:])
    assert 0 < sparse <= 20 < crowded


def test_input_times_every_kind(tmp_path, capsys):
    pytest.importorskip("grain")
    from benchmarks import input as script

    assert script.main(["--quick", "--json", str(tmp_path / "new" / "input.json")]) == 0
    result = json.loads((tmp_path / "new" / "input.json").read_text())
    rows = {row["source"]: row for row in result["rows"]}
    measured = {name for name, row in rows.items() if "error" not in row}
    assert measured == {"voc", "voc, cached", "coco", "yolo", "csv", "ilsvrc", "tfds"}
    for name in measured:
        for figure in ("one_thread", "all_cores", "per_processor_second", "over_pillow"):
            assert 0 < rows[name][figure]["low"] <= rows[name][figure]["median"] <= rows[name][figure]["high"]
    assert result["images"] == 8 and result["pillow_images_per_second"] > 0
    table = capsys.readouterr().out
    assert "the figures mean nothing" in table and "| voc, cached | " in table
    assert script.main(["--quick", "--kind=voc", f"--root={tmp_path}"]) == 1  # there is no such data
    assert "Annotations" in capsys.readouterr().out


def test_images_of_the_input_benchmark_compress_like_photographs(tmp_path):
    from benchmarks import input_files

    files = input_files.write_images(tmp_path / "images", 4)
    sizes = [path.stat().st_size for path in (tmp_path / "images").iterdir()]
    assert len(files) == 4 and 85_000 < min(sizes) <= max(sizes) < 135_000  # about 100 kB
    for file in files:
        for x1, y1, x2, y2 in file.boxes:
            assert 0 < x1 < x2 <= 500 and 0 < y1 < y2 <= 375


def test_gpu_script_says_that_there_is_no_gpu(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHON": sys.executable, "OUT": str(tmp_path / "out")}
    command = ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert done.stderr.startswith("no GPU: not measured") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_gpu_script_runs_on_the_cpu(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path), "XLA_FLAGS": ""}
    command = ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), "--cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert [result["question"] for result in results] == ["train step", "detect", "forward"]
    assert all("milliseconds" in row["ours"] for result in results for row in result["rows"])
    table = (tmp_path / "gpu.md").read_text()
    assert table.count("| tiny |") == 5 and "the figures mean nothing" in table
