"""The train step: one device = shard_map over 8 = pmap over 8, nothing recompiles, bad steps change nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from ssd_jax import models, objective, optim, parallel, priors, training
from ssd_jax.types import Batch

SIZE = (64, 64)
CLASSES = 4
NETWORK = dict(
    num_classes=CLASSES,
    image_size=SIZE,
    width_multiplier=0.125,
    extras=((256, 512, 3, 2, 1),),
    min_sizes=(8, 20, 40),
    max_sizes=(20, 40, 60),
    aspect_ratios=((2,), (2,), (2,)),
    steps=(),
)
# Without distortion: it rounds to whole levels between its operations, and which way a tie goes is up to how the
# compiler fuses each program (with jax 0.12 gradients differ by 3e-4 of a leaf for that reason alone).
AUGMENT = dict(distort_probability=0.0)
OPTIMIZER = optim.make_optimizer(learning_rate=1e-2, schedule="steps", boundaries=(2,))


def make_batch(size: int = 16, seed: int = 0) -> Batch:
    """Random images with up to three boxes each; some images have none."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (size, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.15, 0.4, (size, 3, 2))], axis=-1)
    return Batch(
        canvas=rng.integers(0, 256, (size, *SIZE, 3), dtype=np.uint8),
        size=np.tile(np.int32(SIZE), (size, 1)),
        boxes=boxes.astype(np.float32),
        labels=rng.integers(0, CLASSES, (size, 3)).astype(np.int32),
        ignored=np.zeros((size, 3), bool),
        index=np.arange(size, dtype=np.uint32),
        epoch=np.zeros(size, np.uint32),
        valid=np.ones(size, bool),
    )


@functools.cache
def network(axis_name: str | None, batch_norm: bool) -> tuple[models.Model, np.ndarray]:
    model = models.build(**NETWORK, axis_name=axis_name, batch_norm=batch_norm)
    return model, priors.default_boxes(model.levels, SIZE)


def toy_network(axis_name: str | None, batch_norm: bool) -> tuple[models.Model, np.ndarray]:
    """Two convolutions, which compile in a few seconds."""
    return toy_run.network(axis_name, batch_norm), toy_run.DEFAULT_BOXES


def make_step(axis_name: str | None, batch_norm: bool, network=toy_network, **options):
    model, default_boxes = network(axis_name, batch_norm)
    return training.make_train_step(
        model,
        default_boxes,
        OPTIMIZER,
        seed=0,
        output_size=toy_run.SIZE if network is toy_network else SIZE,
        augment_options=AUGMENT,
        match_options={},
        axis_name=axis_name,
        **options,
    )


@functools.cache
def start(batch_norm: bool) -> training.TrainState:
    """The state of the network before the first step; toy_run.start is that of the toy."""
    return jax.jit(lambda key: training.init_state(key, network(None, batch_norm)[0], OPTIMIZER))(jax.random.key(0))


def copy(state):
    return jax.tree.map(jnp.copy, state)


def poison(state: training.TrainState) -> training.TrainState:
    """Makes the logits of the toy infinite, but not its offsets."""
    bias = state.params["head"]["bias"].reshape(-1, 4 + CLASSES).copy()
    bias[:, 4:] = np.inf
    return state._replace(params={**state.params, "head": {**state.params["head"], "bias": bias.reshape(-1)}})


@pytest.fixture(scope="module")
def mesh():
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices: tests/conftest.py makes them of the CPU")
    return parallel.data_mesh(jax.devices()[:8])


