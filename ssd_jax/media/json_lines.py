"""A file of JSON Lines that holds whole lines at every moment."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssd_jax.errors import InputError


class JsonLines:
    """Writes one JSON object a line, each at once, so that others may read along."""

    def __init__(self, path: Path) -> None:
        """Opens the file anew.

        Raises:
          InputError: it cannot be written.
        """
        self._path = path
        self._length = 0
        try:
            self._file = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666
            )
        except OSError as error:
            raise self._error(error) from error

    def write(self, entry: Mapping[str, Any]) -> None:
        """Appends a line; if the disk is full, none of it.

        Raises:
          InputError: it cannot be written.
        """
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(", ", ": ")) + "\n"
        # Names of files that are not UTF-8 hold lone surrogates; this escapes them as JSON does.
        data = line.encode("utf-8", "backslashreplace")
        try:
            done = 0
            while done < len(data):
                done += os.write(self._file, data[done:])
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)
            if isinstance(error, OSError):
                raise self._error(error) from error
            raise
        self._length += len(data)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _error(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: cannot be written ({error.strerror})")
