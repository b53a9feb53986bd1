"""Every recipe of configs/ builds the network it describes; wrong options are named."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from test_priors import GOLDEN

from ssd_jax import models, recipe
from ssd_jax.commands import checks, inputs, resume, setup
from ssd_jax.errors import InputError

CONFIGS = sorted(path.stem for path in (Path(__file__).parent.parent / "configs").glob("*.py"))
# Default boxes and parameters with 20 classes: the facts of the original (8732, 24564; 26.285 M and 27.19 M).
FACTS = {"ssd300_voc": (8732, 26_285_486), "ssd512_voc": (24564, 27_188_676)}


def load(name: str) -> dict:
    return recipe.plain(importlib.import_module(f"configs.{name}").get_config())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_recipe_builds(name):
    options = load(name)
    model, default_boxes = recipe.build_network(options, 21)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    predictions = jax.eval_shape(
        model.apply, variables, jax.ShapeDtypeStruct((2, *options["model"]["image_size"], 3), "float32")
    )
    assert predictions.offsets.shape == (2, *default_boxes.shape)
    assert predictions.logits.shape == (2, default_boxes.shape[0], 21)
    assert sum(level.num_boxes for level in model.levels) == default_boxes.shape[0]
    if name in FACTS:
        assert (default_boxes.shape[0], setup.parameter_count(variables["params"])) == FACTS[name]
    optimizer = recipe.build_optimizer(options)
    jax.eval_shape(optimizer.tx.init, variables["params"])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_recipe_survives_its_journey_through_json(name):
    # A checkpoint stores the recipe as JSON, where tuples become lists.
    options = load(name)
    import json

    assert recipe.plain(ConfigDict(json.loads(json.dumps(options)))) == options


@pytest.mark.parametrize(
    ("name", "tiling"), [("ssd300_voc", "voc300"), ("ssd512_voc", "voc512"), ("ssd300_custom", "coco300")]
)
def test_the_recipes_have_the_default_boxes_computed_by_hand(name, tiling):
    _, default_boxes = recipe.build_network(load(name), 21)
    for index, expected in GOLDEN[tiling]:
        np.testing.assert_allclose(default_boxes[index], expected, atol=2e-7)  # seven decimals


def test_the_schedules_of_the_paper():
    for name in ("ssd300_voc", "ssd512_voc"):
        options = load(name)
        rate = recipe.build_optimizer(options).schedule
        assert [float(rate(step)) for step in (0, 79_999, 80_000, 100_000)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
        assert options["train"]["num_steps"] == 120_000 and options["train"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("model", "withd", 1.0), ("optimizer", "momentun", 0.9), ("priors", "ofset", 0.5), ("model", "backbone", "vgg61")],
)
def test_a_wrong_option_is_named_with_its_section(section, key, value):
    options = load("ssd300_voc")
    options[section] = {**options[section], key: value}
    with pytest.raises(InputError, match=rf"config\.{section}.*{value if key == 'backbone' else key}"):
        recipe.build_network(options, 21)
        recipe.build_optimizer(options)


def test_the_model_defaults_are_the_base_recipe():
    options = load("ssd300_voc")["model"]
    assert models.build(num_classes=21).levels == models.build(num_classes=21, **options).levels


def test_missing_data_and_weights_are_named_in_one_message():
    with pytest.raises(InputError) as error:
        checks.check_inputs(load("ssd300_voc"))
    for part in ("config.data.root", "VOCdevkit", "config.init.weights", "config.init.required=False"):
        assert part in str(error.value)


def test_a_batch_is_a_multiple_of_devices_and_micro_batches():
    options = load("ssd_demo")
    options["train"] = {**options["train"], "batch_size": 32, "accumulation_steps": 3}
    message = "config.train.batch_size: expected a multiple of the 8 devices times 3 accumulation_steps, got 32"
    with pytest.raises(InputError, match=message):
        checks.check_settings(options)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "log_every", 0),
        ("train", "accumulation_steps", 0),
        ("train", "on_nonfinite", "ignore"),
        ("train", "batch_size", 9),  # not a multiple of the eight fake devices
        ("evaluate", "batch_size", 12),
        ("evaluate", "metric", "map"),
    ],
)
def test_settings_of_the_loop_are_checked_before_it_starts(section, key, value):
    options = load("ssd_demo")
    checks.check_settings(options)
    options[section] = {**options[section], key: value}
    with pytest.raises(InputError, match=rf"config\.{section}\.{key}.*{value}"):
        checks.check_settings(options)


def test_clipped_default_boxes_leave_none_to_ignore():
    options = load("ssd_demo")
    options["priors"] = {**options["priors"], "clip": True}
    checks.check_settings(options)
    options["loss"] = {**options["loss"], "ignore_cross_boundary": True}
    with pytest.raises(InputError, match=r"config\.loss\.ignore_cross_boundary.*config\.priors\.clip=True"):
        checks.check_settings(options)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("augment", "interpolation", "bilinear"), ("loss", "per", "batch"), ("augment", "brightnes", 1.0)],
)
def test_options_of_the_step_are_checked_before_it_runs(section, key, value):
    options = load("ssd_demo")
    options[section] = {**options[section], key: value}
    source = inputs.open_source(options, "train")
    network = setup.build_network(options, source.class_names)
    state = jax.eval_shape(lambda: setup.initial_state(load("ssd_demo"), network)[0])
    with pytest.raises(InputError, match=str(value) if isinstance(value, str) else key):
        setup.check_train_step(options, setup.compile_train_step(options, network), state, source)


def test_steps_that_leave_the_image_are_refused():
    options = load("ssd300_voc")
    options["model"] = {**options["model"], "image_size": (512, 512)}
    with pytest.raises(InputError, match="steps"):
        recipe.build_network(options, 21)


def test_changes_between_two_runs_are_listed():
    old, new = load("ssd300_voc"), load("ssd300_voc")
    new["optimizer"] = {**new["optimizer"], "learning_rate": 0.1}
    assert resume.changes(old, new) == {"optimizer.learning_rate": (1e-3, 0.1)}
