"""The page of curves: several runs together, and logs as real runs leave them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from test_page import Reader

from ssd_jax.commands import describe, metrics_log, plot, quantities
from ssd_jax.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]


def write(folder: Path, lines, tail: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines) + tail
    (folder / metrics_log.NAME).write_text(text, encoding="utf-8")
    return folder


def log_line(step: int, **values) -> dict:
    return {"step": step, "loss": 100 / step, "learning_rate": 1e-3, "device_memory": None, **values}


@pytest.fixture
def two_runs(tmp_path) -> list[Path]:
    first = [log_line(step, loss=None if step == 30 else 100 / step) for step in range(10, 110, 10)]
    first.append({"step": 100, "map_11point": 0.5, "validation_loss": 2.0, "new_figure": 3.5})
    second = [{"step": 25, "event": "skipped_step", "images": ["a"]}, log_line(50)]
    second.append({"step": 50, "event": "skipped_images", "images": ["b", "c"]})
    return [write(tmp_path / "long <run>", first), write(tmp_path / "short", second)]


def test_the_page_shows_the_curves_of_all_runs(two_runs):
    runs, remarks = plot.read_runs(two_runs)
    text = plot.write_page(runs, remarks)
    found = Reader(text)
    assert found.balanced and not remarks and "http" not in text.replace("http-equiv", "")
    charts = [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"]
    # What only null was logged for has no chart; a figure that nobody foresaw has one.
    assert charts == ["Loss", "mAP (VOC07 11-point)", "new figure", "Learning rate"]
    (description,) = [words for words in found.text if words.startswith("long <run>: 1 at step 100")]
    assert description == (
        "long <run>: 1 at step 100; between 1 at step 100 and 10 at step 10. "
        "long <run> (validation): 2 at step 100; between 2 at step 100 and 2 at step 100. "
        "short: 2 at step 50; between 2 at step 50 and 2 at step 50."
    )
    assert "long <run>, step 20: 5" in found.text and "long <run>, step 30: -" not in found.text


def test_skipped_steps_and_images_are_counted_by_run(two_runs):
    runs, _ = plot.read_runs(two_runs)
    text = plot.write_page(runs, [])
    assert "2" == Reader(text.split(">short<")[1].split("</tr>")[0]).text[-1]  # images
    numbers = [Reader(f"<i>{part}").text for part in text.split('<td class="number">')[1:9]]
    assert [words[0] for words in numbers] == ["100", "11", "0", "0", "50", "3", "1", "2"]


def test_a_training_metric_has_the_title_that_the_console_gives_it():
    known = quantities.GROUPS["Evaluations"]
    assert {field: quantity.title for field, quantity in known.items()} == describe.TITLES


def test_every_field_of_a_log_line_has_its_place():
    fields = {field for group in quantities.GROUPS.values() for field in group}
    assert set(metrics_log.TIMING_FIELDS) <= fields
    assert {"loss", "location_loss", "confidence_loss", "gradient_norm", "update_norm", "learning_rate"} <= fields


def test_units_are_those_of_the_page(tmp_path):
    folder = write(tmp_path / "a", [log_line(1, data_wait=0.25, device_memory=3 * 2**30)])
    charts = plot.gather_charts(plot.read_runs([folder])[0])["Speed and memory"]
    assert {chart.quantity.title: chart.curves[0].values.tolist() for chart in charts} == {
        "Waiting for data": [25.0],
        "Device memory": [3.0],
    }


def test_a_run_that_is_being_written_or_was_killed_is_drawn_and_the_rest_said(tmp_path, two_runs):
    torn = write(tmp_path / "torn", [log_line(5)], '{"step": 6, "lo')
    odd = write(tmp_path / "odd", [log_line(5), [1, 2], "x", log_line(6)])
    runs, remarks = plot.read_runs([*two_runs, torn, odd, write(tmp_path / "empty", [])])
    assert [run.name for run in runs] == ["long <run>", "short", "torn", "odd"]
    assert [len(run.lines) for run in runs[2:]] == [1, 2]
    assert len(remarks) == 3
    assert "torn/metrics.jsonl: the last line is cut off" in remarks[0]
    assert remarks[1].endswith("odd/metrics.jsonl: 2 lines are no JSON objects with a step, left out: 2, 3")
    assert remarks[2].endswith("empty/metrics.jsonl: nothing is logged yet")
    assert "Not everything could be read" in plot.write_page(runs, remarks)


@pytest.mark.parametrize("tail", ["", '{"step": 6, "lo', "\0\0\0\n"])
def test_a_log_without_a_line_is_one_sentence(tmp_path, tail):
    with pytest.raises(InputError, match=r"a/metrics\.jsonl: .*nothing is logged yet"):
        plot.read_runs([write(tmp_path / "a", [], tail)])


def test_a_run_with_events_alone_is_drawn(tmp_path):
    folder = write(tmp_path / "a", [{"step": 1, "event": "skipped_step", "images": None}, {"step": 2, "loss": "x"}])
    assert "<svg" not in plot.write_page(plot.read_runs([folder])[0], [])


def test_a_folder_without_a_log_is_one_sentence(tmp_path, two_runs):
    with pytest.raises(InputError, match=r"typo/metrics\.jsonl: no such file; expected the folder of a run"):
        plot.read_runs([*two_runs, tmp_path / "typo"])


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
    names = plot.distinct_names([Path(name) for name in ("/a/x/seed0", "/a/y/seed0", "/a/x/seed1")])
    assert names == ["x/seed0", "y/seed0", "x/seed1"]
    assert plot.distinct_names([Path("/a/run"), Path("/b/other/")]) == ["run", "other"]
    assert plot.distinct_names([Path("/a/run"), Path("/a/run")]) == ["run", "run"]


def test_a_very_long_log_is_thinned_and_the_page_says_so(tmp_path):
    values = np.random.default_rng(0).normal(10, 1, 100_000)
    folder = write(tmp_path / "a", [{"step": 5 * k, "loss": value} for k, value in enumerate(values.tolist(), 1)])
    text = plot.write_page(*plot.read_runs([folder]))
    assert len(text) < 60_000
    assert "Line: mean of up to 500 neighboring values; band: from the smallest to the largest" in text
    said = " ".join(Reader(text).text)
    assert f"between {values.min():.3f}" in said and f"and {values.max():.2f} at step" in said


@pytest.fixture
def options(monkeypatch):
    """The command's own flags, without those that other tests define."""
    values = flags.FlagValues()
    flags.DEFINE_string("output", None, "", flag_values=values)
    monkeypatch.setattr(plot, "FLAGS", values)
    return values


