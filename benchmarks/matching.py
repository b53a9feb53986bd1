"""How long does matching take? Ground truth on the device in, what each prior is to learn on the device out.

The default boxes of SSD300 (8,732) and SSD512 (24,564), 1 to 100 objects an image, beside plain NumPy (plain.py),
which takes images one after the other on the host.

python benchmarks/matching.py [--json FILE] [--quick] [--seconds S]
"""

import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from benchmarks import plain, subjects, tables
from benchmarks.interleaved import QUICK_ROUNDS, ROUNDS, Contestant, milliseconds
from benchmarks.runner import OUT_OF_TIME
from ssd_jax import matching, parallel
from ssd_jax.types import Targets

QUESTION = "matching"
LEAST_AGREEMENT = 0.999  # rounding may decide an overlap that is nearly the threshold
COLUMNS = ("priors", "objects", "batch", "ours, ms an image (min-max)", "NumPy, ms an image (min-max)", "NumPy / ours")
COLUMNS += ("matched an image", "agree", "compile, s")


class Case(NamedTuple):
    """One row."""

    network: str  # whose default boxes
    objects: int
    batch: int


def cases(quick: bool) -> list[Case]:
    """Returns the rows of the table, the most telling first: time may run out."""
    if quick:
        return [Case("tiny", 3, 2)]
    return [Case(network, n, batch) for network in ("SSD300", "SSD512") for n in (10, 100, 1) for batch in (32, 1)]


def objects(case: Case) -> tuple[np.ndarray, np.ndarray]:  # boxes [B, G, 4], labels [B, G]
    """Returns objects of 5 to 60 % of the side, anywhere; no padding."""
    random = np.random.default_rng(0)
    shape = (case.batch, case.objects, 2)
    low = random.uniform(0, 0.6, shape)
    high = np.minimum(low + np.exp(random.uniform(np.log(0.05), np.log(0.6), shape)), 1)
    labels = random.integers(1, subjects.CLASSES, shape[:2])
    return np.concatenate([low, high], axis=-1).astype(np.float32), labels.astype(np.int32)


def measure(quick: bool, deadline: float) -> dict[str, Any]:
    """Measures the rows for which there is time."""
    rows, longest = [], 0.0
    for case in cases(quick):
        start = time.monotonic()
        if start + longest > deadline:
            rows.append({**case._asdict(), "error": OUT_OF_TIME})
            continue
        rows.append(measure_case(case, QUICK_ROUNDS if quick else ROUNDS))
        longest = max(longest, time.monotonic() - start)
    return {**tables.head(QUESTION, quick, jax.default_backend()), "rows": rows}


def measure_case(case: Case, rounds: int) -> dict[str, Any]:
    """Measures one row, after the results of both sides have been compared."""
    default_boxes = subjects.build(case.network, "float32")[1]
    boxes, labels = objects(case)
    placed = jax.device_put((boxes, labels))
    program = parallel.compile(jax.vmap(functools.partial(matching.match, priors=jax.numpy.asarray(default_boxes))))
    run, seconds = subjects.compile_apart(program, *placed)
    found = jax.device_get(run(*placed))
    agreed = agreement(found, [plain.match(*image, default_boxes) for image in zip(boxes, labels, strict=True)])
    head = {**case._asdict(), "priors": len(default_boxes)}
    if agreed < LEAST_AGREEMENT:
        return {**head, "error": f"only {agreed:.2%} of the matches are those of NumPy"}
    contestants = {
        "ours": Contestant(functools.partial(run, *placed), jax.block_until_ready, case.batch),
        "peer": Contestant(functools.partial(plain.match, boxes[0], labels[0], default_boxes)),
    }
    times = milliseconds(contestants, rounds=rounds)
    return {
        **head,
        "milliseconds": tables.spread(times["ours"]),
        "peer_milliseconds": tables.spread(times["peer"]),
        "times_as_fast": tables.spread([b / a for a, b in zip(times["ours"], times["peer"], strict=True)]),
        "matched": float((found.labels > 0).sum() / case.batch),
        "agreement": agreed,
        "compile_seconds": seconds,
    }


def agreement(ours: Targets, theirs: Sequence[plain.Matched]) -> float:
    """Returns the share of the priors that either side matched and both gave the same class and offsets."""
    labels, offsets = np.stack([one.labels for one in theirs]), np.stack([one.offsets for one in theirs])
    matched = (np.asarray(ours.labels) > 0) | (labels > 0)
    same = (np.asarray(ours.labels) == labels) & (np.abs(np.asarray(ours.offsets) - offsets).max(axis=-1) <= 1e-3)
    return float(same[matched].mean()) if matched.any() else 1.0


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    return tables.page(result, [], tables.table(COLUMNS, [_cells(row) for row in result["rows"]]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    case = [str(row.get("priors", row["network"])), str(row["objects"]), str(row["batch"])]
    if "error" in row:
        return [*case, row["error"], *[""] * 5]
    return [
        *case,
        tables.span(row["milliseconds"]),
        tables.span(row["peer_milliseconds"]),
        tables.median(row["times_as_fast"]),
        tables.number(row["matched"]),
        tables.percent(row["agreement"]),
        f"{row['compile_seconds']:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(tables.main(measure, markdown, "Measures matching. See docs/performance.md."))
