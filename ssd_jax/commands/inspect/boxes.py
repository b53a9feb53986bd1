"""The part of the page of ``commands.inspect`` on boxes: their sizes, and how the default boxes suit them."""

from collections.abc import Sequence

import numpy as np

from ssd_jax import inspection
from ssd_jax import page as pages
from ssd_jax.commands.inspect.findings import Findings, SplitFindings
from ssd_jax.page import Column, Markup, Mood, Section, Tick, heat_map

CELLS = 32  # a side of the map of box shapes
SMALLEST = 4.0  # pixels of the input; the map's lower left corner
GOOD, FAIR = 0.95, 0.8  # shares of objects reached from which a bar is green, yellow


def shapes(findings: Findings) -> Section | None:
    """Returns how many boxes an image has, how large they are, and where the default boxes lie among them."""
    parts = [part for part in findings.splits if part.counts.num_objects]
    if not parts:
        return None
    part = parts[0]
    counted = pages.bar_chart(
        [(label, count, f"{count:,}") for label, count in part.counts.boxes_per_image],
        caption="Objects an image",
        of="objects",
        measure=f"images of {part.split}",
    )
    sides = pages.table(
        [Column("share of the objects"), Column("width at most", number=True), Column("height at most", number=True)],
        [(_percentile(p), f"{width:.1%}", f"{height:.1%}") for p, width, height in part.counts.box_sides],
        caption="Sides of the boxes",
        remark="Relative to the image.",
    )
    return pages.section("Boxes", pages.side_by_side([counted, sides], _shape_map(findings, part)))


def _percentile(value: int) -> str:
    return {0: "the smallest", 50: "half", 100: "all"}.get(value, f"{value} %")


def _shape_map(findings: Findings, part: SplitFindings) -> Markup | None:
    """Returns None where there is no network, hence no input to measure in."""
    network, input_size = findings.network, findings.input_size
    if network is None or input_size is None:
        return None
    height, width = input_size
    boxes = part.annotations.boxes
    sides = (boxes[:, 2:] - boxes[:, :2]) * [width, height]  # pixels of the input
    largest = float(max(width, height))
    places = _log_place(sides, largest).clip(0, 1 - 1e-9)
    counts = np.histogram2d(places[:, 1], places[:, 0], bins=CELLS, range=((0, 1), (0, 1)))[0]
    shapes = np.array([shape for level in network.model.levels for shape in level.shapes]).reshape(-1, 2)
    crosses = [(float(x), float(y)) for x, y in _log_place(shapes, largest) if max(x, y) <= 1]
    ticks: list[Tick] = [
        (float(_log_place(np.array(value), largest)), f"{value:g}")
        for value in (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
        if value <= largest
    ]
    drawing = heat_map(
        counts,
        title=f"Widths and heights of the {len(boxes):,} boxes of {part.split}, and the shapes of the default boxes.",
        x_label=f"width, pixels of the {width}x{height} input",
        y_label="height",
        x_ticks=ticks,
        y_ticks=ticks,
        crosses=crosses,
    )
    caption = (
        f"Blue: where the boxes of {part.split} lie by width and height. Crosses: the shapes of the recipe's "
        "default boxes. Blue far from any cross is what the network finds hard to learn."
    )
    return pages.drawing(drawing, caption=caption)


def _log_place(sides: np.ndarray, largest: float) -> np.ndarray:
    """Returns the place of lengths in pixels along an axis from SMALLEST to the largest, in powers."""
    return np.log(np.maximum(sides, SMALLEST) / SMALLEST) / np.log(largest / SMALLEST)


def default_boxes(findings: Findings) -> Section | None:
    """Returns which objects the default boxes reach, and the sizes that would reach more."""
    recall, network, suggestion = findings.recall, findings.network, findings.suggestion
    if recall is None or network is None or suggestion is None or not recall.num_boxes:
        return None
    height, width = findings.recipe["model"]["image_size"]
    threshold = findings.recipe["match"]["iou_threshold"]
    intro = pages.text(
        f"An object is reached if one of the {len(network.default_boxes):,} default boxes overlaps it with an IoU of "
        f"at least {threshold:g}. One that is not reached still gets its best default box, but no other. "
        f"Of the {recall.num_boxes:,} objects of {findings.splits[0].split} ",
        pages.element("b", f"{recall.share:.1%} are reached"),
        f"; the mean IoU with the best default box is {recall.mean_iou:.2f}.",
    )
    charts = pages.side_by_side(
        _share_table(
            recall.by_size, "Reached, by size", "size", f"Root of the area, pixels of the {width}x{height} input."
        ),
        _share_table(
            recall.by_aspect, "Reached, by aspect ratio", "width : height", "Of the box as the network sees it."
        ),
    )
    return pages.section("Default boxes", intro, charts, _suggestion(suggestion))


def _share_table(shares: Sequence[inspection.Share], caption: str, of: str, remark: str) -> Markup:
    rows = [
        (share.label, f"{share.count:,}", pages.bar(share.share, 1.0, f"{share.share:.0%}", mood=_mood(share.share)))
        for share in shares
    ]
    columns = [Column(of), Column("objects", number=True), Column("reached", bar=True)]
    return pages.table(columns, rows, caption=caption, remark=remark)


def _mood(share: float) -> Mood:
    return "good" if share >= GOOD else "warning" if share >= FAIR else "bad"


def _suggestion(suggestion: inspection.Suggestion) -> Markup:
    reason = f"{suggestion.reason[:1].upper()}{suggestion.reason[1:]}."
    lines = suggestion.config_lines()
    if not lines:
        return pages.subsection("Suggestion", pages.text(reason))
    columns = [Column(""), Column("objects reached", number=True), Column("mean best IoU", number=True)]
    columns.append(Column("default boxes", number=True))
    rows = [
        (
            label,
            f"{getattr(suggestion, f'recall_{when}'):.1%}",
            f"{getattr(suggestion, f'mean_iou_{when}'):.3f}",
            f"{getattr(suggestion, f'num_priors_{when}'):,}",
        )
        for label, when in (("as in the recipe", "before"), ("as suggested", "after"))
    ]
    return pages.subsection(
        "Suggestion",
        pages.text(reason, " Found by clustering the shapes of the boxes; give these lines to train.py:"),
        pages.code_block(lines, label="Options for train.py"),
        pages.table(columns, rows, caption="What they would change"),
    )
