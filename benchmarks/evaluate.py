"""How long do the metrics take, and how much memory? Detections and ground truth in memory in, figures out; no device.

The set is made up, of the size of COCO's val2017: 5,000 images with 100 detections each and about 7 objects, 80
classes. Every sample is a process of its own, which evaluates a few images for the imports, makes the set, and then
evaluates it on the clock. All metrics are run in turn at each repeat, so that a busy machine disturbs all alike.

python benchmarks/evaluate.py [--json FILE] [--quick] [--images N] [--repeats R]
"""

import argparse
import functools
import hashlib
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import timing
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, coco_engines, ilsvrc, voc, voc_thresholds
from ssd_jax.types import BACKGROUND, ImageDetections, ImageGroundTruth

QUESTION = "evaluate"
CLASSES, DETECTIONS, OBJECTS = 80, 100, 7.3  # objects an image: 36,781 in 5,000 images of val2017
HEIGHT, WIDTH = 480, 640
CROWDS = 0.012  # share of the objects
NAMES = (BACKGROUND, *(f"class {number}" for number in range(1, CLASSES + 1)))
REFERENCE = "COCO, pycocotools"
COLUMNS = ("metric", "s (min-max)", "images/s", "times as fast as pycocotools", "peak MiB over the set's", "figure")


class Set(NamedTuple):
    """What is evaluated."""

    detections: list[ImageDetections]
    truth: list[ImageGroundTruth]


class Sample(NamedTuple):
    """One evaluation in a process of its own."""

    seconds: float
    set_mib: float  # peak of the process before the clock is started: Python, imports and the set
    peak_mib: float  # and at the end
    figure: str
    digest: str  # of all figures, to tell whether two of them have the same bits


def evaluate_voc(data: Set) -> tuple[str, Sequence[Any]]:
    """Returns the figure to print, and all that are computed."""
    result = voc.evaluate(*data, class_names=NAMES)
    return f"mAP (area) {result.map_area:.6f}", (result.ap_11point, result.ap_area)


def evaluate_thresholds(data: Set) -> tuple[str, Sequence[Any]]:
    """As evaluate_voc."""
    result = voc_thresholds.evaluate(*data, class_names=NAMES)
    return f"mean mAP (area) {result.mean_area:.6f}", (result.ap_11point, result.ap_area)


def evaluate_ilsvrc(data: Set) -> tuple[str, Sequence[Any]]:
    """As evaluate_voc."""
    result = ilsvrc.evaluate(*data, class_names=NAMES)
    return f"mAP {result.mean_ap:.6f}", (result.ap,)


def evaluate_coco(data: Set, *, engine: str) -> tuple[str, Sequence[Any]]:
    """As evaluate_voc."""
    result = coco.evaluate(*data, class_names=NAMES, engine=engine)
    return f"AP {result.ap:.6f}", (result[:12], result.class_ap, result.class_ap50)


