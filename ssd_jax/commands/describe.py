"""The texts that train.py prints: what is about to run, what it costs, how it scores."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import jax

from ssd_jax import data, parallel, training
from ssd_jax import recipe as recipes
from ssd_jax.commands import inputs, scoring, setup
from ssd_jax.commands.progress import Progress
from ssd_jax.models import summary
from ssd_jax.types import BACKGROUND

PAPER_BATCH, PAPER_RATE = 32, 1e-3


def layer_table(recipe: recipes.Recipe) -> str:
    """Returns the layers with shapes, parameters and MACs, and the default boxes a level."""
    class_names = recipe["data"]["class_names"]
    if not class_names and (recipe["data"]["root"] or recipe["data"]["kind"] == "shapes"):
        class_names = inputs.open_source(recipe, "train").class_names
    note = "" if class_names else "\n(no data given: the 20 classes of PASCAL VOC are assumed)"
    num_classes = len(set(class_names) - {BACKGROUND}) + 1 if class_names else 21
    return recipes.splat("model", summary.summarize, recipe["model"], num_classes=num_classes) + note


def start_summary(
    recipe: recipes.Recipe, network: setup.Network, state: training.TrainState, source: Any, eval_source: Any
) -> str:
    """Returns the lines printed before training starts."""
    train, optimizer = recipe["train"], recipe["optimizer"]
    epochs = train["num_steps"] * train["batch_size"] / len(source)
    parameters = setup.parameter_count(state.params)
    devices = network.mesh.devices.ravel()
    height, width = recipe["model"]["image_size"]
    names = network.class_names[1:]
    rows = {
        "devices": f"{devices.size} x {devices[0].device_kind} ({devices[0].platform})",
        "network": f"{recipe['model']['backbone']} at {height}x{width}, {parameters:,} parameters",
        "default boxes": f"{network.default_boxes.shape[0]:,} on {len(network.model.levels)} feature maps",
        "classes": f"{len(names)}: {', '.join(names[:25])}{' ...' if len(names) > 25 else ''}",
        "training": f"{len(source):,} images ({source.name})",
        "evaluation": f"{len(eval_source):,} images ({eval_source.name})",
        "boxes an image": f"at most {source.max_boxes}, padded to {inputs.padded_boxes(recipe, source)}",
        "steps": f"{train['num_steps']:,} of {train['batch_size']} images = {epochs:.1f} epochs",
        "learning rate": f"{optimizer['learning_rate']:g} at batch {train['batch_size']} "
        f"(the paper: {PAPER_RATE:g} at batch {PAPER_BATCH}; it is never rescaled for you)",
    }
    lines = [f"{key:>15}  {value}" for key, value in rows.items()]
    for name, part in (("train data", source), ("eval data", eval_source)):
        lines += [f"{name:>15}  {line}" for line in data_remarks(recipe, part)]
    return "\n".join(lines)


def data_remarks(recipe: recipes.Recipe, source: Any) -> list[str]:
    """Returns what is to be said of a source: its problems, and how many images the canvas makes smaller."""
    return [line for line in (*source.problems.lines(), data.reductions(source, recipe["loader"]["canvas"])) if line]


def dry_run(
    recipe: recipes.Recipe, network: setup.Network, state: training.TrainState, source: Any, train_step: Callable
) -> str:
    """Runs the step twice and returns its memory, time and an estimate of the whole run."""
    begin = time.perf_counter()
    plain = {**recipe, "loader": {**recipe["loader"], "cache": ""}}  # a dry run writes nothing
    with contextlib.closing(inputs.train_batches(plain, source, 0)) as batches:
        batch = parallel.split(next(batches), network.mesh)
    loaded = time.perf_counter()
    compiled = train_step.lower(state, batch).compile()
    built = time.perf_counter()
    memory = compiled.memory_analysis()
    state, metrics = jax.block_until_ready(compiled(state, batch))
    first = time.perf_counter()
    state, metrics = jax.block_until_ready(compiled(state, batch))
    seconds = time.perf_counter() - first
    hours = seconds * recipe["train"]["num_steps"] / 3600
    rate = recipe["train"]["batch_size"] / seconds
    gib = (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30
    return (
        f"dry run: loss {float(metrics.loss):.3f}\n"
        f"first batch {loaded - begin:.1f} s, compilation {built - loaded:.1f} s\n"
        f"a step takes {seconds:.3f} s ({rate:.1f} images/s) and {gib:.2f} GiB a device\n"
        f"{recipe['train']['num_steps']:,} steps would take about {hours:.2f} hours, without evaluation"
    )


TITLES = {
    "map_11point": "mAP (VOC07 11-point)",
    "map_area": "mAP (area)",
    "ilsvrc_map": "mAP (ILSVRC)",
    "coco_ap": "AP (COCO)",
    "coco_ap50": "AP50",
    "coco_ap75": "AP75",
}


def report_scores(
    progress: Progress, recipe: recipes.Recipe, step: int, evaluation: scoring.Evaluation
) -> dict[str, float]:
    """Prints and records the figures of an evaluation; returns the one that checkpoints are compared by."""
    figures = scoring.figures(evaluation, recipe["evaluate"]["metric"])
    shown = "  ".join(f"{title} {figures[name]:.4f}" for name, title in TITLES.items() if name in figures)
    progress.say(f"step {step}  {shown}  validation loss {evaluation.losses['validation_loss']:.3f}")
    progress.record({"step": step, **figures})
    progress.show(step, evaluation)
    return {"map": next(iter(figures.values()))}
