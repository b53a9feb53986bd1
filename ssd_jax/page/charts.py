"""Drawings in SVG for :mod:`ssd_jax.visualize.page`: sharp at any size, in the page's colors, light or dark."""

from collections.abc import Sequence

import numpy as np

from ssd_jax.page.axes import Tick
from ssd_jax.page.markup import Markup, element, join

_SIDE, _LEFT, _BOTTOM, _TOP = 360.0, 58.0, 46.0, 8.0  # of the plot and its margins, in units of the drawing
_FAINTEST = 0.12  # opacity of a cell that is not empty: a single one is still to be seen


def heat_map(
    counts: np.ndarray,  # [rows, columns] >= 0, the lowest row first
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[Tick],
    y_ticks: Sequence[Tick],
    crosses: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Returns a square of cells, the darker the more they count, with crosses on top.

    Args:
      counts: what each cell holds.
      title: read aloud instead of the drawing.
      x_label, y_label: of the axes.
      x_ticks, y_ticks: along them.
      crosses: (x, y), each in [0, 1] from the lower left corner.
    """
    rows, columns = counts.shape
    width, height = _SIDE / columns, _SIDE / rows
    strength = np.sqrt(counts / max(counts.max(initial=0), 1))  # by the root, few beside many can be seen
    cells = [
        element(
            "rect",
            class_="mark",
            x=_text(_LEFT + column * width),
            y=_text(_TOP + _SIDE - (row + 1) * height),
            width=_text(width),
            height=_text(height),
            opacity=_text(_FAINTEST + (1 - _FAINTEST) * strength[row, column]),
        )
        for row, column in zip(*np.nonzero(counts), strict=True)
    ]
    return element(
        "svg",
        element("title", title),
        element("rect", class_="plot", x=_text(_LEFT), y=_text(_TOP), width=_text(_SIDE), height=_text(_SIDE)),
        cells,
        [_cross(x, y) for x, y in crosses],
        [_tick_below(place, label) for place, label in x_ticks],
        [_tick_beside(place, label) for place, label in y_ticks],
        element("text", x_label, x=_text(_LEFT + _SIDE / 2), y=_text(_TOP + _SIDE + 38), text_anchor="middle"),
        element(
            "text", y_label, text_anchor="middle", transform=f"translate(14 {_text(_TOP + _SIDE / 2)}) rotate(-90)"
        ),
        viewBox=f"0 0 {_text(_LEFT + _SIDE + 12)} {_text(_TOP + _SIDE + _BOTTOM)}",
        width=_text(_LEFT + _SIDE + 12),
        height=_text(_TOP + _SIDE + _BOTTOM),
        role="img",
        aria_label=title,
    )


def _cross(x: float, y: float) -> Markup:
    left, top = _LEFT + x * _SIDE, _TOP + (1 - y) * _SIDE
    path = f"M{_text(left - 4)} {_text(top)}h8M{_text(left)} {_text(top - 4)}v8"
    return element("path", class_="cross", d=path)


def _tick_below(place: float, label: str) -> Markup:
    x, y = _LEFT + place * _SIDE, _TOP + _SIDE
    line = element("path", class_="axis", d=f"M{_text(x)} {_text(y)}v4")
    return join(line, element("text", label, x=_text(x), y=_text(y + 17), text_anchor="middle"))


def _tick_beside(place: float, label: str) -> Markup:
    x, y = _LEFT, _TOP + (1 - place) * _SIDE
    line = element("path", class_="axis", d=f"M{_text(x)} {_text(y)}h-4")
    return join(line, element("text", label, x=_text(x - 8), y=_text(y + 4), text_anchor="end"))


def _text(value: float) -> str:
    return f"{value:.4g}"
