"""How much memory does a training step take? As the compiler plans it: nothing is run, so no memory is needed to ask.

"at most" is what lies on the device while the step runs: arguments (weights, optimizer, moving average if any, images),
results that have no place of the arguments, and temporaries. On a GPU cuDNN may ask for a workspace besides. "remat"
keeps only the inputs of blocks for the backward pass (config.model.remat); a CPU's compiler undoes it.

python benchmarks/memory.py [--json FILE] [--quick] [--seconds S]
"""

import functools
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from benchmarks import subjects, tables, train_step
from benchmarks.runner import OUT_OF_TIME
from ssd_jax import parallel, training

QUESTION = "memory"
COLUMNS = ("network", "batch", "precision", "remat", "at most, MiB", "temporaries, MiB", "arguments, MiB", "compile, s")
MEBIBYTE = 1 << 20


class Case(NamedTuple):
    """One row."""

    network: str  # of subjects.NETWORKS
    batch: int
    precision: str
    remat: bool


def cases(device: str, quick: bool) -> list[Case]:
    """Returns the rows of the table."""
    if quick:
        return [Case("tiny", 2, "float32", remat) for remat in (False, True)]
    if device == "cpu":
        return [Case("SSD300", batch, "float32", False) for batch in (1, 4, 8)] + [Case("SSD512", 1, "float32", False)]
    return [
        Case(network, batch, precision, remat)
        for network, batches in (("SSD300", (8, 32, 128)), ("SSD512", (8, 32)))
        for batch in batches
        for precision in ("bfloat16", "float32")
        for remat in (False, True)
    ]


def measure(quick: bool, deadline: float) -> dict[str, Any]:
    """Compiles the step of each row."""
    rows, longest = [], 0.0
    for case in cases(jax.default_backend(), quick):
        start = time.monotonic()
        late = start + longest > deadline
        rows.append({**case._asdict(), **({"error": OUT_OF_TIME} if late else planned(case))})
        longest = max(longest, time.monotonic() - start)
    return {**tables.head(QUESTION, quick, jax.default_backend()), "rows": rows}


def planned(case: Case) -> dict[str, Any]:
    """Returns bytes by kind, and the seconds that compiling took."""
    mesh = parallel.data_mesh(jax.devices()[:1])
    like = subjects.Case(train_step.QUESTION, case.network, case.batch, case.precision)
    step = train_step.make_step(like, mesh, remat=case.remat)
    model, _ = subjects.build(case.network, "float32", parallel.AXIS)
    init = functools.partial(training.init_state, model=model, optimizer=train_step.OPTIMIZER)
    one = subjects.random_batch(like._replace(batch=1))
    batch = jax.tree.map(lambda array: jax.ShapeDtypeStruct((case.batch, *array.shape[1:]), array.dtype), one)
    compiled, seconds = subjects.compile_apart(step, jax.eval_shape(init, jax.random.key(0)), batch)
    plan = compiled.memory_analysis()
    kinds = {kind: getattr(plan, f"{kind}_size_in_bytes") for kind in ("argument", "output", "alias", "temp")}
    whole = kinds["argument"] + kinds["output"] - kinds["alias"] + kinds["temp"]
    return {"bytes": whole, **kinds, "compile_seconds": seconds}


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    return tables.page(result, [], tables.table(COLUMNS, [_cells(row) for row in result["rows"]]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    case = [row["network"], str(row["batch"]), row["precision"], "yes" if row["remat"] else "no"]
    if "error" in row:
        return [*case, row["error"], *[""] * 3]
    sizes = [f"{row[kind] / MEBIBYTE:,.0f}" for kind in ("bytes", "temp", "argument")]
    return [*case, *sizes, f"{row['compile_seconds']:.1f}"]


if __name__ == "__main__":
    sys.exit(tables.main(measure, markdown, "Asks the compiler for memory. See docs/performance.md."))
