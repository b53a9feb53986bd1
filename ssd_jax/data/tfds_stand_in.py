"""Stand-ins for the few names of TensorFlow that TFDS 4.9 uses while it prepares VOC and COCO."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np


def make_stand_in() -> SimpleNamespace:
    """Returns a namespace to be used as ``tf``; any name that is missing here raises AttributeError."""
    return SimpleNamespace(
        int64=np.int64,
        compat=SimpleNamespace(as_text=_as_text),
        io=SimpleNamespace(gfile=SimpleNamespace(GFile=_open_file, exists=os.path.exists, remove=os.remove)),
        errors=SimpleNamespace(ResourceExhaustedError=_ResourceExhaustedError),
    )


class _ResourceExhaustedError(Exception):
    """Never raised: the limit on open files is raised beforehand."""


def _open_file(path: str | os.PathLike[str], mode: str = "r") -> IO[Any]:
    return Path(path).open(mode) if "b" in mode else Path(path).open(mode, encoding="utf-8")


def _as_text(text: str | bytes) -> str:
    return text.decode("utf-8") if isinstance(text, bytes) else text
