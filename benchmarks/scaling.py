"""How does the training step scale with the devices of one machine? Images a second on 1, 2, 4 and 8.

Each device has the same number of images (weak scaling). The efficiency is images a second over those of one device
times the number of devices. On a CPU the devices are made up and share its cores: that only shows that it works.

python benchmarks/scaling.py [--json FILE] [--quick] [--seconds S]
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from benchmarks import subjects, tables, timing, train_step
from benchmarks.runner import OUT_OF_TIME
from benchmarks.subjects import Case
from ssd_jax import parallel, training

QUESTION = "scaling"
MOST_DEVICES = 8
COLUMNS = ("devices", "network", "images a device", "precision", "ms a step (min-max)", "images/s", "efficiency")
COLUMNS += ("largest difference of a loss", "compile, s")
MADE_UP = "The devices are made up and share the cores of one CPU: the table shows that it works, and no gain."
LARGEST_DIFFERENCE = 0.05  # of the loss of an image, relative; bfloat16 may choose other kernels for another batch


def case(device: str, quick: bool) -> Case:
    """Returns what each device does."""
    if quick or device == "cpu":
        return Case(QUESTION, "tiny", 2, "float32")
    return Case(QUESTION, "SSD300", 32, "bfloat16")


def measure(quick: bool, deadline: float) -> dict[str, Any]:
    """Measures 1, 2, 4 and 8 devices, as far as there are so many."""
    device = jax.default_backend()
    one = case(device, quick)
    counts = [count for count in (1, 2, 4, 8) if count <= jax.device_count()]
    rows: list[dict[str, Any]] = []
    longest, losses = 0.0, np.zeros(0)
    for count in counts[:2] if quick else counts:
        start = time.monotonic()
        if start + longest > deadline:
            rows.append({"devices": count, "error": OUT_OF_TIME})
            continue
        row, first = measure_devices(one, count, timing.QUICK if quick else timing.FULL)
        losses = losses if losses.size else first
        row["difference"] = difference(losses, first)
        if row["difference"] > LARGEST_DIFFERENCE:
            row = {"devices": count, "error": f"a loss differs by {row['difference']:.1%} from that on one device"}
        rows.append(row)
        longest = max(longest, time.monotonic() - start)
    add_efficiency(rows)
    head = tables.head(QUESTION, quick, device)
    return {**head, "network": one.network, "images_a_device": one.batch, "precision": one.precision, "rows": rows}


def measure_devices(one: Case, count: int, effort: timing.Effort) -> tuple[dict[str, Any], np.ndarray]:
    """Measures the step on so many devices; returns the row, and the losses of the images in the first step."""
    mesh = parallel.data_mesh(jax.devices()[:count])
    model, default_boxes = subjects.build(one.network, one.precision, parallel.AXIS)
    step = training.make_train_step(
        model,
        default_boxes,
        train_step.OPTIMIZER,
        seed=0,
        output_size=subjects.image_size(one.network),
        augment_options={},
        match_options={},
    )
    # The first images are the same for every number of devices, so that their losses can be compared.
    largest = subjects.random_batch(one._replace(batch=one.batch * MOST_DEVICES))
    batch = parallel.split(jax.tree.map(lambda array: array[: one.batch * count], largest), mesh)
    state = parallel.replicate(train_step.initial_state(one.network), mesh)
    compiled, seconds = subjects.compile_apart(training.compile_train_step(step, mesh), state, batch)
    state, metrics = compiled(state, batch)
    losses = np.asarray(jax.device_get(metrics.image_loss))

    def call() -> training.StepMetrics:
        nonlocal state
        state, metrics = compiled(state, batch)
        return metrics

    found = timing.measure(call, jax.block_until_ready, effort=effort)
    times = {name: 1e3 * getattr(found, name) for name in ("median", "low", "high")}
    images = one.batch * count / found.median
    row = {"devices": count, "milliseconds": times, "images_per_second": images, "compile_seconds": seconds}
    return row, losses


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the largest relative difference of the losses of the images that both have; these come first."""
    count = min(len(one), len(other))
    return float((np.abs(one[:count] - other[:count]) / np.abs(one[:count]).clip(1e-6)).max())


def add_efficiency(rows: Sequence[dict[str, Any]]) -> None:
    """Completes the rows that were measured, if one device was."""
    if not rows or "error" in rows[0] or rows[0]["devices"] != 1:
        return
    for row in rows:
        if "error" not in row:
            row["efficiency"] = row["images_per_second"] / rows[0]["images_per_second"] / row["devices"]


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    case = [result["network"], str(result["images_a_device"]), result["precision"]]
    rows = [_cells(row, case) for row in result["rows"]]
    return tables.page(result, [MADE_UP] if result["device"] == "cpu" else [], tables.table(COLUMNS, rows))


def _cells(row: Mapping[str, Any], case: Sequence[str]) -> list[str]:
    head = [str(row["devices"]), *case]
    if "error" in row:
        return [*head, row["error"], *[""] * 4]
    return [
        *head,
        tables.span(row["milliseconds"]),
        tables.number(row["images_per_second"]),
        tables.percent(row["efficiency"]) if "efficiency" in row else "",
        f"{row['difference']:.1e}",
        f"{row['compile_seconds']:.1f}",
    ]


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", MOST_DEVICES)
    sys.exit(tables.main(measure, markdown, "Measures the training step on several devices. See docs/performance.md."))
