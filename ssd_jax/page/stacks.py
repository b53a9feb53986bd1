"""Shares that change along an axis: stacked areas with lines on top, in SVG (Figure 3 of the SSD paper, upper row)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.page import frame
from ssd_jax.page.axes import Axis
from ssd_jax.page.curves import BUCKETS, style_class
from ssd_jax.page.markup import Markup, element

# How bands are told apart without color: (distance of the lines, length of their dashes, period of these), in units
# of the drawing. None: plain.
_TEXTURES = (None, (9.0, 0.0, 1.0), (9.0, 2.0, 9.0), (4.5, 0.0, 1.0), (9.0, 6.0, 11.0))
_LETTER, _LINE = 7.2, 12.0  # about the width of a letter and the height of a line of text


class Band(NamedTuple):
    """A share of the whole, drawn as an area."""

    name: str
    values: np.ndarray  # [N] in [0, 1]; nan: nothing is known there
    style: int  # color and texture


class Overlay(NamedTuple):
    """A line above the bands."""

    name: str
    values: np.ndarray  # [N]; nan interrupts the line
    dashed: bool = False


def stacked_chart(
    bands: Sequence[Band],
    x: np.ndarray,  # [N] rising
    *,
    x_axis: Axis,
    y_axis: Axis,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Overlay] = (),
) -> Markup:
    """Returns bands on top of each other, the first lowest, each with its name where it is thick enough.

    Colors differ, and so do textures: a band can be told without seeing colors. :func:`stack_legend` names all.

    Args:
      bands: their values add up to 1 at most.
      x: where the values lie.
      x_axis, y_axis: of the room ``axes``; y from 0 to 1.
      title: read aloud with the description instead of the drawing.
      description: what is to be seen, in words.
      x_label, y_label: of the axes.
      lines: on top, such as recall.

    Raises:
      ValueError: a band or line has another number of values than x.
    """
    for item in (*bands, *lines):
        if len(item.values) != len(x):
            raise ValueError(f"{item.name}: expected {len(x)} values, one for each x, got {len(item.values)}")
    kept = _spread(x_axis.place(np.asarray(x, np.float64)))
    right = frame.across(x_axis, np.asarray(x)[kept])
    shares = np.array([np.zeros(len(kept)), *(band.values[kept] for band in bands)])
    heights = frame.up(y_axis, np.cumsum(shares, axis=0))  # [bands + 1, kept]
    # The lowest boundary is nan where the bands are, so that all are interrupted together.
    heights[0] = np.where(np.isnan(heights[-1]), np.nan, heights[0])
    stacked = list(zip(bands, heights[:-1], heights[1:], strict=True))
    return frame.frame(
        [element("path", class_=f"share {style_class(band.style)}", d=frame.area(right, *at)) for band, *at in stacked],
        [_texture(band.style, right, *at) for band, *at in stacked],
        [_line(overlay, right, frame.up(y_axis, overlay.values[kept])) for overlay in lines],
        [_name(band.name, right, *at) for band, *at in stacked],
        x_axis=x_axis,
        y_axis=y_axis,
        title=title,
        description=description,
        x_label=x_label,
        y_label=y_label,
    )


def _spread(places: np.ndarray) -> np.ndarray:
    """Returns the indices of all points or, of many, of as many as can be told apart, the first and last among them."""
    if len(places) <= 2 * BUCKETS:
        return np.arange(len(places))
    wanted = np.linspace(places[0], places[-1], BUCKETS)
    return np.unique(np.minimum(np.searchsorted(places, wanted), len(places) - 1))


def _line(overlay: Overlay, x: np.ndarray, y: np.ndarray) -> list[Markup]:
    path = frame.line(x, y)
    kind = "overlay dashed" if overlay.dashed else "overlay"
    # Wider and in the color of the paper below: the line stands out from any band.
    return [
        element("path", class_="halo", d=path),
        element("path", element("title", overlay.name), class_=kind, d=path),
    ]


def _texture(style: int, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Markup | None:
    texture = _TEXTURES[style % len(_TEXTURES)]
    if texture is None or not len(x):
        return None
    distance, dash, period = texture
    places = np.arange(frame.LEFT + distance / 2, frame.LEFT + frame.WIDTH, distance)
    places = places[(places >= x[0]) & (places <= x[-1])]
    # From a multiple of the period downward, so that the dashes of neighbors lie side by side.
    tops = np.ceil(np.interp(places, x, high) / period) * period
    bottoms = np.interp(places, x, low)
    strokes = [
        f"M{frame.text(place)} {frame.text(top)}V{frame.text(bottom)}"
        for place, top, bottom in zip(places, tops, bottoms, strict=True)
        if bottom > top  # not if nan
    ]
    dashes = f"{frame.text(dash)} {frame.text(period - dash)}" if dash else None
    return element("path", class_=f"texture {style_class(style)}", stroke_dasharray=dashes, d="".join(strokes))


def _name(name: str, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Markup | None:
    """Returns the name of a band, where it fits best, or nothing if it does nowhere."""
    half = _LETTER * len(name) / 2
    best, place = 0.0, (0.0, 0.0)
    known = np.isfinite(low)
    if not known.any():
        return None
    x, low, high = x[known], low[known], high[known]
    for middle in np.linspace(x[0] + half + 4, x[-1] - half - 4, 40):
        around = np.linspace(middle - half, middle + half, 9)
        top, bottom = np.interp(around, x, high).max(), np.interp(around, x, low).min()
        if bottom - top > best:
            best, place = bottom - top, (middle, (top + bottom) / 2)
    if best < _LINE or half * 2 + 8 > x[-1] - x[0]:
        return None
    return element("text", name, class_="on", x=frame.text(place[0]), y=frame.text(place[1] + 4), text_anchor="middle")


def stack_legend(bands: Sequence[Band], lines: Sequence[Overlay] = ()) -> Markup:
    """Returns the names of bands and lines, each behind a piece of its look."""
    items = [(_swatch(band.style), band.name) for band in bands]
    items += [(_stroke(overlay.dashed), overlay.name) for overlay in lines]
    keyed = [element("span", look, element("span", name), class_="keyed") for look, name in items]
    return element("ul", [element("li", item) for item in keyed], class_="legend")


def _swatch(style: int) -> Markup:
    x, low, high = np.array([0.0, 26.0]), np.full(2, 16.0), np.zeros(2)
    box = element("path", class_=f"share {style_class(style)}", d=frame.area(x, low, high))
    texture = _TEXTURES[style % len(_TEXTURES)]
    strokes = None
    if texture is not None:
        distance, dash, period = texture
        path = "".join(f"M{frame.text(place)} 0V16" for place in np.arange(distance / 2, 26, distance))
        dashes = f"{frame.text(dash)} {frame.text(period - dash)}" if dash else None
        strokes = element("path", class_=f"texture {style_class(style)}", stroke_dasharray=dashes, d=path)
    return element("svg", box, strokes, class_="swatch-drawn", viewBox="0 0 26 16", aria_hidden="true")


def _stroke(dashed: bool) -> Markup:
    path = element("path", class_="overlay dashed" if dashed else "overlay", d="M0 8H26")
    return element("svg", path, class_="swatch-drawn", viewBox="0 0 26 16", aria_hidden="true")
