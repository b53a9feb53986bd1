"""Curves in SVG: one color a run, honest where there are more points than pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.page import frame
from ssd_jax.page.axes import Axis, number
from ssd_jax.page.markup import Markup, element, join
from ssd_jax.page.style import NUM_CURVES

BUCKETS = 200  # into which the points of a long curve are gathered: fewer than two pixels each
_FEW = 60  # points up to which each is marked, and tells its value when pointed at


class Curve(NamedTuple):
    """A line of a chart."""

    name: str
    steps: np.ndarray  # [N] rising: where on the x axis, such as training steps or recall
    values: np.ndarray  # [N]; nan interrupts the line
    style: int  # color and dashes: the number of the run
    secondary: bool = False  # drawn thinner, with dots: another measurement of the same run


class Reference(NamedTuple):
    """A straight dashed line that curves are compared with, such as a diagonal or a threshold."""

    name: str  # told when pointed at
    start: tuple[float, float]  # x, y in the units of the axes
    end: tuple[float, float]


class Thinned(NamedTuple):
    """A curve in fewer points: the mean, smallest and largest value of neighbors."""

    steps: np.ndarray  # [B]
    mean: np.ndarray  # [B]
    low: np.ndarray  # [B]
    high: np.ndarray  # [B]


def thin(steps: np.ndarray, values: np.ndarray, buckets: int = BUCKETS) -> Thinned:
    """Gathers the points [N] of a curve in buckets of equal width.

    No extreme is lost: it is some bucket's low or high. Values that are not finite do not count; a bucket
    that holds nothing else is nan, an empty one is left out.
    """
    span = float(steps[-1] - steps[0]) or 1.0
    bucket = np.minimum(((steps - steps[0]) / span * buckets).astype(np.int64), buckets - 1)
    _, starts, sizes = np.unique(bucket, return_index=True, return_counts=True)
    finite = np.isfinite(values)
    count = np.add.reduceat(finite.astype(np.float64), starts)
    total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    nothing = count == 0
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    mean = np.where(nothing, np.nan, total / np.maximum(count, 1))
    centers = np.add.reduceat(steps.astype(np.float64), starts) / sizes
    return Thinned(centers, mean, np.where(nothing, np.nan, low), np.where(nothing, np.nan, high))


def is_long(curve: Curve) -> bool:
    """Whether a curve has so many points that it is thinned."""
    return len(curve.steps) > 2 * BUCKETS


def line_chart(
    curves: Sequence[Curve],
    *,
    x_axis: Axis,
    y_axis: Axis,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    references: Sequence[Reference] = (),
) -> Markup:
    """Returns the drawing of curves. A long one is the mean of neighbors, on a faint band of their range.

    Args:
      curves: the first lies on top.
      x_axis, y_axis: of the room ``axes``.
      title: read aloud with the description instead of the drawing.
      description: what the curves show, in words.
      x_label, y_label: of the axes; a dot tells its place by the first.
      references: below the curves.
    """
    drawn = [_draw(curve, x_axis, y_axis, x_label) for curve in reversed(curves)]
    return frame.frame(
        [_reference(reference, x_axis, y_axis) for reference in references],
        [band for band, _ in drawn],
        [line for _, line in drawn],
        x_axis=x_axis,
        y_axis=y_axis,
        title=title,
        description=description,
        x_label=x_label,
        y_label=y_label,
    )


def _reference(reference: Reference, x_axis: Axis, y_axis: Axis) -> Markup:
    ends = np.array([reference.start, reference.end], np.float64)
    path = frame.line(frame.across(x_axis, ends[:, 0]), frame.up(y_axis, ends[:, 1]))
    return element("path", element("title", reference.name), class_="reference", d=path)


def _draw(curve: Curve, x_axis: Axis, y_axis: Axis, x_label: str) -> tuple[Markup, Markup]:
    """Returns the band (or nothing) and the line of a curve."""
    look = style_class(curve.style)
    kind = "second " if curve.secondary else ""
    if is_long(curve):
        thinned = thin(curve.steps, curve.values)
        x = frame.across(x_axis, thinned.steps)
        low, mean, high = (frame.up(y_axis, y) for y in (thinned.low, thinned.mean, thinned.high))
        band = element("path", class_=f"band {look}", d=frame.area(x, low, high))
        return band, element("path", class_=f"curve {kind}{look}", d=frame.line(x, mean))
    x, y = frame.across(x_axis, curve.steps), frame.up(y_axis, curve.values)
    line = element("path", class_=f"curve {kind}{look}", d=frame.line(x, y))
    dots = []
    if np.isfinite(y).sum() <= _FEW or curve.secondary:
        dots = [
            element(
                "circle",
                element("title", f"{curve.name}, {x_label} {_place(step)}: {number(float(value))}"),
                class_=f"dot {look}",
                cx=frame.text(cx),
                cy=frame.text(cy),
                r="2.2",
            )
            for step, value, cx, cy in zip(curve.steps.tolist(), curve.values, x, y, strict=True)
            if np.isfinite(cy)
        ]
    return join(), join(line, dots)


def _place(step: float) -> str:
    """Returns a place on the x axis in words; a step is written in full."""
    return f"{step:,.0f}" if float(step).is_integer() else number(step)


def style_class(style: int) -> str:
    """Returns the CSS classes of a run: its color and dashes; of neighbors, both differ.

    Eight colors and three kinds of dashes have no common divisor, so 24 runs look different.
    """
    return f"color{style % NUM_CURVES} dash{style % 3}"


def legend(names: Sequence[tuple[int, str]]) -> Markup:
    """Returns the names of runs (style, name), each behind a piece of its line."""
    return element("ul", [element("li", key(style, name)) for style, name in names], class_="legend")


def key(style: int, name: str) -> Markup:
    """Returns the name of a run behind a piece of its line."""
    line = element("span", class_=f"key {style_class(style)}", aria_hidden="true")
    return element("span", line, element("span", name), class_="keyed")
