"""The table of all classes, one run's or several runs' beside each other."""

from collections.abc import Sequence

import numpy as np

from ssd_jax import page as pages
from ssd_jax.commands.report.run import Run, difference, figure
from ssd_jax.page import Column, Content, Markup, Section
from ssd_jax.visualize import class_color


def per_class(runs: Sequence[Run]) -> Section:
    """Returns the figures of every class."""
    if len(runs) == 1:
        return pages.section("Classes", pages.text(_REMARK), _one(runs[0]))
    figures = [("area AP", [run.voc.ap_area for run in runs]), ("VOC07 11-point AP", [r.voc.ap_11point for r in runs])]
    coco_aps = [run.coco.class_ap for run in runs if run.coco is not None]
    if len(coco_aps) == len(runs):
        figures.append(("COCO AP", coco_aps))
    figures.append(("recall", [run.voc.recall for run in runs]))
    panels = [(name, _compared(runs, name, values)) for name, values in figures]
    remark = pages.text(f"Differences are to the first run, {runs[0].name}. {_REMARK}")
    return pages.section("Classes", remark, pages.choice("Figures of each class", panels, label="Figure"))


def _one(run: Run) -> Markup:
    voc = run.voc
    columns = [Column("class"), Column("area AP", bar=True), Column("VOC07 11-point", number=True)]
    if run.coco is not None:
        columns += [Column("COCO AP", number=True), Column("COCO AP50", number=True)]
    columns += [Column(title, number=True) for title in ("recall", "objects", "difficult", "detections")]
    rows = []
    for place, name in enumerate(voc.class_names):
        cells: list[Content] = [
            _named(place, name),
            pages.bar(*_bar(voc.ap_area[place])),
            figure(voc.ap_11point[place]),
        ]
        if run.coco is not None:
            cells += [figure(run.coco.class_ap[place]), figure(run.coco.class_ap50[place])]
        cells.append(figure(voc.recall[place]))
        counts = (voc.num_ground_truth, voc.num_difficult, voc.num_detections)
        cells += [f"{count[place]:,}" for count in counts]
        rows.append(cells)
    footer: list[Content] = ["mean, or all", pages.bar(*_bar(voc.map_area)), figure(voc.map_11point)]
    if run.coco is not None:
        footer += [figure(run.coco.ap), figure(run.coco.ap50)]
    totals = (voc.num_ground_truth, voc.num_difficult, voc.num_detections)
    footer += [figure(_mean(voc.recall)), *(f"{count.sum():,}" for count in totals)]
    return pages.table(
        columns,
        rows,
        caption="Figures of each class",
        footer=footer,
        sortable=True,
        searchable=True,
    )


_REMARK = (
    "Recall: share of the objects found at any score. A class without objects has no AP and is left out of the means."
)


def _compared(runs: Sequence[Run], name: str, values: Sequence[np.ndarray]) -> Markup:
    columns = [Column("class"), Column("objects", number=True)]
    for place, run in enumerate(runs):
        columns.append(Column(run.name, number=True))
        columns += [Column("difference", number=True)] if place else []
    rows = [
        [_named(place, title), f"{runs[0].voc.num_ground_truth[place]:,}", *_cells([one[place] for one in values])]
        for place, title in enumerate(runs[0].voc.class_names)
    ]
    footer = ["mean, or all", f"{runs[0].voc.num_ground_truth.sum():,}", *_cells([_mean(one) for one in values])]
    return pages.table(
        columns,
        rows,
        caption=f"{name} of each class",
        footer=footer,
        sortable=True,
        searchable=True,
    )


def _cells(values: Sequence[float]) -> list[Content]:
    """Returns the figures of the runs, each but the first followed by its difference to the first."""
    cells: list[Content] = [figure(values[0])]
    for value in values[1:]:
        cells += [figure(value), difference(value, values[0])]
    return cells


def _bar(value: float) -> tuple[float, float, str]:
    return (value if np.isfinite(value) else 0.0), 1.0, figure(value)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _named(place: int, name: str) -> Markup:
    return pages.with_swatch(class_color(place + 1), name)
