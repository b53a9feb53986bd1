"""How fast do images come from a folder to batches? Files in, canvases and boxes on the host out; no device.

For each kind of source: images a second with one thread and with one a core, images a second of processor time
(which other programs disturb least), and the share of what a bare loop of Pillow over the same files reaches.

python benchmarks/input.py [--json FILE] [--quick] [--images N]           on files made for it, about 100 kB each
python benchmarks/input.py --kind tfds --root DIR --split NAME            on data of your own
"""

import argparse
import contextlib
import functools
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from benchmarks import timing
from benchmarks.input_files import write_layouts
from ssd_jax import data
from ssd_jax.data import Source
from ssd_jax.errors import InputError
from ssd_jax.types import Example

QUESTION = "input"
CANVAS = (500, 500)
REPEATS = 5
COLUMNS = (
    *("source", "images/s, 1 thread (min-max)", "images/s, {cores} threads (min-max)"),
    *("images per processor second (min-max)", "1 thread / Pillow", "opened in, s"),
)


class Rate(NamedTuple):
    """One pass over some images."""

    wall: float  # images a second
    processor: float  # images a second of processor time, all threads together


class First(Sequence):
    """The first images of a source, so that a pass goes over each of them once."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, min(count, len(source))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Example:
        return self._source[index]


class Subject(NamedTuple):
    """A source whose batches are timed."""

    source: First
    cache: str  # folder; "": none
    seconds: float  # that opening took


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measures how fast images come from a folder to batches.")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="a few small images: shows that the script works")
    parser.add_argument("--images", type=int, default=256, help="images of a pass")
    parser.add_argument("--kind", help="of your own data (config.data.kind)")
    parser.add_argument("--root", default="", help="its folder")
    parser.add_argument("--split", default="train", help="which part of it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.kind:
            given = {options.kind: dict(kind=options.kind, root=options.root, split=options.split)}
        else:
            count, size = (16, (30, 40)) if options.quick else (options.images, (375, 500))
            given = write_layouts(Path(folder, "data"), count, size)
        result = measure(given, Path(folder, "cache"), options.images, quick=options.quick)
    print(markdown(result))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if any("error" not in row for row in result["rows"]) else 1


def measure(given: Mapping[str, dict[str, str]], cache: Path, images: int, *, quick: bool) -> dict[str, Any]:
    """Times every kind, all of them in turn at each repeat, so that a busy machine disturbs all alike."""
    cores, batch_size = cpu_count(), 4 if quick else 32
    batches = 2 if quick else -(-images // batch_size)
    subjects, errors = open_subjects(given, cache, batches * batch_size)
    passes: dict[str, Callable[[], Rate]] = {}
    for name, subject in subjects.items():
        for threads in dict.fromkeys((1, cores)):
            passes[f"{name} {threads}"] = functools.partial(read_batches, subject, threads, batch_size, batches)
    if subjects:
        first = next(iter(subjects.values())).source
        passes["Pillow"] = functools.partial(read_with_pillow, first, batches * batch_size)
    for run in passes.values():  # once for nothing: files and cache are then in memory
        run()
    samples = [{name: run() for name, run in passes.items()} for _ in range(2 if quick else REPEATS)]
    rows = [row(name, subject, samples, cores) for name, subject in subjects.items()]
    rows += [{"source": name, "error": error} for name, error in errors.items()]
    machine = timing.machine()
    machine["versions"] |= {name: metadata.version(name) for name in ("pillow", "grain")}
    plain = statistics.median(sample["Pillow"].wall for sample in samples) if subjects else None
    head = {"question": QUESTION, "quick": quick, "device": "none", "machine": machine, "cores": cores}
    return {**head, "images": batches * batch_size, "pillow_images_per_second": plain, "rows": rows}


def open_subjects(
    given: Mapping[str, dict[str, str]], cache: Path, images: int
) -> tuple[dict[str, Subject], dict[str, str]]:
    """Opens every source, and the first one once more with a cache; returns them, and why others are missing."""
    subjects, errors = {}, {}
    for kind, options in given.items():
        begin = time.perf_counter()
        try:
            source = First(data.make_source(**options), images)
        except InputError as error:
            errors[kind] = str(error)
            continue
        subjects[kind] = Subject(source, "", time.perf_counter() - begin)
        if len(subjects) == 1:
            begin = time.perf_counter()
            data.make_eval_loader(source, batch_size=1, canvas=CANVAS, cache=cache).close()
            subjects[f"{kind}, cached"] = Subject(source, str(cache), time.perf_counter() - begin)
    return subjects, errors


def read_batches(subject: Subject, threads: int, batch_size: int, batches: int) -> Rate:
    """Reads so many training batches, from when the threads are busy."""
    stream = data.make_loader(
        subject.source, batch_size=batch_size, seed=0, canvas=CANVAS, num_threads=threads, cache=subject.cache
    )
    with contextlib.closing(stream):
        # What is cached is checked at its first reading, so its first epoch is not counted.
        for _ in range(threads + 1 + (batches if subject.cache else 0)):
            next(stream)
        return rate(batches * batch_size, lambda: [next(stream) for _ in range(batches)])


def read_with_pillow(source: First, count: int) -> Rate:
    """Decodes so many images of a source one after the other."""
    images: list[Any] = [source[index % len(source)].image for index in range(count)]  # files or bytes

    def run() -> None:
        for image in images:
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as file:
                np.asarray(file.convert("RGB"))

    return rate(count, run)


def rate(images: int, run: Callable[[], object]) -> Rate:
    """Times what handles so many images."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Rate(images / (time.perf_counter() - wall), images / max(time.process_time() - processor, 1e-9))


def row(name: str, subject: Subject, samples: Sequence[Mapping[str, Rate]], cores: int) -> dict[str, Any]:
    """Sums the samples of one source up: medians, and [least, most]."""
    one, all_cores = ([sample[f"{name} {threads}"] for sample in samples] for threads in (1, cores))
    ratios = [sample[f"{name} 1"].wall / sample["Pillow"].wall for sample in samples]
    return {
        "source": name,
        "one_thread": spread([found.wall for found in one]),
        "all_cores": spread([found.wall for found in all_cores]),
        "per_processor_second": spread([found.processor for found in all_cores]),
        "over_pillow": spread(ratios),
        "open_seconds": subject.seconds,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    machine, plain = result["machine"], result["pillow_images_per_second"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = [
        f"{machine['cpu']} ({result['cores']} cores)",
        f"Python {machine['python']}, {versions}; commit {machine['commit']}; {machine['date']}",
        f"{result['images']} images a pass; a bare loop of Pillow, 1 thread: {plain or 0:.0f} images/s",
    ]
    if result["quick"]:
        head.append("quick: a few tiny images that show that the script works; the figures mean nothing")
    columns = [column.format(cores=result["cores"]) for column in COLUMNS]
    lines = [columns, ["---"] * len(columns), *(_cells(entry) for entry in result["rows"])]
    return "\n\n".join([*head, "\n".join(f"| {' | '.join(cells)} |" for cells in lines)])


def _cells(entry: Mapping[str, Any]) -> list[str]:
    if "error" in entry:
        return [entry["source"], entry["error"], *[""] * (len(COLUMNS) - 2)]
    rates = [_range(entry[name]) for name in ("one_thread", "all_cores", "per_processor_second")]
    return [entry["source"], *rates, f"{entry['over_pillow']['median']:.2f}", f"{entry['open_seconds']:.2f}"]


def _range(value: Mapping[str, float]) -> str:
    return f"{value['median']:.0f} ({value['low']:.0f}-{value['high']:.0f})"


def cpu_count() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
