"""Checkpoints: what is kept, what comes back, what is refused."""

import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from orbax.checkpoint.checkpoint_manager import StepAlreadyExistsError

from ssd_jax import checkpoint, parallel
from ssd_jax.checkpoint import folder
from ssd_jax.errors import InputError
from ssd_jax.training import TrainState

META = {"config": {"train": {"steps": (1, 2)}}, "class_names": ["background", "cat"]}


def state(value: float, size: int = 3, dtype=jnp.float32) -> TrainState:
    tree = {"conv": {"kernel": jnp.full((size,), value, dtype)}}
    return TrainState(jnp.int32(value), tree, {}, (tree, ()), None, jnp.bool_(False))


def save_all(folder, metrics: dict[int, float | None]) -> None:
    with checkpoint.open_manager(folder, keep=2) as manager:
        for step, value in metrics.items():
            scores = None if value is None else {"map": value}
            checkpoint.save(manager, step, state(step), META, metrics=scores)


def assert_same(found, expected) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_the_newest_and_the_best_are_kept(tmp_path):
    # With best-only retention Orbax would drop step 4, the newest, because it is the worst.
    save_all(tmp_path, {1: 0.1, 2: 0.5, 3: None, 4: 0.05})
    with checkpoint.open_existing(tmp_path) as manager:
        assert checkpoint.steps(manager) == [2, 3, 4]
        assert (checkpoint.latest(manager), checkpoint.best(manager)) == (4, 2)


def test_a_metric_is_added_to_a_checkpoint_without_writing_its_arrays_again(tmp_path):
    def arrays():
        files = [path for path in (tmp_path / "checkpoints" / "1" / "state").rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    with checkpoint.open_manager(tmp_path, keep=1) as manager:
        checkpoint.save(manager, 1, state(1), META)
        checkpoint.wait(manager)
        before = arrays()
        assert not checkpoint.is_evaluated(manager, 1) and checkpoint.best(manager) is None
        checkpoint.add_metrics(manager, 1, {"map": 0.25})
        assert checkpoint.is_evaluated(manager, 1) and checkpoint.best(manager) == 1
        assert arrays() == before
        checkpoint.save(manager, 2, state(2), META, metrics={"map": 0.125})
        checkpoint.save(manager, 3, state(3), META)
    with checkpoint.open_existing(tmp_path) as manager:
        assert (checkpoint.steps(manager), checkpoint.best(manager)) == ([1, 3], 1)  # kept because it is the best


def test_without_metrics_there_is_no_best(tmp_path):
    save_all(tmp_path, {1: None})
    with checkpoint.open_existing(tmp_path) as manager:
        assert checkpoint.best(manager) is None


@pytest.mark.parametrize(("wrote", "reads"), [(8, 1), (1, 8)])
def test_round_trip_onto_another_number_of_devices(tmp_path, wrote, reads):
    with checkpoint.open_manager(tmp_path) as manager:
        saved = parallel.replicate(state(7), parallel.data_mesh(jax.devices()[:wrote]))
        checkpoint.save(manager, 7, saved, META)
    with checkpoint.open_existing(tmp_path) as manager:
        restored = checkpoint.restore(manager, 7, state(0), parallel.data_mesh(jax.devices()[:reads]))
    assert isinstance(restored, TrainState) and restored.ema is None
    assert_same(restored, state(7))
    assert all(leaf.sharding.device_set == set(jax.devices()[:reads]) for leaf in jax.tree.leaves(restored))


def test_the_document_carries_whatever_json_it_is_given(tmp_path):
    document = {**META, "commit": None, "skipped_images": [3, 5], "derived": {"é": [1.5, True]}}
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, state(1), document)
    with checkpoint.open_existing(tmp_path) as manager:
        read = checkpoint.restore_meta(manager, 1)
    assert read == {**document, "config": {"train": {"steps": [1, 2]}}}