def assert_same_update(ours, reference, before):
    """Parameters moved alike: max |dp| <= 1e-5 x max |p| of the leaf, and they moved at all."""
    moved = []
    for a, b, old in zip(*map(jax.tree.leaves, (ours.params, reference.params, before.params)), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() <= 1e-5 * np.abs(np.asarray(b)).max()
        moved.append(np.any(np.asarray(b) != np.asarray(old)))
    assert np.mean(moved) > 0.9


@pytest.mark.parametrize(
    ("network", "batch_norm"),
    [
        pytest.param(toy_network, True, id="toy"),
        pytest.param(network, True, id="vgg_bn", marks=pytest.mark.slow),
        pytest.param(network, False, id="vgg", marks=pytest.mark.slow),
    ],
)
def test_shard_map_pmap_and_one_device_make_the_same_step(mesh, network, batch_norm):
    batch, before = make_batch(), (toy_run.start if network is toy_network else start)(batch_norm)
    one, one_metrics = jax.jit(make_step(None, batch_norm, network))(before, batch)

    step = make_step(parallel.AXIS, batch_norm, network)
    compiled = training.compile_train_step(step, mesh)
    many, many_metrics = compiled(parallel.replicate(copy(before), mesh), parallel.split(batch, mesh))
    assert_same_update(many, one, before)
    np.testing.assert_allclose(many_metrics.loss, one_metrics.loss, rtol=1e-5)  # order of summation
    np.testing.assert_allclose(many_metrics.image_loss, one_metrics.image_loss, rtol=1e-4, atol=1e-4)
    assert int(many_metrics.positives) == int(one_metrics.positives) > 0

    folded = jax.tree.map(lambda x: x.reshape(8, x.shape[0] // 8, *x.shape[1:]), batch)
    mapped, _ = jax.pmap(step, axis_name=parallel.AXIS, in_axes=(None, 0))(before, folded)
    assert_same_update(jax.tree.map(lambda x: x[0], mapped), one, before)

    # The second step compiles nothing: the state comes out as it went in.
    compiled(many, parallel.split(make_batch(seed=1), mesh))
    assert compiled._cache_size() == 1


@pytest.mark.slow  # what is faster stands in test_policies.py and test_distributed.py
def test_micro_batches_on_eight_devices_make_the_step_of_the_whole_batch(mesh):
    before, batch = start(False), make_batch(32)
    batch = batch._replace(labels=np.where(np.arange(32)[:, None] % 8 < 3, 0, batch.labels))  # unequal shares
    whole, whole_metrics = jax.jit(make_step(None, False, network))(before, batch)
    compiled = training.compile_train_step(make_step(parallel.AXIS, False, network, accumulation_steps=4), mesh)
    cut, cut_metrics = compiled(parallel.replicate(copy(before), mesh), parallel.split(batch, mesh))
    assert_same_update(cut, whole, before)
    assert (int(cut_metrics.positives), int(cut_metrics.negatives)) == (
        int(whole_metrics.positives),
        int(whole_metrics.negatives),
    )
    np.testing.assert_allclose(cut_metrics.loss, whole_metrics.loss, rtol=1e-5)  # order of summation
    np.testing.assert_allclose(cut_metrics.image_loss, whole_metrics.image_loss, rtol=1e-4, atol=1e-4)


def test_a_step_that_is_not_finite_changes_nothing_and_names_the_image():
    poisoned, batch = poison(toy_run.start(False)), make_batch(2)
    batch = batch._replace(labels=np.int32([[1, 2, 3], [0, 0, 0]]))  # the second image has no objects, so no loss
    after, metrics = jax.jit(make_step(None, False))(poisoned, batch)
    assert not metrics.finite and np.isfinite(metrics.image_loss).tolist() == [False, True]
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(poisoned), strict=True):
        np.testing.assert_array_equal(a, b)


def test_pictures_of_background_teach_if_asked_but_the_place_of_a_missing_one_does_not():
    batch = make_batch(2)._replace(labels=np.zeros((2, 3), np.int32))
    # As the loader leaves what it could not read:
    missing = batch._replace(size=np.int32([SIZE, (1, 1)]), valid=np.array([True, False]))
    step = jax.jit(make_step(None, False, empty_negatives=5))
    assert int(step(toy_run.start(False), batch)[1].negatives) == 10
    metrics = step(toy_run.start(False), missing)[1]
    assert int(metrics.negatives) == 5 and float(metrics.image_loss[1]) == 0


def test_augmentation_keys_depend_on_seed_epoch_and_index_alone():
    def data(*arguments):
        return jax.random.key_data(objective.image_keys(*arguments))

    epoch, index = jnp.uint32([0, 0, 1]), jnp.uint32([5, 6, 5])
    keys = data(0, epoch, index)
    assert len(np.unique(np.concatenate([keys, data(1, epoch, index)]), axis=0)) == 6
    np.testing.assert_array_equal(data(0, epoch[::-1], index[::-1]), keys[::-1])


@pytest.mark.slow
def test_a_hundred_steps_compile_one_program(mesh):
    """Whatever the images hold: boxes or none, all or none readable, another epoch, a rate that drops."""
    compiled = training.compile_train_step(toy_run.train_step(parallel.AXIS, True), mesh)
    state, rng = parallel.replicate(copy(toy_run.start(True)), mesh), np.random.default_rng(0)
    batches = toy_run.batches()
    for step in range(100):
        batch = batches[step % len(batches)]
        batch = batch._replace(
            labels=batch.labels * rng.integers(0, 2, batch.labels.shape, np.int32),
            valid=batch.valid & (step % 7 != 0),
            epoch=np.full_like(batch.epoch, step),
        )
        state, _ = compiled(state, parallel.split(batch, mesh))
    assert compiled._cache_size() == 1 and int(state.step) == 100
