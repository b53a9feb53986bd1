"""Values with their uncertainty, bin by bin and class by class, in SVG (Figures 4 and 6 of the SSD paper)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.page import frame
from ssd_jax.page.axes import Axis, number
from ssd_jax.page.curves import style_class
from ssd_jax.page.markup import Content, Markup, element, join

_BIN, _HEIGHT = 30.0, 130.0  # width of a bin and height of the plot, in units of the drawing
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 8.0, 26.0, 24.0  # margins
_APART = 7.0  # distance of the points of neighboring runs
# Circle, square, triangle, diamond, as paths from their middle.
_MARKERS = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
    "m-2.7 -2.7h5.4v5.4h-5.4z",
    "m0 -3.6l3.6 6.4h-7.2z",
    "m0 -4l4 4l-4 4l-4 -4z",
)


class Range(NamedTuple):
    """A value with its uncertainty; nan: there is none, such as for a bin without objects."""

    label: str  # of the bin, such as "XS"
    value: float
    low: float
    high: float


class RangeSeries(NamedTuple):
    """The bins of one run."""

    name: str
    ranges: Sequence[Range]
    overall: float  # drawn as a dashed line
    style: int = 0  # color: the number of the run


class RangeGroup(NamedTuple):
    """What is drawn together, such as a class."""

    name: str
    series: Sequence[RangeSeries]  # all of the same bins


def range_chart(groups: Sequence[RangeGroup], *, y_axis: Axis, title: str, y_label: str) -> Markup:
    """Returns one small drawing a group, beside each other as far as the screen allows, all with the same axis.

    Args:
      groups: in order.
      y_axis: of the room ``axes``.
      title: read aloud, with the name of the group and all its values, instead of a drawing.
      y_label: what the values are; read aloud, and for the caption to say.

    Raises:
      ValueError: two runs of a group have different bins.
    """
    return element("div", [_group(group, y_axis, title, y_label) for group in groups], class_="multiples")


def _group(group: RangeGroup, y_axis: Axis, title: str, y_label: str) -> Markup:
    labels = [[one.label for one in series.ranges] for series in group.series] or [[]]
    if any(other != labels[0] for other in labels):
        raise ValueError(f"groups: {group.name} has runs with different bins, {' and '.join(map(str, labels))}")
    width = _BIN * max(len(labels[0]), 1)
    drawn = [_series(series, k, len(group.series), y_axis, width) for k, series in enumerate(group.series)]
    total = _LEFT + width + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    return element(
        "svg",
        element("title", f"{title}: {group.name}"),
        element("desc", " ".join(_in_words(series, y_label) for series in group.series)),
        element("text", group.name, class_="heading", x=frame.text(_LEFT), y="15"),
        element(
            "rect",
            class_="plot",
            x=frame.text(_LEFT),
            y=frame.text(_TOP),
            width=frame.text(width),
            height=frame.text(_HEIGHT),
        ),
        [_tick(place, label, width) for place, label in y_axis.ticks],
        [_bin_label(label, k) for k, label in enumerate(labels[0])],
        drawn,
        viewBox=f"0 0 {frame.text(total[0])} {frame.text(total[1])}",
        width=frame.text(total[0]),
        height=frame.text(total[1]),
        role="img",
        aria_label=f"{title}: {group.name}",
    )


def _series(series: RangeSeries, position: int, count: int, y_axis: Axis, width: float) -> Content:
    look = style_class(series.style)
    middle = _LEFT + _BIN * (np.arange(len(series.ranges)) + 0.5) + _APART * (position - (count - 1) / 2)
    value, low, high, overall = (
        _TOP + (1 - y_axis.place(np.array(values, np.float64))) * _HEIGHT
        for values in (
            [one.value for one in series.ranges],
            [one.low for one in series.ranges],
            [one.high for one in series.ranges],
            [series.overall],
        )
    )
    bars = "".join(
        f"M{frame.text(x - 3)} {frame.text(top)}h6m-3 0V{frame.text(bottom)}m-3 0h6"
        for x, bottom, top in zip(middle, low, high, strict=True)
        if np.isfinite(bottom) and np.isfinite(top)
    )
    points = [
        _marker(series.style, x, y, element("title", f"{series.name}, {_range_in_words(one)}"))
        for one, x, y in zip(series.ranges, middle, value, strict=True)
        if np.isfinite(y)
    ]
    line = None
    if np.isfinite(overall[0]):
        path = f"M{frame.text(_LEFT)} {frame.text(overall[0])}h{frame.text(width)}"
        words = element("title", f"{series.name}, all: {number(series.overall)}")
        line = element("path", words, class_=f"overall {look}", d=path)
    return join(
        line,
        element("path", class_=f"joined {look}", d=frame.line(middle, value)),
        element("path", class_=f"whiskers {look}", d=bars),
        points,
    )


def range_legend(names: Sequence[tuple[int, str]]) -> Markup:
    """Returns the names of runs (style, name), each behind its marker."""
    items = []
    for style, name in names:
        drawn = element("svg", _marker(style, 13, 8), class_="swatch-drawn", viewBox="0 0 26 16", aria_hidden="true")
        items.append(element("li", element("span", drawn, element("span", name), class_="keyed")))
    return element("ul", items, class_="legend")


def _marker(style: int, x: float, y: float, *content: Content) -> Markup:
    """Returns the point of a run; its shape, too, tells it from its neighbors."""
    path = f"M{frame.text(x)} {frame.text(y)}{_MARKERS[style % len(_MARKERS)]}"
    return element("path", *content, class_=f"marker {style_class(style)}", d=path)


def _tick(place: float, label: str, width: float) -> Markup:
    y = _TOP + (1 - place) * _HEIGHT
    rule = element("path", class_="rule", d=f"M{frame.text(_LEFT)} {frame.text(y)}h{frame.text(width)}")
    return join(rule, element("text", label, x=frame.text(_LEFT - 5), y=frame.text(y + 4), text_anchor="end"))


def _bin_label(label: str, position: int) -> Markup:
    x, y = _LEFT + _BIN * (position + 0.5), _TOP + _HEIGHT + 16
    return element("text", label, x=frame.text(x), y=frame.text(y), text_anchor="middle")


def _in_words(series: RangeSeries, y_label: str) -> str:
    parts = "; ".join(_range_in_words(one) for one in series.ranges)
    return f"{series.name}, {y_label}: {parts}; all: {number(series.overall)}."


def _range_in_words(one: Range) -> str:
    around = f" ({number(one.low)} to {number(one.high)})" if np.isfinite(one.low) and np.isfinite(one.high) else ""
    return f"{one.label}: {number(one.value)}{around}"
