"""Draws the curves of one or several runs on one page: losses, figures of evaluations, norms, speed.

python -m ssd_jax.commands.plot WORKDIR... [--output=FILE.html]

The page needs no network and no other file. It shows what the runs have logged so far (their
metrics.jsonl), also while they train or after they were killed. Default: WORKDIR/plot.html for one
run, runs/plot.html for several.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from ssd_jax import files
from ssd_jax import page as pages
from ssd_jax.commands import cli, metrics_log
from ssd_jax.commands.quantities import GROUPS, OTHER, VALIDATION, Quantity
from ssd_jax.errors import InputError
from ssd_jax.page import Column, Curve, Markup, Section

FLAGS = flags.FLAGS


class Run(NamedTuple):
    """A run and what it has logged."""

    name: str
    lines: list[dict[str, Any]]


class Chart(NamedTuple):
    """A quantity, and the curves of the runs that have it."""

    quantity: Quantity
    curves: list[Curve]


def define_flags(_) -> None:
    """Defines the options; not at import, so that other programs may import this module."""
    flags.DEFINE_string("output", None, "The page; default: WORKDIR/plot.html, of several runs runs/plot.html.")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    folders = [Path(argument).expanduser() for argument in argv[1:]]
    runs, remarks = read_runs(folders)
    output = Path(FLAGS.output or (folders[0] / "plot.html" if len(folders) == 1 else "runs/plot.html")).expanduser()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output: {output.parent} cannot be created ({error.strerror})") from error
    for remark in remarks:
        print(f"note: {remark}")
    files.write_text(output, write_page(runs, remarks))
    print(f"page: {output}")
    return 0


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Reads the logs of runs.

    Returns:
      Those that have logged anything, and remarks on what could not be used.

    Raises:
      InputError: a folder has no log, or none of the logs has a line.
    """
    runs, remarks = [], []
    for name, folder in zip(distinct_names(folders), folders, strict=True):
        path = folder / metrics_log.NAME
        reading = metrics_log.read(path)
        if reading.is_torn:
            remarks.append(f"{path}: the last line is cut off and left out; the run was killed or is just writing it")
        if reading.unusable:
            some = ", ".join(map(str, reading.unusable[:5])) + (", ..." if len(reading.unusable) > 5 else "")
            remarks.append(f"{path}: {len(reading.unusable)} lines are no JSON objects with a step, left out: {some}")
        if reading.lines:
            runs.append(Run(name, reading.lines))
        else:
            remarks.append(f"{path}: nothing is logged yet")
    if not runs:
        raise InputError("; ".join(remarks))
    return runs, remarks


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Returns the last parts of the paths, as many of each as tell all apart; a folder given twice keeps its name."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def gather_charts(runs: Sequence[Run]) -> dict[str, list[Chart]]:
    """Returns the charts of each group that have a curve."""
    fields = dict.fromkeys(field for run in runs for line in run.lines for field in line)
    known = {field for group in GROUPS.values() for field in group}
    others = {
        field: Quantity(field.replace("_", " "))
        for field in fields
        if field not in known | {"step", "event"} and field.removeprefix(VALIDATION) not in known
    }
    charts = {}
    for title, quantities in GROUPS.items():
        wanted = quantities | others if title == OTHER else quantities
        found = [Chart(quantity, _curves(runs, field, quantity.scale)) for field, quantity in wanted.items()]
        charts[title] = [chart for chart in found if chart.curves]
    return {title: found for title, found in charts.items() if found}


def _curves(runs: Sequence[Run], field: str, scale: float) -> list[Curve]:
    curves = []
    for style, run in enumerate(runs):
        for name, suffix in ((field, ""), (VALIDATION + field, " (validation)")):
            steps, values = metrics_log.series(run.lines, name)
            if np.isfinite(values).any():
                curves.append(Curve(run.name + suffix, steps, scale * values, style, secondary=bool(suffix)))
    return curves


def write_page(runs: Sequence[Run], remarks: Sequence[str]) -> str:
    """Returns the page as an HTML document."""
    charts = gather_charts(runs)
    steps = np.array([0, *(line["step"] for run in runs for line in run.lines)], np.float64)
    x_axis = pages.axis_for(steps, logarithmic=False, ticks=6)
    sections = [_overview(runs)]
    sections += [_charts(title, group, x_axis, len(runs) > 1) for title, group in charts.items()]
    if charts:
        sections.append(_values(charts))
    return pages.page(
        f"Training of {runs[0].name}" if len(runs) == 1 else f"Training of {len(runs)} runs",
        sections,
        subtitle="What was logged, step by step.",
        lead=pages.callout("warning", "Not everything could be read", pages.bullets(remarks)) if remarks else None,
        footer="Made by python -m ssd_jax.commands.plot from metrics.jsonl.",
    )


