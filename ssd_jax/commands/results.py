"""What is made of an evaluation: figures, files of detections, pictures, the report."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import analysis, files
from ssd_jax.commands import pictures, report, scoring
from ssd_jax.evaluation import coco, detection_files, ilsvrc, submissions, voc, voc_thresholds

DETECTIONS = "detections"  # folder of the files of detections, within that of an evaluation
METRICS = ("voc", "thresholds", "coco", "ilsvrc")  # what can be asked for; VOC's at IoU 0.5 is always computed


class Figures(NamedTuple):
    """The figures of one detector; None: not asked for."""

    voc: voc.VocResult
    thresholds: voc_thresholds.ThresholdsResult | None
    coco: coco.CocoResult | None
    ilsvrc: ilsvrc.IlsvrcResult | None

    def table(self) -> str:
        """Returns all of them as text."""
        return "\n\n".join(module.as_table(result) for _, module, result in self._computed())

    def document(self) -> dict[str, Any]:
        """Returns all of them as JSON can hold them."""
        return {name: module.as_dict(result) for name, module, result in self._computed()}

    def _computed(self) -> list[tuple[str, Any, Any]]:
        modules = (voc, voc_thresholds, coco, ilsvrc)
        columns = zip(self._fields, modules, self, strict=True)
        return [(name, module, result) for name, module, result in columns if result is not None]


def figures(found: scoring.Evaluation, metrics: Sequence[str]) -> Figures:
    """Computes the figures that are asked for.

    Args:
      found: the detections and the ground truth.
      metrics: of METRICS.
    """
    arguments = (found.detections, found.truth)
    return Figures(
        found.voc(),
        voc_thresholds.evaluate(*arguments, class_names=found.class_names) if "thresholds" in metrics else None,
        found.coco() if "coco" in metrics else None,
        found.ilsvrc() if "ilsvrc" in metrics else None,
    )


class Outputs(NamedTuple):
    """What is written beside the figures."""

    folder: Path
    detections: bool = True  # files that other programs, and --detections, can read
    submission: str = ""  # name of the detector, for an archive that the server of COCO or VOC2012 takes; "": none
    report: bool = False
    compare: Sequence[str] = ()  # further detections of the same images, in the report
    num_pictures: int = 0  # on the contact sheet
    max_picture_bytes: int | None = None  # of its file


class Subject(NamedTuple):
    """What was evaluated, in words and for the names of files."""

    name: str  # of the detector
    split: str  # of the data
    shift: float = 0.0  # of ``detection_files.write``: 1 where VOC's coordinates were made to begin at 0
    facts: Mapping[str, Any] = {}  # for metrics.json and the report


def write(found: scoring.Evaluation, subject: Subject, outputs: Outputs, *, metrics: Sequence[str]) -> None:
    """Prints the figures of an evaluation and writes all that was asked for.

    Args:
      found: of ``scoring``. Where its source has no annotations nothing can be measured, and only the
        detections are written.
      subject: what was evaluated.
      outputs: what is to be written.
      metrics: of METRICS.

    Raises:
      InputError: a file cannot be written, or one to compare with cannot be read.
    """
    document: dict[str, Any] = {**subject.facts, "data": found.source.name}
    if getattr(found.source, "annotated", True):
        runs = _others(found, subject, outputs.compare) if outputs.report else []  # refused before anything is written
        begin = time.perf_counter()
        measured = figures(found, metrics)
        print(f"\n{measured.table()}\n")
        if found.losses:
            print(
                "loss {validation_loss:.3f} (location {validation_location_loss:.3f}, "
                "confidence {validation_confidence_loss:.3f})".format_map(found.losses)
            )
        document |= {**measured.document(), **found.losses}
        if outputs.report:
            run = make_run(found, subject, measured)
            document["analysis"] = analysis.as_dict(run.analysis)
            runs = [run, *runs]
        print(_speed(found, time.perf_counter() - begin))
    else:
        runs = []
        print(f"{found.source.name} has no annotations: nothing is measured")
    _write_files(found, subject, outputs)
    files.write_text(outputs.folder / "metrics.json", json.dumps(document, indent=2) + "\n")
    print(f"metrics:    {outputs.folder / 'metrics.json'}")
    if outputs.num_pictures and _has_pictures(found.source):
        _write_sheet(found, subject, outputs)
    if runs:
        _write_report(found, runs, outputs.folder / "report.html")


def make_run(found: scoring.Evaluation, subject: Subject, measured: Figures) -> report.Run:
    """Returns the detections with their analysis, as the report wants them."""
    analyzed = analysis.analyze(found.detections, found.truth, class_names=found.class_names)
    facts = {key: str(value) for key, value in subject.facts.items()}
    return report.Run(subject.name, analyzed, measured.voc, measured.coco, found.detections, facts)


def _others(found: scoring.Evaluation, subject: Subject, paths: Sequence[str]) -> list[report.Run]:
    runs = []
    for path in paths:
        detections = detection_files.read(
            detections_of(path), found.source, found.class_names, split=subject.split, shift=subject.shift
        )
        other = found._replace(detections=detections, losses={}, seconds=None)
        name = str(Path(path))
        runs.append(make_run(other, Subject(name, subject.split), figures(other, ("coco",))))
    return runs


def detections_of(path: str) -> Path:
    """Returns where the detections lie that a path means: those of an evaluation, if it is the folder of one."""
    folder = Path(path).expanduser()
    return folder / DETECTIONS if (folder / DETECTIONS).is_dir() else folder


def _speed(found: scoring.Evaluation, metric_seconds: float) -> str:
    """Returns a line on where the time went."""
    metric = f"metrics {metric_seconds:.1f} s"
    if found.seconds is None:
        return metric
    total, waiting, batch = found.seconds
    line = (
        f"{len(found.truth):,} images in {total:.1f} s ({len(found.truth) / total:.1f} images/s, with compilation), "
        f"{100 * waiting / total:.0f} % of it waiting for images; "
    )
    if batch is not None:
        line += f"a batch: network {1000 * batch[0]:.1f} ms, post-processing {1000 * batch[1]:.1f} ms; "
    return line + metric


def _write_files(found: scoring.Evaluation, subject: Subject, outputs: Outputs) -> None:
    arguments = (found.source, found.detections, found.class_names)
    if outputs.detections:
        place = detection_files.write(outputs.folder / DETECTIONS, *arguments, split=subject.split, shift=subject.shift)
        print(f"detections: {place}")
    if outputs.submission:
        place = submissions.write(
            outputs.folder,
            *arguments,
            test_set=detection_files.split_name(subject.split),
            algorithm=outputs.submission,
            shift=subject.shift,
        )
        print(f"submission: {place}")


def _has_pictures(source: Any) -> bool:
    """Whether any of the first images can be read: annotations alone are enough to evaluate against."""
    return any(pictures.read_frame(source[index]) is not None for index in range(min(len(source), 100)))


def _write_sheet(found: scoring.Evaluation, subject: Subject, outputs: Outputs) -> None:
    path = outputs.folder / "detections.png"
    pictures.save_detection_sheet(
        path,
        found.source,
        found.detections,
        found.truth,
        class_names=found.class_names,
        num_pictures=outputs.num_pictures,
        title=f"{found.source.name}, {subject.name}",
        max_bytes=outputs.max_picture_bytes,
    )
    print(f"pictures:   {path}")


def _write_report(found: scoring.Evaluation, runs: Sequence[report.Run], path: Path) -> None:
    size = report.write(
        path,
        runs,
        found.truth,
        class_names=found.class_names,
        pictures=make_pictures(found.source),
        title=f"{runs[0].name} on {found.source.name}",
    )
    print(f"report:     {path} ({size / 1e6:.1f} MB)")


def make_pictures(source: Any) -> Callable[[str], np.ndarray | None]:
    """Returns picture(image id) -> uint8 [h, w, 3] in the frame of its boxes, or None if it cannot be read."""
    places = {name: place for place, name in enumerate(detection_files.image_ids_of(source))}
    return lambda name: pictures.read_frame(source[places[name]])
