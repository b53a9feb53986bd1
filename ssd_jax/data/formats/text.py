"""Text files, as people write them."""

import re
from pathlib import Path

from ssd_jax.errors import InputError


def read_text(path: Path) -> str:
    """Returns what a file in UTF-8 holds, without the byte order mark; lines end as in Python.

    Raises:
      InputError: the file cannot be read, or a line is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.split(rb"\r\n|\r|\n", error.object[: error.start]))
        raise InputError(f"{path}: expected text in UTF-8, but line {line} is not; save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
