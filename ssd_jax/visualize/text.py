"""Text for pictures: the font, and names brought into letters and lengths that it can show."""

import functools
import unicodedata
from os import PathLike

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

# Letters of Latin alphabets that Unicode does not decompose into a plain one and an accent.
_PLAIN = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "ł": "l", "Ł": "L", "đ": "d"})


@functools.lru_cache(maxsize=32)  # a video asks for the same one at each frame
def load_font(size: float, file: str | PathLike[str] | None = None) -> Font:
    """Returns the font built into Pillow (ASCII letters, the same on every machine), or that of a file."""
    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("this Pillow has no FreeType, which scalable text needs; its official wheels have it")
    return font


def line_height(font: Font) -> int:
    """Returns the pixels from the highest to the lowest letter of any text."""
    ascent, descent = font.getmetrics()
    return ascent + descent


def to_ascii(text: str) -> str:
    """Returns the text without accents and with a question mark for every other letter that is not ASCII."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return letters.encode("ascii", "replace").decode("ascii")


def class_title(name: str, label: int) -> str:
    """Returns a class name in ASCII; one that keeps no letter, such as a Chinese one, becomes its number."""
    plain = to_ascii(name)
    return plain if any(letter.isalnum() for letter in plain) else f"class {label}"


def shorten(text: str, font: Font, width: float) -> str:
    """Returns the text, cut and ended by dots if it is wider than ``width`` pixels; "" if not even one letter fits."""
    text = " ".join(text.split())  # a line break would leave the label
    if font.getlength(text) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = text[:end].rstrip() + "..."
        if font.getlength(cut) <= width:
            return cut
    return ""
