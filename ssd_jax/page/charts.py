"""Heat maps in SVG: sharp at any size, in the page's colors, light or dark."""

from collections.abc import Callable, Sequence

import numpy as np

from ssd_jax.page.axes import Tick
from ssd_jax.page.frame import text
from ssd_jax.page.markup import Markup, element, join

_SIDE, _LEFT, _BOTTOM, _TOP = 360.0, 58.0, 46.0, 8.0  # of the plot and its margins, in units of the drawing
_LETTER = 6.4  # about the width of a letter
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
    cell_words: Callable[[int, int], str] | None = None,
) -> Markup:
    """Returns a square of cells, the stronger in color the more they count, with crosses on top.

    Labels below that would overlap are written upward, and the margins fit the longest. With names of classes this
    does for about 40; of more, nobody can read the labels.

    Args:
      counts: what each cell holds.
      title: read aloud instead of the drawing.
      x_label, y_label: of the axes.
      x_ticks, y_ticks: along them.
      crosses: (x, y), each in [0, 1] from the lower left corner.
      cell_words: what a cell (row, column) tells when pointed at.
    """
    rows, columns = counts.shape
    width, height = _SIDE / columns, _SIDE / rows
    left = max(_LEFT, _longest(y_ticks) + 34)
    upward = len(x_ticks) * (_longest(x_ticks) + 6) > _SIDE and len(x_ticks) > 1
    below = max(_BOTTOM, _longest(x_ticks) + 34) if upward else _BOTTOM
    strength = np.sqrt(counts / (counts.max(initial=0) or 1))  # by the root, few beside many can be seen
    cells = [
        element(
            "rect",
            element("title", cell_words(int(row), int(column))) if cell_words else None,
            class_="mark",
            x=text(left + column * width),
            y=text(_TOP + _SIDE - (row + 1) * height),
            width=text(width),
            height=text(height),
            opacity=text(_FAINTEST + (1 - _FAINTEST) * float(strength[row, column])),
        )
        for row, column in zip(*np.nonzero(counts), strict=True)
    ]
    beside = f"translate(14 {text(_TOP + _SIDE / 2)}) rotate(-90)"
    return element(
        "svg",
        element("title", title),
        element("rect", class_="plot", x=text(left), y=text(_TOP), width=text(_SIDE), height=text(_SIDE)),
        cells,
        [_cross(left, x, y) for x, y in crosses],
        [_tick_below(left, place, label, upward) for place, label in x_ticks],
        [_tick_beside(left, place, label) for place, label in y_ticks],
        element("text", x_label, x=text(left + _SIDE / 2), y=text(_TOP + _SIDE + below - 8), text_anchor="middle"),
        element("text", y_label, text_anchor="middle", transform=beside),
        viewBox=f"0 0 {text(left + _SIDE + 12)} {text(_TOP + _SIDE + below)}",
        width=text(left + _SIDE + 12),
        height=text(_TOP + _SIDE + below),
        role="img",
        aria_label=title,
    )


def _longest(ticks: Sequence[Tick]) -> float:
    """Returns about how much room the longest label takes."""
    return _LETTER * max((len(label) for _, label in ticks), default=0)


def _cross(left: float, x: float, y: float) -> Markup:
    right, top = left + x * _SIDE, _TOP + (1 - y) * _SIDE
    return element("path", class_="cross", d=f"M{text(right - 4)} {text(top)}h8M{text(right)} {text(top - 4)}v8")


def _tick_below(left: float, place: float, label: str, upward: bool) -> Markup:
    x, y = left + place * _SIDE, _TOP + _SIDE
    line = element("path", class_="axis", d=f"M{text(x)} {text(y)}v4")
    if upward:
        turned = f"translate({text(x + 4)} {text(y + 8)}) rotate(-90)"
        return join(line, element("text", label, transform=turned, text_anchor="end"))
    return join(line, element("text", label, x=text(x), y=text(y + 17), text_anchor="middle"))


def _tick_beside(left: float, place: float, label: str) -> Markup:
    x, y = left, _TOP + (1 - place) * _SIDE
    line = element("path", class_="axis", d=f"M{text(x)} {text(y)}h-4")
    return join(line, element("text", label, x=text(x - 8), y=text(y + 4), text_anchor="end"))
