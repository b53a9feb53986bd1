"""What evaluate.py makes of detections, whether a network or a file gave them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import voc_folder

import ssd_jax
from ssd_jax import data, inference
from ssd_jax.commands import results, scoring
from ssd_jax.errors import InputError
from ssd_jax.evaluation import detection_files
from ssd_jax.types import ImageDetections

REPOSITORY = Path(ssd_jax.__file__).parents[1]
CAT = ("background", "cat")


@pytest.fixture
def source(tmp_path):
    """Three images of a cat each; the folder's name has a space."""
    root = tmp_path / "my data"
    for name in ("a", "b", "c"):
        voc_folder.add_image(root, name)
    return data.make_source(kind="voc", root=str(root), split="train")


def evaluation(source, found=2, **options) -> scoring.Evaluation:
    """Detects the cats of the first images exactly, and the wall beside them."""
    detections = [
        ImageDetections(
            truth.id,
            np.concatenate([truth.boxes, [[60.0, 5, 90, 25]]]).astype(np.float32)
            if place < found
            else np.empty((0, 4)),
            np.float32([0.9, 0.3]) if place < found else np.empty(0),
            np.array([1, 1] if place < found else [], int),
        )
        for place, truth in enumerate(data.ground_truth(source))
    ]
    return scoring.Evaluation(source, CAT, detections, data.ground_truth(source), **options)


def plan(found, split="train") -> results.Planned:
    return results.Planned(
        found.source, found.class_names, lambda: found, name="a detector", data="cats", split=split, facts={"step": 7}
    )


def write(found, folder: Path, **options):
    metrics = options.pop("metrics", ("voc", "thresholds", "coco", "ilsvrc"))
    folder.mkdir(parents=True, exist_ok=True)
    outputs = results.Outputs(folder, **options)
    others = results.prepare(plan(found), outputs)
    results.write(plan(found), found, outputs, others, metrics=metrics)
    return json.loads((folder / "metrics.json").read_text())


def test_figures_are_printed_and_written_and_where_the_time_went(source, tmp_path, capsys):
    seconds = inference.Seconds(total=2.0, waiting=0.5, batch=(0.25, 0.0625))
    losses = {"validation_loss": 3.0, "validation_location_loss": 1.0, "validation_confidence_loss": 2.0}
    document = write(evaluation(source, seconds=seconds, losses=losses), tmp_path / "out", num_pictures=2)
    printed = capsys.readouterr().out
    assert "3 images in 2.0 s (1.5 images/s, with compilation), 25 % of it waiting for images" in printed
    assert "a batch: network 250.0 ms, post-processing 62.5 ms; metrics " in printed
    # Two of three objects at precision 1: recalls 0 to 0.6 of the eleven.
    assert document["voc"]["mean_ap"]["voc07_11point"] == pytest.approx(7 / 11)
    assert document["voc"]["mean_ap"]["area"] == pytest.approx(2 / 3)
    assert document["step"] == 7 and document["validation_loss"] == 3.0
    assert {"voc", "thresholds", "coco", "ilsvrc"} <= document.keys() and "analysis" not in document
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "detections",
        "detections.png",
        "metrics.json",
    ]


