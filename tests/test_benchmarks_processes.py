"""The benchmarks of starting and of scaling."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import runner, scaling, startup, startup_child, tables

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS = {"imports": 1.0, "reading": 0.5, "building": 0.25, "compiling or loading": 2.0, "first run": 0.125}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "detector.safetensors"
    startup_child.publish(path, "tiny")
    return path


def test_the_parts_of_a_start_are_all_of_it(published):
    begin = time.time()
    found = startup_child.detection(startup_child.Watch(begin), str(published))
    # The second run of the detector is subtracted from the first, and not counted itself.
    assert sum(found.values()) <= time.time() - begin
    assert tuple(found) == startup.PARTS and all(value >= 0 for value in found.values())
    assert found["compiling or loading"] > found["first run"]


def test_each_start_has_the_cache_that_it_should(monkeypatch):
    calls = []

    def run_apart(kind, network, cache, published):
        assert network == "tiny" and published.is_file()
        calls.append((kind, cache))
        if kind == "training step":
            return {"error": "no memory"}
        return {**SECONDS, "cache_megabytes": 1.0, "imports": len(calls)}

    monkeypatch.setattr(startup, "run_apart", run_apart)
    monkeypatch.setattr(startup.tables, "head", lambda *parts: {"machine": {}, "device": "cpu"})
    result = startup.measure(True, float("inf"))
    (none, cold, warm), steps = calls[:3], calls[3:]
    assert none == ("detection", "") and cold == warm and cold[1]
    assert steps[0] == ("training step", "") and steps[1] == steps[2] and steps[1][1] not in ("", cold[1])
    assert [row.get("error") for row in result["rows"]] == [None] * 3 + ["no memory"] * 3
    assert [row["seconds"]["median"] for row in result["rows"][:3]] == [3.875, 4.875, 5.875]
    text = startup.markdown(result)
    assert "| detection | warm | 5.88 (5.88-5.88) | 3 | 0.5 | 0.25 | 2 | 0.125 | 1.0 |" in text
    late = startup.measure(True, float("-inf"))
    assert {row["error"] for row in late["rows"]} == {runner.OUT_OF_TIME}


@pytest.mark.parametrize(
    "stderr, reason", [("Traceback\nError: no such file\n", "Error: no such file"), ("", "status 1")]
)
def test_a_process_that_fails_gives_its_reason(tmp_path, monkeypatch, stderr, reason):
    done = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(startup.subprocess, "run", lambda *args, **options: done)
    assert startup.run_apart("detection", "tiny", "", tmp_path / "absent")["error"].endswith(reason)


def test_a_process_gets_what_it_asks_for(tmp_path, monkeypatch):
    def run(command, env, **options):
        assert "JAX_COMPILATION_CACHE_DIR" not in env
        kind, network, begin, published, cache = command[2:]
        assert (kind, network, published, cache) == ("detection", "tiny", "a file", str(tmp_path))
        assert 0 <= time.time() - float(begin) < 60
        (tmp_path / "program").write_bytes(bytes(3_000_000))
        return subprocess.CompletedProcess(command, 0, f"something else\n{json.dumps(SECONDS)}\n", "")

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "of the user")
    monkeypatch.setattr(startup.subprocess, "run", run)
    found = startup.run_apart("detection", "tiny", str(tmp_path), Path("a file"))
    assert found == {**SECONDS, "cache_megabytes": 3}


@pytest.mark.slow
def test_starts_of_processes(tmp_path):
    path = tmp_path / "startup.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "startup.py"), "--quick", "--json", str(path)]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": ""}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = {(row["kind"], row["cache"]): row for row in json.loads(path.read_text())["rows"]}
    for kind in startup_child.KINDS:
        compiling = {cache: rows[kind, cache]["parts"]["compiling or loading"]["median"] for cache in startup.CACHES}
        assert compiling["warm"] < 0.7 * compiling["cold"] and compiling["warm"] < 0.7 * compiling["none"]
        assert rows[kind, "cold"]["cache_megabytes"] > 0


def test_efficiency_is_relative_to_one_device():
    rows = [{"devices": n, "images_per_second": x} for n, x in ((1, 100.0), (2, 190.0), (8, 400.0))]
    rows.insert(2, {"devices": 4, "error": "no memory"})
    scaling.add_efficiency(rows)
    assert [row.get("efficiency") for row in rows] == [1.0, 0.95, None, 0.5]
    without = [{"devices": 1, "error": "no memory"}, {"devices": 2, "images_per_second": 3.0}]
    scaling.add_efficiency(without)
    assert "efficiency" not in without[1]


def test_scaling_compares_the_losses_of_the_same_images(monkeypatch):
    def measure_devices(one, count, effort):
        losses = np.arange(1.0, 1 + one.batch * count)
        losses[1] += 0.5 * (count == 2)
        times = {"median": 10.0, "low": 9.0, "high": 12.0}
        row = {"devices": count, "milliseconds": times, "images_per_second": 200.0 * count, "compile_seconds": 1.0}
        return row, losses

    monkeypatch.setattr(scaling, "measure_devices", measure_devices)
    result = scaling.measure(False, float("inf"))
    one, two, *more = result["rows"]
    assert [row["devices"] for row in more] == [4, 8] and all(row["efficiency"] == 1 for row in (one, *more))
    assert one["difference"] == 0 and two["error"] == "a loss differs by 25.0% from that on one device"
    text = scaling.markdown(result)
    assert scaling.MADE_UP in text and "| 8 | tiny | 2 | float32 | 10 (9-12) | 1600 | 100.0% | 0.0e+00 | 1.0 |" in text
    assert [row["error"] for row in scaling.measure(True, float("-inf"))["rows"]] == [runner.OUT_OF_TIME] * 2


@pytest.mark.slow
def test_scaling_on_made_up_devices(tmp_path):
    path = tmp_path / "scaling.json"
    assert tables.main(scaling.measure, scaling.markdown, "", ["--quick", "--json", str(path)]) == 0
    one, two = json.loads(path.read_text())["rows"]
    assert (one["devices"], two["devices"]) == (1, 2) and two["difference"] < 1e-4 and two["efficiency"] > 0


@pytest.mark.parametrize("failing", ["", "detect"])
def test_all_questions_are_asked_and_the_page_is_written(tmp_path, failing):
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(f"""#!/bin/sh
[ "$1" = -c ] && echo cpu && exit
echo "$@" >> {log}
[ "$1" != benchmarks/{failing}.py ]
""")
    python.chmod(0o755)
    command = [str(REPOSITORY / "benchmarks" / "all.sh")]
    done = subprocess.run(command, env=os.environ | {"PYTHON": str(python)}, capture_output=True, text=True, timeout=60)
    *asked, last = log.read_text().splitlines()
    assert last == "benchmarks/report.py --docs"  # also when a question has no figure
    assert done.returncode == bool(failing) and ("not measured: detect" in done.stderr) == bool(failing)
    named = [line.split()[2] for line in asked]
    page = (REPOSITORY / "docs" / "performance.md").read_text()
    assert len(named) == len(set(named)) and all(f"<!-- {name} -->" in page for name in named)
    # What asks: every script whose table the page has, but for gpu.sh's.
    assert {Path(line.split()[0]).name for line in asked} >= {"evaluate.py", "forward.py", "input.py", "train_step.py"}
    for line in asked:
        script, option, name = line.split()
        assert option == "--json" and Path(name).stem == f"{Path(script).stem}_cpu" and (REPOSITORY / script).is_file()
