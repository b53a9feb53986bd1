"""How fast is detection? Image arrays on the host in, detections in pixels on the host out, copies included.

Random weights make a scene "crowded": every class has its fill of candidates, and all slots of the
result are taken. In the "sparse" scene the background's bias is raised until about SPARSE detections
an image are left, which is nearer to what a trained detector finds.

python benchmarks/detect.py [--json FILE] [--quick] [--seconds S]
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
from benchmarks.subjects import Case, Subject
from ssd_jax import inference, parallel, postprocess
from ssd_jax.types import ImageDetections

QUESTION = "detect"


def cases(device: str, quick: bool) -> list[Case]:
    """Returns the rows of the table, the most telling first: time may run out."""
    if quick:
        return [Case(QUESTION, "tiny", 2, "float32", scene) for scene in ("sparse", "crowded")]
    if device == "cpu":
        scenes = ("sparse", "crowded")
        return [Case(QUESTION, "SSD300", batch, "float32", scene) for batch in (1, 8) for scene in scenes]
    combinations = [(network, precision) for precision in ("bfloat16", "float32") for network in ("SSD300", "SSD512")]
    return [
        Case(QUESTION, network, batch, precision, scene)
        for network, precision in combinations
        for batch in (1, 8)
        for scene in ("sparse", "crowded")
    ]


def with_background_bias(variables: Any, bias: float) -> Any:
    """Adds ``bias`` to the background's logit of every default box."""

    def raised(path: tuple, value: np.ndarray) -> np.ndarray:
        names = [entry.key for entry in path]
        if not (names[-2].endswith("_mbox_conf") and names[-1] == "bias"):
            return value
        per_box = np.array(value).reshape(-1, subjects.CLASSES)
        per_box[:, 0] += bias
        return per_box.ravel()

    return jax.tree_util.tree_map_with_path(raised, variables)


@functools.lru_cache(maxsize=1)  # the scenes of one network share it
def _compiled(network: str, batch_size: int, precision: str) -> tuple[Callable[[Any], list[ImageDetections]], float]:
    """Returns detect(variables on the device) of one batch, and the seconds that compiling took."""
    model, default_boxes = subjects.build(network, precision)
    mesh = parallel.data_mesh(jax.devices()[:1])
    step = inference.make_detect_step(
        model,
        functools.partial(postprocess.detect, priors=jax.numpy.asarray(default_boxes)),
        output_size=subjects.image_size(network),
    )
    host_batch = subjects.random_batch(Case(QUESTION, network, batch_size, precision))
    variables = parallel.replicate(subjects.variables(network), mesh)
    compiled, seconds = subjects.compile_apart(
        inference.compile_detect_step(step, mesh), variables, parallel.split(host_batch, mesh)
    )

    def detect(variables: Any) -> list[ImageDetections]:
        found = jax.device_get(compiled(variables, parallel.split(host_batch, mesh)))
        return [
            inference.to_pixels(jax.tree.map(lambda array, row=row: array[row], found), tuple(size), str(row))
            for row, size in enumerate(host_batch.size)
        ]

    return detect, seconds


def ours(case: Case) -> Subject:
    """Compiles our detector and sets the scene."""
    detect, seconds = _compiled(case.network, case.batch, case.precision)
    mesh = parallel.data_mesh(jax.devices()[:1])

    def placed(bias: float) -> Any:
        return parallel.replicate(with_background_bias(subjects.variables(case.network), bias), mesh)

    def detections(variables: Any) -> float:
        return sum(len(image.labels) for image in detect(variables)) / case.batch

    bias = subjects.background_bias(lambda bias: detections(placed(bias))) if case.scene == "sparse" else 0.0
    variables = placed(bias)
    return Subject(
        call=lambda: detect(variables),
        wait=lambda found: found,  # it is on the host already
        values=lambda found: [array for image in found for array in (image.boxes, image.scores)],
        compile_seconds=seconds,
        details={"detections_per_image": detections(variables), "background_bias": bias},
    )


if __name__ == "__main__":
    sys.exit(runner.main(runner.Script(__file__, QUESTION, cases, ours, latency=True)))
