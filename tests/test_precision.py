"""bfloat16 in the network alone: read off the program of a training step, then by what it computes."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_model_numerics import plain_variables
from test_training import AUGMENT, NETWORK, OPTIMIZER, SIZE, make_batch

from ssd_jax import losses, models, optim, parallel, priors, training
from ssd_jax.models import layers
from ssd_jax.types import Targets

LITE = dict(backbone="mobilenet_v2", extra_blocks="inverted_residual", heads="separable")
RESNET = dict(backbone="resnet34", min_sizes=(8, 20), max_sizes=(20, 40), aspect_ratios=((2,), (2,)))
# What moves numbers, picks one of several, or adds two of them. The products and quotients are those by which
# jnp.maximum shares a gradient between equal arguments (1, 1/2 or 0: exact).
MOVING = {"broadcast_in_dim", "concatenate", "copy", "pad", "reshape", "rev", "slice", "squeeze", "transpose"}
PICKING = {"max", "min", "gt", "lt", "eq", "select_n", "div", "mul"}
ADDING = {"add", "add_any"}  # of a shortcut; of the gradients of a map that is read twice
MULTIPLYING = {"conv_general_dilated", "dot_general"}  # products of matrices: gradients of kernels on CPUs
MAY_BE_BFLOAT16 = {*MULTIPLYING, "convert_element_type", "stop_gradient", *MOVING, *PICKING, *ADDING}


def make_step(model: models.Model, optimizer: optim.Optimizer = OPTIMIZER, axis_name: str | None = None):
    return training.make_train_step(
        model,
        priors.default_boxes(model.levels, SIZE),
        optimizer,
        seed=0,
        output_size=SIZE,
        augment_options=AUGMENT,
        match_options={},
        ema_decay=0.9,
        axis_name=axis_name,
    )


def init(model: models.Model, optimizer: optim.Optimizer = OPTIMIZER):
    return functools.partial(training.init_state, model=model, optimizer=optimizer, ema_decay=0.9)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yields the equations of a program and of all programs inside it, but for those that only hold others."""

    def is_program(x: Any) -> bool:
        return hasattr(x, "eqns") or hasattr(x, "jaxpr")

    for equation in jaxpr.eqns:
        inner = [x for x in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program) if is_program(x)]
        for program in inner:
            yield from equations(getattr(program, "jaxpr", program))
        if not inner:
            yield equation


def bfloat16_shapes(equation: Any) -> list[tuple[int, ...]]:
    avals = [x.aval for x in (*equation.invars, *equation.outvars)]
    return [x.shape for x in avals if getattr(x, "dtype", None) == jnp.bfloat16]


@functools.cache
def program_of_a_step(dtype: str, **network: Any) -> tuple[Any, ...]:
    """Traces a step on eight devices; returns its equations."""
    model = models.build(**{**NETWORK, **network}, dtype=dtype, axis_name=parallel.AXIS)
    mesh = parallel.data_mesh(jax.devices()[:8])
    step = training.compile_train_step(make_step(model, axis_name=parallel.AXIS), mesh)
    state = jax.eval_shape(init(model), jax.random.key(0))
    jaxpr = jax.make_jaxpr(step)(state, make_batch(16))
    assert not [x for x in (*jaxpr.in_avals, *jaxpr.out_avals) if x.dtype == jnp.bfloat16]  # the state is float32
    return tuple(equations(jaxpr.jaxpr))


PROGRAMS = pytest.mark.parametrize(
    "network",
    [
        pytest.param(dict(batch_norm=False), id="vgg"),
        pytest.param(dict(batch_norm=True), id="vgg_bn"),
        pytest.param(LITE, id="lite", marks=pytest.mark.slow),
        pytest.param(RESNET, id="resnet", marks=pytest.mark.slow),
    ],
)


@PROGRAMS
def test_only_convolutions_and_what_lies_between_them_are_bfloat16(network):
    found = program_of_a_step("bfloat16", **network)
    kinds = {equation.primitive.name for equation in found if bfloat16_shapes(equation)}
    assert kinds <= MAY_BE_BFLOAT16
    products = [equation for equation in found if equation.primitive.name == "dot_general"]
    assert all(equation.outvars[0].aval.dtype == jnp.float32 for equation in products)  # however long the sums
    # The others are there, in float32: sums (loss, norms, biases, over devices), softmax, square roots.
    everything = {equation.primitive.name for equation in found}
    assert {"reduce_sum", "exp", "log", "rsqrt" if network != dict(batch_norm=False) else "sqrt"} <= everything
    assert any(name.startswith("psum") for name in everything)


