"""What is accepted as a picture: judged by its content and its header, before anything is decoded."""

import io
import struct
from typing import NamedTuple

from PIL import Image

from ssd_jax.commands.serve.refusals import TOO_LARGE, UNREADABLE, WRONG_TYPE, Refusal

# All that every browser can show, and no more: each decoder is one more door for what strangers send.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}
IN_WORDS = "JPEG, PNG, WebP, GIF or BMP"

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError, OverflowError)


class Header(NamedTuple):
    """What is known of an encoded picture without decoding it."""

    format: str  # key of MEDIA_TYPES
    stored: tuple[int, int]  # (height, width), not yet upright
    animated: bool  # has more than one picture; the first counts


def recognize(content: bytes) -> str | None:
    """Returns the format that a file begins like, a key of MEDIA_TYPES, or None."""
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    return "BMP" if content.startswith(b"BM") else None


def examine(content: bytes, *, max_pixels: int) -> Header:
    """Reads the header of an encoded picture.

    Args:
      content: the whole file.
      max_pixels: height times width above which it is refused.

    Raises:
      Refusal: it is none of MEDIA_TYPES, damaged, or too large.
    """
    kind = recognize(content)
    if kind is None:
        raise Refusal(WRONG_TYPE, f"What was sent is no {IN_WORDS} picture; its name does not count, its content does.")
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as file:
            width, height = file.size
            if height * width > max_pixels:
                raise _too_large(f"{width:,} x {height:,}", max_pixels)
            # A JPEG with several pictures (Pillow's MPO) holds a thumbnail or the other eye's view: no animation.
            animated = kind != "JPEG" and bool(getattr(file, "is_animated", False))
            return Header(kind, (height, width), animated)
    except Image.DecompressionBombError as error:
        raise _too_large("far too many", max_pixels) from error
    except _DAMAGE as error:
        raise damaged(kind, error) from error


def damaged(kind: str, error: Exception) -> Refusal:
    """Returns the refusal of a picture that cannot be read."""
    reason = str(error).split("<_io.BytesIO")[0].strip().rstrip(".") or type(error).__name__
    return Refusal(UNREADABLE, f"The picture begins like {kind} but cannot be decoded: {reason}.")


def _too_large(size: str, max_pixels: int) -> Refusal:
    most = f"{max_pixels / 1e6:,.4g} megapixels"
    return Refusal(TOO_LARGE, f"The picture has {size} pixels; at most {most} are accepted.")
