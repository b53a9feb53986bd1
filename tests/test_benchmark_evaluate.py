"""The benchmark of the metrics: its set, its table and the file of what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import evaluate
from ssd_jax.evaluation import coco_engines

MEASURED = Path(__file__).resolve().parents[1] / "benchmarks" / "measured" / "evaluate_cpu.json"


def test_the_set_is_always_the_same_and_has_the_size_it_claims():
    one, two = evaluate.synthetic(200), evaluate.synthetic(200)
    for a, b in zip(one.detections + one.truth, two.detections + two.truth, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert all(found.boxes.shape == (100, 4) and (np.diff(found.scores) <= 0).all() for found in one.detections)
    objects = np.concatenate([truth.labels for truth in one.truth])
    assert 6 < len(objects) / 200 < 9 and objects.min() == 1 and objects.max() == 80


@pytest.fixture
def in_this_process(monkeypatch):
    """A new process for each sample takes seconds to start."""
    monkeypatch.setattr(evaluate, "run_apart", evaluate.run)


def test_table_and_file(in_this_process, tmp_path, capsys):
    path = tmp_path / "new" / "figures.json"
    assert evaluate.main(["--quick", "--json", str(path)]) == 0
    result, text = json.loads(path.read_text()), capsys.readouterr().out
    assert result["detections"] == 2000 and result["quick"] and result["coco_figures_have_the_same_bits"]
    assert [row["metric"] for row in result["rows"]] == list(evaluate.SUBJECTS)
    assert "the same bits" in text and "the figures mean nothing" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(evaluate.SUBJECTS) and len({line.count("|") for line in table}) == 1
    reference = next(row for row in result["rows"] if row["metric"] == evaluate.REFERENCE)
    assert reference["times_as_fast"] == {"median": 1, "low": 1, "high": 1} and reference["seconds"]["low"] > 0


def test_without_the_fast_engine_its_row_says_why(in_this_process, monkeypatch):
    monkeypatch.setattr(coco_engines, "_version", lambda package: None)
    result = evaluate.measure(5, 1, quick=True)
    assert "pip install 'hotcoco" in result["rows"][-1]["error"] and "hotcoco" not in result["machine"]["versions"]
    assert "which is not installed" in evaluate.markdown(result)


def test_the_published_file_is_of_a_whole_run():
    result = json.loads(MEASURED.read_text())
    assert result["images"] == 5000 and result["detections"] == 500_000 and not result["quick"]
    assert result["coco_figures_have_the_same_bits"] and not any("error" in row for row in result["rows"])
