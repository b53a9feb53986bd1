"""What a conversion leaves behind when something fails on the way, and which faults it notices."""

import jax
import numpy as np
import pytest
import trained_network as tiny

from ssd_jax import checkpoint, training, weights
from ssd_jax import recipe as recipes
from ssd_jax.commands import setup
from ssd_jax.commands.weights import writing
from ssd_jax.errors import InputError
from ssd_jax.weights import foreign, mappings, published, readers
from ssd_jax.weights.network import named_arrays


def write(path, trained=None):
    return writing.write_file(trained or tiny.trained(), path, "", ())


def changed(trained, **parts):
    """Returns a detector whose first array differs in one bit."""
    leaves, structure = jax.tree.flatten(trained.variables)
    first = np.array(leaves[0])
    first.flat[0] = np.nextafter(first.flat[0], 1, dtype=np.float32)
    return trained._replace(variables=jax.tree.unflatten(structure, [first, *leaves[1:]]), **parts)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (changed, "what was written differs from what was read"),
        (lambda read: read._replace(class_names=("background", "a", "b", "c")), "its classes differ from those of"),
        (lambda read: read._replace(default_boxes=read.default_boxes + 1), "its default boxes differ"),
    ],
)
def test_a_file_that_reads_otherwise_than_written_does_not_take_the_name(tmp_path, monkeypatch, damage, expected):
    path = tmp_path / "a.safetensors"
    write(path)
    before, read = path.read_bytes(), published.read
    monkeypatch.setattr(published, "read", lambda place: damage(read(place)))
    with pytest.raises(InputError, match=expected) as caught:
        write(path, changed(tiny.trained()))
    assert str(caught.value).startswith(f"{path}: ")  # not of the temporary file
    assert path.read_bytes() == before and sorted(one.name for one in tmp_path.iterdir()) == ["a.md", "a.safetensors"]


def test_a_card_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "a.md").mkdir()
    with pytest.raises(InputError, match=r"a.md: cannot be read \(Is a directory\)"):
        write(tmp_path / "a.safetensors")
    assert [one.name for one in tmp_path.iterdir()] == ["a.md"]


def test_a_card_that_stays_is_said_to_be_of_another_file(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path)
    assert write(path)[1].endswith("stays as it is; delete it to have it written anew")
    assert "although it does not state the SHA-256" in write(path, changed(tiny.trained()))[1]


def write_run(folder, trained=None, **parts):
    recipe = tiny.recipe()
    return writing.write_checkpoint((trained or tiny.trained())._replace(recipe=recipe, **parts), folder, recipe)


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_an_interrupted_checkpoint_is_gone_and_can_be_written_again(tmp_path, monkeypatch, error):
    def read(place):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(weights, "read", read)
        with pytest.raises(error):
            write_run(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert write_run(tmp_path)[0].endswith("checkpoints/7")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="--output: expected a folder without checkpoints"):
        write_run(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_checkpoint_that_reads_otherwise_is_removed(tmp_path, monkeypatch):
    read = weights.read
    monkeypatch.setattr(weights, "read", lambda place: changed(read(place)))
    with pytest.raises(InputError, match="what was written differs"):
        write_run(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_two_programs_do_not_write_to_one_folder(tmp_path):
    with setup.lock_workdir(tmp_path), pytest.raises(InputError, match="another program is at work there"):
        write_run(tmp_path)
    write_run(tmp_path)


def test_of_a_run_the_moving_average_is_published_and_of_its_steps_the_one_asked_for(tmp_path):
    recipe, trained = tiny.recipe(train__ema_decay=0.9), tiny.trained()
    optimizer = recipes.build_optimizer(recipe)
    meta = {"config": recipe, "class_names": list(trained.class_names), "derived": {}, "origin": {}}
    with checkpoint.open_manager(tmp_path / "run") as manager:
        for step, metric in ((3, 0.9), (5, 0.1)):
            state = training.state_of(trained.variables, optimizer, ema_decay=0.9, step=step)
            state = state._replace(ema=jax.tree.map(lambda leaf, step=step: leaf + step, state.params))
            checkpoint.save(manager, step, state, meta, metrics={"map": metric})
    for place, options, step in (("run", {}, 3), ("run", {"step": 5}, 5), ("run@5", {}, 5)):
        write(tmp_path / "out.safetensors", weights.read(tmp_path / place, **options))
        read = weights.read(tmp_path / "out.safetensors")
        assert read.step == step
        for name, array in named_arrays(read.variables).items():
            expected = named_arrays(trained.variables)[name] + (0 if name.startswith("batch_stats/") else step)
            np.testing.assert_array_equal(array, expected.astype(np.float32), err_msg=name)


def base_of(arrays, **origin):
    uses = tuple(mappings.Use(name, name) for name in arrays)
    converted = mappings.Converted("ssd_jax", arrays, uses, (), None, next(iter(arrays)), {})
    return foreign.Foreign("theirs.npz", "NumPy", converted, False, origin)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float32(np.nan), "expected finite numbers"), (np.int64(1), "expected numbers of a floating type, got int64")],
)
def test_a_base_of_other_than_finite_numbers_is_refused(tmp_path, value, expected):
    with pytest.raises(InputError, match=f"theirs.npz: backbone/conv1_1/kernel: {expected}"):
        writing.write_base(base_of({"backbone/conv1_1/kernel": np.full((3, 3, 3, 2), value)}), tmp_path / "a.st", "")
    assert not list(tmp_path.iterdir())


def test_a_base_that_reads_otherwise_does_not_take_the_name(tmp_path, monkeypatch):
    file, read = base_of({"backbone/conv1_1/kernel": np.ones((3, 3, 3, 2), np.float32)}), readers.read

    def damaged(path):
        found = read(path)
        return found._replace(tensors={name: array + 1 for name, array in found.tensors.items()})

    monkeypatch.setattr(readers, "read", damaged)
    with pytest.raises(InputError, match=r"a.safetensors: what was written differs"):
        writing.write_base(file, tmp_path / "a.safetensors", "")
    assert not list(tmp_path.iterdir())


def test_a_base_remembers_the_file_before_it(tmp_path):
    arrays = {"backbone/conv1_1/kernel": np.ones((3, 3, 3, 2), np.float32)}
    writing.write_base(base_of(arrays, file="/home/me/vgg.pth", sha256="2" * 64), tmp_path / "base.safetensors", "")
    origin = foreign.read_foreign(tmp_path / "base.safetensors").origin
    assert origin["sha256"] == foreign.sha256(tmp_path / "base.safetensors")
    assert origin["origin"] == {"file": "vgg.pth", "sha256": "2" * 64}


def test_a_start_from_a_published_file_is_told_with_its_checksum(tmp_path):
    write(tmp_path / "a.safetensors")
    told = weights.describe(tmp_path / "a.safetensors")
    assert told["sha256"] == foreign.sha256(tmp_path / "a.safetensors") and told["format"] == "safetensors"
    assert weights.describe("runs/a@7") == {"run": "runs/a@7"}
