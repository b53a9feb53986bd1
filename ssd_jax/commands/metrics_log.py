"""``metrics.jsonl``: one JSON object a line, the same whether or not its run was interrupted."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import files
from ssd_jax.errors import InputError

NAME = "metrics.jsonl"

# What depends on the machine, and on where a run was interrupted; everything else in a line is reproduced exactly.
TIMING_FIELDS = ("images_per_second", "data_wait", "device_memory", "device_memory_peak")


class MetricsLog:
    """Appends lines to a log. Each is with the operating system when ``write`` returns, so that no kill loses it."""

    def __init__(self, path: Path, *, start: int) -> None:
        """Opens the log of a run that goes on after step ``start``; the lines of later steps are dropped.

        Raises:
          InputError: the file cannot be read or written.
        """
        drop_after(path, start)
        self._path = path
        try:
            self._file = open(path, "ab", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror})") from error

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends a line; numbers that JSON lacks become null.

        Raises:
          InputError: the file cannot be written, for example because the disk is full.
        """
        line = json.dumps({name: _plain(value) for name, value in values.items()}).encode() + b"\n"
        try:
            while line:  # a disk that is almost full takes a part
                line = line[self._file.write(line) :]
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from error

    def sync(self) -> None:
        """Waits until all lines are on the disk, so that not even a power failure loses them.

        Raises:
          InputError: the disk refuses.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from error


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drop_after(path: Path, step: int) -> None:
    """Drops the lines of later steps, and a last line that was cut off; the others stay byte for byte.

    Raises:
      InputError: the file cannot be read or written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    *lines, rest = data.split(b"\n")
    if rest and _parse(rest) is not None:  # only the end of the line is missing
        lines.append(rest)
    if lines and _parse(lines[-1]) is None:
        lines.pop()
    kept = b"".join(line + b"\n" for line in lines if (_step(_parse(line)) or 0) <= step)
    if kept != data:
        files.write_bytes(path, kept)


class Reading(NamedTuple):
    """What a log says."""

    lines: list[dict[str, Any]]  # those with a step, in the order of the file
    unusable: list[int]  # numbers of the others, from 1
    is_torn: bool  # whether the last line was cut off: the run was killed, or is writing it now


def read(path: Path) -> Reading:
    """Reads a log.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected the folder of a run (a --workdir of train.py)") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    *complete, rest = data.split(b"\n")
    lines, unusable = [], []
    for number, text in enumerate(complete, start=1):
        line = _parse(text)
        if line is not None and _step(line) is not None:
            lines.append(line)
        elif text.strip():
            unusable.append(number)
    return Reading(lines, unusable, bool(rest.strip()))


def comparable(line: str | Mapping[str, Any]) -> dict[str, Any]:
    """Returns a line without its timing fields: equal for a run and for the same run interrupted and resumed."""
    values = json.loads(line) if isinstance(line, str) else line
    return {name: value for name, value in values.items() if name not in TIMING_FIELDS}


def series(lines: Iterable[Mapping[str, Any]], field: str) -> tuple[np.ndarray, np.ndarray]:  # [N] int64, [N] float64
    """Returns the steps at which a field was logged, rising, and its values; null and what is no number become nan.

    Of several values for a step the last counts: before runs dropped what they repeat, logs held such.
    """
    values = {line["step"]: _number(line[field]) for line in lines if field in line}
    steps = sorted(values)
    return np.array(steps, np.int64), np.array([values[step] for step in steps], np.float64)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # an integer beyond float64
        return math.nan


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return value if isinstance(value, dict) else None


def _step(line: Mapping[str, Any] | None) -> int | None:
    step = None if line is None else line.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**63 else None
