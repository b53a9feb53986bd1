"""Worker processes that end with the stream they read for.

They are tied to their parent by a connection: when it breaks, because the stream is closed or the parent was
killed, they end.
"""

import contextlib
import functools
import os
import signal
import threading
from multiprocessing import connection
from typing import Any


class Workers:
    """The line that ties worker processes to this one."""

    def __init__(self, count: int) -> None:
        # Nobody accepts: a worker is connected as soon as it stands in the queue, and learns when that is gone.
        self._listener = connection.Listener(backlog=count)
        self.start = functools.partial(_start_worker, self._listener.address)

    def end(self) -> None:
        """Ends the worker processes, stuck or not."""
        self._listener.close()


def _start_worker(address: Any, worker: int, count: int) -> None:
    """Runs in each worker process before it reads."""
    del worker, count
    # Ctrl-C and a scheduler's SIGTERM reach all processes of a run. The main one still needs batches to come to
    # the end of its step, and then ends these.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    line = connection.Client(address)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()


def _end_with(line: connection.Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        line.recv()  # nothing is ever sent
    os.kill(os.getpid(), signal.SIGKILL)  # a reader that is stuck would outlast any other way to exit
