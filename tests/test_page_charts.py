"""Stacked shares, ranges and reference lines: where things lie is computed by hand."""

import re

import numpy as np
import pytest
from test_page import Reader

from ssd_jax.page import (
    Band,
    Curve,
    Overlay,
    Range,
    RangeGroup,
    RangeSeries,
    Reference,
    axis_at,
    frame,
    line_chart,
    range_chart,
    range_legend,
    ranges,
    stack_legend,
    stacked_chart,
)

UNIT = axis_at([0, 0.5, 1])
WORDS = dict(title="t", description="d", x_label="recall", y_label="y")


def paths(svg, kind):
    """The paths of a class, as they stand."""
    return [a["d"] for tag, a in Reader(svg).tags if tag == "path" and kind in a["class"].split()]


def place(x, y):
    """Where (x, y), both in [0, 1], lies in the drawing."""
    return f"{frame.LEFT + x * frame.WIDTH:.1f} {frame.TOP + (1 - y) * frame.HEIGHT:.1f}"


def heights(path):
    """The values between 0 and 1 that the points of a path lie at."""
    return [round(1 - (float(y) - frame.TOP) / frame.HEIGHT, 3) for y in re.findall(r" (-?[\d.]+)", path)]


def test_an_axis_with_given_ticks():
    assert UNIT.ticks == [(0, "0"), (0.5, "0.5"), (1, "1")] and not UNIT.logarithmic
    octaves = axis_at([0.125, 0.25, 0.5, 1, 2, 4, 8], logarithmic=True)  # of the paper's Figure 3
    assert [label for _, label in octaves.ticks] == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    assert [at for at, _ in octaves.ticks] == pytest.approx([k / 6 for k in range(7)])
    assert octaves.place(np.array([0.125, 1, 8])) == pytest.approx([0, 0.5, 1])
    for values in ([1], [1, 1], [2, 1]):
        with pytest.raises(ValueError, match="values: expected at least two that rise"):
            axis_at(values)
    with pytest.raises(ValueError, match="a logarithmic axis expects positive ones, got 0"):
        axis_at([0, 1], logarithmic=True)


def test_bands_lie_on_each_other():
    x = np.array([0, 0.5, 1])
    bands = [Band("low", np.array([0.5, 0.25, 0.25]), 0), Band("high", np.array([0.5, 0.5, 0.75]), 1)]
    lines = [Overlay("solid", np.array([0, 1, 1])), Overlay("dashed", np.array([0, np.nan, 1]), dashed=True)]
    svg = stacked_chart(bands, x, x_axis=UNIT, y_axis=UNIT, lines=lines, **WORDS)
    low, high = paths(svg, "share")
    # There along the upper boundary, back along the lower one.
    assert heights(low) == [0.5, 0.25, 0.25, 0, 0, 0]
    assert heights(high) == [1, 0.75, 1, 0.25, 0.25, 0.5]
    assert low.startswith(f"M{place(0, 0.5)}L{place(0.5, 0.25)}L") and low.endswith("Z")
    solid, dashed = paths(svg, "overlay")
    assert solid == f"M{place(0, 0)}L{place(0.5, 1)}L{place(1, 1)}"
    assert dashed == f"M{place(0, 0)}h0M{place(1, 1)}h0"
    assert [len(paths(svg, kind)) for kind in ("halo", "dashed")] == [2, 1]
    words = Reader(svg).text
    assert words.count("low") == words.count("high") == 1  # both are thick enough to be named


def test_thin_bands_are_named_by_the_legend_alone():
    bands = [Band("wide", np.full(3, 0.98), 0), Band("thin", np.full(3, 0.02), 1)]
    svg = stacked_chart(bands, np.arange(3) / 2, x_axis=UNIT, y_axis=UNIT, **WORDS)
    assert "thin" not in Reader(svg).text and "wide" in Reader(svg).text
    legend = Reader(stack_legend(bands, [Overlay("line", np.ones(3))]))
    assert legend.text == ["wide", "thin", "line"]


def test_unknown_shares_interrupt_all_bands_at_once():
    values = np.array([0.5, np.nan, 0.5, 0.5])
    bands = [Band("a", values, 1), Band("b", values, 2)]
    svg = stacked_chart(bands, np.arange(4) / 3, x_axis=UNIT, y_axis=UNIT, **WORDS)
    assert [path.count("Z") for path in paths(svg, "share")] == [2, 2] and "nan" not in svg
    nothing = [Band("a", np.full(4, np.nan), 1)]
    assert "nan" not in stacked_chart(nothing, np.arange(4) / 3, x_axis=UNIT, y_axis=UNIT, **WORDS)
    assert "nan" not in stacked_chart([], np.zeros(0), x_axis=UNIT, y_axis=UNIT, **WORDS)


