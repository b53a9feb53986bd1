"""What a run of ours has learned, read from its checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssd_jax import checkpoint, parallel
from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.weights.network import TrainedNetwork

# Of a run's recipe, what may be told to others: no paths of its owner's disk.
TOLD = {
    "data": ("kind", "train_split", "eval_split"),
    "train": ("num_steps", "batch_size", "accumulation_steps", "ema_decay", "seed"),
    "optimizer": ("algorithm", "learning_rate", "schedule", "boundaries", "weight_decay"),
    "evaluate": ("metric",),
}


def read_run(ckpt: str, *, step: int | None = None) -> TrainedNetwork:
    """Reads the evaluated parameters of a run: the moving average where one was kept.

    Args:
      ckpt: the --workdir of the run, or ``WORKDIR@STEP``; without a step the best by metric, else the newest; if
        that is damaged, the newest that is not.
      step: as in ``WORKDIR@STEP``.

    Raises:
      InputError: if there is no such checkpoint.
    """
    folder, named = split_step(ckpt)
    if step is not None and named is not None:
        raise InputError(f"{ckpt}: expected one step, got {step} as well")
    wanted = named if step is None else step
    (meta, metric, network), found, _, _ = checkpoint.read_chosen(folder, wanted, _read)
    class_names, variables, default_boxes = network
    training = dict(meta["training"]) if "training" in meta else {"step": found, **_told(meta)}
    if metric is not None:
        training["metric"] = {"name": meta["config"].get("evaluate", {}).get("metric"), "value": metric}
    name, recipe = f"{folder} (step {found})", recipes.plain(meta["config"])
    origin = meta.get("origin") or {}
    return TrainedNetwork(name, class_names, variables, default_boxes, recipe, origin, training, found)


def split_step(ckpt: str) -> tuple[str, int | None]:
    """Returns the folder and the step of ``WORKDIR@STEP``; a folder whose own name is such is not cut up."""
    folder, _, step = ckpt.rpartition("@")
    whole = str(Path(ckpt).expanduser())
    if not folder or not step.isdecimal() or Path(whole).exists():
        return whole, None
    return str(Path(folder).expanduser()), int(step)


def _read(manager: Any, step: int) -> tuple[dict[str, Any], float | None, tuple[tuple[str, ...], Any, np.ndarray]]:
    meta = checkpoint.restore_meta(manager, step)
    class_names = tuple(meta["class_names"])
    model, default_boxes = recipes.build_network(recipes.plain(meta["config"]), len(class_names))
    mesh = parallel.data_mesh(jax.local_devices()[:1])
    variables = jax.device_get(checkpoint.restore_variables(manager, step, model.shapes, mesh))
    return meta, checkpoint.metric(manager, step), (class_names, variables, default_boxes)


def _told(meta: Mapping[str, Any]) -> dict[str, Any]:
    config = meta["config"]
    settings = {
        section: {key: config[section][key] for key in keys if key in config[section]}
        for section, keys in TOLD.items()
        if section in config
    }
    facts = {key: meta[key] for key in ("commit", "versions") if meta.get(key)}
    images = meta.get("derived", {}).get("training_images")
    return {"settings": settings, **facts, **({} if images is None else {"training_images": images})}
