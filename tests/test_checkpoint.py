"""Checkpoints: what is kept, what comes back, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint.checkpoint_manager import StepAlreadyExistsError

from ssd_jax import checkpoint, parallel
from ssd_jax.errors import InputError
from ssd_jax.training import TrainState

META = {"config": {"train": {"steps": (1, 2)}}, "class_names": ["background", "cat"]}


def state(value: float, size: int = 3) -> TrainState:
    tree = {"conv": {"kernel": jnp.full((size,), value)}}
    return TrainState(jnp.int32(value), tree, {}, (tree, ()), None)


def save_all(folder, metrics: dict[int, float | None]) -> None:
    with checkpoint.open_manager(folder, keep=2) as manager:
        for step, value in metrics.items():
            scores = None if value is None else {"map": value}
            checkpoint.save(manager, step, state(step), META, metrics=scores)


def test_the_newest_and_the_best_are_kept(tmp_path):
    # With best-only retention Orbax would drop step 4, the newest, because it is the worst.
    save_all(tmp_path, {1: 0.1, 2: 0.5, 3: None, 4: 0.05})
    with checkpoint.open_existing(tmp_path) as manager:
        assert checkpoint.steps(manager) == [2, 3, 4]
        assert (checkpoint.latest(manager), checkpoint.best(manager)) == (4, 2)


def test_without_metrics_there_is_no_best(tmp_path):
    save_all(tmp_path, {1: None})
    with checkpoint.open_existing(tmp_path) as manager:
        assert checkpoint.best(manager) is None


def test_round_trip_onto_another_number_of_devices(tmp_path):
    wide = parallel.data_mesh()
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 7, parallel.replicate(state(7), wide), META)
    one = parallel.data_mesh(jax.devices()[:1])
    with checkpoint.open_existing(tmp_path) as manager:
        restored = checkpoint.restore(manager, 7, state(0), one)
        meta = checkpoint.restore_meta(manager, 7)
    assert isinstance(restored, TrainState) and restored.ema is None
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state(7)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.sharding.device_set == {jax.devices()[0]}
    assert meta["class_names"] == META["class_names"] and meta["config"]["train"]["steps"] == [1, 2]


def test_another_network_is_refused_by_the_name_of_the_leaf(tmp_path):
    save_all(tmp_path, {1: None})
    with checkpoint.open_existing(tmp_path) as manager, pytest.raises(InputError, match="kernel"):
        checkpoint.restore(manager, 1, state(0, size=4), parallel.data_mesh())


def test_saving_a_step_that_is_there_already_is_not_silent(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 2, state(2), META)
        manager.wait_until_finished()
        with pytest.raises(StepAlreadyExistsError):
            checkpoint.save(manager, 2, state(2), META)


@pytest.mark.parametrize(
    "prepare", [lambda path: None, lambda path: path.mkdir(), lambda path: (path / "checkpoints").mkdir(parents=True)]
)
def test_what_is_not_a_run_is_refused(tmp_path, prepare):
    folder = tmp_path / "no run"
    prepare(folder)
    with pytest.raises(InputError, match="no run"):
        checkpoint.open_existing(folder)
