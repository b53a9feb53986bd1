"""A run of train.py that takes seconds, and how tests start and watch it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import compiling

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = [
    "--config=configs/ssd_demo.py",
    "--config.data.shapes.image_size=(64,64)",
    "--config.data.shapes.length=10",
    "--config.loader.canvas=(64,64)",
    "--config.model.image_size=(64,64)",
    "--config.model.width_multiplier=0.125",
    "--config.train.batch_size=4",
    "--config.train.num_steps=6",
    "--config.train.log_every=2",
    "--config.train.evaluate_every=6",
    "--config.train.checkpoint_every=3",
    "--config.evaluate.batch_size=4",
    # A schedule that does not depend on the number of steps: runs of different length share their compilation.
    "--config.optimizer.schedule=steps",
]


def environment(cache: Path) -> dict[str, str]:
    """One device, since the eight fake ones would only slow these runs down; and each program is compiled once."""
    return {
        "XLA_FLAGS": compiling.flags(),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def start(*arguments: str, environ: dict[str, str], log: Path, program: str = "train.py") -> subprocess.Popen:
    """Starts a program of the checkout; what it prints is appended to a file, so that no pipe can fill up."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, program, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def end_of(process: subprocess.Popen, *, timeout: float = 500) -> int:
    """Waits for the end of a process and returns its exit status; nothing is left running if it does not come."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, *, timeout: float = 200) -> bool:
    """Waits until something holds; False if the process ended before."""
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"waited {timeout} s in vain")
        time.sleep(0.002)
    return True


def free_port() -> int:
    """Returns a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
