"""Self-contained HTML pages: reports that open anywhere, without network, scripts or fonts of their own.

Everything is built from :func:`element`, which escapes every text that is not :class:`Markup` already;
so a file's or a class's name can never become part of the page's code. A page is

    page("Title", [section("First", text("...")), section("Second", table(...))], lead=callout("good", "All is well"))
"""

from ssd_jax.page.axes import Axis, Tick, axis_for, number
from ssd_jax.page.charts import heat_map
from ssd_jax.page.curves import BUCKETS, Curve, is_long, key, legend, line_chart
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
from ssd_jax.page.markup import Content, Markup, element, escape, join
from ssd_jax.page.tables import Column, Mood, bar, bar_chart, table

__all__ = [
    "BUCKETS",
    "Axis",
    "Column",
    "Content",
    "Curve",
    "Markup",
    "Mood",
    "Section",
    "Tick",
    "axis_for",
    "bar",
    "bar_chart",
    "bullets",
    "callout",
    "code",
    "code_block",
    "details",
    "drawing",
    "element",
    "escape",
    "facts",
    "figure",
    "heat_map",
    "is_long",
    "join",
    "key",
    "legend",
    "line_chart",
    "number",
    "page",
    "section",
    "side_by_side",
    "subsection",
    "table",
    "tag",
    "text",
    "with_swatch",
]
