"""Progress bars in the place of those of TFDS 4.9, which redraw at every file and confuse bytes with MiB.

TFDS's threads report to them, which makes them the place where those threads can be stopped, too.
"""

import re
import threading
import time
from typing import Any

import tqdm

REDRAW_SECONDS = 0.2
MEBIBYTE = 2**20
TITLES = {  # TFDS's description -> what it is called here; "" is not shown
    r"Dl Completed\.\.\.": "archives",
    r"Dl Size\.\.\.": "downloads",
    r"Extraction completed\.\.\.": "extracting",
    r"Generating splits\.\.\.": "",
    r"Generating (\w+) examples\.\.\.": r"reading \1",
    r"Shuffling .*?(\w+)\.\w+-[^/]*": r"writing \1",
}


class StoppedError(Exception):
    """Ends a thread that has nothing to work for any more."""


def make_bars(show: bool, stop: threading.Event) -> type["Bar"]:
    """Returns the class of the bars of one preparation; once ``stop`` is set, their ``update`` raises StoppedError."""
    return type("Bar", (Bar,), {"show": show, "stop": stop})


class Bar(tqdm.tqdm):
    """Takes the arguments that TFDS gives to tqdm."""

    show = True
    stop = threading.Event()

    def __init__(self, iterable: Any = None, *, desc: str = "", total: int | None = None, unit: str = "", **_) -> None:
        title = title_of(desc)
        self._drawn = 0.0
        self._counts_size = unit.strip() == "MiB"
        super().__init__(
            iterable,
            desc=title,
            total=total,
            unit=unit,
            disable=not (title and self.show),
            leave=False,
            dynamic_ncols=True,
            mininterval=REDRAW_SECONDS,
        )

    def update(self, n: float | None = 1) -> bool | None:
        if self.stop.is_set():
            raise StoppedError
        # TFDS counts downloads in MiB, but files that are there already in bytes; none of the archives has 100 GiB.
        if self._counts_size and n and n > 100 * 1024:
            n /= MEBIBYTE
        return super().update(n)

    def refresh(self, *args: Any, **options: Any) -> bool | None:
        if time.monotonic() - self._drawn < REDRAW_SECONDS:
            return None
        self._drawn = time.monotonic()
        return super().refresh(*args, **options)


def title_of(description: str) -> str:
    """Returns the title of a bar that TFDS describes; what is not known stays as it is."""
    for pattern, title in TITLES.items():
        if match := re.fullmatch(pattern, description):
            return match.expand(title)
    return description
