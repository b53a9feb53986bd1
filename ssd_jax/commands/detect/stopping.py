"""Ending a loop over images or frames so that what is done is kept."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Stop:
    """Whether to stop.

    Attributes:
      number: of the signal that asked for it; 0 = none has.
      is_completing: while set, not even a second signal interrupts: what is half written would be lost.
      is_postponed: whether a second signal came meanwhile.
    """

    number = 0
    is_completing = is_postponed = False

    @property
    def status(self) -> int:
        """The exit status, as shells report a signal: 130 for Ctrl-C, 143 for SIGTERM; 0 = none."""
        return 128 + self.number if self.number else 0

    @contextlib.contextmanager
    def completing(self) -> Iterator[None]:
        """Within it, ``is_completing`` is set; a second signal interrupts at its end."""
        self.is_completing = True
        try:
            yield
        finally:
            self.is_completing = False
        if self.is_postponed:
            self.is_postponed = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Within it, the first Ctrl-C or SIGTERM only asks to stop; a second one interrupts at once."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.number and stop.is_completing:
            stop.is_postponed = True
            return
        if stop.number:
            raise KeyboardInterrupt
        stop.number = number
        # Not print: the signal may come in the middle of one.
        os.write(2, b"\nstopping when what has been read is done; once more to stop at once\n")

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
