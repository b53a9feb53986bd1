"""Trains a recipe once for each of several seeds and prints the mean and the spread of its figures.

    python -m ssd_jax.commands.seeds --config=configs/ssd_demo.py --workdir=runs/demo_seeds --num_seeds=3 \
        [--config.section.key=value]

Runs train.py and evaluate.py in WORKDIR/seed0, WORKDIR/seed1, ... (numbers from config.train.seed on). What is
evaluated is the last step: the best one would have been chosen by the very images it is measured on. The same command
goes on after an interruption (Ctrl-C, or SIGTERM from elsewhere, which is handed on to the program at work), and with
a larger --num_seeds adds runs. WORKDIR/recipe.json keeps the recipe of the first run, so that no other one gets into
the mean; a longer training is the same recipe, and the earlier runs go on too. Writes WORKDIR/seeds.json.
"""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import config_flags

from ssd_jax import files
from ssd_jax.commands import cli
from ssd_jax.errors import InputError
from ssd_jax.evaluation import table

if TYPE_CHECKING:
    from ssd_jax.recipe import Recipe

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
FREE = {  # settings that do not change the figures of the last step; the seed is what the runs differ in
    "train": ("seed", "log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints", "tensorboard"),
    "loader": ("num_threads", "num_workers", "cache", "timeout_s"),
}
SHOWN = 5  # settings that differ which the message lists


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
    from ssd_jax import recipe as recipes
    from ssd_jax.commands import setup

    workdir, recipe = setup.open_workdir(FLAGS.workdir), recipes.plain(FLAGS.config)
    keep_recipe(workdir / "recipe.json", recipe)
    options, figures = passed_on(sys.argv[1:]), {}
    first, num_steps = recipe["train"]["seed"], recipe["train"]["num_steps"]
    for seed in range(first, first + FLAGS.num_seeds):
        folder = workdir / f"seed{seed}"
        status = run_seed(folder, seed, options, num_steps=num_steps)
        if status:
            return status
        found = read_figures(folder, num_steps)
        if found is None:
            raise InputError(f"{metrics_file(folder)}: expected the figures of step {num_steps} from evaluate.py")
        figures[seed] = found
    files.write_text(workdir / "seeds.json", json.dumps(as_dict(figures), indent=2) + "\n")
    print(f"\n{as_table(figures)}\n\nfigures: {workdir / 'seeds.json'}")
    return 0


def keep_recipe(path: Path, recipe: "Recipe") -> None:
    """Writes the recipe that the runs of a folder have in common, or compares it with the one written before.

    It is compared once a run has saved something, so that a mistake that no run survived can be mended. Settings of
    ``FREE`` may differ. A larger ``train.num_steps`` takes the place of the old one, unless the learning rate is
    spread over the whole length ("cosine"): what has been trained then followed another one.

    Args:
      path: of the JSON file, in the folder of the runs.
      recipe: of this call.

    Raises:
      InputError: if other settings differ, by their names, or the file is damaged.
    """
    from ssd_jax.commands import resume

    shared = {
        section: {key: value for key, value in settings.items() if key not in FREE.get(section, ())}
        for section, settings in recipe.items()
    }
    begun = (any(path.parent.glob(f"seed*/{what}")) for what in ("checkpoints/*", "last_step/metrics.json"))
    if path.exists() and any(begun):
        try:
            saved = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: expected the recipe of the runs beside it as JSON, got {error}") from error
        different = resume.changes(saved, shared)
        old, new = different.get("train.num_steps", (0, 0))
        if isinstance(old, int) and old < new and shared["optimizer"]["schedule"] != "cosine":
            del different["train.num_steps"]
        if different:
            said = [f"config.{key}={old!r} (now {new!r})" for key, (old, new) in different.items()]
            said[SHOWN:] = [f"{len(said) - SHOWN} more"] if len(said) > SHOWN else []
            raise InputError(
                f"{path}: the runs beside it have {', '.join(said)}; expected the same options, or another --workdir"
            )
    files.write_text(path, json.dumps(shared, indent=2) + "\n")


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
    if read_figures(folder, num_steps) is not None:
        print(f"seed {seed}: done before, in {folder}", flush=True)
        return 0
    print(f"seed {seed}: {folder}", flush=True)
    train = ["train.py", *options, f"--config.train.seed={seed}", f"--workdir={folder}"]
    # Not CKPT/evaluation, where evaluate.py puts what it is asked by hand.
    output = f"--output={metrics_file(folder).parent}"
    evaluate = ["evaluate.py", f"--ckpt={folder}", f"--step={num_steps}", output, "--num_pictures=0"]
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


def read_figures(folder: Path, step: int) -> dict[str, float] | None:
    """Returns the figures of a run at this step, or None if there are none yet; an undefined one is nan."""
    try:
        document = json.loads(metrics_file(folder).read_text(encoding="utf-8"))
        if document["step"] != step:
            return None
        figures = {}
        for title, path in FIGURES.items():
            value = document
            for key in path:
                value = value[key]
            figures[title] = math.nan if value is None else float(value)
        return figures
    except (OSError, ValueError, KeyError, TypeError):  # absent, cut off by an interruption, or of another form
        return None


def metrics_file(folder: Path) -> Path:
    """Returns where the figures of a run lie."""
    return folder / "last_step" / "metrics.json"


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
    cli.run(main, prepare=define_flags, imports=["ssd_jax.commands.setup"])