SUBJECTS: dict[str, Callable[[Set], tuple[str, Sequence[Any]]]] = {
    "VOC, IoU 0.5": evaluate_voc,
    "VOC, ten IoU thresholds": evaluate_thresholds,
    "ILSVRC DET": evaluate_ilsvrc,
    REFERENCE: functools.partial(evaluate_coco, engine="pycocotools"),
    "COCO, fast (hotcoco)": functools.partial(evaluate_coco, engine="fast"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measures how long the metrics take, and how much memory.")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="a few images, once: shows that the script works")
    parser.add_argument("--images", type=int, default=5000, help="of the set")
    parser.add_argument("--repeats", type=int, default=3, help="samples of each metric")
    options = parser.parse_args(arguments)
    images, repeats = (20, 1) if options.quick else (options.images, options.repeats)
    result = measure(images, repeats, quick=options.quick)
    print(markdown(result))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(images: int, repeats: int, *, quick: bool) -> dict[str, Any]:
    """Takes the samples of every metric whose library is installed."""
    names, errors, machine = list(SUBJECTS), [], timing.machine()
    try:
        packages = ("pycocotools", coco_engines.choose("fast"))
    except InputError as error:
        packages, errors = ("pycocotools",), [{"metric": names.pop(), "error": str(error)}]
    machine["versions"] |= {name: metadata.version(name) for name in packages}
    samples = [{name: run_apart(name, images) for name in names} for _ in range(repeats)]
    digests = {sample[name].digest for sample in samples for name in names if name.startswith("COCO")}
    data = synthetic(images)
    return {
        "question": QUESTION,
        "quick": quick,
        "device": "none",
        "machine": machine,
        "images": images,
        "detections": sum(len(found.labels) for found in data.detections),
        "objects": sum(len(truth.labels) for truth in data.truth),
        "repeats": repeats,
        "coco_figures_have_the_same_bits": len(digests) == 1,
        "rows": [*(row(name, samples, images) for name in names), *errors],
    }


def run_apart(name: str, images: int) -> Sample:
    """Runs one metric in a new process, whose peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, name, images).result()


def run(name: str, images: int) -> Sample:
    """Makes the set and evaluates it."""
    SUBJECTS[name](synthetic(3))  # imports
    data = synthetic(images)
    before = peak_mib()
    begin = time.perf_counter()
    figure, figures = SUBJECTS[name](data)
    seconds = time.perf_counter() - begin
    digest = hashlib.sha256(b"".join(np.asarray(values, np.float64).tobytes() for values in figures)).hexdigest()
    return Sample(seconds, before, peak_mib(), figure, digest)


def peak_mib() -> float:
    """Returns the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def synthetic(images: int) -> Set:
    """Makes a set up, always the same one: most objects are found, some twice, among many low scores for nothing."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, CLASSES + 1)  # few classes are frequent, most are rare
    share /= share.sum()
    detections, truth = [], []
    for number in range(images):
        count = min(rng.geometric(1 / (OBJECTS + 1)) - 1, DETECTIONS // 2)
        boxes, labels = random_boxes(rng, count), rng.choice(CLASSES, count, p=share) + 1
        truth.append(ImageGroundTruth(str(number), boxes, labels, rng.random(count) < CROWDS))
        detections.append(detect(rng, str(number), boxes, labels, share))
    return Set(detections, truth)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns [count, 4] corners in pixels; lengths from 8 to 400, short ones as likely as twice as long ones."""
    size = np.exp(rng.uniform(np.log(8), np.log(400), (count, 1)) + rng.normal(0, 0.3, (count, 2)))
    size = np.minimum(size, (WIDTH, HEIGHT))
    corner = rng.random((count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.concatenate([corner, corner + size], axis=1)


def detect(
    rng: np.random.Generator, name: str, boxes: np.ndarray, labels: np.ndarray, share: np.ndarray
) -> ImageDetections:
    """Returns DETECTIONS boxes: four objects in five, some once more, and boxes from anywhere; best scores first."""
    copies = np.concatenate([np.flatnonzero(rng.random(len(labels)) < chance) for chance in (0.8, 0.4)]).astype(int)
    copies = copies[:DETECTIONS]
    size = np.tile(boxes[copies, 2:] - boxes[copies, :2], 2)
    near = boxes[copies] + rng.normal(0, 0.08, (len(copies), 4)) * size
    rest = DETECTIONS - len(copies)
    scores = np.concatenate([rng.beta(4, 2, len(copies)), rng.beta(1, 8, rest)])
    order = np.argsort(-scores, kind="stable")
    return ImageDetections(
        name,
        np.concatenate([near, random_boxes(rng, rest)])[order].astype(np.float32),
        scores[order].astype(np.float32),
        np.concatenate([labels[copies], rng.choice(CLASSES, rest, p=share) + 1])[order].astype(np.int32),
    )


def row(name: str, samples: Sequence[Mapping[str, Sample]], images: int) -> dict[str, Any]:
    """Sums the samples of one metric up: medians, and [least, most]."""
    mine = [sample[name] for sample in samples]
    seconds = [sample.seconds for sample in mine]
    return {
        "metric": name,
        "seconds": spread(seconds),
        "images_per_second": images / statistics.median(seconds),
        "times_as_fast": spread([sample[REFERENCE].seconds / sample[name].seconds for sample in samples]),
        "set_mib": max(sample.set_mib for sample in mine),
        "peak_mib": max(sample.peak_mib for sample in mine),
        "figure": mine[0].figure,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    agree = "the same bits" if result["coco_figures_have_the_same_bits"] else "DIFFERENT"
    head = [
        f"{machine['cpu']} ({machine['cpus']} cores)",
        f"Python {machine['python']}, {versions}; commit {machine['commit']}; {machine['date']}",
        f"{result['images']:,} images, {result['objects']:,} objects, {result['detections']:,} detections, "
        f"{CLASSES} classes; medians of {result['repeats']}; COCO's figures of all engines and repeats: {agree}",
    ]
    if result["quick"]:
        head.append("quick: a few images that show that the script works; the figures mean nothing")
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(entry) for entry in result["rows"])]
    return "\n\n".join([*head, "\n".join(f"| {' | '.join(cells)} |" for cells in lines)])


def _cells(entry: Mapping[str, Any]) -> list[str]:
    if "error" in entry:
        return [entry["metric"], entry["error"], *[""] * (len(COLUMNS) - 2)]
    seconds, times = entry["seconds"], entry["times_as_fast"]["median"]
    spread_text = f"{seconds['median']:.3g} ({seconds['low']:.3g}-{seconds['high']:.3g})"
    extra = f"{entry['peak_mib'] - entry['set_mib']:.0f} ({entry['set_mib']:.0f})"
    return [entry["metric"], spread_text, f"{entry['images_per_second']:.0f}", f"{times:.3g}", extra, entry["figure"]]


if __name__ == "__main__":
    sys.exit(main())
