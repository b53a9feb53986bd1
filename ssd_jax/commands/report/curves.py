"""Precision and recall, score thresholds, and how far scores can be believed."""

from collections.abc import Sequence

import numpy as np

from ssd_jax import page as pages
from ssd_jax.analysis.types import Calibration, ClassAnalysis, OperatingPoint
from ssd_jax.analysis.types import Curve as PrecisionRecall
from ssd_jax.commands.report.run import Choice, Run, figure
from ssd_jax.page import Column, Content, Curve, Markup, Reference, Section

_POINTS = 150  # of a curve, at most
_TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_NOTHING = OperatingPoint(np.nan, np.nan, np.nan, np.nan)


def precision_recall(runs: Sequence[Run], picks: Sequence[Choice], left_out: Content) -> Section:
    """Returns the curve of each class, and the thresholds that balance precision and recall best."""
    intro = pages.text(
        "From left to right the score threshold falls: more objects are found (recall), and more of what is reported "
        "is wrong (precision). The dashed line marks the threshold with the best F1, the harmonic mean of both: a "
        "start for an application to which both matter alike. If mistakes cost more than misses, choose a higher one."
    )
    panels = [
        (pick.name, _curves_of(runs, pick))
        for pick in picks
        if pick.findings[0].curve is not None and pick.findings[0].num_objects
    ]
    chosen = pages.choice("Curves", panels, label="Class", group="class") if panels else None
    listed = [(run.name, _threshold_table(run)) for run in runs]
    tables = listed[0][1] if len(runs) == 1 else pages.choice("Thresholds", listed, label="Run", group="run")
    return pages.section("Precision and recall", intro, left_out, chosen, tables)


def _curves_of(runs: Sequence[Run], pick: Choice) -> Markup:
    drawn, marks, sentences = [], [], []
    for style, (run, findings) in enumerate(zip(runs, pick.findings, strict=True)):
        best = findings.best or _NOTHING
        if np.isfinite(best.recall):
            marks.append(Reference(f"{run.name}: best F1", (best.recall, 0.0), (best.recall, best.precision)))
        if findings.curve is not None and findings.num_objects:
            drawn.append(_curve(run.name, findings.curve, style))
        sentences.append(_in_words(run.name if len(runs) > 1 else "", findings))
    title = f"{pick.title}: precision and recall"
    chart = pages.line_chart(
        drawn,
        x_axis=pages.axis_at(_TENTHS),
        y_axis=pages.axis_at(_TENTHS),
        title=title,
        description=" ".join(sentences),
        x_label="recall",
        y_label="precision",
        references=marks,
    )
    beside = pages.bullets(sentences) if len(runs) > 1 else _tiles(pick.findings[0])
    return pages.subsection(title, pages.side_by_side(pages.drawing(chart, caption=_keys(runs)), beside))


def _keys(runs: Sequence[Run]) -> Content:
    return pages.legend([(style, run.name) for style, run in enumerate(runs)]) if len(runs) > 1 else None


def _tiles(findings: ClassAnalysis) -> Markup:
    """Returns what is known of a class at the best threshold."""
    best = findings.best or _NOTHING
    return pages.facts(
        [
            ("area AP", figure(findings.ap_area), f"{findings.num_objects:,} objects"),
            ("best F1", figure(best.f1)),
            ("at a score of at least", figure(best.threshold)),
            ("precision there", figure(best.precision)),
            ("recall there", figure(best.recall)),
        ]
    )


def _curve(name: str, found: PrecisionRecall, style: int) -> Curve:
    """Returns a curve in at most ``_POINTS`` points, those after correct detections: between them precision falls."""
    before = np.concatenate([[0.0], found.recall[:-1]])
    rises = np.flatnonzero(found.recall > before)
    kept = rises[np.unique(np.linspace(0, len(rises) - 1, min(_POINTS, len(rises))).round().astype(int))]
    return Curve(name, found.recall[kept], found.precision[kept], style)


