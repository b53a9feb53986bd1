"""What charts with two axes share: the plot with its ticks and labels, and paths through points."""

import numpy as np

from ssd_jax.page.axes import Axis, Tick
from ssd_jax.page.markup import Content, Markup, element, join

WIDTH, HEIGHT = 390.0, 210.0  # of the plot, in units of the drawing
LEFT, RIGHT, TOP, BOTTOM = 60.0, 26.0, 10.0, 42.0  # margins


def frame(
    *inside: Content, x_axis: Axis, y_axis: Axis, title: str, description: str, x_label: str, y_label: str
) -> Markup:
    """Returns a drawing: the plot, its axes, and what is inside.

    Args:
      *inside: elements of SVG, placed by :func:`across` and :func:`up`.
      x_axis, y_axis: of the room ``axes``.
      title: read aloud with the description instead of the drawing.
      description: what is to be seen, in words.
      x_label, y_label: of the axes.
    """
    width, height = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    middle = f"translate(11 {text(TOP + HEIGHT / 2)}) rotate(-90)"
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        element("rect", class_="plot", x=text(LEFT), y=text(TOP), width=text(WIDTH), height=text(HEIGHT)),
        [_tick_below(tick) for tick in x_axis.ticks],
        [_tick_beside(tick) for tick in y_axis.ticks],
        *inside,
        element("text", x_label, x=text(LEFT + WIDTH / 2), y=text(height - 5), text_anchor="middle"),
        element("text", y_label, text_anchor="middle", transform=middle),
        viewBox=f"0 0 {text(width)} {text(height)}",
        width=text(width),
        height=text(height),
        class_="curves",
        role="img",
        aria_label=title,
    )


def across(axis: Axis, values: np.ndarray) -> np.ndarray:
    """Returns how far right values [N] lie in the drawing."""
    return LEFT + axis.place(values.astype(np.float64)) * WIDTH


def up(axis: Axis, values: np.ndarray) -> np.ndarray:
    """Returns how far down values [N] lie in the drawing, where y grows downward."""
    return TOP + (1 - axis.place(values.astype(np.float64))) * HEIGHT


def line(x: np.ndarray, y: np.ndarray) -> str:
    """Returns the path through points; a nan interrupts it, a point alone becomes a dot."""
    return "".join(
        f"M{points[0]}h0" if len(points) == 1 else f"M{'L'.join(points)}"
        for points in ([_point(x[k], y[k]) for k in piece] for piece in _pieces(y))
    )


def area(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """Returns the outline of what lies between two lines that are nan at the same places."""
    outline = ""
    for piece in _pieces(low):
        there, back = [_point(x[k], high[k]) for k in piece], [_point(x[k], low[k]) for k in piece[::-1]]
        outline += f"M{'L'.join(there + back)}Z"
    return outline


def text(value: float) -> str:
    """Returns a length as it is written in a drawing."""
    return f"{value:.4g}"


def _pieces(y: np.ndarray) -> list[list[int]]:
    """Returns the indices of each run of finite values."""
    finite = np.flatnonzero(np.isfinite(y))
    return [piece.tolist() for piece in np.split(finite, np.flatnonzero(np.diff(finite) > 1) + 1) if len(piece)]


def _point(x: float, y: float) -> str:
    return f"{x:.1f} {y:.1f}"


def _tick_below(tick: Tick) -> Markup:
    place, label = tick
    x = text(LEFT + place * WIDTH)
    rule = element("path", class_="rule", d=f"M{x} {text(TOP)}v{text(HEIGHT)}")
    return join(rule, element("text", label, x=x, y=text(TOP + HEIGHT + 17), text_anchor="middle"))


def _tick_beside(tick: Tick) -> Markup:
    place, label = tick
    y = TOP + (1 - place) * HEIGHT
    rule = element("path", class_="rule", d=f"M{text(LEFT)} {text(y)}h{text(WIDTH)}")
    return join(rule, element("text", label, x=text(LEFT - 6), y=text(y + 4), text_anchor="end"))
