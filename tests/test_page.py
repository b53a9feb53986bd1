"""Pages: nothing written in them can become code, and they can be read by everyone."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ssd_jax import page
from ssd_jax.page import Band, Column, Curve, Overlay, Range, RangeGroup, RangeSeries, Reference, Thumb, charts, style

NASTY = "<script>alert('1')</script> \"&amp;\" \x00\x1b \udcff 猫"
VOID = {"meta", "img", "br", "input"}


class Reader(HTMLParser):
    """Reads a page: its tags with their attributes, its text, and whether every element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.balanced, self._open = [], [], True, []
        self.feed(text)
        self.close()
        self.balanced = self.balanced and not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self._open) and self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def headings(self):
        return [int(tag[1]) for tag, _ in self.tags if re.fullmatch("h[1-6]", tag)]

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def example(text="text"):
    """A page with one of everything."""
    rows = [(text, "1", page.bar(3, 4, text)), (page.with_swatch((1, 2, 3), text), "20", page.bar(0, 0, "0"))]
    columns = [Column(text), Column("number", number=True), Column("bar", bar=True)]
    chart = charts.heat_map(
        np.arange(4).reshape(2, 2),
        title=text,
        x_label=text,
        y_label=text,
        x_ticks=[(0.5, text)],
        y_ticks=[(0.5, text)],
        crosses=[(0.5, 1.0)],
        cell_words=lambda row, column: text,
    )
    curves = [
        Curve(text, np.arange(3), np.arange(3.0), style=0),
        Curve(text, np.arange(999), np.arange(999.0), style=9),
    ]
    x_axis, y_axis = (page.axis_for(np.array([0, high])) for high in (10, 1000))
    labels = dict(title=text, description=text, x_label=text, y_label=text)
    references = [Reference(text, (0, 0), (1, 1))]
    lines = page.line_chart(curves, x_axis=x_axis, y_axis=y_axis, references=references, **labels)
    sections = [
        page.section(text, page.text(text), page.table(columns, rows, caption=text, remark=text, footer=[text] * 3)),
        page.section("Second & last", page.bullets([text]), page.subsection(text, page.facts([(text, text, text)]))),
        page.section(
            "Second & last",
            page.details([page.tag("bad", text), text], page.code_block([text], label=text), open_=True),
        ),
        page.section(
            "猫",
            page.side_by_side(
                page.drawing(chart, caption=text), page.drawing(lines, caption=page.legend([(0, text)])), None
            ),
            page.bar_chart([(text, 1.0, text)], caption=text, of=text, measure=text, remark=text),
            page.figure(b"\xff\xd8", size=(3, 4), alt=text, caption=text, least_width=5),
        ),
    ]
    return page.page(text, sections, subtitle=text, lead=page.callout("good", text, text), footer=text)


def evaluation(text="text"):
    """A page with one of everything that is operated, and the charts of an evaluation."""
    axis, ones = page.axis_at([0, 1]), np.ones(2)
    labels = dict(x_axis=axis, y_axis=axis, title=text, description=text, x_label=text, y_label=text)
    bands, lines = [Band(text, ones / 2, k) for k in range(2)], [Overlay(text, ones, dashed=True)]
    stacked = page.stacked_chart(bands, np.array([0, 1]), lines=lines, **labels)
    series = [RangeSeries(text, [Range(text, 0.5, 0.4, 0.6)], 0.5)]
    ranges = page.range_chart([RangeGroup(text, series)], y_axis=axis, title=text, y_label=text)
    thumbs = [Thumb(b"\xff\xd8", (3, 4), text, text, frozenset([text]))]
    rows = [[text, page.cell(text, text)], ["b", page.cell("1", 1.5)]]
    columns = [Column(text), Column(text, number=True)]
    sections = [
        page.section(text, page.table(columns, rows, caption=text, sortable=True, searchable=True)),
        page.section("2", page.choice(text, [(text, text), ("other", None)], label=text, group=text)),
        page.section(
            "3",
            page.gallery(thumbs, caption=text, group=text, label=text, everything="everything"),
            page.gallery([], caption=text),
            page.drawing(stacked, caption=page.stack_legend(bands, lines)),
            page.drawing(ranges, caption=page.range_legend([(0, text)])),
        ),
    ]
    return page.page(text, sections)


def test_text_is_escaped_wherever_it_stands():
    for make in (example, evaluation):
        plain, nasty = Reader(make()), Reader(make(NASTY))
        assert [tag for tag, _ in nasty.tags] == [tag for tag, _ in plain.tags]  # no element more
        assert [sorted(attributes) for _, attributes in nasty.tags] == [sorted(a) for _, a in plain.tags]
        said = NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\udcff", "\ufffd")
        assert said in nasty.text and said in nasty.attributes("alt") and said in nasty.attributes("aria-label")
        make(NASTY).encode("utf-8")  # half of a surrogate pair could not be written


def test_markup_passes_and_text_does_not():
    assert page.element("p", "a<b", page.element("b", "c"), None, ["d", [page.Markup("<br>")]]) == (
        "<p>a&lt;b<b>c</b>d<br></p>"
    )
    assert page.element("img", alt='"', hidden=True, class_="x", aria_label=None, width=3) == (
        '<img alt="&quot;" hidden class="x" width="3">'
    )


