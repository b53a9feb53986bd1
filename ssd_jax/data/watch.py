"""Readers that hang and worker processes that die: a batch is waited for, but not for ever.

A read that never returns (a network file system whose server is gone) cannot be ended from outside, so it
happens in a daemon thread, which nobody has to wait for.
"""

import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

from ssd_jax.data.workers import Workers
from ssd_jax.errors import InputError

CLOSE_S = 5.0  # that closing a stream waits for readers to end by themselves, and again after they were ended
# A worker process that is stuck says so itself, with the image, unless it is stuck elsewhere: at its start, which may
# take this long, or stopped. Grain may take 25 s of it to end such a worker.
WORKER_MARGIN_S = 60.0
NAMED = 8  # images that a sentence names


class Batches(Protocol):
    """A function of the step that can tell what it reads. Picklable."""

    def __call__(self, step: int, before: Callable[[int], None]) -> Any:
        """Returns the batch of a step; ``before(index)`` is called before each image is read."""
        ...

    def describe(self, step: int) -> str:
        """Returns what the step is called in messages."""
        ...

    def indices(self, step: int) -> list[int]:
        """Returns the positions in the source of the images of a step."""
        ...

    def name(self, index: int) -> str:
        """Returns what an image is called in messages, without reading it."""
        ...


class WatchedBatches:
    """batches(step), each read in a daemon thread and given up after ``timeout_s``.

    It is called in Grain's threads, for which the interpreter waits when it exits; they only wait here.
    """

    def __init__(self, batches: Batches, timeout_s: float) -> None:
        self._batches, self._timeout_s = batches, timeout_s
        self._begin()

    def _begin(self) -> None:
        self._lock, self._calls = threading.Lock(), dict[_DaemonCall, int]()  # and the step of each
        self._end: Exception | None = None  # what every call raises from then on

    def __call__(self, step: int) -> Any:
        """Returns the batch.

        Raises:
          InputError: reading it takes longer than ``timeout_s``.
          CancelledError: the stream was closed in the meantime.
        """
        step, reading = int(step), list[int]()

        def before(index: int) -> None:
            if call.future.cancelled():
                raise CancelledError
            reading.append(index)

        call = _DaemonCall(functools.partial(self._batches, step, before))
        with self._lock:
            if self._end is not None:
                raise self._end
            self._calls[call] = step
            call.start()
        try:
            return call.result(self._timeout_s)
        except _ExpiredError:
            error = InputError(self._message(step, reading))
            self._give_up(error, after=step)
            raise error from None
        except CancelledError:
            raise (self._end or CancelledError()) from None
        finally:
            with self._lock:
                self._calls.pop(call)

    def close(self) -> None:
        """Gives up what is being read; waits a little for those readers that are not stuck."""
        calls, deadline = self._give_up(CancelledError()), time.monotonic() + CLOSE_S
        for call in calls:
            call.join(max(0.0, deadline - time.monotonic()))

    def _give_up(self, end: Exception, *, after: int = -1) -> list["_DaemonCall"]:
        """Ends the calls of all steps after one: there will be no further batch, and a process has to exit.

        Earlier ones, which may be stuck too, had started before: they end by themselves, and are what is reported.
        """
        with self._lock:
            self._end = self._end or end
            calls = [call for call, step in self._calls.items() if step > after]
        for call in calls:
            call.future.cancel()
        return calls

    def _message(self, step: int, reading: Sequence[int]) -> str:
        name = self._batches.name(reading[-1]) if reading else describe_images(self._batches, step)
        return (
            f"{self._batches.describe(step)}: reading {name} has not ended within {self._timeout_s:g} s "
            f"(loader.timeout_s); {max(0, len(reading) - 1)} of {len(self._batches.indices(step))} images of the "
            "batch were read before it"
        )

    def __getstate__(self) -> tuple[Batches, float]:  # threads and locks cannot travel to a worker process
        return self._batches, self._timeout_s

    def __setstate__(self, state: tuple[Batches, float]) -> None:
        self._batches, self._timeout_s = state
        self._begin()


class Stream:
    """An iterator of batches; ``close()`` ends its threads and processes."""

    def __init__(
        self, iterator: Any, batches: Batches, watched: WatchedBatches, steps: range, timeout_s: float, workers: Any
    ) -> None:
        """Wraps Grain's iterator.

        Args:
          iterator: over watched(step) for the steps.
          batches: tell what is being read.
          watched: what the iterator calls.
          steps: of the iterator.
          timeout_s: of ``watched``; 0 = none.
          workers: :class:`Workers` in which the iterator calls ``watched``, or None.
        """
        self._iterator, self._batches, self._workers = iterator, batches, workers
        self._steps, self._timeout_s = iter(steps), timeout_s
        self._step = steps.start
        self._close = weakref.finalize(self, _close, iterator, watched, workers)
        self._close.atexit = False  # threads cannot be started then; Grain ends its processes at exit

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Returns the next batch.

        Raises:
          InputError: an image cannot be read (and ``on_error`` is "stop"), reading takes longer than
            ``timeout_s``, or a worker process has died.
        """
        if self._workers is None:
            return next(self._iterator)  # Grain waits for its threads, which watch the readers
        step = next(self._steps, self._step)
        self._step = step
        call = _DaemonCall(functools.partial(next, self._iterator))
        call.start()
        try:
            return call.result(self._timeout_s and self._timeout_s + WORKER_MARGIN_S)
        except _ExpiredError:
            reason = f"a worker process has not answered for {self._timeout_s + WORKER_MARGIN_S:g} s"
        except RuntimeError as error:
            if not str(error).startswith("Worker process was terminated"):  # Grain's words
                raise
            code = str(error).partition("exit code ")[2].partition(".")[0]
            reason = f"the worker process that read it has died (exit code {code})"
        raise InputError(
            f"{self._batches.describe(step)}: {reason}; in flight were {describe_images(self._batches, step)}"
        )

    def close(self) -> None:
        """Ends threads and processes; after at most 15 s, whether or not a reader is stuck."""
        self._close()
        self._iterator = iter(())  # Grain's is let go of: its tidying up fails when the interpreter does it at exit


def describe_images(batches: Batches, step: int) -> str:
    """Returns the names of the images of a step, the first few of them."""
    indices = batches.indices(step)
    more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
    return f"{', '.join(batches.name(index) for index in indices[:NAMED])}{more}"


def _close(iterator: Any, watched: WatchedBatches, workers: Workers | None) -> None:
    watched.close()
    if workers is None:
        iterator.close()
        return
    closing = _DaemonCall(iterator.close)
    closing.start()
    closing.join(CLOSE_S)  # Grain would wait for ever for a worker that is stuck
    workers.end()
    closing.join(CLOSE_S)


class _ExpiredError(Exception):
    """A call has not returned in time."""


class _DaemonCall(threading.Thread):
    """A call in a thread that keeps no process from exiting."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True, name="ssd_jax-reader")
        self.future: Future[Any] = Future()
        self._function = function

    def run(self) -> None:
        try:
            value, error = self._function(), None
        except BaseException as raised:
            value, error = None, raised
        if not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(value)
        else:
            self.future.set_exception(error)

    def result(self, timeout_s: float) -> Any:
        """Returns what the function does, or raises what it does; signals are handled meanwhile.

        Raises:
          _ExpiredError: it has not returned within ``timeout_s`` (0: for ever).
          CancelledError: ``future`` was cancelled.
        """
        with contextlib.suppress(TimeoutError):  # the function's own is raised below
            return self.future.result(timeout_s or None)
        if not self.future.done():
            raise _ExpiredError
        return self.future.result()
