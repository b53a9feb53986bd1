"""What the errors are: kinds by class, their course as more detections are taken, what each costs."""

from collections.abc import Mapping, Sequence

import numpy as np

from ssd_jax import page as pages
from ssd_jax.analysis.types import FALSE, KEPT, REMEDIES, Analysis, ClassAnalysis, Distribution, Kind, Trend
from ssd_jax.commands.report.run import KINDS, Choice, Run, figure
from ssd_jax.page import Band, Column, Content, Markup, Overlay, Section

_RATIOS = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # ticks of Figure 3
_DRAWN_RUNS = 2  # whose Figure 3 is drawn: more do not fit beside each other
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Remedy -> heading of its column.
_HEADINGS = {"similar": "similar class", "other": "other class", "false positives": "all false positives"}


def kinds(runs: Sequence[Run]) -> Section:
    """Returns how many detections are right, and how the others are wrong, by class."""
    intro = pages.text(
        "Every detection is of one kind, after Hoiem et al. (ECCV 2012). Most detections have a low score and cost "
        "little: what each kind costs is said above."
    )
    bands = [Band(KINDS[kind][0], np.zeros(0), int(kind)) for kind in KEPT]
    meanings = pages.bullets(f"{name}: {meaning}." for name, meaning in KINDS.values())
    panels = [(run.name, _kinds_table(run.analysis)) for run in runs]
    tables = panels[0][1] if len(runs) == 1 else pages.choice("Of each run", panels, label="Run", group="run")
    comparison = _kinds_of_runs(runs) if len(runs) > 1 else None
    return pages.section("Kinds of detections", intro, pages.stack_legend(bands), meanings, comparison, tables)


def _kinds_table(analysis: Analysis) -> Markup:
    columns = [Column("class"), Column("shares", bar=True), *(Column(KINDS[kind][0], number=True) for kind in Kind)]
    return pages.table(
        columns,
        [[findings.name, *_kind_cells(findings.counts)] for findings in analysis.classes],
        caption="Detections of each class by kind",
        remark="All detections, whatever their score.",
        footer=["all", *_kind_cells(analysis.overall.counts)],
        sortable=True,
        searchable=True,
    )


def _kinds_of_runs(runs: Sequence[Run]) -> Markup:
    columns = [Column("run"), Column("shares", bar=True), *(Column(KINDS[kind][0], number=True) for kind in Kind)]
    rows = [
        [pages.key(style, run.name), *_kind_cells(run.analysis.overall.counts, shares=True)]
        for style, run in enumerate(runs)
    ]
    return pages.table(columns, rows, caption="Detections of all classes by kind, runs side by side")


def _kind_cells(counts: Mapping[Kind, int], *, shares: bool = False) -> list[Content]:
    kept = max(sum(counts.get(kind, 0) for kind in KEPT), 1)
    cells: list[Content] = [_stacked_bar(counts, kept)]
    for kind in Kind:
        count = counts.get(kind, 0)
        cells.append(f"{count:,} ({count / kept:.0%})" if shares and kind in KEPT else f"{count:,}")
    return cells


def _stacked_bar(counts: Mapping[Kind, int], kept: int) -> Markup:
    """Returns a bar of the shares of the kinds; the counts stand beside it, so it is not read aloud."""
    pieces = [
        pages.element("span", style=f"width:{100 * counts.get(kind, 0) / kept:.4g}%;{_fill(kind)}")
        for kind in KEPT
        if counts.get(kind, 0)
    ]
    style = "display:flex;min-width:8rem;height:.9rem;border-radius:.2rem;overflow:hidden;background:var(--track)"
    # Sorted by the share that is correct, as by a bar of the page.
    share = counts.get(Kind.CORRECT, 0) / kept
    return pages.element("span", pieces, style=style, aria_hidden="true", data_value=f"{share:.6g}")


def _fill(kind: Kind) -> str:
    """Returns the color of a kind as in the drawings, pale with a strong edge."""
    color = f"var(--curve{int(kind)})"
    return f"background:color-mix(in srgb,{color} 38%,var(--raised));border:1px solid {color}"


def course(runs: Sequence[Run], picks: Sequence[Choice], left_out: Content) -> Section:
    """Returns Figure 3 of the paper, for all classes, each group and each class."""
    intro = pages.text(
        "Detections are taken best score first. First drawing: what they are, as the number of those taken grows from "
        "an eighth of the number of objects to eight times as many; the wide area of correct ones on the left shows "
        "how far confident detections can be trusted. The solid line is the share of the objects found (IoU above "
        "0.5), the dashed one the same with an IoU above 0.1: where they lie far apart, boxes are misplaced. Second "
        "drawing: only the worst mistakes, the false positives with the best scores, by kind."
    )
    panels = [(pick.name, [_course_of(name, one) for name, one in _drawn(runs, pick)]) for pick in picks]
    chosen = pages.choice("Detections as more are taken", panels, label="Class or group", group="class")
    remark = None
    if len(runs) > _DRAWN_RUNS:
        remark = pages.text(f"Drawn for the first {_DRAWN_RUNS} of {len(runs)} runs.", faint=True)
    return pages.section("What the best detections are", intro, left_out, remark, chosen)


