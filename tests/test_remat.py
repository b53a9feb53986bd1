"""Rematerialization: the same parameters and gradients, less memory, more work, no more communication."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_model_numerics import plain_variables
from test_precision import LITE, RESNET, equations
from test_training import NETWORK, SIZE

from ssd_jax import models, parallel
from ssd_jax.models import layers, summary

NETWORKS = {"vgg": dict(batch_norm=True), "lite": LITE, "resnet": RESNET}
# XLA's CPU compiler takes out the barriers around what is to be computed again, and then finds that it has been
# computed before. The GPU's keeps them until the order of execution is fixed; so does this one without that pass.
KEEP_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
BATCH = 4


@functools.cache
def network(name: str, remat: bool, axis_name: str | None = None) -> models.Model:
    return models.build(**{**NETWORK, **NETWORKS[name]}, remat=remat, axis_name=axis_name)


def loss_of(model: models.Model):
    def loss(params, others, images):
        predictions, state = model.apply_train({"params": params, **others}, images)
        return jnp.sum(predictions.offsets**2) + jnp.sum(jax.nn.logsumexp(predictions.logits, axis=-1) ** 2), state

    return jax.value_and_grad(loss, has_aux=True)


@pytest.mark.parametrize(
    "name", ["vgg", pytest.param("lite", marks=pytest.mark.slow), pytest.param("resnet", marks=pytest.mark.slow)]
)
def test_convolutions_run_again_on_the_same_variables_but_sums_over_devices_do_not(name):
    mesh, found, counts = parallel.data_mesh(jax.devices()[:2]), [], []
    for on in (False, True):
        model = network(name, on, parallel.AXIS)
        variables = dict(jax.eval_shape(model.init, jax.random.key(0)))
        found.append(jax.tree_util.tree_flatten_with_path(variables)[0])
        params = variables.pop("params")
        specs = (parallel.REPLICATED, parallel.REPLICATED, parallel.SPLIT)
        step = parallel.data_parallel(loss_of(model), mesh, in_specs=specs, out_specs=parallel.REPLICATED)
        program = jax.make_jaxpr(step)(params, variables, jax.ShapeDtypeStruct((2, *SIZE, 3), jnp.float32))
        names = [equation.primitive.name for equation in equations(program.jaxpr)]
        counts.append((names.count("conv_general_dilated"), sum(x.startswith("psum") for x in names)))
    assert found[0] == found[1]  # names, shapes and types: a checkpoint of one is one of the other
    (plain_convolutions, plain_sums), (convolutions, sums) = counts
    assert convolutions > 1.2 * plain_convolutions  # all but the heads', and each has two in the backward pass
    assert sums == plain_sums > 0


def test_gradients_are_the_same_and_memory_is_less():
    small = {**NETWORK, "extras": (), "min_sizes": (8, 20), "max_sizes": (20, 40), "aspect_ratios": ((2,), (2,))}
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, *SIZE, 3)).astype(np.float32)
    found, memory = [], []
    for on in (False, True):
        model = models.build(**small, remat=on)
        params = plain_variables(model)["params"]
        step = parallel.compile(loss_of(model)).lower(params, {}, images).compile(KEEP_BARRIERS)
        found.append(step(params, {}, images))
        memory.append(step.memory_analysis().temp_size_in_bytes)
    for plain, remat in zip(*map(jax.tree.leaves, found), strict=True):
        # The same operations, but fused in other ways: float32's 6e-8 over 15 layers, there and back.
        np.testing.assert_allclose(remat, plain, rtol=0, atol=2e-6 * np.abs(plain).max())
    assert memory[1] < 0.75 * memory[0]


def test_initial_values_and_statistics_are_the_same():
    class Block(nn.Module):
        options: layers.LayerOptions

        @nn.compact
        def __call__(self, x):
            conv = functools.partial(layers.conv_relu, options=self.options, train=True, kernel_init=layers.HE_NORMAL)
            x = layers.remat(lambda x: conv(x, "a", 8, 3), x, module=self, options=self.options)
            return conv(x, "b", 8, 1)

    def after_init_and_step(block, x):
        variables = block.init(jax.random.key(0, impl="rbg"), x)  # compiles faster than the default one
        return variables, block.apply(variables, x, mutable=["batch_stats"])

    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    plain, remat = (
        parallel.compile(functools.partial(after_init_and_step, Block(layers.LayerOptions(batch_norm=True, remat=on))))(
            x
        )
        for on in (False, True)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, remat)
    assert np.abs(plain[1][1]["batch_stats"]["a_bn"]["mean"]).max() > 0  # from 0, inside of the block


def test_the_summary_lists_the_same_layers():
    plain, remat = (summary.layers(network("vgg", on), SIZE) for on in (False, True))
    assert plain == remat and len(plain) == 41
