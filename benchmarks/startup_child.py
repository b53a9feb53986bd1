"""One process of startup.py: prints, as one line of JSON, how many seconds each part took since it was started.

python benchmarks/startup_child.py KIND NETWORK BEGIN PUBLISHED CACHE     ("" = no cache)
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

KINDS = ("detection", "training step")
PHOTOGRAPH = (375, 500)  # pixels
BATCH = 4  # photographs of the training step


class Watch:
    """Tells the seconds between laps, by the clock that other processes have too."""

    def __init__(self, begin: float) -> None:
        self._last = begin

    def lap(self) -> float:
        before, self._last = self._last, time.time()
        return self._last - before


def use_cache(folder: str) -> None:
    """Lets JAX keep what it compiles in a folder, as the commands do."""
    import jax

    from ssd_jax.commands import compilation_cache

    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", compilation_cache.LEAST_SECONDS)


def publish(path: Path, network: str) -> None:
    """Writes a detector with random weights as trained ones are published."""
    from benchmarks import subjects
    from ssd_jax import weights
    from ssd_jax.weights import published

    model = {"backbone": "vgg16", "mean": (123.0, 117.0, 104.0), "std": (1.0, 1.0, 1.0), **subjects.NETWORKS[network]}
    recipe: dict[str, Any] = {
        "model": model,
        "priors": {},
        "match": {"variances": (0.1, 0.1, 0.2, 0.2)},
        "detect": dict(score_threshold=0.01, iou_threshold=0.45, pre_nms_top_k=400, max_detections=200),
        "loader": {"canvas": (500, 500)},
    }
    names = ("background", *(f"class {number}" for number in range(1, subjects.CLASSES)))
    default_boxes = subjects.build(network, "float32")[1]
    published.write(path, weights.TrainedNetwork(network, names, subjects.variables(network), default_boxes, recipe))


def detection(watch: Watch, published: str) -> dict[str, float]:
    """Reads a published detector and finds the objects of an array, twice: the first time compiles."""
    import numpy as np

    from ssd_jax import weights
    from ssd_jax.inference import Detector

    seconds = {"imports": watch.lap()}
    trained = weights.read(published)
    seconds["reading"] = watch.lap()
    detector = Detector.of(trained, batch_size=1)
    seconds["building"] = watch.lap()
    image = np.random.default_rng(0).integers(0, 256, (*PHOTOGRAPH, 3), np.uint8)
    detector(image)
    first = watch.lap()
    detector(image)
    again = watch.lap()
    return {**seconds, "compiling or loading": first - again, "first run": again}


def training_step(watch: Watch, network: str) -> dict[str, float]:
    """Makes a step with random weights and photographs, and runs it once."""
    from benchmarks import train_step
    from benchmarks.subjects import Case

    seconds = {"imports": watch.lap(), "reading": 0.0}
    subject = train_step.ours(Case(train_step.QUESTION, network, BATCH, "float32"))
    compiling = subject.compile_seconds or 0.0
    seconds |= {"building": watch.lap() - compiling, "compiling or loading": compiling}
    subject.wait(subject.call())
    return {**seconds, "first run": watch.lap()}


def main(arguments: Sequence[str]) -> int:
    """Runs one kind; returns the exit status."""
    kind, network, begin, published, cache = arguments
    watch = Watch(float(begin))
    if cache:
        use_cache(cache)
    found = detection(watch, published) if kind == "detection" else training_step(watch, network)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
