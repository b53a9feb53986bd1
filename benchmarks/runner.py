"""Runs the two sides of a question, ours and the peer's, each in a process of its own and within a time limit.

JAX and PyTorch would fight for the memory of one GPU, and a crash of one must not take the other's
figures along. A side writes each row as soon as it is measured, so whatever ends it early loses
only the rows that were not reached.
"""

import argparse
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import report, tables, timing
from benchmarks.subjects import Case, Subject, matrix_tflops

OUT_OF_TIME = "skipped: out of time"
PEER_NETWORKS = ("SSD300",)  # those that torchvision has
PEER_SCENES = ("", "sparse", "crowded")  # the others are parts of ours
SHARE_OF_OURS = 0.7  # of the time, where there is a peer to run after
START_SECONDS = 5  # of a process, before it looks at the clock


class Script(NamedTuple):
    """One question: a script of this folder."""

    file: str
    question: str
    cases: Callable[[str, bool], list[Case]]  # device ("gpu" or "cpu"), quick -> rows
    ours: Callable[[Case], Subject]
    latency: bool = False  # time single calls, for p50 and p99


def main(script: Script, arguments: Sequence[str] | None = None) -> int:
    """Answers the question of a script; returns the exit status."""
    parser = argparse.ArgumentParser(description=f"Measures: {script.question}. See docs/performance.md.")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="a tiny network: shows that the script works")
    parser.add_argument("--seconds", type=float, default=1800, help="skip the rows for which no time is left")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("gpu", "cpu"), help=argparse.SUPPRESS)
    parser.add_argument("--lines", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + options.seconds
    if options.side:
        with options.lines.open("w") as lines:
            try:
                for line in run_side(
                    script, options.side, deadline=deadline, quick=options.quick, device=options.device
                ):
                    print(json.dumps(line), file=lines, flush=True)
            except Exception as error:  # torchvision is broken, say: the reason goes into the table
                print(json.dumps({"error": _in_one_line(error)}), file=lines, flush=True)
        return 0
    result = compare(script, deadline=deadline, quick=options.quick)
    print(report.markdown([result]))
    if options.json:
        tables.save(options.json, result)
    return 0 if any("error" not in row["ours"] for row in result["rows"]) else 1


def compare(script: Script, *, deadline: float, quick: bool) -> dict[str, Any]:
    """Runs our side, then the peer's on the same device, and joins the rows."""
    left, has_peer = deadline - time.monotonic(), importlib.util.find_spec("torchvision") is not None
    ours = _child(script, "ours", left * SHARE_OF_OURS if has_peer and not quick else left, quick)
    device = ours.head.get("device", "cpu")
    cases = script.cases(device, quick)
    rows = [{"case": case._asdict(), "ours": ours.result(case)} for case in cases]
    if any(map(peer_takes, cases)):
        peer = Side({}, {}, "torchvision is not installed")
        if has_peer:
            peer = _child(script, "peer", deadline - time.monotonic(), quick, device)
        for case, row in zip(cases, rows, strict=True):
            if peer_takes(case):
                row["peer"] = peer.result(case)
    return {"question": script.question, "quick": quick, **ours.head, "rows": rows}


def run_side(
    script: Script, side: str, *, deadline: float, quick: bool, device: str | None = None
) -> Iterator[dict[str, Any]]:
    """Measures the rows of one side: first a line about the machine, then one for each case."""
    if side == "ours":
        device, prepare = jax.default_backend(), script.ours
        ceilings = {} if script.latency else {p: matrix_tflops(p, quick=quick) for p in ("bfloat16", "float32")}
        yield {"device": device, "matrix_tflops": ceilings, "machine": timing.machine()}
    else:
        prepare = _peer(script.question, device)
        yield {}
    longest = 0.0
    for case in script.cases(device or "cpu", quick):
        if side == "peer" and not peer_takes(case):
            continue
        start = time.monotonic()
        if start + longest > deadline:
            result = {"error": OUT_OF_TIME}
        else:
            result = measure_case(prepare, case, latency=script.latency, quick=quick)
        longest = max(longest, time.monotonic() - start)
        print(f"{side}: {' '.join(map(str, case))}: {report.brief(result)}", file=sys.stderr, flush=True)
        yield {"case": case, "result": result}


def peer_takes(case: Case) -> bool:
    """Whether torchvision can be asked the same."""
    return case.network in PEER_NETWORKS and case.scene in PEER_SCENES


def _peer(question: str, device: str | None) -> Callable[[Case], Subject]:
    """Returns what prepares the peer's side; raises where it is missing or runs on another device than ours."""
    from benchmarks import peer

    if peer.device() != device:
        raise RuntimeError(f"PyTorch runs on the {peer.device()}, JAX on the {device}: not comparable")
    return peer.QUESTIONS[question]


def measure_case(prepare: Callable[[Case], Subject], case: Case, *, latency: bool, quick: bool) -> dict[str, Any]:
    """Measures one row; whatever goes wrong (no memory, say) becomes the row's error."""
    effort = timing.QUICK if quick else timing.FULL
    try:
        subject = prepare(case)
        if not all(np.isfinite(values).all() for values in subject.values(subject.call())):
            raise ValueError("the result is not finite")
        found = timing.measure(subject.call, subject.wait, effort=effort, latency=latency)
    except Exception as error:
        return {"error": _in_one_line(error)}
    finally:
        gc.collect()  # the memory of a network belongs to the next row
    return {
        "milliseconds": {name: 1e3 * value for name, value in found._asdict().items() if isinstance(value, float)},
        "samples": found.samples,
        "calls_per_sample": found.calls_per_sample,
        "images_per_second": case.batch / found.median,
        "tflops": subject.flops / found.median / 1e12 or None,
        "compile_seconds": subject.compile_seconds,
        **subject.details,
    }


class Side(NamedTuple):
    """What one side has measured."""

    head: dict[str, Any]  # about the machine
    rows: dict[Case, dict[str, Any]]
    otherwise: str  # what became of the other rows

    def result(self, case: Case) -> dict[str, Any]:
        return self.rows.get(case, {"error": self.otherwise})


def _child(script: Script, side: str, seconds: float, quick: bool, device: str | None = None) -> Side:
    """Runs one side in a process of its own, for so many seconds at most."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "lines.jsonl")
        command = [sys.executable, script.file, "--side", side, "--lines", str(written)]
        command += [f"--seconds={seconds - START_SECONDS:.0f}"] + ["--quick"] * quick
        command += ["--device", device] if device else []
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        try:
            status = subprocess.run(command, env=environment, timeout=max(seconds, 1)).returncode
            otherwise = f"not measured: the process ended with status {status}"
        except subprocess.TimeoutExpired:
            otherwise = OUT_OF_TIME
        lines = [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []
    rows = {Case(*line["case"]): line["result"] for line in lines if "case" in line}
    errors = [line["error"] for line in lines if "error" in line]
    head = lines[0] if lines and not errors else {}
    return Side(head, rows, (errors or [otherwise])[0])


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
