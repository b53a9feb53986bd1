"""Axes and curves: ticks by hand, nothing lost by thinning, gaps where there is no number."""

import re

import numpy as np
import pytest
from test_page import Reader

from ssd_jax.page import curves, frame, style
from ssd_jax.page.axes import axis_for, number
from ssd_jax.page.curves import BUCKETS, Curve, line_chart, thin


def labels(axis):
    return [label for _, label in axis.ticks]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # (low to high) / 5 rounded up to 1, 2 or 5 times a power of ten is the step.
        ([0, 10], ["0", "2", "4", "6", "8", "10"]),
        ([3, 10], ["0", "2", "4", "6", "8", "10"]),  # from zero, since 3 <= 10 / 2
        ([0.93, 0.97], ["0.93", "0.94", "0.95", "0.96", "0.97"]),
        ([-1, 1], ["-1", "-0.5", "0", "0.5", "1"]),
        ([0, 120_000], ["0", "50,000", "100,000", "150,000"]),
        ([5, 5], ["2", "3", "4", "5", "6", "7", "8"]),
        ([0, 0], ["-1", "-0.5", "0", "0.5", "1"]),
        ([], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([1, np.nan, np.inf, 0], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([1e-5, 2e-3], ["1e-5", "1e-4", "0.001", "0.01"]),  # a factor of 200: logarithmic
        ([1e-12, 1e6], ["1e-12", "1e-9", "1e-6", "0.001", "1", "1,000", "1,000,000"]),
    ],
)
def test_ticks_by_hand(values, expected):
    assert labels(axis_for(np.array(values, float))) == expected


def test_places_on_both_kinds_of_axis():
    linear = axis_for(np.array([0.0, 10]))
    assert not linear.logarithmic and linear.place(np.array([0.0, 2.5, 10])).tolist() == [0, 0.25, 1]
    logarithmic = axis_for(np.array([1.0, 1000]))
    assert logarithmic.logarithmic
    np.testing.assert_allclose(logarithmic.place(np.array([1.0, 10, 1000])), [0, 1 / 3, 1], atol=1e-12)
    assert [place for place, _ in logarithmic.ticks] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert not axis_for(np.array([1.0, 1000]), logarithmic=False).logarithmic
    assert not axis_for(np.array([0.0, 1000])).logarithmic  # zero has no place there
    with pytest.raises(ValueError, match="values: a logarithmic axis expects positive ones"):
        axis_for(np.array([0.0, 1000]), logarithmic=True)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (0.25, "0.25"), (12_345.678, "12,346"), (1 / 3, "0.3333"), (2e-5, "2e-5"), (1.5e9, "1.5e9")]
    + [(-0.5, "-0.5"), (100.0, "100"), (np.nan, "-"), (np.inf, "-"), (0.99999, "1")],
)
def test_numbers_in_words(value, words):
    assert number(value) == words


def test_thinning_by_hand():
    # Buckets of 2.5 steps from 0 to 10: {0, 1, 2}, {3, 4}, {5, 6, 7}, {8, 9, 10}; nan does not count.
    values = np.array([1, 2, 3, np.nan, 7, np.nan, np.nan, np.nan, 0, 9, 3], float)
    found = thin(np.arange(11), values, buckets=4)
    np.testing.assert_array_equal(found.steps, [1, 3.5, 6, 9])
    np.testing.assert_array_equal(found.mean, [2, 7, np.nan, 4])
    np.testing.assert_array_equal(found.low, [1, 7, np.nan, 0])
    np.testing.assert_array_equal(found.high, [3, 7, np.nan, 9])


def test_thinning_loses_no_extreme():
    values = np.random.default_rng(0).normal(size=100_000)
    values[[123, 77_777]] = 50, -50
    found = thin(np.arange(100_000) * 10, values)
    assert len(found.steps) == BUCKETS and found.high.max() == 50 and found.low.min() == -50
    assert (found.low <= found.mean).all() and (found.mean <= found.high).all()
    gap = np.concatenate([np.arange(500), np.arange(100_000, 100_500)])  # buckets without a point are left out
    assert len(thin(gap, np.zeros(1000)).steps) == 2


def chart(*lines):
    axis = axis_for(np.array([0.0, 10]))
    words = dict(title="t", description="d", x_label="x", y_label="y")
    return line_chart(lines, x_axis=axis, y_axis=axis, **words)


def paths(svg, kind):
    return [a["d"] for tag, a in Reader(svg).tags if tag == "path" and a["class"].split()[0] == kind]


def place(x, y):
    """Where (x, y), both 0 to 10, lies in the drawing."""
    across = frame.LEFT + x / 10 * frame.WIDTH
    return f"{across:.1f} {frame.TOP + (1 - y / 10) * frame.HEIGHT:.1f}"


def test_a_line_passes_through_its_points_and_is_interrupted_where_there_is_none():
    svg = chart(Curve("a", np.array([0, 1, 2, 3, 10]), np.array([0, 5, np.nan, 7, np.nan]), 0))
    assert paths(svg, "curve") == [f"M{place(0, 0)}L{place(1, 5)}M{place(3, 7)}h0"]
    assert not paths(svg, "band")
    assert [text for text in Reader(svg).text if text.startswith("a, ")] == [
        "a, x 0: 0",
        "a, x 1: 5",
        "a, x 3: 7",
    ]


def test_a_long_line_comes_with_the_band_of_its_range():
    steps = np.linspace(0, 10, 4001)
    svg = chart(Curve("a", steps, np.where(np.arange(4001) % 2, 8.0, 2.0), 0))
    (line,), (band,) = paths(svg, "curve"), paths(svg, "band")
    heights = {float(point.split()[1]) for point in re.split("[ML]", line)[1:]}
    middle, high, low = (float(place(0, y).split()[1]) for y in (5, 8, 2))
    assert all(abs(height - middle) < 5 for height in heights)  # 20 or 21 points each: the mean is 5 within 0.15
    assert {float(point.split()[1]) for point in re.split("[ML]", band[:-1])[1:]} == {high, low} and band[-1] == "Z"
    assert "<circle" not in svg


def test_every_run_looks_different_up_to_three_times_the_number_of_colors():
    looks = [curves.style_class(k) for k in range(3 * style.NUM_CURVES)]
    assert len(set(looks)) == len(looks) and curves.style_class(len(looks)) == looks[0]
    sheet = style.style_sheet()
    assert all(f".{name}{{" in sheet for look in looks for name in look.split())


def test_the_drawing_can_be_read_aloud():
    tags = dict(Reader(chart(Curve("a", np.arange(2), np.arange(2.0), 0))).tags)
    assert tags["svg"]["role"] == "img" and tags["svg"]["aria-label"] == "t" and {"title", "desc"} <= set(tags)