def _drawn(runs: Sequence[Run], pick: Choice) -> list[tuple[str, ClassAnalysis]]:
    """Returns what is drawn, and what it is called."""
    if len(runs) == 1:
        return [(pick.title, pick.findings[0])]
    pairs = zip(runs[:_DRAWN_RUNS], pick.findings[:_DRAWN_RUNS], strict=True)
    return [(f"{pick.title}, {run.name}", findings) for run, findings in pairs]


def _course_of(name: str, findings: ClassAnalysis) -> Markup:
    return pages.side_by_side(_trend(name, findings.trend), _distribution(name, findings.false_positives))


def _trend(name: str, trend: Trend) -> Markup:
    title = f"{name}: kinds of the detections taken"
    if not np.isfinite(trend.fractions).any():
        return pages.subsection(title, pages.text("There are too few detections for this drawing.", faint=True))
    bands = [Band(KINDS[kind][0], trend.fractions[:, place], int(kind)) for place, kind in enumerate(KEPT)]
    lines = [Overlay("recall, IoU above 0.5", trend.recall_strong), Overlay("IoU above 0.1", trend.recall_weak, True)]
    drawn = pages.stacked_chart(
        bands,
        trend.ratio,
        x_axis=pages.axis_at(_RATIOS, logarithmic=True),
        y_axis=pages.axis_at(_SHARES),
        title=title,
        description=_trend_in_words(trend),
        x_label="detections taken / objects",
        y_label="share of those taken",
        lines=lines,
    )
    ended = "Blank: there are no further detections." if np.isnan(trend.fractions[-1, 0]) else None
    return pages.subsection(title, pages.drawing(drawn, caption=pages.join(pages.stack_legend(bands, lines), ended)))


def _trend_in_words(trend: Trend) -> str:
    known = np.flatnonzero(np.isfinite(trend.fractions[:, 0]))
    sentences = []
    for place in (known[0], known[-1]):
        shares = ", ".join(f"{KINDS[kind][0]} {trend.fractions[place, k]:.0%}" for k, kind in enumerate(KEPT))
        recall = f"recall {figure(float(trend.recall_strong[place]), 2)}"
        sentences.append(f"With {trend.ratio[place]:.3g} detections an object: {shares}; {recall}.")
    return " ".join(sentences)


def _distribution(name: str, found: Distribution) -> Markup:
    title = f"{name}: kinds of the best-scored false positives"
    if len(found.counts) < 2:
        shares = "".join(
            f" Of the first {found.counts[0]:,}: "
            + ", ".join(f"{KINDS[kind][0]} {found.fractions[0, place]:.0%}" for place, kind in enumerate(FALSE))
            + "."
            for _ in found.counts
        )
        return pages.subsection(title, pages.text(f"There are too few for this drawing.{shares}", faint=True))
    bands = [Band(KINDS[kind][0], found.fractions[:, place], int(kind)) for place, kind in enumerate(FALSE)]
    ticks = [float(found.counts[0])]
    while ticks[-1] < found.counts[-1]:
        ticks.append(2 * ticks[-1])
    drawn = pages.stacked_chart(
        bands,
        found.counts.astype(np.float64),
        x_axis=pages.axis_at(ticks, logarithmic=True),
        y_axis=pages.axis_at(_SHARES),
        title=title,
        description="; ".join(
            f"of the first {found.counts[place]:,}: "
            + ", ".join(f"{KINDS[kind][0]} {found.fractions[place, k]:.0%}" for k, kind in enumerate(FALSE))
            for place in (0, -1)
        ),
        x_label="false positives, best score first",
        y_label="share of those taken",
    )
    return pages.subsection(title, pages.drawing(drawn, caption=pages.stack_legend(bands)))


def gains(runs: Sequence[Run]) -> Section:
    """Returns what mending each kind of error would add to AP."""
    intro = pages.text(
        "By how much the area AP would rise if one kind of error were mended and all else stayed. The gains are not "
        "added up: mending one kind changes what another costs."
    )
    columns = [Column("what is mended"), *(Column(run.name, bar=True) for run in runs)]
    overall = [run.analysis.overall.gains for run in runs]
    longest = max((value for one in overall for value in one.values() if np.isfinite(value)), default=0.0)
    rows = [
        [words, *(_gain_bar(one.get(name, np.nan), longest) for one in overall)] for name, words in REMEDIES.items()
    ]
    summary = pages.table(columns, rows, caption="Gain in area mAP", remark="All classes together.")
    panels = [(run.name, _gains_table(run.analysis)) for run in runs]
    table = panels[0][1] if len(runs) == 1 else pages.choice("Of each run", panels, label="Run", group="run")
    return pages.section("What mending would bring", intro, summary, table)


def _gain_bar(value: float, longest: float) -> Markup:
    return pages.bar(value if np.isfinite(value) else 0.0, longest, f"+{figure(value)}" if np.isfinite(value) else "-")


def _gains_table(analysis: Analysis) -> Markup:
    columns = [Column("class"), Column("area AP", number=True)]
    columns += [Column(_HEADINGS.get(name, name), number=True) for name in REMEDIES]
    rows = [
        [one.name, figure(one.ap_area), *(figure(one.gains.get(name, np.nan)) for name in REMEDIES)]
        for one in analysis.classes
    ]
    return pages.table(columns, rows, caption="Gain in area AP by class", sortable=True, searchable=True)