def test_many_shares_are_thinned_but_reach_from_end_to_end():
    x = np.geomspace(0.125, 8, 50_000)
    axis = axis_at([0.125, 1, 8], logarithmic=True)
    svg = stacked_chart([Band("a", np.linspace(0, 1, 50_000), 0)], x, x_axis=axis, y_axis=UNIT, **WORDS)
    (path,) = paths(svg, "share")
    assert len(path) < 8_000 and heights(path)[0] == 0 and max(heights(path)) == 1
    assert path.startswith(f"M{place(0, 0)}L") and place(1, 1) in path


def test_textures_tell_neighbors_apart_and_stay_in_their_band():
    bands = [Band(str(k), np.full(2, 0.2), k) for k in range(5)]
    svg = stacked_chart(bands, np.array([0, 1]), x_axis=UNIT, y_axis=UNIT, **WORDS)
    found = [
        (a["d"].count("M"), a.get("stroke-dasharray"))
        for tag, a in Reader(svg).tags
        if tag == "path" and "texture" in a["class"]
    ]
    assert len(found) == len(set(found)) == 4  # the first is plain
    for k, path in enumerate(paths(svg, "texture"), start=1):
        for top, bottom in re.findall(r"M\S+ (\S+)V(\S+?)(?=M|$)", path):
            low, high = (frame.TOP + (1 - share) * frame.HEIGHT for share in (0.2 * k, 0.2 * (k + 1)))
            assert high - 0.1 <= float(top) <= float(bottom) <= low + 0.1


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="odd: expected 3 values, one for each x, got 2"):
        stacked_chart([Band("odd", np.zeros(2), 0)], np.arange(3), x_axis=UNIT, y_axis=UNIT, **WORDS)


def ranged(*series):
    return range_chart([RangeGroup("cat", series)], y_axis=UNIT, title="By size", y_label="AP")


def test_ranges_lie_where_they_should():
    bins = [Range("S", 0.5, 0.25, 1.0), Range("M", np.nan, np.nan, np.nan), Range("L", 1.0, np.nan, np.nan)]
    svg = ranged(RangeSeries("a run", bins, 0.25, style=2))
    top, bottom = ranges._TOP, ranges._TOP + ranges._HEIGHT
    (overall,) = paths(svg, "overall")
    assert overall == f"M40 {bottom - 0.25 * ranges._HEIGHT:.4g}h90"  # three bins of 30
    # Of the first bin alone; a point without an interval has no whiskers, a bin without a value has nothing.
    assert paths(svg, "whiskers") == [f"M52 {top:.4g}h6m-3 0V{bottom - 0.25 * ranges._HEIGHT:.4g}m-3 0h6"]
    assert [path.split("m")[0] for path in paths(svg, "marker")] == [
        f"M55 {(top + bottom) / 2:.4g}",
        f"M115 {top:.4g}",
    ]
    assert "a run, AP: S: 0.5 (0.25 to 1); M: -; L: 1; all: 0.25." in Reader(svg).text
    assert "nan" not in svg and dict(Reader(svg).tags)["svg"]["aria-label"] == "By size: cat"


def test_runs_stand_beside_each_other_with_markers_of_their_own():
    bins = [Range("S", 0.5, 0.4, 0.6)]
    markers = paths(ranged(*(RangeSeries(str(k), bins, np.nan, style=k) for k in range(4))), "marker")
    assert [float(path[1:].split()[0]) for path in markers] == [44.5, 51.5, 58.5, 65.5]  # around 55, 7 apart
    shapes = [path.split(" ", 1)[1] for path in markers]
    assert len(set(shapes)) == 4
    legend = range_legend([(0, "a"), (1, "b")])
    assert Reader(legend).text == ["a", "b"] and len(set(paths(legend, "marker"))) == 2
    with pytest.raises(ValueError, match=r"cat has runs with different bins, \['S'\] and \['L'\]"):
        ranged(RangeSeries("a", bins, 0.5), RangeSeries("b", [Range("L", 0.5, 0.4, 0.6)], 0.5))
    assert "<svg" in ranged()


def test_a_reference_and_a_curve_over_recall():
    curve = Curve("a", np.array([0, 0.5, 1]), np.array([1, 0.5, 0.125]), 0)
    reference = Reference("perfect", (0, 0), (1, 1))
    svg = line_chart([curve], x_axis=UNIT, y_axis=UNIT, references=[reference], **WORDS)
    assert paths(svg, "reference") == [f"M{place(0, 0)}L{place(1, 1)}"]
    assert {"perfect", "a, recall 0: 1", "a, recall 0.5: 0.5", "a, recall 1: 0.125"} <= set(Reader(svg).text)


def test_a_curve_that_spans_little_of_its_axis_keeps_its_points():
    # Recall that ends at 0.3 is thinned by its own span.
    steps = np.linspace(0, 0.3, 3000)
    (path,) = paths(line_chart([Curve("a", steps, steps, 0)], x_axis=UNIT, y_axis=UNIT, **WORDS), "curve")
    assert path.count("L") == 199
