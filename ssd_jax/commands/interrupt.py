"""Stopping a loop at the end of a step instead of in its middle, in all processes at the same one."""

import os
import signal
from types import FrameType

import jax

from ssd_jax import parallel


class StopSignal:
    """Within ``with``, Ctrl-C and SIGTERM only set ``requested``; a second one interrupts at once.

    While ``saving`` is set, not even a second one does: what is half written would be lost.

    Attributes:
      requested: whether this process got a signal.
      saving: to be set around what must not be interrupted.
      status: exit status by the signal that was agreed upon, as shells report it: 130 for Ctrl-C
        (SIGINT), 143 for SIGTERM, which wins if some processes got the one and some the other; 0 before.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, mesh: jax.sharding.Mesh | None = None) -> None:
        """Listens to nothing yet.

        Args:
          mesh: of ``parallel.data_mesh``: the processes that stop together. None: this one only.
        """
        self.requested = self.saving = False
        self.status = 0
        self._number = 0
        self._mesh = mesh if mesh is not None and mesh.is_multi_process else None
        self._vote: jax.Array | None = None
        self._previous: dict = {}

    def __enter__(self) -> "StopSignal":
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """Whether to stop now. Every process calls this equally often, and all get the same answer.

        With several processes it is the answer to the call before: the vote travels behind the step that
        was dispatched last, so that the host does not wait for that step. A signal thus stops the run one
        call later than it would in a single process.
        """
        agreed = self._number
        if self._mesh is not None:
            vote, self._vote = self._vote, parallel.start_maximum(self._number, self._mesh)
            agreed = 0 if vote is None else int(vote)
        if agreed:
            self.status = 128 + agreed
        return agreed > 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.saving:
            raise KeyboardInterrupt
        if not self.requested:
            # Not print: the signal may come in the middle of one.
            os.write(2, b"\nstopping after this step and saving; once more to stop without saving\n")
            self._number = number
        self.requested = True