def test_the_page_is_written_beside_one_run_and_into_runs_for_several(options, two_runs, monkeypatch, capsys):
    monkeypatch.chdir(two_runs[0].parent)
    options(["plot"])
    assert plot.main(["plot", str(two_runs[0])]) == 0 and (two_runs[0] / "plot.html").is_file()
    assert plot.main(["plot", *map(str, two_runs)]) == 0 and Path("runs/plot.html").is_file()
    assert capsys.readouterr().out.splitlines() == [f"page: {two_runs[0] / 'plot.html'}", "page: runs/plot.html"]
    options.unparse_flags()
    options(["plot", "--output=new/page.html"])
    plot.main(["plot", str(two_runs[1])])
    assert "Training of short" in Path("new/page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_as_a_command_mistakes_are_one_sentence(arguments, tmp_path):
    result = command(*arguments, cwd=tmp_path)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr
    assert "plot.py: error: " in result.stderr and ("WORKDIR" in result.stderr or "nowhere" in result.stderr)


def test_as_a_command_it_takes_several_runs(two_runs, tmp_path):
    result = command(*map(str, two_runs), "--output=page.html", cwd=tmp_path)
    assert result.returncode == 0 and "Training of 2 runs" in (tmp_path / "page.html").read_text(), result.stderr


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "ssd_jax.commands.plot", *arguments]
    environ = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    return subprocess.run(program, cwd=cwd, env=environ, capture_output=True, text=True, timeout=120)