def _in_words(name: str, findings: ClassAnalysis) -> str:
    start = f"{name}: area AP" if name else "Area AP"
    if findings.num_objects == 0:
        return f"{start} is not defined, since no object is annotated."
    sentence = f"{start} {figure(findings.ap_area)}, {findings.num_objects:,} objects"
    best = findings.best
    if best is None or not np.isfinite(best.threshold):
        return f"{sentence}; nothing was found."
    return (
        f"{sentence}; best F1 {figure(best.f1, 2)} at a score of at least {figure(best.threshold, 2)}: precision "
        f"{figure(best.precision, 2)}, recall {figure(best.recall, 2)}."
    )


def _threshold_table(run: Run) -> Markup:
    titles = ("threshold", "precision", "recall", "F1", "area AP", "calibration error")
    rows = []
    for findings in run.analysis.classes:
        best = findings.best or _NOTHING
        figures = (best.threshold, best.precision, best.recall, best.f1, findings.ap_area)
        rows.append([findings.name, *map(figure, (*figures, findings.calibration.expected_error))])
    columns = [Column("class"), *(Column(title, number=True) for title in titles)]
    return pages.table(
        columns,
        rows,
        caption="Best thresholds by class",
        sortable=True,
        searchable=True,
    )


def calibration(runs: Sequence[Run], picks: Sequence[Choice], left_out: Content) -> Section:
    """Returns how often detections of a score are right."""
    intro = pages.text(
        "Of the detections with scores around 0.7, are 70% right? On the dashed diagonal, yes. Below it scores promise "
        "too much, above it too little. A point stands for the detections of a tenth of the scores, as far as there "
        "are any. The order of detections alone decides AP, so a detector may be badly calibrated and have a high AP; "
        "it matters where a score is read as a probability."
    )
    panels = [(pick.name, _calibration_of(runs, pick)) for pick in picks]
    chosen = pages.choice("Score and truth", panels, label="Class or group", group="class")
    return pages.section("Calibration", intro, left_out, chosen)


def _calibration_of(runs: Sequence[Run], pick: Choice) -> Markup:
    drawn, sentences = [], []
    for style, (run, findings) in enumerate(zip(runs, pick.findings, strict=True)):
        found = findings.calibration
        filled = np.flatnonzero(found.counts)
        drawn.append(Curve(run.name, found.mean_score[filled], found.precision[filled], style))
        sentences.append(_calibration_in_words(run.name if len(runs) > 1 else "", found))
    title = f"{pick.title}: calibration"
    chart = pages.line_chart(
        drawn,
        x_axis=pages.axis_at(_TENTHS),
        y_axis=pages.axis_at(_TENTHS),
        title=title,
        description=" ".join(sentences),
        x_label="score",
        y_label="share that is right",
        references=[Reference("scores that mean what they say", (0.0, 0.0), (1.0, 1.0))],
    )
    tables = [_calibration_table(run.name, one.calibration) for run, one in zip(runs, pick.findings, strict=True)]
    if len(runs) > 1:
        tables = [pages.details(f"{run.name} in numbers", one) for run, one in zip(runs, tables, strict=True)]
    beside = [pages.text(" ".join(sentences)), *tables]
    return pages.subsection(title, pages.side_by_side(pages.drawing(chart, caption=_keys(runs)), beside))


def _calibration_table(name: str, found: Calibration) -> Markup:
    columns = [Column("scores"), *(Column(title, number=True) for title in ("detections", "mean score", "right"))]
    rows = [
        (
            f"{low:.2g} to {high:.2g}",
            f"{count:,}",
            figure(score),
            figure(right),
        )
        for low, high, count, score, right in zip(
            found.edges, found.edges[1:], found.counts, found.mean_score, found.precision, strict=False
        )
    ]
    return pages.table(columns, rows, caption=f"Scores of {name} and the share that is right", hide_caption=True)


def _calibration_in_words(name: str, found: Calibration) -> str:
    start = f"{name}: " if name else "All in all: "
    total = int(found.counts.sum())
    if total == 0:
        return f"{start}no detections, or scores that do not lie between 0 and 1."
    return f"{start}score and share of right ones differ by {figure(found.expected_error)} on average."
