"""What Orbax raises and logs when a disk is full or a file is damaged, as one sentence."""

import contextlib
import errno
import gc
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from ssd_jax.errors import InputError

UNFINISHED = "*.orbax-checkpoint-tmp"  # folders that Orbax writes to before they get their name


class DamagedCheckpoint(InputError):
    """A checkpoint whose files are missing, cut off or changed."""


class GoneCheckpoint(DamagedCheckpoint):
    """A checkpoint that was deleted while it was read, as a training does with its old ones."""


def system_reason(error: BaseException) -> str | None:
    """Returns what the operating system said, such as "No space left on device", or None if it was not involved."""
    number = error.errno if isinstance(error, OSError) else None
    if found := re.search(r"os_error_code='(\d+)'", str(error)):  # TensorStore, which writes the arrays
        number = int(found[1])
    return None if number is None else os.strerror(number)


@contextlib.contextmanager
def writing(folder: Path, said: Callable[[], str] = str) -> Iterator[None]:
    """Turns a failure of the disk into an InputError, and removes what was half written.

    Args:
      folder: where it is written.
      said: called for what is to be added to the sentence.

    Raises:
      InputError: the disk is full, read-only, ... Any other error is a bug and passes.
    """
    try:
        with quiet(is_traceback):
            yield
    except Exception as error:
        reason = system_reason(error)
        if reason is None:
            raise
        remove_unfinished(folder)
        raise InputError(f"{folder}: cannot write a checkpoint ({reason}){said()}") from error


def remove_unfinished(folder: Path) -> None:
    """Removes what a failed or killed save left behind; of several processes the first does."""
    if jax.process_index() == 0:
        for unfinished in folder.glob(UNFINISHED):
            shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong when a checkpoint is read into :class:`DamagedCheckpoint`.

    Orbax has no error of its own for that: missing, cut off and changed files come as OSError,
    ValueError, KeyError, AttributeError, TypeError or a bare Exception.

    Raises:
      DamagedCheckpoint: the checkpoint cannot be read.
      GoneCheckpoint: it has been deleted.
      InputError: it may not be read.
    """
    with quiet(_is_remark), no_complaints_of_given_up_work():
        try:
            yield
            return
        except (InputError, MemoryError, jax.errors.JaxRuntimeError):  # the last: the device's memory is full
            raise
        except PermissionError as error:
            raise InputError(f"{path}: cannot be read ({os.strerror(error.errno or errno.EACCES)})") from error
        except Exception as error:
            reason = _first_sentence(error)
        # The error holds tasks that were never awaited; it is not chained, so that they are collected here, silently.
        gc.collect()
        if _is_vanishing(path):
            raise GoneCheckpoint(f"{path}: cannot be read (it is gone)")
        raise DamagedCheckpoint(f"{path}: cannot be read ({reason})")


def _is_vanishing(path: Path) -> bool:
    """Whether a folder is gone, or is so a moment later: its files are deleted before it is."""
    for _ in range(5):
        if not path.exists():
            return True
        time.sleep(0.02)
    return False


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = re.split(r": | \[", lines[0])[0] if lines else ""
    if text and type(error) in (Exception, ValueError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def quiet(dropped: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Drops some of the records that Orbax (through absl) and asyncio log meanwhile."""

    def keep(record: logging.LogRecord) -> bool:
        return not dropped(record)

    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def is_traceback(record: logging.LogRecord) -> bool:
    """Whether Orbax logs an error that it raises as well, in another thread or later."""
    return _is_remark(record) and bool(record.exc_info)


def is_read_only_remark(record: logging.LogRecord) -> bool:
    """Whether Orbax says of a manager for reading that it does not write."""
    return _is_of_orbax(record.pathname) and record.levelno <= logging.WARNING and "read" in record.getMessage()


def _is_remark(record: logging.LogRecord) -> bool:
    """Whether Orbax, or asyncio of tasks of Orbax, logs anything at all."""
    return record.name == "asyncio" or _is_of_orbax(record.pathname)


@contextlib.contextmanager
def no_complaints_of_given_up_work() -> Iterator[None]:
    """Keeps Python from printing a traceback for each read and write that Orbax gives up when another one has failed.

    They end, or are collected, when the event loop that started them is closed already. After an error
    this stays so, since nobody knows when the last of them ends.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        traceback = unraisable.exc_traceback
        of_orbax = traceback is not None and _is_of_orbax(traceback.tb_frame.f_code.co_filename)
        if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
    yield
    if sys.unraisablehook is hook:  # else one inside of this stays
        sys.unraisablehook = before


def _is_of_orbax(path: str) -> bool:
    return "/orbax/checkpoint/" in Path(path).as_posix()
