"""What is made of an evaluation: figures, files of detections, pictures, the report."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import analysis, files
from ssd_jax.commands import pictures, report, scoring
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, detection_files, ilsvrc, submissions, table, voc, voc_thresholds
from ssd_jax.types import ImageDetections

DETECTIONS = "detections"  # folder of the files of detections, within that of an evaluation
REPORT, SHEET = "report.html", "detections.png"
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


class Planned(NamedTuple):
    """What is to be evaluated: the data, and what gives the detections."""

    source: Any
    class_names: tuple[str, ...]
    run: Callable[[], scoring.Evaluation]
    name: str  # of the detector
    data: str  # in short, for titles
    split: str  # of the data, for the names of files
    shift: float = 0.0  # of ``detection_files.write``: 1 where VOC's coordinates were made to begin at 0
    facts: Mapping[str, Any] = MappingProxyType({})  # for metrics.json and the report

    @property
    def measured(self) -> bool:
        """Whether there is anything to measure by."""
        return getattr(self.source, "annotated", True)


Others = Sequence[tuple[str, list[ImageDetections]]]  # names and detections of further detectors on the same images


def prepare(planned: Planned, outputs: Outputs) -> Others:
    """Refuses what could not be written, before a network runs for it, and reads what is to be compared.

    Raises:
      InputError: a file to compare with cannot be read, the images or classes are not those of a server, or
        something stands where files are to be written.
    """
    if outputs.report and not planned.measured:
        raise InputError(f"--report: expected annotated objects, {planned.source.name} has no annotations")
    if (outputs.folder / DETECTIONS).is_file():
        raise InputError(f"--output: expected a folder for detections, but {outputs.folder / DETECTIONS} is a file")
    if outputs.submission:
        submissions.check(planned.source, planned.class_names, **_submission_options(planned, outputs))
    return [
        (
            run_name(path),
            detection_files.read(
                detections_of(path), planned.source, planned.class_names, split=planned.split, shift=planned.shift
            ),
        )
        for path in outputs.compare
    ]


def write(
    planned: Planned, found: scoring.Evaluation, outputs: Outputs, others: Others = (), *, metrics: Sequence[str]
) -> None:
    """Writes all that was asked for, and then prints the figures; what an earlier evaluation wrote there goes.

    The detections come first: all else can be made of them again. Where a source has no annotations nothing
    is measured, and only they are written.

    Args:
      planned: what was evaluated.
      found: what it gave.
      outputs: what is to be written.
      others: of :func:`prepare`.
      metrics: of METRICS.

    Raises:
      InputError: a file cannot be written.
    """
    _remove_earlier(outputs.folder)
    places = _write_files(planned, found, outputs)
    begin = time.perf_counter()
    measured = figures(found, metrics) if planned.measured else None
    run = make_run(planned.name, found, measured, planned.facts) if measured and outputs.report else None
    seconds = time.perf_counter() - begin
    document: dict[str, Any] = {**planned.facts, "data": planned.source.name}
    document |= {name: table.json_number(value) for name, value in found.losses.items()}
    document |= measured.document() if measured else {}
    document |= {"analysis": analysis.as_dict(run.analysis)} if run else {}
    places["metrics"] = outputs.folder / "metrics.json"
    files.write_text(places["metrics"], json.dumps(document, indent=2, allow_nan=False) + "\n")
    if measured:
        print(f"\n{measured.table()}\n")
        if found.losses:
            print(
                "loss {validation_loss:.3f} (location {validation_location_loss:.3f}, "
                "confidence {validation_confidence_loss:.3f})".format_map(found.losses)
            )
        print(_speed(found, seconds))
    else:
        print(f"{planned.source.name} has no annotations: nothing is measured")
    for what, place in places.items():
        print(f"{what + ':':<11} {place}")
    if run:
        runs = [run, *(_other_run(found, *other, metrics) for other in others)]
        _write_report(planned, runs, found, outputs.folder / REPORT)
    if outputs.num_pictures and _has_pictures(planned.source):
        _write_sheet(planned, found, outputs)


def make_run(name: str, found: scoring.Evaluation, measured: Figures, facts: Mapping[str, Any]) -> report.Run:
    """Returns the detections with their analysis, as the report wants them."""
    analyzed = analysis.analyze(found.detections, found.truth, class_names=found.class_names)
    words = {"data": found.source.name, **{key: str(value) for key, value in facts.items()}}
    return report.Run(name, analyzed, measured.voc, measured.coco, found.detections, words)


def _other_run(
    found: scoring.Evaluation, name: str, detections: list[ImageDetections], metrics: Sequence[str]
) -> report.Run:
    other = found._replace(detections=detections, losses={}, seconds=None)
    shown = [metric for metric in metrics if metric == "coco"]  # the report has no column for the others
    return make_run(name, other, figures(other, shown), {})


def detections_of(path: str) -> Path:
    """Returns where the detections lie that a path means: those of an evaluation, if it is the folder of one."""
    folder = Path(path).expanduser()
    return folder / DETECTIONS if os.path.isdir(folder / DETECTIONS) else folder


def run_name(path: str) -> str:
    """Returns a short name for the detections of a path: that of the run, if they are of an evaluation of one."""
    place = Path(path).expanduser().resolve()
    return place.parent.name if place.name == "evaluation" else place.name


def _remove_earlier(folder: Path) -> None:
    """Removes what an earlier evaluation wrote, so that nothing there is of another one than the rest."""
    ours = ["metrics.json", REPORT, SHEET, submissions.VOC_ARCHIVE, "detections_*_results.zip"]
    ours += [f"{DETECTIONS}/{detection_files.RESULTS}", f"{DETECTIONS}/{detection_files.COMP4}/comp4_det_*.txt"]
    for path in [path for pattern in ours for path in folder.glob(pattern)]:
        try:
            path.unlink()
        except OSError as error:
            raise InputError(f"--output: {path} of an earlier evaluation stays ({error.strerror})") from error


def _submission_options(planned: Planned, outputs: Outputs) -> dict[str, str]:
    return {"test_set": detection_files.split_name(planned.split), "algorithm": outputs.submission}


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


def _write_files(planned: Planned, found: scoring.Evaluation, outputs: Outputs) -> dict[str, Path]:
    """Writes the files of detections that are wanted; returns what was written, and where."""
    places = {}
    arguments, shift = (found.source, found.detections, found.class_names), planned.shift
    if outputs.detections:
        folder = outputs.folder / DETECTIONS
        places["detections"] = detection_files.write(folder, *arguments, split=planned.split, shift=shift)
    if outputs.submission:
        options = _submission_options(planned, outputs)
        places["submission"] = submissions.write(outputs.folder, *arguments, **options, shift=shift)
    return places


def _has_pictures(source: Any) -> bool:
    """Whether any of the first images can be read: annotations alone are enough to evaluate against."""
    return any(pictures.read_frame(source[index]) is not None for index in range(min(len(source), 100)))


def _write_sheet(planned: Planned, found: scoring.Evaluation, outputs: Outputs) -> None:
    path = outputs.folder / SHEET
    try:
        pictures.save_detection_sheet(
            path,
            found.source,
            found.detections,
            found.truth,
            class_names=found.class_names,
            num_pictures=outputs.num_pictures,
            title=f"{planned.data}, {planned.name}",
            max_bytes=outputs.max_picture_bytes,
        )
    except ValueError as error:  # the one option that may not fit the pictures
        raise InputError(f"--max_picture_kb: {error}") from error
    print(f"pictures:   {path}")


def _write_report(planned: Planned, runs: Sequence[report.Run], found: scoring.Evaluation, path: Path) -> None:
    size = report.write(
        path,
        runs,
        found.truth,
        class_names=found.class_names,
        pictures=make_pictures(found.source),
        title=f"{planned.name} on {planned.data}",
    )
    print(f"report:     {path} ({size / 1e6:.1f} MB)")


def make_pictures(source: Any) -> Callable[[str], np.ndarray | None]:
    """Returns picture(image id) -> uint8 [h, w, 3] in the frame of its boxes, or None if it cannot be read."""
    places = {name: place for place, name in enumerate(detection_files.image_ids_of(source))}
    return lambda name: pictures.read_frame(source[places[name]])
