"""Runs hdf5_index on many files, each in a fork of one small process: starting an interpreter for each takes long.

python hdf5_forks.py SECONDS FILE ...     # prints a line of JSON a file
"""

import importlib.util
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[1] / "ssd_jax" / "weights" / "readers" / "hdf5_index.py"


def load() -> Any:
    """Returns the program as a module, without the package around it."""
    spec = importlib.util.spec_from_file_location("hdf5_index", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fork(program: Any, path: str, limit: float) -> dict[str, Any]:
    """Returns what the program prints, how it ends, and the seconds and bytes that it takes."""
    start = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        program.limit_resources()
        with os.fdopen(writing, "w") as out:
            out.write(program.describe(path))
        os._exit(0)
    os.close(writing)
    text = b""
    while select.select([reading], [], [], max(0, limit - time.monotonic() + start))[0]:
        piece = os.read(reading, 2**16)
        text += piece
        if not piece:
            break
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {
        "index": json.loads(text) if not code else None,
        "code": code,
        "seconds": time.monotonic() - start,
        "memory": 1024 * used.ru_maxrss,
    }


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    index = load()
    for file in sys.argv[2:]:
        print(json.dumps(fork(index, file, float(sys.argv[1]))), flush=True)
