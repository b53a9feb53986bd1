"""Stopping a loop at the end of a step instead of in its middle."""

import os
import signal
from types import FrameType


class StopSignal:
    """Within ``with``, Ctrl-C and SIGTERM only set ``requested``; a second one interrupts at once.

    While ``saving`` is set, not even a second one does: what is half written would be lost.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = self.saving = False
        self._previous: dict = {}

    def __enter__(self) -> "StopSignal":
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.saving:
            raise KeyboardInterrupt
        if not self.requested:
            # Not print: the signal may come in the middle of one.
            os.write(2, b"\nstopping after this step and saving; once more to stop without saving\n")
        self.requested = True
