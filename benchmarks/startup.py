"""How long does it take from the start of a process to its first detection, and to its first training step?

Each sample is a process of its own (startup_child.py) that imports, reads or builds, compiles and runs: without a
compilation cache, with an empty one ("cold"), and with the one that the cold process has left ("warm").

python benchmarks/startup.py [--json FILE] [--quick] [--seconds S]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from benchmarks import startup_child, tables
from benchmarks.runner import OUT_OF_TIME

QUESTION = "startup"
REPEATS = 3
CACHES = ("none", "cold", "warm")
PARTS = ("imports", "reading", "building", "compiling or loading", "first run")
COLUMNS = ("until the first", "compilation cache", "s (min-max)", *(f"{part}, s" for part in PARTS), "cache, MB")
TIMEOUT = 600  # seconds, of one process


def measure(quick: bool, deadline: float) -> dict[str, Any]:
    """Starts the processes, all kinds in turn at each repeat."""
    network, repeats = ("tiny", 1) if quick else ("SSD300", REPEATS)
    samples: dict[tuple[str, str], list[dict[str, float]]] = {}
    errors: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder, "detector.safetensors")
        startup_child.publish(published, network)
        longest = 0.0
        for repeat in range(repeats):
            for kind in startup_child.KINDS:
                for cache in CACHES:
                    # The warm process finds what the cold one of the same repeat has written.
                    place = "" if cache == "none" else str(Path(folder, f"cache {kind} {repeat}"))
                    start = time.monotonic()
                    if start + longest > deadline:
                        errors.setdefault((kind, cache), OUT_OF_TIME)
                        continue
                    found = run_apart(kind, network, place, published)
                    longest = max(longest, time.monotonic() - start)
                    if "error" in found:
                        errors[kind, cache] = found["error"]
                    else:
                        samples.setdefault((kind, cache), []).append(found)
    rows = [_row(kind, cache, samples, errors) for kind in startup_child.KINDS for cache in CACHES]
    return {**tables.head(QUESTION, quick, jax.default_backend()), "network": network, "rows": rows}


def run_apart(kind: str, network: str, cache: str, published: Path) -> dict[str, Any]:
    """Runs one process and returns its seconds by part, or why there are none."""
    script = str(Path(__file__).with_name("startup_child.py"))
    # A cache of the user's would be neither none nor cold.
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    begin = time.time()
    command = [sys.executable, script, kind, network, repr(begin), str(published), cache]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {TIMEOUT} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1][:200]}
    files = [file.stat().st_size for file in Path(cache).rglob("*") if file.is_file()] if cache else []
    return {**json.loads(done.stdout.splitlines()[-1]), "cache_megabytes": sum(files) / 1e6}


def _row(
    kind: str, cache: str, samples: Mapping[Any, Sequence[Mapping[str, float]]], errors: Mapping[Any, str]
) -> dict[str, Any]:
    case = {"kind": kind, "cache": cache}
    mine = samples.get((kind, cache), [])
    if not mine:
        return {**case, "error": errors[kind, cache]}
    return {
        **case,
        "samples": len(mine),
        "seconds": tables.spread([sum(sample[part] for part in PARTS) for sample in mine]),
        "parts": {part: tables.spread([sample[part] for sample in mine]) for part in PARTS},
        "cache_megabytes": mine[-1]["cache_megabytes"],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    note = f"{result['network']} on the {result['device']}; a process a sample"
    return tables.page(result, [note], tables.table(COLUMNS, [_cells(row) for row in result["rows"]]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    case = [row["kind"], row["cache"]]
    if "error" in row:
        return [*case, row["error"], *[""] * (len(PARTS) + 1)]
    parts = [tables.median(row["parts"][part]) for part in PARTS]
    return [
        *case,
        tables.span(row["seconds"]),
        *parts,
        f"{row['cache_megabytes']:.1f}" if row["cache"] != "none" else "",
    ]


if __name__ == "__main__":
    sys.exit(tables.main(measure, markdown, "Measures how long programs take to start. See docs/performance.md."))