def _overview(runs: Sequence[Run]) -> Section:
    columns = [Column("run"), *(Column(title, number=True) for title in ("last step", "lines", "skipped steps"))]
    columns.append(Column("unreadable images", number=True))
    rows = []
    for style, run in enumerate(runs):
        skipped = [line for line in run.lines if line.get("event") == "skipped_step"]
        unread = [line for line in run.lines if line.get("event") == "skipped_images"]
        images = sum(len(line["images"]) for line in unread if isinstance(line.get("images"), list))
        last = max(line["step"] for line in run.lines)
        cells = [f"{count:,}" for count in (last, len(run.lines), len(skipped), images)]
        rows.append([pages.key(style, run.name), *cells])
    return pages.section("Runs", pages.table(columns, rows, caption="Runs", hide_caption=True))


def _charts(title: str, charts: Sequence[Chart], x_axis: pages.Axis, with_legend: bool) -> Section:
    return pages.section(title, pages.side_by_side(*(_figure(chart, x_axis, with_legend) for chart in charts)))


def _figure(chart: Chart, x_axis: pages.Axis, with_legend: bool) -> Markup:
    quantity, curves = chart
    y_axis = pages.axis_for(np.concatenate([curve.values for curve in curves]), logarithmic=quantity.logarithmic)
    label = ", ".join(filter(None, (quantity.unit, "logarithmic scale" if y_axis.logarithmic else "")))
    drawn = pages.line_chart(
        curves,
        x_axis=x_axis,
        y_axis=y_axis,
        title=quantity.title,
        description=" ".join(_in_words(curve) for curve in curves),
        x_label="step",
        y_label=label,
    )
    remarks = []
    if any(curve.secondary for curve in curves):
        remarks.append("With dots: of the evaluation data.")
    if longest := max((len(curve.steps) for curve in curves if pages.is_long(curve)), default=0):
        remarks.append(
            f"Line: mean of up to {-(-longest // pages.BUCKETS):,} neighboring values; band: from the smallest to the "
            "largest of them."
        )
    keys = pages.legend([(curve.style, curve.name) for curve in curves if not curve.secondary]) if with_legend else None
    return pages.subsection(quantity.title, pages.drawing(drawn, caption=pages.join(" ".join(remarks), keys)))


class _Summary(NamedTuple):
    """What is said of a curve in words."""

    step: int  # the last
    last: float
    low: float
    low_step: int
    high: float
    high_step: int


def _summarize(curve: Curve) -> _Summary:
    """Summarizes a curve with at least one finite value."""
    finite = np.isfinite(curve.values)
    steps, values = curve.steps[finite], curve.values[finite]
    low, high = int(values.argmin()), int(values.argmax())
    return _Summary(*(x.item() for x in (steps[-1], values[-1], values[low], steps[low], values[high], steps[high])))


def _in_words(curve: Curve) -> str:
    found = _summarize(curve)
    return (
        f"{curve.name}: {pages.number(found.last)} at step {found.step:,}; between {pages.number(found.low)} at step "
        f"{found.low_step:,} and {pages.number(found.high)} at step {found.high_step:,}."
    )


def _values(charts: dict[str, list[Chart]]) -> Section:
    titles = ("last", "at step", "lowest", "at step", "highest", "at step")
    columns = [Column("quantity"), Column("run"), *(Column(title, number=True) for title in titles)]
    rows = []
    for chart in (chart for group in charts.values() for chart in group):
        for curve in chart.curves:
            step, last, low, low_step, high, high_step = _summarize(curve)
            numbers = [pages.number(last), f"{step:,}", pages.number(low), f"{low_step:,}"]
            numbers += [pages.number(high), f"{high_step:,}"]
            name = ", ".join(filter(None, (chart.quantity.title, chart.quantity.unit)))
            rows.append([name, pages.key(curve.style, curve.name), *numbers])
    table = pages.table(columns, rows, caption="The same in numbers", remark="Values that are not finite do not count.")
    return pages.section("Values", table)


if __name__ == "__main__":
    cli.run(main, prepare=define_flags, positional=("WORKDIR...",))
