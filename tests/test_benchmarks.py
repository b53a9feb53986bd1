"""The benchmarks: how they time, what they put into the table, and that they run with few packages installed."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import compiling
import jax
import pytest

from benchmarks import detect, forward, report, runner, subjects, timing
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
    environment = os.environ | {"XLA_FLAGS": compiling.flags()}
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
    assert len(cells) == len(report.COLUMNS) - 1  # no row has a scene
    # 8 images in 10 ms; 50 of 400 TFLOP/s; the peer takes four times as long.
    assert cells[4:9] == ["10.000 (10.000-20.000)", "15.000", "800.0", "50", "12.5%"]
    assert cells[9:] == ["40.000 (40.000-80.000)", "60.000", "200.0", "4.00", "3.0"]
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
    more, part = Case("forward", "SSD300", 1, "float32"), Case("forward", "SSD300", 1, "float32", report.BASE)
    monkeypatch.setattr(runner.time, "monotonic", lambda: 0.0)
    script = runner.Script(
        "", "forward", lambda device, quick: [*CASES, more, part], lambda case: pytest.fail("not here")
    )
    both, without_peer, late, of_ours = runner.compare(script, deadline=100.0, quick=False)["rows"]
    assert report.ratio(both) == (3 if installed else None)
    assert "peer" not in without_peer and report.ratio(without_peer) is None
    assert late["peer"] == {"error": runner.OUT_OF_TIME if installed else "torchvision is not installed"}
    assert late["ours"] == {"error": ""}
    assert "peer" not in of_ours  # torchvision is not asked for parts


def test_a_result_that_is_not_finite_is_not_timed():
    subject = Subject(call=lambda: 1, wait=lambda x: x, values=lambda x: [subjects.np.array([1, float("nan")])])
    found = runner.measure_case(lambda case: subject, CASES[0], latency=False, quick=True)
    assert found == {"error": "ValueError: the result is not finite"}


def test_networks_are_those_of_the_paper_and_the_recipe():
    pytest.importorskip("ml_collections")
    from configs import paper_table2, ssd512_voc

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
    no_atrous = paper_table2.get_config("no_atrous").model
    for name, value in subjects.NETWORKS["SSD300, no atrous"].items():
        assert no_atrous[name] == value, name
    # VGG-16 without its classifier, fc6 of 19 x 19 x 1024 x 3 x 3 x 512 and fc7 of 19 x 19 x 1024 x 1024; the rest of
    # the 31.4 GMAC is extras and heads, a tenth (ssd-facts: 95 % in VGG and fc).
    assert 0.9 < subjects.forward_flops("SSD300", "backbone") / subjects.forward_flops("SSD300") < 0.97


def test_parts_of_the_network_are_what_they_are_called():
    shapes = {}
    for case in forward.cases("cpu", True)[:3]:
        run, flops = forward.function(case)
        variables = jax.eval_shape(subjects.build(case.network, case.precision)[0].init, jax.random.key(0))
        images = jax.ShapeDtypeStruct((case.batch, 48, 48, 3), "float32")
        shapes[case.scene] = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(run, variables, images))], flops
    # VGG-16's conv4_3 and fc7, an eighth and a sixteenth of 48 pixels, with an eighth of 512 and 1024 channels.
    assert shapes[report.BASE][0] == [(2, 6, 6, 64), (2, 3, 3, 128)]
    assert shapes[""][0] == [(2, 180, 4), (2, 180, 21)]
    assert shapes[report.WHOLE][0] == [(2, 200, 4), (2, 200), (2, 200)]
    assert 0 < shapes[report.BASE][1] < shapes[""][1] == shapes[report.WHOLE][1]


def test_every_row_has_its_own_case():
    for script in (forward, detect):
        for device, quick in (("cpu", False), ("gpu", False), ("cpu", True)):
            found = script.cases(device, quick)
            assert len(set(found)) == len(found) and {case.network for case in found} <= set(subjects.NETWORKS)


def test_detect_runs_with_few_packages(tmp_path):
    done = run_python(
        """
        import json
        from benchmarks import detect, forward, postprocess, runner, train_step  # the others run in the slow test

        for case in detect.cases("cpu", True):
            found = runner.measure_case(detect.ours, case, latency=True, quick=True)
            print(json.dumps({"question": case.question, "scene": case.scene, **found}))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["question"], row["scene"]) for row in found] == [("detect", "sparse"), ("detect", "crowded")]
    for row in found:
        assert 0 < row["milliseconds"]["low"] <= row["milliseconds"]["median"] <= row["milliseconds"]["high"]
        assert row["compile_seconds"] > 0
    sparse, crowded = (row["detections_per_image"] for row in found)
    assert 0 < sparse <= 20 < crowded


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
    assert [result["question"] for result in results] == ["train step", "detect", "postprocess", "forward"]
    assert all("milliseconds" in row.get("ours", row) for result in results for row in result["rows"])
    table = (tmp_path / "gpu.md").read_text()
    assert table.count("| tiny |") == 7 and table.count("| crowded | ") == 2 and "the figures mean nothing" in table
