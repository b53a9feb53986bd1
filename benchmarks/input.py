"""How fast do images come from a folder to batches? Files in, canvases and boxes on the host out; no device.

For each kind of source: images a second with one thread and with one a core, images a second of processor time
(which other programs disturb least), and the share of what a bare loop of Pillow over the same files reaches. Then
what the host does for a training image, here and in a classic pipeline (classic.py) that augments on the host: without
the augmentation, which is the device's here, and with it, compiled for the CPU.

python benchmarks/input.py [--json FILE] [--quick] [--images N]           on files made for it, about 100 kB each
python benchmarks/input.py --kind tfds --root DIR --split NAME            on data of your own
"""

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import classic, input_rates, tables
from benchmarks.input_files import write_layouts
from benchmarks.input_rates import CANVAS, First, Pass, Rate, Subject
from ssd_jax import data
from ssd_jax.errors import InputError

QUESTION = "input"
REPEATS = 5
COLUMNS = (
    *("source", "images/s, 1 thread (min-max)", "images/s, {cores} threads (min-max)"),
    *("images per processor second (min-max)", "1 thread / Pillow", "opened in, s"),
)
CLASSIC, HOST_ONLY, AUGMENTED = "classic: decode, augment", "ours, host only", "ours, augmentation on the CPU"
PIPELINE_COLUMNS = ("pipeline", "images/s (min-max)", "images per processor second (min-max)", "/ classic (min-max)")


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
        tables.save(options.json, result)
    return 0 if any("error" not in row for row in result["rows"]) else 1


def measure(given: Mapping[str, dict[str, str]], cache: Path, images: int, *, quick: bool) -> dict[str, Any]:
    """Times every kind, all of them in turn at each repeat, so that a busy machine disturbs all alike."""
    cores = cpu_count()
    extent = Pass(4, 2) if quick else Pass(32, -(-images // 32))
    subjects, errors = open_subjects(given, cache, extent.images)
    passes: dict[str, Callable[[], Rate]] = {}
    for name, subject in subjects.items():
        for threads in dict.fromkeys((1, cores)):
            passes[f"{name} {threads}"] = functools.partial(input_rates.read_batches, subject, threads, extent)
    if subjects:
        first = next(iter(subjects.values()))
        passes["Pillow"] = functools.partial(input_rates.read_with_pillow, first.source, extent)
        passes |= pipelines(first, extent, (48, 48) if quick else (300, 300))
    for run in passes.values():  # once for nothing: files and cache are then in memory
        run()
    samples = [{name: run() for name, run in passes.items()} for _ in range(1 if quick else REPEATS)]
    rows = [row(name, subject, samples, cores) for name, subject in subjects.items()]
    rows += [{"source": name, "error": error} for name, error in errors.items()]
    head = tables.head(QUESTION, quick, "none")
    head["machine"]["versions"] |= {name: metadata.version(name) for name in ("pillow", "grain")}
    return {
        **head,
        "cores": cores,
        "images": extent.images,
        "pillow_images_per_second": statistics.median(one["Pillow"].wall for one in samples) if subjects else None,
        "classic": classic.tool(),
        "rows": rows,
        "pipelines": [pipeline_row(name, samples) for name in passes if name in (HOST_ONLY, AUGMENTED, CLASSIC)],
    }


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


def pipelines(subject: Subject, extent: Pass, output_size: tuple[int, int]) -> dict[str, Callable[[], Rate]]:
    """Returns the passes that make training images: ours by one thread of the loader, and the classic one."""
    classic.use_one_thread()
    augment = input_rates.make_augment(output_size)
    return {
        HOST_ONLY: functools.partial(input_rates.read_batches, subject, 1, extent),
        AUGMENTED: functools.partial(input_rates.read_batches, subject, 1, extent, augment),
        CLASSIC: functools.partial(input_rates.read_classic, subject.source, extent, output_size),
    }


def row(name: str, subject: Subject, samples: Sequence[Mapping[str, Rate]], cores: int) -> dict[str, Any]:
    """Sums the samples of one source up: medians, and [least, most]."""
    one, all_cores = ([sample[f"{name} {threads}"] for sample in samples] for threads in (1, cores))
    ratios = [sample[f"{name} 1"].wall / sample["Pillow"].wall for sample in samples]
    return {
        "source": name,
        "one_thread": tables.spread([found.wall for found in one]),
        "all_cores": tables.spread([found.wall for found in all_cores]),
        "per_processor_second": tables.spread([found.processor for found in all_cores]),
        "over_pillow": tables.spread(ratios),
        "open_seconds": subject.seconds,
    }


def pipeline_row(name: str, samples: Sequence[Mapping[str, Rate]]) -> dict[str, Any]:
    """Sums the samples of one way of making training images up; it is compared by processor time."""
    return {
        "pipeline": name,
        "images_per_second": tables.spread([sample[name].wall for sample in samples]),
        "per_processor_second": tables.spread([sample[name].processor for sample in samples]),
        "over_classic": tables.spread([sample[name].processor / sample[CLASSIC].processor for sample in samples]),
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the tables."""
    plain = f"a bare loop of Pillow, 1 thread: {result['pillow_images_per_second'] or 0:.0f} images/s"
    columns = [column.format(cores=result["cores"]) for column in COLUMNS]
    parts = [tables.table(columns, [_cells(entry) for entry in result["rows"]])]
    if result.get("pipelines"):
        rows = [_pipeline_cells(entry) for entry in result["pipelines"]]
        parts += [f"A training image, by one thread, with {result['classic']}:", tables.table(PIPELINE_COLUMNS, rows)]
    return tables.page(result, [f"{result['images']} images a pass; {plain}"], *parts)


def _cells(entry: Mapping[str, Any]) -> list[str]:
    if "error" in entry:
        return [entry["source"], entry["error"], *[""] * (len(COLUMNS) - 2)]
    rates = [_range(entry[name]) for name in ("one_thread", "all_cores", "per_processor_second")]
    return [entry["source"], *rates, f"{entry['over_pillow']['median']:.2f}", f"{entry['open_seconds']:.2f}"]


def _pipeline_cells(entry: Mapping[str, Any]) -> list[str]:
    rates = [_range(entry[name]) for name in ("images_per_second", "per_processor_second")]
    times = entry["over_classic"]
    return [entry["pipeline"], *rates, f"{times['median']:.2f} ({times['low']:.2f}-{times['high']:.2f})"]


def _range(value: Mapping[str, float]) -> str:
    return f"{value['median']:.0f} ({value['low']:.0f}-{value['high']:.0f})"


def cpu_count() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
