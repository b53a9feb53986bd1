"""Self-contained HTML pages: reports that open anywhere, without network or fonts of their own.

Everything is built from :func:`element`, which escapes every text that is not :class:`Markup` already;
so a file's or a class's name can never become part of the page's code. A page is

    page("Title", [section("First", text("...")), section("Second", table(...))], lead=callout("good", "All is well"))

A page has a script only if something on it is to be operated: ``table(..., sortable=True)``, :func:`choice`,
:func:`gallery`.
"""

from ssd_jax.page.axes import Axis, Tick, axis_at, axis_for, number
from ssd_jax.page.charts import heat_map
from ssd_jax.page.choices import choice
from ssd_jax.page.curves import BUCKETS, Curve, Reference, is_long, key, legend, line_chart
from ssd_jax.page.document import (
    Section,
    bullets,
    callout,
    code,
    code_block,
    details,
    drawing,
    facts,
    figure,
    page,
    section,
    side_by_side,
    subsection,
    tag,
    text,
    with_swatch,
)
from ssd_jax.page.galleries import Thumb, gallery
from ssd_jax.page.markup import Content, Markup, element, escape, join
from ssd_jax.page.ranges import Range, RangeGroup, RangeSeries, range_chart, range_legend
from ssd_jax.page.stacks import Band, Overlay, stack_legend, stacked_chart
from ssd_jax.page.tables import Cell, Column, Mood, bar, bar_chart, cell, table

__all__ = [
    "BUCKETS",
    "Axis",
    "Band",
    "Cell",
    "Column",
    "Content",
    "Curve",
    "Markup",
    "Mood",
    "Overlay",
    "Range",
    "RangeGroup",
    "RangeSeries",
    "Reference",
    "Section",
    "Thumb",
    "Tick",
    "axis_at",
    "axis_for",
    "bar",
    "bar_chart",
    "bullets",
    "callout",
    "cell",
    "choice",
    "code",
    "code_block",
    "details",
    "drawing",
    "element",
    "escape",
    "facts",
    "figure",
    "gallery",
    "heat_map",
    "is_long",
    "join",
    "key",
    "legend",
    "line_chart",
    "number",
    "page",
    "range_chart",
    "range_legend",
    "section",
    "side_by_side",
    "stack_legend",
    "stacked_chart",
    "subsection",
    "table",
    "tag",
    "text",
    "with_swatch",
]
