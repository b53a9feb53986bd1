"""A page with everything that the room ``ssd_jax.page`` can draw, as an evaluation would fill it."""

import io

import numpy as np
from PIL import Image, ImageDraw

from ssd_jax import page as pages
from ssd_jax.page import Band, Column, Curve, Overlay, Range, RangeGroup, RangeSeries, Reference, Thumb, cell

CLASSES = ("aeroplane", "bicycle", "bird", "dining table", "tv/monitor")
RUNS = ("ssd300", "ssd512")
BINS = ("XS", "S", "M", "L", "XL")


def picture(k):
    """A JPEG of k circles, (height, width)."""
    size = (180, 260) if k % 3 else (260, 180)
    image = Image.new("RGB", size[::-1], (60 + 12 * k, 110, 190 - 10 * k))
    draw = ImageDraw.Draw(image)
    for place in range(k + 1):
        draw.ellipse((12 * place, 9 * place, 12 * place + 60, 9 * place + 60), outline=(255, 240, 120), width=3)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=60)
    return buffer.getvalue(), size


def thumbs(count):
    """Pictures of the first three classes in turn."""
    made = []
    for k in range(count):
        data, size = picture(k)
        name = CLASSES[k % 3]
        made.append(Thumb(data, size, f"{k + 1} circles", [name, f", score 0.{90 - k}"], frozenset([name])))
    return made


def class_table():
    rows = []
    for k, name in enumerate(CLASSES):
        value = (0.71, 0.705, np.nan, 0.9, 0.0312)[k]
        shown = cell("-" if np.isnan(value) else f"{100 * value:.1f}", value)
        objects = (285, 1_337, 0, 206, 308)[k]
        bar = pages.bar(objects, 1337, f"{objects:,}")
        rows.append([pages.key(k, name), shown, bar, ("95%", "100%", "-", "9%", "")[k]])
    columns = [Column("class"), Column("AP", number=True), Column("objects", bar=True), Column("recall", number=True)]
    footer = ["mean", "58.7", "2,136", "76%"]
    return pages.table(columns, rows, caption="Each class", footer=footer, sortable=True, searchable=True)


def curves(k):
    """Precision over recall of class k for both runs, the second of many points."""
    words = dict(title=f"Precision and recall of {CLASSES[k]}", description="Falls.", x_label="recall")
    lines = []
    for style, count in enumerate((40, 1500)):
        recall = np.linspace(0, 0.9 - 0.05 * k, count)
        wave = 0.03 * np.sin(recall * 80) * recall
        lines.append(Curve(RUNS[style], recall, np.clip(1 - recall ** (3 + style) + wave, 0, 1), style))
    axis = pages.axis_at(np.linspace(0, 1, 6))
    references = [Reference("threshold of the best F1", (0.6, 0), (0.6, 1))]
    drawn = pages.line_chart(lines, x_axis=axis, y_axis=axis, y_label="precision", references=references, **words)
    return pages.drawing(drawn, caption=pages.legend(list(enumerate(RUNS))))


def stack(k):
    """Cumulative error types of class k as in the paper's Figure 3."""
    x = np.geomspace(0.125, 8, 100)
    correct = 0.92 / (1 + (x / (2 + k)) ** 1.4)
    rest = 1 - correct
    shares = (correct, 0.35 * rest, 0.2 * rest, 0.1 * rest, 0.35 * rest)
    names = ("correct", "localization", "similar", "other", "background")
    bands = [Band(name, share, style) for style, (name, share) in enumerate(zip(names, shares, strict=True))]
    recall = np.minimum(0.95, 0.8 * x**0.6)
    lines = [Overlay("recall (strong)", 0.85 * recall), Overlay("recall (weak)", recall, dashed=True)]
    drawn = pages.stacked_chart(
        bands,
        x,
        x_axis=pages.axis_at([0.125, 0.25, 0.5, 1, 2, 4, 8], logarithmic=True),
        y_axis=pages.axis_at(np.linspace(0, 1, 6)),
        title=f"Types of detections of {CLASSES[k]}",
        description="The share of correct ones falls.",
        x_label="detections (x the objects)",
        y_label="share",
        lines=lines,
    )
    return pages.drawing(drawn, caption=pages.stack_legend(bands, lines))


def ranges():
    groups = []
    for k, name in enumerate(CLASSES):
        series = []
        for style, run in enumerate(RUNS):
            values = np.linspace(0.2 + 0.1 * style, 0.8, 5) - 0.03 * k
            bins = [Range(label, value, value - 0.06, value + 0.05) for label, value in zip(BINS, values, strict=True)]
            if k == 2:
                bins[0] = Range("XS", np.nan, np.nan, np.nan)
            series.append(RangeSeries(run, bins, float(values.mean()), style))
        groups.append(RangeGroup(name, series))
    chart = pages.range_chart(groups, y_axis=pages.axis_at([0, 0.5, 1]), title="By box area", y_label="AP")
    return pages.drawing(chart, caption=pages.range_legend(list(enumerate(RUNS))))


def confusion():
    names = [*CLASSES, *(f"a class {k}" for k in range(15)), "background"]
    counts = np.random.default_rng(0).poisson(1, (21, 21)) + 60 * np.eye(21, dtype=int)
    below = [((k + 0.5) / 21, name) for k, name in enumerate(names)]
    beside = [(1 - place, name) for place, name in below]
    chart = pages.heat_map(
        counts[::-1],
        title="Confusion",
        x_label="detected as",
        y_label="object",
        x_ticks=below,
        y_ticks=beside,
        cell_words=lambda row, column: f"{names[20 - row]} as {names[column]}: {counts[20 - row, column]}",
    )
    return pages.drawing(chart, caption="The stronger the color, the more often.")


def write(path):
    """Writes the page and returns its path."""
    panels = [(name, pages.side_by_side(curves(k), stack(k))) for k, name in enumerate(CLASSES)]
    notes = [(name, pages.text(f"Remark on {name}.")) for name in CLASSES[::-1]]
    sections = [
        pages.section("Classes", class_table()),
        pages.section("Curves", pages.choice("One class", panels, label="Class", group="class")),
        pages.section("Remarks", pages.choice("In words", notes, label="Class", group="class")),
        pages.section(
            "Ways to count",
            pages.choice("Rules", [("11 points", pages.text("VOC2007")), ("area", "VOC2012")], label="Rule"),
        ),
        pages.section(
            "Pictures",
            pages.gallery(thumbs(10), caption="Background found", group="class"),
            pages.gallery(thumbs(2), caption="Best"),
            pages.gallery([], caption="Missed"),
        ),
        pages.section("By size", ranges()),
        pages.section("Confusion", pages.side_by_side(confusion(), pages.text("The most confused pairs."))),
    ]
    path.write_text(pages.page("A sample", sections, subtitle="Of everything.", footer="Made by a test."), "utf-8")
    return path
