"""How much the size and the shape of objects matter (Figures 4 and 6 of the SSD paper)."""

from collections.abc import Callable, Sequence

import numpy as np

from ssd_jax import page as pages
from ssd_jax.analysis.types import Bin, ClassAnalysis, Sensitivity
from ssd_jax.commands.report.run import Choice, Run, figure
from ssd_jax.page import Column, Content, Markup, Range, RangeGroup, RangeSeries, Section

_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Property -> what its bins are called.
_BINS = {
    "area": "XS, extra small; S, small; M, medium; L, large; XL, extra large",
    "aspect ratio": "XT, extra tall; T, tall; M, medium; W, wide; XW, extra wide",
}


def sensitivity(runs: Sequence[Run], picks: Sequence[Choice], left_out: Content) -> Section:
    """Returns normalized AP on the smallest to the largest, and the narrowest to the widest objects of each class."""
    intro = pages.text(
        "The objects of each class are sorted into five bins: the tenth that is smallest (or narrowest), the next "
        "fifth, the middle two fifths, a fifth, the last tenth. A point is the AP on the objects of one bin, "
        "normalized so that bins of different sizes can be compared; its bar is the standard error, the dashed line "
        "the AP on all objects. Falling to the left: small (or narrow) objects are harder. A level line: it does not "
        "matter."
    )
    keys = pages.legend([(style, run.name) for style, run in enumerate(runs)]) if len(runs) > 1 else None
    parts = [
        _property(runs, picks, "area", lambda findings: findings.area),
        _property(runs, picks, "aspect ratio", lambda findings: findings.aspect_ratio),
    ]
    return pages.section("Size and shape of objects", intro, left_out, keys, parts)


def _property(
    runs: Sequence[Run], picks: Sequence[Choice], name: str, of: Callable[[ClassAnalysis], Sensitivity]
) -> Markup:
    groups = [
        RangeGroup(
            pick.title,
            [
                RangeSeries(run.name, [_range(one) for one in of(findings).bins], of(findings).overall, style)
                for style, (run, findings) in enumerate(zip(runs, pick.findings, strict=True))
            ],
        )
        for pick in picks
        if any(np.isfinite(of(findings).overall) for findings in pick.findings)
    ]
    title = f"Normalized AP by {name}"
    chart = pages.range_chart(groups, y_axis=pages.axis_at(_QUARTERS), title=title, y_label="normalized AP")
    tables = [
        pages.details(f"{title} in numbers{f': {run.name}' if len(runs) > 1 else ''}", _table(run, title, of))
        for run in runs
    ]
    caption = f"Normalized AP, from 0 to 1. {_BINS[name]}."
    return pages.subsection(f"By {name}", pages.drawing(chart, caption=caption), tables)


def _range(found: Bin) -> Range:
    low, high = (float(np.clip(found.ap + sign * found.error, 0, 1)) for sign in (-1, 1))
    return Range(found.name, found.ap, low, high)


def _table(run: Run, title: str, of: Callable[[ClassAnalysis], Sensitivity]) -> Markup:
    names = [one.name for one in of(run.analysis.overall).bins]
    columns = [Column("class"), *(Column(name, number=True) for name in (*names, "all objects"))]
    rows = [[findings.name, *_cells(of(findings))] for findings in run.analysis.classes]
    return pages.table(
        columns,
        rows,
        caption=title,
        hide_caption=True,
        footer=["mean", *_cells(of(run.analysis.overall))],
        sortable=True,
        searchable=True,
    )


def _cells(found: Sensitivity) -> list[str]:
    return [*(figure(one.ap) for one in found.bins), figure(found.overall)]
