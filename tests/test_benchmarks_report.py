"""The tables of the benchmarks, and that those of docs/performance.md are what was measured."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import report, runner, tables

ROOT = Path(__file__).resolve().parents[1]
MEASURED = sorted((ROOT / "benchmarks" / "measured").glob("*.json"))


def network_row(milliseconds, *, scene="", question="forward", batch=8, **more):
    times = dict(median=milliseconds, low=milliseconds / 2, high=2 * milliseconds, p99=1.5 * milliseconds)
    found = dict(milliseconds=times, samples=100, calls_per_sample=1, images_per_second=batch / milliseconds * 1e3)
    case = dict(question=question, network="SSD300", batch=batch, precision="float32", scene=scene)
    return {"case": case, "ours": {**found, "tflops": None, **more}}


def test_every_table_of_the_page_is_that_of_its_file():
    page = report.PAGE.read_text()
    assert report.with_tables(page) == page, "run: python benchmarks/report.py --docs"
    named = re.findall(report.BLOCK, page)
    assert len(set(named)) == len(named) == page.count("<!-- end -->")
    assert {str(path.relative_to(ROOT)) for path in MEASURED} <= set(named), "a file that no table shows"
    # Figures stand in tables, and every table after the first heading of results is within a block.
    typed = report.BLOCK.sub("", page[page.index("## Results") :])
    assert "|" not in typed


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.name)
def test_what_was_measured_was_measured_in_full(path):
    document = json.loads(path.read_text())
    for result in document.get("results", [document]):
        assert not result["quick"] and result["machine"]["commit"] and result["machine"]["date"]
        assert any("error" not in row.get("ours", row) for row in result["rows"])


def test_a_block_shows_the_figures_of_its_file_or_that_there_are_none(tmp_path):
    folder = tmp_path / "benchmarks" / "measured"
    folder.mkdir(parents=True)
    page = "before\n<!-- benchmarks/measured/forward_cpu.json -->\nstale 7\n<!-- end -->\nafter"
    empty = report.with_tables(page, tmp_path)
    assert empty == page.replace("stale 7", f"\n{report.NOT_MEASURED}\n")
    result = {"question": "forward", "rows": [network_row(12.5)], "machine": {"date": "today"}}
    (folder / "forward_cpu.json").write_text(json.dumps(result))
    filled = report.with_tables(empty, tmp_path)
    assert "stale" not in filled and report.NOT_MEASURED not in filled
    assert "| 12.500 (6.250-25.000) |" in filled and "today" in filled
    assert "`python benchmarks/forward.py --json benchmarks/measured/forward_cpu.json`" in filled
    assert filled.startswith("before\n") and filled.endswith("\nafter")
    assert report.with_tables(filled, tmp_path) == filled  # nothing piles up


def test_the_division_of_the_time_comes_from_differences():
    # A batch of 8: 8 ms an image in the base, 1 in extras and heads, 1 in post-processing.
    rows = [
        network_row(72.0),
        network_row(64.0, scene=report.BASE),
        network_row(80.0, scene=report.WHOLE),
        network_row(10.0, batch=1),  # whose parts were not measured
        network_row(10.0, batch=1, scene=report.BASE),
    ]
    (line,) = report.division(rows)
    assert line.startswith("SSD300, batch 8, float32")
    assert line.endswith("VGG-16 8 ms (80%), extras and heads 1 ms (10%), decoding and suppression 1 ms (10%)")
    rows[1]["ours"] = {"error": runner.OUT_OF_TIME}
    assert report.division(rows) == []


def test_the_file_of_a_gpu_shows_each_question_once():
    machine = {"gpu": "a GPU", "date": "today"}
    postprocess = {
        "question": "postprocess",
        "peer": "torchvision",
        "machine": machine,
        "rows": [dict(network="SSD300", classes=20, batch=8, scene="crowded", error=runner.OUT_OF_TIME)],
    }
    network = [
        {"question": question, "rows": [network_row(5.0, question=question)], "machine": machine}
        for question in ("train step", "forward")
    ]
    text = report.render({"tests": "9 passed", "results": [network[0], postprocess, network[1]]})
    assert text.startswith("tests that need a GPU: 9 passed\n")
    assert text.count("| train step | SSD300 |") == text.count("| forward | SSD300 |") == 1
    assert f"| 20 | 8 | crowded | {runner.OUT_OF_TIME} |" in text


def test_numbers_keep_three_digits_and_columns_say_something():
    assert [tables.number(x) for x in (12345.6, 123.4, 12.34, 0.01234)] == ["12346", "123", "12.3", "0.0123"]
    assert tables.span({"median": 2.0, "low": 1.0, "high": 1234.0}) == "2 (1-1234)" and tables.span(None) == ""
    text = tables.table(("a", "empty", "b"), [["1", "", "x|y"], ["", "", "2"]])
    assert text.splitlines() == ["| a | b |", "| --- | --- |", "| 1 | x/y |", "|  | 2 |"]


def test_the_report_wants_a_folder_or_the_page(capsys):
    for arguments in ([], ["out", "--docs"]):
        with pytest.raises(SystemExit):
            report.main(arguments)
        assert "expected either OUT or --docs" in capsys.readouterr().err
