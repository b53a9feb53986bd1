"""Every recipe and variant trains: two steps on made-up images, with few channels."""

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_paper_recipes import ALL, load

from ssd_jax import recipe, training
from ssd_jax.types import Batch


def reduced(options: dict) -> dict:
    """The recipe with an eighth of the channels, on a small canvas; the default boxes stay."""
    return {
        **options,
        "model": {**options["model"], "width_multiplier": 0.125},
        "loader": {**options["loader"], "canvas": (96, 96)},
        "init": {**options["init"], "required": False},
    }


def make_step(options: dict, num_classes: int):
    """Returns the model, the optimizer and the training step without a map."""
    model, default_boxes = recipe.build_network(options, num_classes)
    optimizer = recipe.build_optimizer(options)
    step = training.make_train_step(
        model,
        default_boxes,
        optimizer,
        seed=0,
        output_size=options["model"]["image_size"],
        augment_options={"mean": options["model"]["mean"], **options["augment"]},
        match_options=options["match"],
        ema_decay=options["train"]["ema_decay"],
        axis_name=None,
        **options["loss"],
    )
    return model, optimizer, step


def fake_batch(options: dict, rows: int) -> Batch:
    random = np.random.default_rng(0)
    corner = random.uniform(0.05, 0.4, (rows, 3, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0.2, 0.5, (rows, 3, 2))], axis=-1)
    return Batch(
        canvas=jnp.asarray(random.integers(0, 256, (rows, *options["loader"]["canvas"], 3), np.uint8)),
        size=jnp.full((rows, 2), 90, jnp.int32),
        boxes=jnp.asarray(boxes, jnp.float32),
        labels=jnp.asarray(random.integers(1, 3, (rows, 3)), jnp.int32),
        ignored=jnp.zeros((rows, 3), bool),
        index=jnp.arange(rows, dtype=jnp.uint32),
        epoch=jnp.zeros(rows, jnp.uint32),
        valid=jnp.ones(rows, bool),
    )


# One of each kind of network and loss; the slow test below runs them all.
TRACED = [
    ("paper_table2", "no_atrous"),
    ("paper_table3", "2-inside"),
    ("ssd300_multibox", ""),
    ("ssd300_resnet50_coco", ""),
    ("ssdlite300_mobilenetv2_voc", ""),
]


@pytest.mark.parametrize(("name", "variant"), TRACED)
def test_the_training_step_can_be_traced(name, variant):
    options = reduced(load(name, variant))
    model, optimizer, step = make_step(options, 3)
    state = jax.eval_shape(lambda key: training.init_state(key, model, optimizer), jax.random.key(0))
    after, metrics = jax.eval_shape(step, state, fake_batch(options, 2))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics.loss.shape == ()


def compiled(function, *arguments):
    """Returns the compiled function; without optimization compiling takes a fraction of the time, and steps are few."""
    return jax.jit(function).lower(*arguments).compile(compiler_options=compiling.FAST)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_recipe_takes_two_steps_of_training(name, variant):
    options = reduced(load(name, variant))
    model, optimizer, step = make_step(options, 3)
    key, batch = jax.random.key(0), fake_batch(options, 2)
    state = compiled(lambda key: training.init_state(key, model, optimizer), key)(key)
    before = jax.tree.map(np.asarray, state.params)
    step = compiled(step, state, batch)
    for _ in range(2):
        state, metrics = step(state, batch)
        assert bool(metrics.finite) and float(metrics.loss) > 0
        assert float(metrics.positives) > 0 and float(metrics.negatives) > 0
    assert int(state.step) == 2
    moved = jax.tree.map(lambda a, b: bool(np.any(a != np.asarray(b))), before, state.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.5  # a path that leads nowhere would not move
