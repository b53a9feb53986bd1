"""The parts together learn: a rectangular network, eight real images by heart, and nothing from random labels."""

import importlib

import jax
import numpy as np
import pytest

from ssd_jax import parallel, recipe, training
from ssd_jax.commands import inputs, scoring, setup

GENTLE = dict(distort_probability=0.0, expand_probability=0.0, crop_probability=0.0, flip_probability=0.0)


def load(name: str, **sections) -> dict:
    options = recipe.plain(importlib.import_module(f"configs.{name}").get_config())
    return {key: {**value, **sections.get(key, {})} for key, value in options.items()}


def train(options: dict, steps: int):
    """Trains on the source of the recipe; returns the evaluator of its evaluation split, the state and the losses."""
    source = inputs.open_source(options, "train")
    network = setup.build_network(options, source.class_names)._replace(mesh=parallel.data_mesh(jax.devices()[:1]))
    state = setup.initial_state(options, network)[0]
    step = setup.compile_train_step(options, network)
    batches = inputs.train_batches(options, source, 0)
    losses = []
    for _ in range(steps):
        state, metrics = step(state, parallel.split(next(batches), network.mesh))
        losses.append(float(metrics.loss))
    batches.close()
    evaluation = inputs.open_source(options, "eval", source.class_names)
    return scoring.make_evaluator(options, network, evaluation), state, losses


@pytest.mark.slow  # test_models.py and test_priors.py hold the forms of a rectangular network in seconds
def test_a_rectangular_network_trains_and_detects():
    options = load(
        "ssd_demo",
        data=dict(shapes=dict(image_size=(192, 320), length=8, seed=0, shuffle_labels=False)),
        loader=dict(canvas=(192, 320)),
        model=dict(image_size=(192, 320), width_multiplier=0.125),
        train=dict(batch_size=4, num_steps=20),
        evaluate=dict(batch_size=4),
    )
    evaluate, state, losses = train(options, 20)
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    found = evaluate(training.evaluated_variables(state))
    assert [entry.id for entry in found.detections] == [entry.id for entry in found.truth]
    boxes = np.concatenate([entry.boxes for entry in found.detections])
    assert len(boxes) > 0 and (boxes >= 0).all() and boxes[:, 0::2].max() <= 320 and boxes[:, 1::2].max() <= 192


@pytest.mark.slow
def test_eight_real_images_are_learned_by_heart(shared, tmp_path):
    root = tmp_path / "eight"
    bccd = shared / "data" / "bccd"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).symlink_to(bccd / folder)
    names = (bccd / "ImageSets" / "Main" / "trainval.txt").read_text().split()[:8]
    (root / "ImageSets" / "Main" / "eight.txt").write_text("\n".join(names))
    options = load(
        "ssd300_custom",
        data=dict(root=str(root), train_split="eight", eval_split="eight"),
        model=dict(width_multiplier=0.25),
        augment={**GENTLE, "interpolation": "linear"},
        optimizer=dict(warmup_steps=20),
        train=dict(batch_size=8, num_steps=120),
        evaluate=dict(batch_size=8),
    )
    evaluate, state, _ = train(options, 120)
    result = evaluate(training.evaluated_variables(state)).voc()
    assert result.map_11point >= 0.95