@pytest.mark.parametrize("make", [example, evaluation])
def test_the_document_is_well_formed_and_can_be_navigated(make):
    text = make()
    found = Reader(text)
    assert text.startswith("<!DOCTYPE html>") and found.balanced
    tags = [tag for tag, _ in found.tags]
    for landmark in ("header", "nav", "main", "h1"):
        assert tags.count(landmark) == 1, landmark
    assert found.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(found.headings, found.headings[1:], strict=False))
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    targets = [*(link.removeprefix("#") for link in found.attributes("href")), *found.attributes("aria-labelledby")]
    assert targets and set(targets) <= set(ids)
    assert dict(found.tags)["html"]["lang"] == "en"


def test_tables_and_pictures_can_be_read_aloud():
    found = Reader(example())
    tags = [tag for tag, _ in found.tags]
    assert tags.count("caption") == tags.count("table") == 2
    assert {attributes["scope"] for tag, attributes in found.tags if tag == "th"} == {"row", "col"}
    for tag, attributes in found.tags:
        if tag == "img":
            assert attributes["alt"] and (attributes["width"], attributes["height"]) == ("4", "3")
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if attributes.get("class") == "scroll" or tag == "pre":  # scrolls, so the keyboard must reach it
            assert attributes["tabindex"] == "0" and attributes["role"] == "region" and attributes["aria-label"]


def test_nothing_is_fetched_and_nothing_runs():
    text = example()
    found = Reader(text)
    assert "script" not in [tag for tag, _ in found.tags]
    assert all(source.startswith("data:") for source in found.attributes("src"))
    assert all(link.startswith("#") for link in found.attributes("href"))
    assert "url(" not in text and "@import" not in text and "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in found.attributes("content")[-1] and "script-src" not in text


def test_bars_are_as_long_as_their_share():
    def width(value, maximum):
        return re.search(r"--share:([\d.e+-]+)%", page.bar(value, maximum, ""))[1]

    assert [width(1, 4), width(4, 4), width(9, 4), width(-1, 4), width(0, 0)] == ["25", "100", "100", "0", "0"]
    chart = page.bar_chart([("a", 2.0, "two"), ("b", 1.0, "one")], caption="c", of="o", measure="m")
    assert re.findall(r"--share:(\d+)%", chart) == ["100", "50"] and "two" in chart


def test_rows_must_fit_their_columns():
    with pytest.raises(ValueError, match="rows: expected 2 cells, got 1"):
        page.table([Column("a"), Column("b")], [["x"]], caption="c")


def test_a_short_page_has_no_contents():
    assert "<nav" not in page.page("title", [page.section("one")] * 2)


def test_heat_map_draws_a_cell_for_each_that_counts():
    svg = charts.heat_map(np.array([[0, 4], [1, 0]]), title="t", x_label="x", y_label="y", x_ticks=[], y_ticks=[])
    cells = [attributes for tag, attributes in Reader(svg).tags if attributes.get("class") == "mark"]
    # The lowest row comes first: 4 lies lower right, 1 upper left; opacities 0.12 + 0.88 sqrt(count / 4).
    assert [cell["opacity"] for cell in cells] == ["1", "0.56"]
    assert float(cells[0]["x"]) > float(cells[1]["x"]) and float(cells[0]["y"]) > float(cells[1]["y"])
    empty = charts.heat_map(np.zeros((2, 2)), title="t", x_label="x", y_label="y", x_ticks=[], y_ticks=[])
    assert 'class="mark"' not in empty


def test_heat_map_makes_room_for_its_labels():
    def made(names):
        ticks = [((k + 0.5) / len(names), name) for k, name in enumerate(names)]
        labels = dict(title="t", x_label="x", y_label="y", x_ticks=ticks, y_ticks=ticks)
        svg = charts.heat_map(np.eye(len(names)), cell_words=lambda row, column: f"{row}/{column}", **labels)
        return dict(Reader(svg).tags)["svg"]["viewbox"].split(), svg

    few, many = made(["a", "b"]), made(["a long name of a class"] * 20)
    assert float(many[0][2]) > float(few[0][2]) + 80 and float(many[0][3]) > float(few[0][3]) + 80
    assert few[1].count("rotate(-90)") == 1 and many[1].count("rotate(-90)") == 21  # the label of the y axis, and 20
    assert re.findall(r"<title>(\d/\d)</title>", few[1]) == ["0/0", "1/1"]


def luminance(color):
    """WCAG 2.2, "relative luminance"."""
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_contrast_suffices(colors):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)  # by definition
    papers = ("paper", "raised")
    for text in ("ink", "faint", "accent"):
        for background in papers:
            assert contrast(colors[text], colors[background]) >= 4.5, (text, background)
    for mood in ("good", "warning", "bad"):
        for text in ("ink", mood):
            assert contrast(colors[text], colors[f"{mood}-paper"]) >= 4.5, mood
    for curve in (f"curve{k}" for k in range(style.NUM_CURVES)):
        for background in papers:
            assert contrast(colors[curve], colors[background]) >= 3, (curve, background)
    for shape in ("bar", "good", "warning", "bad"):
        for background in (*papers, "track"):
            assert contrast(colors[shape], colors[background]) >= 3, (shape, background)
    for background in papers:
        assert contrast(colors["edge"], colors[background]) >= 3, background
    for text in ("ink", "accent"):
        assert contrast(colors[text], colors["note-paper"]) >= 4.5, text
    assert style.LIGHT.keys() == style.DARK.keys()


def test_the_style_defines_every_color_it_uses():
    css = style.style_sheet()
    used = set(re.findall(r"var\(--([\w-]+)", css))
    assert used - {"share", "least", "color", "dash", "bars"} <= set(style.LIGHT) and css.count("{") == css.count("}")
    assert "prefers-color-scheme:dark" in css
