"""The three normalizers of the loss: hand-computed values, shares of devices, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax import losses
from ssd_jax.types import LossParts

PARTS = LossParts(
    location=np.float32([1, 2, 3, 4]),
    confidence=np.float32([10, 20, 0, 40]),
    positives=np.int32([2, 3, 0, 5]),
    negatives=np.int32([6, 9, 0, 15]),
)
# On one device, location weighted by 2. global and device: (2 * 10 + 70) / 10.
# image: ((2 + 10) / 2 + (4 + 20) / 3 + (6 + 0) / max(1, 0) + (8 + 40) / 5) / 4 = (6 + 8 + 6 + 9.6) / 4
ALONE = {"global": 9.0, "device": 9.0, "image": 7.4}
# On two devices with two images each, device: ((6 + 30) / 5 + (14 + 40) / 5) / 2; the others do not depend on devices.
# On four, device: ((2 + 10) / 2 + (4 + 20) / 3 + 6 / 1 + 48 / 5) / 4.
SPREAD = {
    ("global", 2): 9.0,
    ("global", 4): 9.0,
    ("device", 2): 9.0,
    ("device", 4): 7.4,
    ("image", 2): 7.4,
    ("image", 4): 7.4,
}


@pytest.mark.parametrize("per", ALONE)
def test_normalize_by_hand(per):
    value = losses.normalize(PARTS, per=per, location_weight=2.0)
    assert value.shape == ()
    np.testing.assert_allclose(value, ALONE[per], rtol=1e-6)


def test_normalize_defaults_to_global_and_weight_one():
    np.testing.assert_allclose(losses.normalize(PARTS), 8.0, rtol=1e-6)  # (10 + 70) / 10


@pytest.mark.parametrize(("per", "devices"), SPREAD)
def test_shares_of_devices_add_up(per, devices):
    spread = jax.tree.map(lambda leaf: leaf.reshape(devices, -1), PARTS)
    share = functools.partial(losses.normalize, per=per, location_weight=2.0, axis_name="data")
    shares = jax.vmap(share, axis_name="data")(spread)
    assert shares.shape == (devices,)
    np.testing.assert_allclose(shares.sum(), SPREAD[per, devices], rtol=1e-6)


def test_devices_differ_where_their_counts_differ():
    # Positives 2 + 3 on one device, 0 + 15 on the other: (30 + 6) / 5 and (40 + 14) / 15, halved.
    parts = PARTS._replace(positives=np.int32([2, 3, 0, 15]))
    spread = jax.tree.map(lambda leaf: leaf.reshape(2, -1), parts)
    shares = jax.vmap(
        functools.partial(losses.normalize, per="device", location_weight=2.0, axis_name="data"), axis_name="data"
    )(spread)
    np.testing.assert_allclose(shares, [7.2 / 2, 3.6 / 2], rtol=1e-6)


@pytest.mark.parametrize("per", ALONE)
def test_shares_on_real_devices(per):
    if len(jax.devices("cpu")) < 4:
        pytest.skip("needs four CPU devices; conftest.py asks XLA for eight")
    mesh = jax.sharding.Mesh(np.array(jax.devices("cpu")[:4]), ("data",))
    along = jax.sharding.PartitionSpec("data")

    def share(parts):
        return losses.normalize(parts, per=per, location_weight=2.0, axis_name="data")[None]

    shares = jax.jit(jax.shard_map(share, mesh=mesh, in_specs=along, out_specs=along, check_vma=False))(PARTS)
    np.testing.assert_allclose(np.sum(shares), SPREAD[per, 4], rtol=1e-6)


@pytest.mark.parametrize("per", ALONE)
def test_gradient_of_normalize(per):
    def scalar(location, confidence):
        return losses.normalize(PARTS._replace(location=location, confidence=confidence), per=per, location_weight=2.0)

    location, confidence = jax.grad(scalar, argnums=(0, 1))(jnp.array(PARTS.location), jnp.array(PARTS.confidence))
    counts = np.maximum(PARTS.positives, 1) * 4 if per == "image" else np.full(4, 10)
    np.testing.assert_allclose(confidence, 1 / counts, rtol=1e-6)
    np.testing.assert_allclose(location, 2 / counts, rtol=1e-6)


def test_gradient_of_a_share_does_not_cross_devices():
    # Only the counts are exchanged: the sum of all shares has the gradient that each device finds for itself.
    spread = jax.tree.map(lambda leaf: leaf.reshape(2, -1), PARTS)

    def gradient(parts):
        def scalar(confidence):
            return losses.normalize(parts._replace(confidence=confidence), per="global", axis_name="data")

        return jax.grad(scalar)(parts.confidence)

    np.testing.assert_allclose(jax.vmap(gradient, axis_name="data")(spread), 1 / 10, rtol=1e-6)


@pytest.mark.parametrize("per", ALONE)
@pytest.mark.parametrize("axis_name", [None, "data"])
def test_normalize_of_a_batch_without_positives(per, axis_name):
    nothing = jax.tree.map(np.zeros_like, PARTS)
    function = functools.partial(losses.normalize, per=per, axis_name=axis_name)
    if axis_name is not None:
        function = jax.vmap(function, axis_name=axis_name)
        nothing = jax.tree.map(lambda leaf: leaf.reshape(2, -1), nothing)
    np.testing.assert_array_equal(function(nothing), 0)


def test_unknown_normalizer_is_named():
    with pytest.raises(ValueError, match=r"per.*batch"):
        losses.normalize(PARTS, per="batch")