@pytest.mark.parametrize(
    ("like", "said"),
    [
        (state(0, size=4), "kernel: expected shape (4,) of float32 by the configuration, got shape (3,) of float32 in"),
        (state(0, dtype=jnp.bfloat16), "kernel: expected shape (3,) of bfloat16 by the configuration, got shape (3,)"),
        (state(0)._replace(ema={"conv": jnp.zeros(3)}), "ema/conv: expected shape (3,) of float32 by the"),
        (state(0)._replace(opt_state=()), "got shape (3,) of float32 in the checkpoint"),
    ],
)
def test_another_network_is_refused_by_the_name_of_the_first_array_that_differs(tmp_path, like, said):
    save_all(tmp_path, {1: None})
    with checkpoint.open_existing(tmp_path) as manager, pytest.raises(InputError) as caught:
        checkpoint.restore(manager, 1, like, parallel.data_mesh())
    assert said in str(caught.value) and not isinstance(caught.value, checkpoint.DamagedCheckpoint)


def test_a_layer_is_named_by_its_parameters_rather_than_by_its_statistics(tmp_path):
    def variables(size):
        return {"batch_stats": {"conv_bn": jnp.zeros(size)}, "params": {"conv": jnp.zeros(size)}}

    with pytest.raises(InputError, match=r": params/conv: expected shape \(4,\)"):
        folder.check_fit(tmp_path, variables(3), variables(4))


def test_saving_a_step_that_is_there_already_is_not_silent(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 2, state(2), META)
        checkpoint.wait(manager)
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


def test_the_checksums_are_those_of_the_bytes_in_c_order():
    matrix = np.asfortranarray(np.float32([[1, 2], [3, 4]]))
    tree = {
        "matrix": matrix,
        "scalar": parallel.replicate(jnp.int32(5), parallel.data_mesh()),
        "half": jnp.asarray([1.0, -2.0], jnp.bfloat16),
        "empty": np.zeros((0, 2), np.uint8),
        "flag": jnp.bool_(True),
    }
    packed = {  # by hand; the upper halves of the float32 1.0 (3f800000) and -2.0 (c0000000) are bfloat16
        "matrix": struct.pack("<4f", 1, 2, 3, 4),
        "scalar": struct.pack("<i", 5),
        "half": bytes.fromhex("803f00c0"),
        "empty": b"",
        "flag": b"\x01",
    }
    found = folder.array_checksums(tree)
    assert {name: entry["crc32"] for name, entry in found.items()} == {
        name: zlib.crc32(data) for name, data in packed.items()
    }
    assert found["half"] == {"crc32": zlib.crc32(packed["half"]), "shape": [2], "dtype": "bfloat16"}


def test_a_checkpoint_from_before_there_were_checksums_is_restored(tmp_path):
    handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    with ocp.CheckpointManager(tmp_path / "checkpoints", item_handlers=handlers) as manager:
        items = ocp.args.Composite(state=ocp.args.StandardSave(state(3)), meta=ocp.args.JsonSave(META))
        manager.save(3, args=items)
    with checkpoint.open_existing(tmp_path) as manager:
        assert_same(checkpoint.restore(manager, 3, state(0), parallel.data_mesh()), state(3))
        assert checkpoint.restore_meta(manager, 3)["class_names"] == META["class_names"]


def test_a_tree_is_saved_at_once_outside_of_the_list_and_replaces_an_earlier_one(tmp_path):
    tree = {"half": jnp.asarray([1.5, 2.5], jnp.bfloat16), "deep": [jnp.arange(6).reshape(2, 3), {"none": None}]}
    place = tmp_path / "nonfinite" / "step_3" / "state"
    for value in (tree, jax.tree.map(lambda x: x + 1, tree)):
        checkpoint.save_tree(place, value)
        restored = checkpoint.load_tree(place, tree, parallel.data_mesh())
        assert_same(restored, value)
        assert jax.tree.structure(restored) == jax.tree.structure(tree)
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(restored))
    assert [path.name for path in place.parent.iterdir()] == ["state"]
    with pytest.raises(InputError, match="half: expected shape \\(3,\\) of bfloat16"):
        checkpoint.load_tree(place, {**tree, "half": jnp.zeros(3, jnp.bfloat16)}, parallel.data_mesh())
    with pytest.raises(checkpoint.DamagedCheckpoint, match="absent"):
        checkpoint.load_tree(tmp_path / "absent", tree, parallel.data_mesh())
