"""How counts are said."""


def counted(number: int, what: str) -> str:
    """Returns a number with a thing in the singular or plural: "1 image", "1,000 images"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
