"""Tables and bars of :mod:`ssd_jax.visualize.page`."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from ssd_jax.page.markup import Content, Markup, element

Mood = Literal["note", "good", "warning", "bad"]


class Column(NamedTuple):
    """A column of a table; numbers are set flush right."""

    title: str
    number: bool = False
    bar: bool = False  # its cells are of :func:`bar`


def bar(value: float, maximum: float, label: str, *, mood: Mood = "note") -> Markup:
    """Returns a bar as long as ``value / maximum``, and the label that says the value."""
    share = min(max(value / maximum, 0.0), 1.0) if maximum > 0 else 0.0
    # Something that is there but small is still seen.
    least = "2px" if share > 0 else "0"
    fill = element("span", class_="fill", style=f"--share:{100 * share:.4g}%;--least:{least}")
    track = element("span", fill, class_="track", aria_hidden="true")
    return element("span", track, element("span", label, class_="value"), class_=f"bar {mood}")


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Content]],
    *,
    caption: str,
    remark: str = "",
    footer: Sequence[Content] = (),
    hide_caption: bool = False,
) -> Markup:
    """Returns a table; the first cell of a row is its heading.

    Args:
      columns: one for each cell of a row.
      rows: of cells.
      caption: what the table shows.
      remark: small, below the caption.
      footer: a last row, such as the totals.
      hide_caption: leave it to screen readers, where what stands above says the same.

    Raises:
      ValueError: a row has another number of cells.
    """
    titles = (element("th", column.title, scope="col", class_=_cell_class(column)) for column in columns)
    return element(
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
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _row(columns: Sequence[Column], cells: Sequence[Content]) -> Markup:
    if len(cells) != len(columns):
        raise ValueError(f"rows: expected {len(columns)} cells, got {len(cells)}")
    heading = element("th", cells[0], scope="row", class_=_cell_class(columns[0]))
    rest = zip(columns[1:], cells[1:], strict=True)
    return element("tr", heading, [element("td", cell, class_=_cell_class(column)) for column, cell in rest])


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
