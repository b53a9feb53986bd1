"""The optimizer: Caffe's update written out by hand, which parameters decay, the schedules."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax import optim

PARAMS = {
    "conv1_1": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([0.5])},
    "conv4_3_norm": {"scale": jnp.array([20.0])},
    "conv1_1_bn": {"scale": jnp.array([1.0]), "bias": jnp.array([0.0])},
}


def run(optimizer: optim.Optimizer, gradients: list[float]):
    """Applies a constant gradient per step to PARAMS; returns the parameters after each."""
    params, state, history = PARAMS, optimizer.tx.init(PARAMS), []
    for value in gradients:
        gradient = jax.tree.map(lambda leaf, value=value: jnp.full_like(leaf, value), params)
        updates, state = optimizer.tx.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        history.append(params)
    return history


def test_caffe_update_by_hand():
    # sgd_solver.cpp: v = 0.9 v + rate * multiplier * (g + decay * w); w -= v. The rate drops after step 2,
    # where v still carries the old rate.
    optimizer = optim.make_optimizer(learning_rate=0.1, boundaries=(2,), momentum=0.9, weight_decay=0.01)
    expected = {}
    for name, start, multiplier, decay in [
        ("kernel", 1.0, 1, 0.01),
        ("bias", 0.5, 2, 0.0),
        ("l2", 20.0, 1, 0.01),
        ("norm", 1.0, 1, 0.0),
    ]:
        weight, velocity = start, 0.0
        for rate in (0.1, 0.1, 0.01):
            velocity = 0.9 * velocity + rate * multiplier * (0.3 + decay * weight)
            weight -= velocity
        expected[name] = weight
    last = run(optimizer, [0.3] * 3)[-1]
    np.testing.assert_allclose(last["conv1_1"]["kernel"][0], expected["kernel"], rtol=1e-6)
    np.testing.assert_allclose(last["conv1_1"]["bias"][0], expected["bias"], rtol=1e-6)
    np.testing.assert_allclose(last["conv4_3_norm"]["scale"][0], expected["l2"], rtol=1e-6)
    np.testing.assert_allclose(last["conv1_1_bn"]["scale"][0], expected["norm"], rtol=1e-6)


def test_the_two_forms_of_momentum_differ_only_after_a_drop():
    options = dict(learning_rate=0.1, boundaries=(2,), momentum=0.9, weight_decay=0.0)
    inside = run(optim.make_optimizer(**options), [0.3] * 3)
    outside = run(optim.make_optimizer(**options, algorithm="sgd"), [0.3] * 3)

    def kernel(history, step):
        return history[step]["conv1_1"]["kernel"][0]

    np.testing.assert_allclose(kernel(inside, 1), kernel(outside, 1), rtol=1e-6)
    # v before the drop is 0.3 * 1.9 = 0.57: inside the rate 0.1 stays in it, outside it counts with 0.01.
    np.testing.assert_allclose(kernel(inside, 2) - kernel(outside, 2), -0.9 * 0.57 * (0.1 - 0.01), rtol=1e-5)


def test_clipping_bounds_the_gradient_before_decay():
    optimizer = optim.make_optimizer(
        learning_rate=1.0, clip_norm=1.0, weight_decay=0.0, momentum=0.0, bias_multiplier=1.0
    )
    moved = jax.tree.map(jnp.subtract, PARAMS, run(optimizer, [100.0])[0])
    np.testing.assert_allclose(np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(moved))), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 1e-3), (79_999, 1e-3), (80_000, 1e-4), (99_999, 1e-4), (100_000, 1e-5), (119_999, 1e-5)]
)
def test_the_schedule_of_the_paper(step, rate):
    schedule = optim.make_schedule(learning_rate=1e-3, boundaries=(80_000, 100_000))
    np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)


def test_warmup_leads_to_the_same_schedule():
    options = dict(learning_rate=1.0, boundaries=(100,), warmup_steps=50, warmup_factor=0.1)
    schedule = optim.make_schedule(**options)
    np.testing.assert_allclose([schedule(0), schedule(25), schedule(50), schedule(99)], [0.1, 0.55, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(schedule(100), 0.1, rtol=1e-6)


def test_cosine_ends_at_zero():
    schedule = optim.make_schedule(learning_rate=2.0, schedule="cosine", num_steps=10)
    np.testing.assert_allclose([schedule(0), schedule(5), schedule(10)], [2, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(learning_rate=1.0, boundaries=(20, 10)), "boundaries"),
        (dict(learning_rate=1.0, schedule="poly"), "schedule"),
        (dict(learning_rate=1.0, schedule="cosine"), "num_steps"),
        (dict(learning_rate=1.0, algorithm="lion"), "algorithm"),
        (dict(learning_rate=0.0), "learning_rate: expected a positive number, got 0.0"),
        (dict(learning_rate=math.nan), "learning_rate: .*got nan"),
        (dict(learning_rate=1.0, boundaries=(0, 10)), r"boundaries: .*from 1 on, got \(0, 10\)"),
        (dict(learning_rate=1.0, gamma=-0.1), r"gamma: expected a factor in \(0, 1\], got -0.1"),
        (dict(learning_rate=1.0, warmup_steps=-1), "warmup_steps: expected 0 or more, got -1"),
        (dict(learning_rate=1.0, warmup_factor=2.0), r"warmup_factor: .*in \[0, 1\], got 2.0"),
        (dict(learning_rate=1.0, momentum=1.0), r"momentum: expected a number in \[0, 1\), got 1.0"),
        (dict(learning_rate=1.0, weight_decay=-1e-4), "weight_decay: .*at least 0, got -0.0001"),
        (dict(learning_rate=1.0, bias_multiplier=math.inf), "bias_multiplier: expected a finite number.*got inf"),
        (dict(learning_rate=1.0, clip_norm=-1.0), "clip_norm: .*got -1.0"),
    ],
)
def test_bad_schedules_name_the_option(options, message):
    with pytest.raises(ValueError, match=message):
        optim.make_optimizer(**options)


def test_adam_by_hand():
    # Kingma and Ba 2015, algorithm 1: after bias correction the first step is rate * g / (|g| + 1e-8), whatever |g|.
    optimizer = optim.make_optimizer(algorithm="adamw", learning_rate=0.1, weight_decay=0.01)
    first = run(optimizer, [0.3])[0]
    np.testing.assert_allclose(first["conv1_1"]["kernel"][0], 1.0 - 0.1 * (1 + 0.01 * 1.0), rtol=1e-5)
    np.testing.assert_allclose(first["conv1_1"]["bias"][0], 0.5 - 2 * 0.1, rtol=1e-5)  # twice the rate, no decay


def test_unknown_parameters_are_refused():
    with pytest.raises(ValueError, match="conv/mystery"):
        optim.parameter_kinds({"conv": {"mystery": jnp.zeros(1)}})


NETWORK = {
    "backbone": {
        name: {"kernel": jnp.ones(2), "bias": jnp.ones(1)} for name in ("conv1_1", "conv1_2", "conv10_1", "fc7")
    }
    | {"conv1_1_bn": {"scale": jnp.ones(1), "bias": jnp.ones(1)}},
    "extras": {"conv6_1": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}},
    "heads": {"fc7_mbox_loc": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}},
}
LAYERS = ["conv1_1", "conv1_1_bn", "conv1_2", "conv10_1", "fc7", "conv6_1", "fc7_mbox_loc"]


@pytest.mark.parametrize(
    ("names", "frozen"),
    [
        ((), set()),
        (("conv1",), {"conv1_1", "conv1_1_bn", "conv1_2"}),  # not conv10_1
        (("conv1_1",), {"conv1_1", "conv1_1_bn"}),
        (("fc7", "conv6"), {"fc7", "conv6_1"}),  # not the head that reads fc7
        (("backbone",), {"conv1_1", "conv1_1_bn", "conv1_2", "conv10_1", "fc7"}),
        (("backbone/conv10_1", "heads/fc7_mbox_loc"), {"conv10_1", "fc7_mbox_loc"}),
        (("heads",), {"fc7_mbox_loc"}),
    ],
)
def test_names_of_frozen_layers(names, frozen):
    marks = optim.frozen_parameters(NETWORK, names)
    found = {name: set(leaves.values()) for part in marks.values() for name, leaves in part.items()}
    assert sorted(found) == sorted(LAYERS)
    assert found == {name: {name in frozen} for name in LAYERS}


@pytest.mark.parametrize("names", [("conv",), ("conv1", "conv11"), ("",), ("fc7_mbox",), ("kernel",)])
def test_an_unknown_name_lists_what_there_is(names):
    optimizer = optim.make_optimizer(learning_rate=1.0, freeze=names)
    known = "backbone, conv10, conv1, fc7, extras, conv6, heads; "
    with pytest.raises(
        ValueError, match=f"freeze: expected names that layers start with, such as {known}got {names[-1]!r}"
    ):
        optimizer.tx.init(NETWORK)


def test_a_name_alone_is_not_a_tuple_of_letters():
    with pytest.raises(ValueError, match="freeze: expected a tuple of names, got 'conv1'"):
        optim.make_optimizer(learning_rate=1.0, freeze="conv1").tx.init(NETWORK)


@pytest.mark.parametrize("algorithm", ["caffe_sgd", "sgd", "adamw"])
def test_frozen_layers_stay_and_the_others_train_as_ever(algorithm):
    options = dict(learning_rate=0.1, weight_decay=0.01, algorithm=algorithm)
    free = run(optim.make_optimizer(**options), [0.3, -0.2])[-1]
    frozen = run(optim.make_optimizer(**options, freeze=("conv1_1",)), [0.3, -0.2])[-1]
    for name in ("conv1_1", "conv1_1_bn"):
        jax.tree.map(np.testing.assert_array_equal, frozen[name], PARAMS[name])
    jax.tree.map(np.testing.assert_array_equal, frozen["conv4_3_norm"], free["conv4_3_norm"])
    assert (np.asarray(free["conv4_3_norm"]["scale"]) != 20).all()


def test_frozen_layers_have_no_share_in_the_norm_that_is_clipped():
    options = dict(learning_rate=1.0, clip_norm=1.0, weight_decay=0.0)
    frozen = run(optim.make_optimizer(**options, freeze=("conv1_1",)), [100.0])[0]
    # Only the L2 scale is left, and its gradient of 100 becomes 1.
    np.testing.assert_allclose(frozen["conv4_3_norm"]["scale"], 20.0 - 1.0, rtol=1e-6)
