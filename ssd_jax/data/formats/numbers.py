"""Numbers that stand in text."""

FRACTION = 1.5  # a coordinate above it is no fraction of an image, even where a box reaches over the edge


def parse_number(text: str) -> float:
    """Returns the number that a text is. Raises ValueError, with the reason, if it is none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text[:40]!r}") from None
