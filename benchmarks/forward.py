"""How fast is the network alone? Images on the device in, raw predictions on the device out.

Some rows time a part: VGG-16 alone, or the network and what turns its outputs into detections. The differences between
them tell how the time is divided (paper section 3.7). "no atrous" is the variant of section 3.1.

python benchmarks/forward.py [--json FILE] [--quick] [--seconds S]
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from benchmarks import runner, subjects
from benchmarks.report import BASE, WHOLE
from benchmarks.subjects import Case, Subject
from ssd_jax import parallel, postprocess

QUESTION = "forward"
NO_ATROUS = "SSD300, no atrous"


def cases(device: str, quick: bool) -> list[Case]:
    """Returns the rows of the table, the most telling first: time may run out."""
    if quick:
        parts = [Case(QUESTION, "tiny", 2, "float32", scene) for scene in ("", BASE, WHOLE)]
        return [*parts, Case(QUESTION, "tiny", 2, "bfloat16")]
    if device == "cpu":
        parts = [Case(QUESTION, "SSD300", batch, "float32", scene) for batch in (1, 8) for scene in ("", BASE, WHOLE)]
        others = [Case(QUESTION, network, batch, "float32") for network in (NO_ATROUS, "SSD512") for batch in (1, 8)]
        return parts + others
    plain = [
        Case(QUESTION, network, batch, precision)
        for network in ("SSD300", "SSD512")
        for precision in ("bfloat16", "float32")
        for batch in (1, 8, 32)
    ]
    parts = [Case(QUESTION, "SSD300", batch, "bfloat16", scene) for batch in (8, 1) for scene in (BASE, WHOLE)]
    others = [Case(QUESTION, NO_ATROUS, batch, "bfloat16") for batch in (8, 32)]
    return [*plain[:6], *parts, *others, *plain[6:]]


def function(case: Case) -> tuple[Callable[[Any, jax.Array], Any], float]:
    """Returns what a row times, of variables and images, and its operations for one image."""
    model, default_boxes = subjects.build(case.network, case.precision)
    if case.scene == BASE:
        return subjects.build_base(case.network, case.precision), subjects.forward_flops(case.network, "backbone")
    flops = subjects.forward_flops(case.network)
    if case.scene == WHOLE:
        detect = functools.partial(postprocess.detect, priors=jax.numpy.asarray(default_boxes))
        return lambda variables, images: jax.vmap(detect)(*model.apply(variables, images)), flops
    return model.apply, flops


def ours(case: Case) -> Subject:
    """Compiles our network, or a part."""
    run, flops = function(case)
    variables = jax.device_put(subjects.variables(case.network))
    shape = (case.batch, *subjects.image_size(case.network), 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    images = jax.device_put(images - 127 if case.scene == BASE else images)  # the network subtracts the mean itself
    compiled, seconds = subjects.compile_apart(parallel.compile(run), variables, images)
    return Subject(
        call=lambda: compiled(variables, images),
        wait=jax.block_until_ready,
        values=subjects.on_host,
        compile_seconds=seconds,
        flops=flops * case.batch,
    )


if __name__ == "__main__":
    sys.exit(runner.main(runner.Script(__file__, QUESTION, cases, ours)))
