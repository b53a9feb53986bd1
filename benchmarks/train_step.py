"""How fast is a training step? Photographs on the device in, updated weights on the device out.

The whole step: augmentation of the uint8 canvas, matching, forward, mining, loss, backward, update.

python benchmarks/train_step.py [--json FILE] [--quick] [--seconds S]
"""

import functools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from benchmarks import runner, subjects
from benchmarks.subjects import Case, Subject
from ssd_jax import optim, parallel, training

QUESTION = "train step"
STEP_OVER_FORWARD = 3  # operations: the gradients of the inputs and of the kernels cost one forward pass each
# Slow learning keeps random weights on random images finite for any number of steps.
OPTIMIZER = optim.make_optimizer(learning_rate=1e-6)


def cases(device: str, quick: bool) -> list[Case]:
    """Returns the rows of the table, the most telling first: time may run out."""
    if quick:
        return [Case(QUESTION, "tiny", 2, "float32")]
    if device == "cpu":
        return [Case(QUESTION, "SSD300", 4, "float32")]
    return [
        Case(QUESTION, "SSD300", 32, "bfloat16"),
        Case(QUESTION, "SSD300", 128, "bfloat16"),
        Case(QUESTION, "SSD300", 32, "float32"),
        Case(QUESTION, "SSD300", 128, "float32"),
        Case(QUESTION, "SSD512", 32, "bfloat16"),
    ]


@functools.cache
def initial_state(network: str) -> Any:
    """Returns the state before the first step, on the host: each case gets its own copy to use up."""
    model, _ = subjects.build(network, "float32")
    init = parallel.compile(functools.partial(training.init_state, model=model, optimizer=OPTIMIZER))
    return jax.device_get(init(jax.random.key(0)))


def make_step(case: Case, mesh: jax.sharding.Mesh, *, remat: bool = False) -> Any:
    """Returns our step(state, batch), not compiled."""
    model, default_boxes = subjects.build(case.network, case.precision, parallel.AXIS, remat=remat)
    step = training.make_train_step(
        model,
        default_boxes,
        OPTIMIZER,
        seed=0,
        output_size=subjects.image_size(case.network),
        augment_options={},
        match_options={},
    )
    return training.compile_train_step(step, mesh)


def ours(case: Case) -> Subject:
    """Compiles our step."""
    mesh = parallel.data_mesh(jax.devices()[:1])
    batch = parallel.split(subjects.random_batch(case), mesh)
    state = parallel.replicate(initial_state(case.network), mesh)
    compiled, seconds = subjects.compile_apart(make_step(case, mesh), state, batch)

    def call() -> training.StepMetrics:
        nonlocal state
        state, metrics = compiled(state, batch)
        return metrics

    return Subject(
        call=call,
        wait=jax.block_until_ready,
        values=subjects.on_host,
        compile_seconds=seconds,
        flops=STEP_OVER_FORWARD * subjects.forward_flops(case.network) * case.batch,
    )


if __name__ == "__main__":
    sys.exit(runner.main(runner.Script(__file__, QUESTION, cases, ours)))
