"""How fast is the network alone? Images on the device in, raw predictions on the device out.

python benchmarks/forward.py [--json FILE] [--quick] [--seconds S]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from benchmarks import runner, subjects
from benchmarks.subjects import Case, Subject
from ssd_jax import parallel

QUESTION = "forward"


def cases(device: str, quick: bool) -> list[Case]:
    """Returns the rows of the table, the most telling first: time may run out."""
    if quick:
        return [Case(QUESTION, "tiny", 2, "float32"), Case(QUESTION, "tiny", 2, "bfloat16")]
    if device == "cpu":
        return [Case(QUESTION, "SSD300", batch, "float32") for batch in (1, 8)]
    return [
        Case(QUESTION, network, batch, precision)
        for network in ("SSD300", "SSD512")
        for precision in ("bfloat16", "float32")
        for batch in (1, 8, 32)
    ]


def ours(case: Case) -> Subject:
    """Compiles our network."""
    model, _ = subjects.build(case.network, case.precision)
    variables = jax.device_put(subjects.variables(case.network))
    shape = (case.batch, *subjects.image_size(case.network), 3)
    images = jax.device_put(np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32))
    compiled, seconds = subjects.compile_apart(parallel.compile(model.apply), variables, images)
    return Subject(
        call=lambda: compiled(variables, images),
        wait=jax.block_until_ready,
        values=subjects.on_host,
        compile_seconds=seconds,
        flops=subjects.forward_flops(case.network) * case.batch,
    )


if __name__ == "__main__":
    sys.exit(runner.main(runner.Script(__file__, QUESTION, cases, ours)))
