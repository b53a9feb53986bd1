"""Plain text tables and JSON-safe numbers for the results of the metrics."""

import math
from collections.abc import Sequence


def align(header: Sequence[str], rows: Sequence[Sequence[str]], *, footer: Sequence[Sequence[str]] = ()) -> str:
    """Returns an aligned text table: first column to the left, the others to the right.

    Args:
        header: one title a column.
        rows: the body, each row as long as the header.
        footer: rows below a second rule, for totals and means.
    """
    lines = [header, *rows, *footer]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = "  ".join("-" * width for width in widths)
    texts = [_line(line, widths) for line in lines]
    body_end = 1 + len(rows)
    closing = [rule, *texts[body_end:]] if footer else []
    return "\n".join([texts[0], rule, *texts[1:body_end], *closing])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([cells[0].ljust(widths[0]), *rest]).rstrip()


def number(value: float) -> str:
    """Formats a figure in [0, 1] to four digits; an undefined one as a dash."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def json_number(value: float) -> float | None:
    """Returns a Python float, or None (null in JSON, which has no nan) for an undefined figure."""
    value = float(value)
    return None if math.isnan(value) else value