@PROGRAMS
def test_all_convolutions_are_bfloat16_and_predictions_never(network):
    found = program_of_a_step("bfloat16", **network)
    convolutions = [equation for equation in found if equation.primitive.name == "conv_general_dilated"]
    assert len(convolutions) > 60 if network != RESNET else len(convolutions) > 100
    for equation in convolutions:
        assert len(bfloat16_shapes(equation)) == 3  # image, kernel, result
    # Feature maps and kernels have four axes (depthwise ones five, on their way; two where products of matrices are
    # taken of them), predictions [B, P, values] three.
    axes = {len(shape) for equation in found for shape in bfloat16_shapes(equation)}
    assert axes <= {0, 2, 4, 5} and 4 in axes


def test_float32_networks_have_no_bfloat16():
    assert not any(map(bfloat16_shapes, program_of_a_step("float32", batch_norm=True)))


def test_the_gradient_of_a_bias_is_summed_in_float32():
    options = layers.LayerOptions(dtype=jnp.bfloat16)
    count = 64 * 64

    class One(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.convolution(x, "a", 8, 1, options=options, train=True, kernel_init=layers.HE_NORMAL)

    x = jnp.zeros((1, 64, 64, 8))
    variables = One().init(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda v: One().apply(v, x).astype(jnp.float32).sum()))(variables)["params"]["a"][
        "bias"
    ]
    # Added up one by one in bfloat16, ones get no further than 256.
    assert gradient.dtype == jnp.float32 and (gradient == count).all()


def test_the_loss_in_bfloat16_is_near_the_one_in_float32():
    small = {**NETWORK, "extras": (), "min_sizes": (8, 20), "max_sizes": (20, 40), "aspect_ratios": ((2,), (2,))}
    images = np.random.default_rng(0).uniform(0, 255, (4, *SIZE, 3)).astype(np.float32)
    found = {}
    for dtype in ("float32", "bfloat16"):
        model = models.build(**small, dtype=dtype)
        count = sum(level.num_boxes for level in model.levels)
        labels = np.stack([np.arange(count) % (7 + k) == 0 for k in range(4)]) * np.int32(1)
        targets = Targets(np.zeros((*labels.shape, 4), np.float32), labels, np.zeros(labels.shape, bool))
        variables = plain_variables(model)
        parts = parallel.compile(lambda v, x, model=model, t=targets: losses.multibox_loss(model.apply(v, x), t))(
            variables, images
        )
        found[dtype] = float(losses.normalize(parts))
    # 15 layers deep, each rounding image, kernel and result to 8 bits, by 2^-9 at most: 45 * 2^-9 = 9% if all pushed
    # the same way; as they do not, a third of it. None at all would mean that nothing was rounded.
    assert 0 < abs(found["bfloat16"] / found["float32"] - 1) < 0.03


@pytest.mark.slow
def test_bfloat16_learns_eight_images_as_float32_does():
    optimizer = optim.make_optimizer(learning_rate=3e-3, schedule="steps", boundaries=(10_000,))
    batch, losses_of, moves = make_batch(8), {}, {}
    for dtype in ("float32", "bfloat16"):
        model = models.build(**NETWORK, dtype=dtype, batch_norm=True)
        step = parallel.compile(make_step(model, optimizer))
        state = start = parallel.compile(init(model, optimizer))(jax.random.key(0))
        found = []
        for _ in range(120):
            state, metrics = step(state, batch)
            found.append(float(metrics.loss))
            if len(found) == 1:
                pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(start.params), strict=True)
                moves[dtype] = np.concatenate([np.ravel(new - old) for new, old in pairs])
        losses_of[dtype] = found[0], np.mean(found[-10:])
    # The first update points the same way; where losses are close, other negatives may be mined.
    norms = [np.linalg.norm(move) for move in moves.values()]
    assert np.dot(*moves.values()) > 0.9 * np.prod(norms)
    # From 30 to 0.04, where the losses of two runs in different precision are no longer equal to the digit.
    for first, last in losses_of.values():
        assert last < first / 100
    assert losses_of["bfloat16"][1] == pytest.approx(losses_of["float32"][1], rel=0.5)
