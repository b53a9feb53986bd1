"""Tables and bars of :mod:`ssd_jax.page`."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from ssd_jax.page.markup import Content, Markup, element

Mood = Literal["note", "good", "warning", "bad"]


class Column(NamedTuple):
    """A column of a table; numbers are set flush right."""

    title: str
    number: bool = False
    bar: bool = False  # its cells are of :func:`bar`


class Cell(NamedTuple):
    """A cell that is sorted by a value it does not show, or shows rounded."""

    content: Content
    value: float | str | None  # None and what is not finite: missing, sorted last


def cell(content: Content, value: float | str | None) -> Cell:
    """Returns a cell of a sortable table that is sorted by ``value``."""
    return Cell(content, value)


def bar(value: float, maximum: float, label: str, *, mood: Mood = "note") -> Markup:
    """Returns a bar as long as ``value / maximum``, and the label that says the value."""
    share = min(max(value / maximum, 0.0), 1.0) if maximum > 0 else 0.0
    # Something that is there but small is still seen.
    least = "2px" if share > 0 else "0"
    fill = element("span", class_="fill", style=f"--share:{100 * share:.4g}%;--least:{least}")
    track = element("span", fill, class_="track", aria_hidden="true")
    words = element("span", label, class_="value")
    return element("span", track, words, class_=f"bar {mood}", data_value=_sort_value(value))


def _sort_value(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return repr(float(value)) if math.isfinite(value) else ""


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Content | Cell]],
    *,
    caption: str,
    remark: str = "",
    footer: Sequence[Content] = (),
    hide_caption: bool = False,
    sortable: bool = False,
    searchable: bool = False,
) -> Markup:
    """Returns a table; the first cell of a row is its heading.

    A script sorts and filters, so both need a browser that runs it; without, the table is as it was written.

    Args:
      columns: one for each cell of a row.
      rows: of cells.
      caption: what the table shows.
      remark: small, below the caption.
      footer: a last row, such as the totals.
      hide_caption: leave it to screen readers, where what stands above says the same.
      sortable: the headings of the columns sort the rows, numbers and bars by value, the largest first; a missing
        value ("-" or nothing) comes last either way. The footer stays where it is.
      searchable: a text field above filters the rows by their heading.

    Raises:
      ValueError: a row has another number of cells.
    """
    titles = (
        element("th", column.title, scope="col", class_=_cell_class(column), data_sort=_kind(column, sortable))
        for column in columns
    )
    bars = sum(column.bar for column in columns)
    plain = element(
        "div",
        element(
            "table",
            element(
                "caption",
                element("span", caption, class_="hidden" if hide_caption else None),
                element("small", remark) if remark else None,
            ),
            element("thead", element("tr", titles)),
            element("tbody", [_row(columns, row) for row in rows]),
            element("tfoot", _row(columns, footer)) if footer else None,
            style=f"--bars:{bars}" if bars > 1 else None,  # columns of bars are as long as each other
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
    if not (sortable or searchable):
        return plain
    tools = _search(columns[0].title) if searchable else None
    return element("div", tools, plain, class_="table-box", data_widget="table")


def _search(of: str) -> Markup:
    field = element("input", type="search", autocomplete="off", spellcheck="false")
    status = element("p", class_="status", role="status")
    return element("div", element("label", element("span", f"Find {of}"), field), status, class_="tools", hidden=True)


def _kind(column: Column, sortable: bool) -> str | None:
    if not sortable:
        return None
    return "number" if column.number or column.bar else "text"


def _row(columns: Sequence[Column], cells: Sequence[Content | Cell]) -> Markup:
    if len(cells) != len(columns):
        raise ValueError(f"rows: expected {len(columns)} cells, got {len(cells)}")
    pairs = zip(columns, cells, strict=True)
    return element("tr", [_written(column, one, is_heading=k == 0) for k, (column, one) in enumerate(pairs)])


def _written(column: Column, one: Content | Cell, *, is_heading: bool) -> Markup:
    value = _sort_value(one.value) if isinstance(one, Cell) else None
    content = one.content if isinstance(one, Cell) else one
    name, scope = ("th", "row") if is_heading else ("td", None)
    return element(name, content, scope=scope, class_=_cell_class(column), data_value=value)


def _cell_class(column: Column) -> str | None:
    return "with-bar" if column.bar else "number" if column.number else None


def bar_chart(
    items: Iterable[tuple[str, float, str]],
    *,
    caption: str,
    of: str,
    measure: str,
    remark: str = "",
    maximum: float | None = None,
) -> Markup:
    """Returns horizontal bars, as a table: a chart that can be read aloud and copied.

    Args:
      items: (name, value, the value in words).
      caption: what the chart shows.
      of: heading of the names.
      measure: heading of the bars.
      remark: small, below the caption.
      maximum: value of a full bar; None: the largest.
    """
    items = list(items)
    longest = max((value for _, value, _ in items), default=0.0) if maximum is None else maximum
    rows = [(name, bar(value, longest, words)) for name, value, words in items]
    return table([Column(of), Column(measure, bar=True)], rows, caption=caption, remark=remark)