def test_only_what_was_asked_for_is_computed_and_written(source, tmp_path):
    document = write(evaluation(source), tmp_path / "out", metrics=("voc",), detections=False)
    assert document.keys() == {"step", "data", "voc"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.json"]


def test_the_files_of_one_evaluation_give_its_figures_again(source, tmp_path):
    first = write(evaluation(source), tmp_path / "first")
    place = results.detections_of(str(tmp_path / "first"))
    again = evaluation(source)._replace(detections=detection_files.read(place, source))
    assert write(again, tmp_path / "again") == first


def test_the_report_explains_one_run_and_compares_it_with_others(source, tmp_path):
    write(evaluation(source, found=1), tmp_path / "worse" / "evaluation")
    others = [str(tmp_path / "worse" / "evaluation")]
    document = write(evaluation(source), tmp_path / "better", report=True, compare=others)
    page = (tmp_path / "better" / "report.html").read_text()
    assert "a detector on cats" in page and "worse against a detector" in page and "data:image/jpeg" in page
    counts = document["analysis"]["overall"]["counts"]
    assert (counts["correct"], counts["background"]) == (2, 2)


def test_what_cannot_be_compared_is_refused_before_anything_is_written(source, tmp_path):
    with pytest.raises(InputError, match="nothing"):
        write(evaluation(source), tmp_path / "out", report=True, compare=[str(tmp_path / "absent")])
    assert not list((tmp_path / "out").iterdir())


def test_without_annotations_detections_are_written_and_nothing_is_measured(source, tmp_path, capsys):
    root = Path(source.name.removesuffix(" train"))
    secret = data.make_source(kind="voc", root=str(root), split="train", class_names=("cat",), annotations="none")
    found = evaluation(source)._replace(source=secret, truth=data.ground_truth(secret))
    with pytest.raises(InputError, match="--report: expected annotated objects"):
        write(found, tmp_path / "out", report=True)
    document = write(found, tmp_path / "out")
    assert "has no annotations: nothing is measured" in capsys.readouterr().out
    assert document.keys() == {"step", "data"}
    assert len(detection_files.read(results.detections_of(str(tmp_path / "out")), secret)[0].labels) == 2


def test_without_pictures_there_is_no_sheet(source, tmp_path):
    for path in (tmp_path / "my data" / "JPEGImages").iterdir():
        path.unlink()
    write(evaluation(source), tmp_path / "out", num_pictures=2, metrics=("voc",))
    assert not (tmp_path / "out" / "detections.png").exists()


def test_an_earlier_evaluation_leaves_nothing_behind_that_is_not_ours(source, tmp_path):
    out = tmp_path / "out"
    write(evaluation(source), out, report=True, num_pictures=1)
    (out / "notes.txt").write_text("mine")
    (out / "detections" / "mine.json").write_text("[]")
    write(evaluation(source, found=0), out, detections=False)
    assert sorted(path.name for path in out.iterdir()) == ["detections", "metrics.json", "notes.txt"]
    assert [path.name for path in (out / "detections").rglob("*") if path.is_file()] == ["mine.json"]


def test_what_a_server_would_refuse_is_refused_before_the_network_runs(source, tmp_path):
    with pytest.raises(InputError, match="VOC2012 submission: expected VOC's 20 classes"):
        results.prepare(plan(evaluation(source)), results.Outputs(tmp_path, submission="mine"))


def test_a_sheet_that_cannot_be_so_small_is_one_sentence_and_the_figures_are_there(source, tmp_path):
    with pytest.raises(InputError, match="--max_picture_kb: .* got 100"):
        write(evaluation(source), tmp_path / "out", num_pictures=2, max_picture_bytes=100)
    assert (tmp_path / "out" / "metrics.json").exists()


def test_an_undefined_loss_is_null(source, tmp_path):
    document = write(evaluation(source, losses={"validation_loss": float("nan"), **LOSSES}), tmp_path / "out")
    assert document["validation_loss"] is None


LOSSES = {"validation_location_loss": 1.0, "validation_confidence_loss": 2.0}


def test_a_name_that_the_terminal_cannot_show_and_a_full_stdout_are_no_tracebacks(tmp_path):
    """Through the command line, on a COCO file with a class of another alphabet."""
    objects = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}]
    annotations = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 60}],
        "annotations": objects,
        "categories": [{"id": 1, "name": "\u6f22\u5b57"}],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.5}]
    for name, content in (("truth.json", annotations), ("found.json", found)):
        (tmp_path / name).write_text(json.dumps(content))
    options = (f"--detections={tmp_path / 'found.json'}", f"--annotations={tmp_path / 'truth.json'}", "--metrics=voc")
    shown = run(*options, f"--output={tmp_path / 'shown'}", env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert shown.returncode == 0 and "\\u6f22" in shown.stdout
    assert json.loads((tmp_path / "shown" / "metrics.json").read_text())["voc"]["mean_ap"]["area"] == 1
    with open("/dev/full", "w") as full:
        lost = run(*options, f"--output={tmp_path / 'lost'}", stdout=full)
    assert lost.returncode == 2
    assert lost.stderr == "evaluate.py: error: what it says cannot be written (No space left on device)\n"


def run(*options: str, stdout=subprocess.PIPE, env=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "evaluate.py", *options]
    return subprocess.run(
        command, cwd=REPOSITORY, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, env=env
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "got neither"),
        (("--detections=a", "--annotations=b", "--compare=c"), "--compare: expected --report"),
        (("--detections=a", "--annotations=b", "--metrics=voc,map"), "thresholds, coco, ilsvrc, got 'map'"),
        (("--detections=a", "--annotations=b", "--compare=", "--report"), "--compare: expected a path, got none"),
    ],
)
def test_options_that_contradict_each_other_are_one_sentence(options, said, tmp_path):
    done = run(*options, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("evaluate.py: error: ") and said in line


@pytest.mark.slow
def test_a_real_detector_on_voc2007_through_the_command_line(shared, tmp_path):
    oracle = shared / "oracles" / "voc2007-yolov2"
    subprocess.run(["tar", "xzf", oracle / "voc2007-test-annotations.tar.gz", "-C", tmp_path], check=True)
    done = run(
        f"--detections={oracle / 'comp4-detections.tar.gz'}",
        f"--annotations={tmp_path / 'VOCdevkit'}",
        "--split=VOC2007/all",
        "--metrics=voc",
        "--report",
        f"--output={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    expected = json.loads((oracle / "expected.json").read_text())
    kinds = document["analysis"]["classes"]
    for name, figures in document["voc"]["classes"].items():
        assert figures["ap"]["voc07_11point"] == pytest.approx(expected[name]["ap_11point"], abs=1e-6)
        assert figures["ap"]["area"] == pytest.approx(expected[name]["ap_area"], abs=1e-6)
        assert sum(kinds[name]["counts"].values()) == expected[name]["detections"]
    assert 100_000 < (tmp_path / "out" / "report.html").stat().st_size < 20_000_000


@pytest.mark.slow
def test_the_example_of_the_coco_api_through_the_command_line(shared, tmp_path):
    oracle = shared / "oracles" / "coco-fakebbox100"
    done = run(
        f"--detections={oracle / 'instances_val2014_fakebbox100_results.json'}",
        f"--annotations={oracle / 'instances_val2014_100.json'}",
        f"--output={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    coco = json.loads((tmp_path / "metrics.json").read_text())["coco"]
    expected = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    names += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
    assert [round(coco[name], 3) for name in names] == list(expected)
