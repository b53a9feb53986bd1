"""Curves over steps, in SVG: one color a run, honest where there are more points than pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.page.axes import Axis, Tick, number
from ssd_jax.page.markup import Markup, element, join
from ssd_jax.page.style import NUM_CURVES

BUCKETS = 200  # into which the points of a long curve are gathered: fewer than two pixels each
_FEW = 60  # points up to which each is marked, and tells its value when pointed at

_WIDTH, _HEIGHT = 390.0, 210.0  # of the plot, in units of the drawing
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 26.0, 10.0, 42.0  # margins


class Curve(NamedTuple):
    """A line of a chart."""

    name: str
    steps: np.ndarray  # [N] rising
    values: np.ndarray  # [N]; nan interrupts the line
    style: int  # color and dashes: the number of the run
    secondary: bool = False  # drawn thinner, with dots: another measurement of the same run


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
    span = max(float(steps[-1] - steps[0]), 1.0)
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
    curves: Sequence[Curve], *, x_axis: Axis, y_axis: Axis, title: str, description: str, x_label: str, y_label: str
) -> Markup:
    """Returns the drawing of curves. A long one is the mean of neighbors, on a faint band of their range.

    Args:
      curves: the first lies on top.
      x_axis, y_axis: of ``axes.axis_for``.
      title: read aloud with the description instead of the drawing.
      description: what the curves show, in words.
      x_label, y_label: of the axes.
    """
    drawn = [_draw(curve, x_axis, y_axis) for curve in reversed(curves)]
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        element("rect", class_="plot", x=_text(_LEFT), y=_text(_TOP), width=_text(_WIDTH), height=_text(_HEIGHT)),
        [_tick_below(tick) for tick in x_axis.ticks],
        [_tick_beside(tick) for tick in y_axis.ticks],
        [band for band, _ in drawn],
        [line for _, line in drawn],
        element("text", x_label, x=_text(_LEFT + _WIDTH / 2), y=_text(height - 5), text_anchor="middle"),
        element(
            "text", y_label, text_anchor="middle", transform=f"translate(11 {_text(_TOP + _HEIGHT / 2)}) rotate(-90)"
        ),
        viewBox=f"0 0 {_text(width)} {_text(height)}",
        width=_text(width),
        height=_text(height),
        class_="curves",
        role="img",
        aria_label=title,
    )


def _draw(curve: Curve, x_axis: Axis, y_axis: Axis) -> tuple[Markup, Markup]:
    """Returns the band (or nothing) and the line of a curve."""
    look = style_class(curve.style)
    kind = "second " if curve.secondary else ""
    if is_long(curve):
        thinned = thin(curve.steps, curve.values)
        x = _across(x_axis, thinned.steps)
        band = element(
            "path", class_=f"band {look}", d=_area(x, *(_up(y_axis, y) for y in (thinned.low, thinned.high)))
        )
        return band, element("path", class_=f"curve {kind}{look}", d=_line(x, _up(y_axis, thinned.mean)))
    x, y = _across(x_axis, curve.steps), _up(y_axis, curve.values)
    line = element("path", class_=f"curve {kind}{look}", d=_line(x, y))
    dots = []
    if np.isfinite(y).sum() <= _FEW or curve.secondary:
        dots = [
            element(
                "circle",
                element("title", f"{curve.name}, step {step:,}: {number(float(value))}"),
                class_=f"dot {look}",
                cx=_text(cx),
                cy=_text(cy),
                r="2.2",
            )
            for step, value, cx, cy in zip(curve.steps.tolist(), curve.values, x, y, strict=True)
            if np.isfinite(cy)
        ]
    return join(), join(line, dots)


def style_class(style: int) -> str:
    """Returns the CSS classes of a run: its color and, once colors repeat, its dashes."""
    return f"color{style % NUM_CURVES} dash{style // NUM_CURVES % 3}"


def legend(names: Sequence[tuple[int, str]]) -> Markup:
    """Returns the names of runs (style, name), each behind a piece of its line."""
    return element("ul", [element("li", key(style, name)) for style, name in names], class_="legend")


def key(style: int, name: str) -> Markup:
    """Returns the name of a run behind a piece of its line."""
    line = element("span", class_=f"key {style_class(style)}", aria_hidden="true")
    return element("span", line, element("span", name), class_="keyed")


def _across(axis: Axis, values: np.ndarray) -> np.ndarray:
    return _LEFT + axis.place(values.astype(np.float64)) * _WIDTH


def _up(axis: Axis, values: np.ndarray) -> np.ndarray:
    return _TOP + (1 - axis.place(values)) * _HEIGHT


def _line(x: np.ndarray, y: np.ndarray) -> str:
    """Returns the path through points; a nan interrupts it, a point alone becomes a dot."""
    return "".join(
        f"M{points[0]}h0" if len(points) == 1 else f"M{'L'.join(points)}"
        for points in ([_point(x[k], y[k]) for k in piece] for piece in _pieces(y))
    )


def _area(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """Returns the outline of what lies between two lines."""
    outline = ""
    for piece in _pieces(low):
        there, back = [_point(x[k], high[k]) for k in piece], [_point(x[k], low[k]) for k in piece[::-1]]
        outline += f"M{'L'.join(there + back)}Z"
    return outline


def _pieces(y: np.ndarray) -> list[list[int]]:
    """Returns the indices of each run of finite values."""
    finite = np.flatnonzero(np.isfinite(y))
    return [piece.tolist() for piece in np.split(finite, np.flatnonzero(np.diff(finite) > 1) + 1) if len(piece)]


def _tick_below(tick: Tick) -> Markup:
    place, label = tick
    x = _text(_LEFT + place * _WIDTH)
    line = element("path", class_="rule", d=f"M{x} {_text(_TOP)}v{_text(_HEIGHT)}")
    return join(line, element("text", label, x=x, y=_text(_TOP + _HEIGHT + 17), text_anchor="middle"))


def _tick_beside(tick: Tick) -> Markup:
    place, label = tick
    y = _TOP + (1 - place) * _HEIGHT
    line = element("path", class_="rule", d=f"M{_text(_LEFT)} {_text(y)}h{_text(_WIDTH)}")
    return join(line, element("text", label, x=_text(_LEFT - 6), y=_text(y + 4), text_anchor="end"))


def _point(x: float, y: float) -> str:
    return f"{x:.1f} {y:.1f}"


def _text(value: float) -> str:
    return f"{value:.4g}"
