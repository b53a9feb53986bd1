"""How long something takes on a device: warm-up, synchronization, spread over repeats; and on which machine."""

import datetime
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "optax", "numpy", "torch", "torchvision")
GROUP_SECONDS = 0.05  # a throughput sample lasts at least this long, so that the synchronization does not count


class Effort(NamedTuple):
    """How much is run for one figure."""

    warm_up: int  # calls before the first sample
    seconds: float  # aimed at for all samples together
    least: int  # samples at least
    most: int  # samples at most


FULL = Effort(warm_up=3, seconds=2.0, least=5, most=500)
QUICK = Effort(warm_up=1, seconds=0.05, least=3, most=10)


class Timing(NamedTuple):
    """Seconds a call, over the samples."""

    median: float
    low: float
    high: float
    p99: float
    samples: int
    calls_per_sample: int


def measure(call: Callable[[], Any], wait: Callable[[Any], Any], *, effort: Effort, latency: bool = False) -> Timing:
    """Times a call that is compiled already.

    Args:
      call: starts the work once; may return before the device is done.
      wait: blocks until the result of a call is there.
      effort: how often.
      latency: every call is waited for, and is one sample. Otherwise a sample is a group of calls
        that are queued one after the other, as in a training loop, and waited for together.
    """
    for _ in range(effort.warm_up):
        wait(call())
    once = _seconds_per_call(call, wait, 1)
    group = 1 if latency else max(1, math.ceil(GROUP_SECONDS / max(once, 1e-6)))
    wanted = int(effort.seconds / max(once * group, 1e-6))
    count = min(max(wanted, effort.least), effort.most)
    return spread([_seconds_per_call(call, wait, group) for _ in range(count)], group)


def spread(samples: Sequence[float], calls_per_sample: int = 1) -> Timing:
    """Sums samples up; p99 is the smallest sample that at least 99 % of them do not exceed."""
    ordered = sorted(samples)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return Timing(statistics.median(ordered), ordered[0], ordered[-1], p99, len(ordered), calls_per_sample)


def _seconds_per_call(call: Callable[[], Any], wait: Callable[[Any], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls - 1):
        call()
    wait(call())
    return (time.perf_counter() - start) / calls


def machine() -> dict[str, Any]:
    """Describes where and with what is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "environment": {name: value for name, value in os.environ.items() if name.startswith(("XLA_", "JAX_"))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """Returns what a program prints, or None where there is no such program or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
