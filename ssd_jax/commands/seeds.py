"""Trains a recipe once for each of several seeds and prints the mean and the spread of its figures.

    python -m ssd_jax.commands.seeds --config=configs/ssd_demo.py --workdir=runs/demo_seeds --num_seeds=3 \
        [--config.section.key=value]

Runs train.py and evaluate.py in WORKDIR/seed0, WORKDIR/seed1, ... (numbers from config.train.seed on). What is
evaluated is the last step: the best one would have been chosen by the very images it is measured on. The same command
goes on after an interruption, and with a larger --num_seeds adds runs. Writes WORKDIR/seeds.json.
"""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import config_flags

from ssd_jax.commands import cli
from ssd_jax.errors import InputError
from ssd_jax.evaluation import table

FLAGS = flags.FLAGS
OWN = ("num_seeds", "workdir")  # options that train.py does not take, or not from here
PROGRAMS = Path(__file__).resolve().parents[2]  # the checkout: train.py and evaluate.py are no part of the package
FIGURES = {  # title -> where evaluate.py's metrics.json has it
    "VOC07 11-point": ("voc", "mean_ap", "voc07_11point"),
    "VOC area": ("voc", "mean_ap", "area"),
    "COCO AP": ("coco", "ap"),
    "COCO AP50": ("coco", "ap50"),
    "COCO AP75": ("coco", "ap75"),
}


class Spread(NamedTuple):
    """A figure over the seeds."""

    mean: float
    deviation: float  # of the sample, with n - 1; nan for a single seed
    lowest: float
    highest: float


def define_flags(argv: Sequence[str]) -> None:
    """Defines the options; not at import, so that other programs with a --config may import this module."""
    config_flags.DEFINE_config_file("config", None, "Recipe, a file of configs/.", sys_argv=list(argv))
    flags.DEFINE_string("workdir", None, "Folder that receives a run for each seed.")
    flags.DEFINE_integer("num_seeds", 3, "Number of runs.", lower_bound=1)
    flags.mark_flags_as_required(["config", "workdir"])


def main(_) -> int:
    """Runs the command line; returns the exit status."""
    from ssd_jax.commands import setup

    workdir, settings = setup.open_workdir(FLAGS.workdir), FLAGS.config.train
    options, figures = passed_on(sys.argv[1:]), {}
    for seed in range(settings.seed, settings.seed + FLAGS.num_seeds):
        folder = workdir / f"seed{seed}"
        status = run_seed(folder, seed, options, num_steps=settings.num_steps)
        if status:
            return status
        figures[seed] = read_figures(folder)
    (workdir / "seeds.json").write_text(json.dumps(as_dict(figures), indent=2) + "\n", encoding="utf-8")
    print(f"\n{as_table(figures)}\n\nfigures: {workdir / 'seeds.json'}")
    return 0


def passed_on(arguments: Sequence[str]) -> list[str]:
    """Returns the options for train.py: all but those of this program, given as --name=value or --name value."""
    kept, skip = [], False
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        if not skip and (not argument.startswith("-") or name not in OWN):
            kept.append(argument)
        skip = not skip and argument.startswith("-") and name in OWN and not equals
    return kept


def run_seed(folder: Path, seed: int, options: Sequence[str], *, num_steps: int, programs: Path = PROGRAMS) -> int:
    """Trains and evaluates one seed, unless that has been done; returns the exit status of what failed, else 0.

    Args:
      folder: of the run.
      seed: overrides config.train.seed.
      options: of train.py.
      num_steps: of the recipe; what is evaluated.
      programs: folder of train.py and evaluate.py.

    Raises:
      InputError: if the programs are not there.
    """
    for name in ("train.py", "evaluate.py"):
        if not (programs / name).is_file():
            raise InputError(f"expected {name} in {programs}: run this command from a checkout of the repository")
    if evaluated_step(folder) == num_steps:
        print(f"seed {seed}: done before, in {folder}", flush=True)
        return 0
    print(f"seed {seed}: {folder}", flush=True)
    train = ["train.py", *options, f"--config.train.seed={seed}", f"--workdir={folder}"]
    evaluate = ["evaluate.py", f"--ckpt={folder}", f"--step={num_steps}", "--num_pictures=0"]
    return run_program(programs, train) or run_program(programs, evaluate)


def run_program(programs: Path, arguments: Sequence[str]) -> int:
    """Runs a program to its end and returns its exit status; an interruption is the program's to answer."""
    process = subprocess.Popen([sys.executable, str(programs / arguments[0]), *arguments[1:]])
    handlers = {
        signal.SIGINT: lambda *_: None,  # Ctrl-C reaches the program too
        signal.SIGTERM: lambda number, _: process.send_signal(number),
    }
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def evaluated_step(folder: Path) -> int | None:
    """Returns the step whose figures a run has, or None."""
    try:
        return json.loads(metrics_file(folder).read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError):  # absent, or cut off by an interruption
        return None


def read_figures(folder: Path) -> dict[str, float]:
    """Returns the figures of an evaluated run; an undefined one is nan."""
    document = json.loads(metrics_file(folder).read_text(encoding="utf-8"))
    figures = {}
    for title, path in FIGURES.items():
        value = document
        for key in path:
            value = value[key]
        figures[title] = math.nan if value is None else float(value)
    return figures


def metrics_file(folder: Path) -> Path:
    """Returns where evaluate.py writes the figures of a run."""
    return folder / "evaluation" / "metrics.json"


def summarize(figures: Mapping[int, Mapping[str, float]]) -> dict[str, Spread]:
    """Returns the spread of each figure over the seeds: seed -> title -> figure."""
    spreads = {}
    for title in FIGURES:
        values = [run[title] for run in figures.values()]
        deviation = np.std(values, ddof=1) if len(values) > 1 else math.nan
        spreads[title] = Spread(*map(float, (np.mean(values), deviation, np.min(values), np.max(values))))
    return spreads


def as_dict(figures: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Returns all figures and their spread as values that JSON can hold; what is undefined is None."""

    def plain(values: Mapping[str, float]) -> dict[str, float | None]:
        return {name: table.json_number(value) for name, value in values.items()}

    return {
        "runs": {f"seed{seed}": plain(run) for seed, run in figures.items()},
        "spread": {title: plain(spread._asdict()) for title, spread in summarize(figures).items()},
    }


def as_table(figures: Mapping[int, Mapping[str, float]]) -> str:
    """Returns a table with a row for each seed, then the mean and the standard deviation."""
    spreads = summarize(figures).values()
    rows = [[f"seed {seed}", *(table.number(run[title]) for title in FIGURES)] for seed, run in figures.items()]
    footer = [
        ["mean", *(table.number(spread.mean) for spread in spreads)],
        ["standard deviation", *(table.number(spread.deviation) for spread in spreads)],
    ]
    return table.align(["run", *FIGURES], rows, footer=footer)


if __name__ == "__main__":
    cli.run(main, prepare=define_flags)
