"""Checkpoints on damaged, full and read-only disks: one sentence, and what was whole before stays whole."""

import gc
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_checkpoint import META, assert_same, state
from test_files import small_files

from ssd_jax import checkpoint, parallel
from ssd_jax.checkpoint import folder
from ssd_jax.errors import InputError

SIZE = 10_000  # of each of the two arrays: 80 kB together, more than a file of 1000 bytes takes
MESH = parallel.data_mesh(jax.devices()[:1])


@pytest.fixture(autouse=True)
def nothing_else_on_stderr(caplog, monkeypatch, capfd):
    """Orbax, asyncio and TensorStore's threads would print tracebacks of what is said in a sentence."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: complaints.append(repr(found.exc_value)))
    yield
    gc.collect()
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    complaints += [
        str(record) for record in records if record.name in ("absl", "asyncio") and record.levelname == "ERROR"
    ]
    assert complaints == []
    assert capfd.readouterr().err == ""


def large(value: float):
    """Returns a state of which the files are large; random bytes, which cannot be compressed."""
    kernel = jnp.sin(jnp.arange(SIZE, dtype=jnp.float32) * (value + 1))
    return state(value)._replace(params={"conv": {"kernel": kernel}}, opt_state=({"conv": {"kernel": -kernel}}, ()))


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def break_file(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut off":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0x40
        path.write_bytes(data)


def array_file(checkpoint_folder: Path) -> Path:
    """Returns the file that holds the arrays, the largest."""
    return max((path for path in checkpoint_folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_whatever_file_is_damaged_the_arrays_come_back_exactly_or_not_at_all(tmp_path):
    whole = tmp_path / "whole"
    checkpoint.save_tree(whole, state(7, size=1000))
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size}
    arrays = array_file(whole).relative_to(whole)
    cases = [(file, how) for file in sorted(files) for how in ("missing", "flipped bit")] + [(arrays, "cut off")]
    noticed = set()
    for file, how in cases:
        broken = tmp_path / "broken"
        shutil.copytree(whole, broken)
        break_file(broken / file, how)
        try:
            assert_same(checkpoint.load_tree(broken, state(0, size=1000), MESH), state(7, size=1000))
        except checkpoint.DamagedCheckpoint as error:
            noticed.add((file, how))
            assert str(error).startswith(f"{broken}: ") and "\n" not in str(error)
        shutil.rmtree(broken)
    assert {(arrays, how) for how in ("missing", "cut off", "flipped bit")} <= noticed
    assert {(Path("meta/metadata"), "flipped bit"), (Path("state/_METADATA"), "missing")} <= noticed


def test_a_flipped_bit_is_named_by_its_array_also_when_only_variables_are_wanted(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, large(1), META)
    break_file(array_file(tmp_path / "checkpoints" / "1"), "flipped bit")
    with checkpoint.open_existing(tmp_path) as manager:
        like = {"params": large(0).params}
        for read in (
            lambda: checkpoint.restore(manager, 1, large(0), MESH),
            lambda: checkpoint.restore_variables(manager, 1, like, MESH),
        ):
            with pytest.raises(checkpoint.DamagedCheckpoint, match=r"/1: \w+(/0)?/conv/kernel is not what was saved"):
                read()


def test_a_document_that_was_changed_is_noticed_though_it_is_still_json(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, state(1), META)
    document = tmp_path / "checkpoints" / "1" / "meta" / "metadata"
    document.write_text(document.read_text().replace('"cat"', '"dog"'))
    with checkpoint.open_existing(tmp_path) as manager:
        with pytest.raises(checkpoint.DamagedCheckpoint, match="document"):
            checkpoint.restore_meta(manager, 1)


@pytest.mark.parametrize("text", ["", "{", '{"loss": 1}', '{"map": "high"}'])
def test_damaged_metrics_make_a_checkpoint_one_that_was_not_evaluated(tmp_path, text, caplog):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, state(1), META, metrics={"map": 0.2})
        checkpoint.save(manager, 2, state(2), META, metrics={"map": 0.7})
    (tmp_path / "checkpoints" / "2" / "metrics" / "metrics").write_text(text)
    with checkpoint.open_existing(tmp_path) as manager:
        assert (checkpoint.steps(manager), checkpoint.best(manager)) == ([1, 2], 1)
    assert "2: its metrics cannot be read" in caplog.text


# ---------------------------------------------------------------------------------------------- while saving


def assert_first_is_whole(workdir: Path) -> None:
    with checkpoint.open_existing(workdir) as manager:
        assert checkpoint.steps(manager) == [1]
        assert_same(checkpoint.restore(manager, 1, large(0), MESH), large(1))


def test_a_failed_save_is_said_once_by_the_next_and_then_the_step_can_be_saved(tmp_path):
    with checkpoint.open_manager(tmp_path, keep=1) as manager:
        checkpoint.save(manager, 1, large(1), META)
        checkpoint.wait(manager)
        with small_files():
            checkpoint.save(manager, 2, large(2), META)  # returns: it fails in the background
            with pytest.raises(InputError) as caught:
                checkpoint.save(manager, 3, large(3), META)
        said = (
            f"{tmp_path}/checkpoints: cannot write a checkpoint (File too large); the newest complete checkpoint is 1"
        )
        assert str(caught.value) == said
        checkpoint.wait(manager)  # not said again
        assert names(tmp_path / "checkpoints") == ["1"] and checkpoint.latest(manager) == 1
        assert_first_is_whole(tmp_path)
        checkpoint.save(manager, 2, large(2), META)
    assert names(tmp_path / "checkpoints") == ["2"]


def wait_in_silence(manager) -> None:
    """Waits for the background without asking for its error."""
    while manager.is_saving_in_progress():
        time.sleep(0.01)


def test_a_failure_of_the_last_save_is_said_when_the_manager_is_closed(tmp_path):
    with pytest.raises(InputError, match="File too large.* is 1$"):
        with checkpoint.open_manager(tmp_path) as manager:
            checkpoint.save(manager, 1, large(1), META)
            checkpoint.wait(manager)
            with small_files():
                checkpoint.save(manager, 2, large(2), META)
                wait_in_silence(manager)
    assert names(tmp_path / "checkpoints") == ["1"]
    assert_first_is_whole(tmp_path)


def test_an_error_of_the_loop_itself_is_the_one_that_is_raised(tmp_path, caplog):
    with pytest.raises(ZeroDivisionError):
        with checkpoint.open_manager(tmp_path) as manager:
            checkpoint.save(manager, 1, large(1), META)
            checkpoint.wait(manager)
            with small_files():
                checkpoint.save(manager, 2, large(2), META)
                wait_in_silence(manager)
            raise ZeroDivisionError
    assert caplog.text.count("cannot write a checkpoint (File too large)") == 1
    assert_first_is_whole(tmp_path)


def test_a_save_in_the_background_is_finished_when_the_loop_ends_by_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with checkpoint.open_manager(tmp_path) as manager:
            checkpoint.save(manager, 1, large(1), META)
            raise KeyboardInterrupt
    assert_first_is_whole(tmp_path)


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        with pytest.raises(TypeError):
            checkpoint.save(manager, 1, state(1), {**META, "set": {1}})


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of 400 kB, if this user may."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_during_a_save_leaves_the_earlier_one(small_disk, monkeypatch):
    with checkpoint.open_manager(small_disk) as manager:
        checkpoint.save(manager, 1, large(1), META)
        checkpoint.wait(manager)
        (small_disk / "other data").write_bytes(bytes(shutil.disk_usage(small_disk).free - 40_000))
        with pytest.raises(InputError, match="expected 0.1 MiB free .* the newest complete checkpoint is 1$"):
            checkpoint.save(manager, 2, large(2), META)
        monkeypatch.setattr(folder, "check_space", lambda *_: None)  # somebody else fills it a moment later
        with pytest.raises(InputError, match=r"No space left on device\); the newest complete checkpoint is 1$"):
            checkpoint.save(manager, 2, large(2), META)
            checkpoint.wait(manager)
    assert names(small_disk / "checkpoints") == ["1"]
    assert_first_is_whole(small_disk)


def test_a_disk_that_becomes_read_only_is_said_at_once(small_disk):
    with checkpoint.open_manager(small_disk) as manager:
        checkpoint.save(manager, 1, large(1), META)
        checkpoint.wait(manager)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(InputError, match="Read-only file system.* is 1$"):
            checkpoint.save(manager, 2, large(2), META)
    assert_first_is_whole(small_disk)
    with pytest.raises(InputError, match="cannot write a checkpoint \\(Read-only file system\\)$"):
        with checkpoint.open_manager(small_disk / "new"):
            pass
    with pytest.raises(InputError, match="Read-only"):
        checkpoint.save_tree(small_disk / "tree", state(1))


def test_a_place_that_takes_no_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="cannot write a checkpoint \\(Not a directory\\)$"):
            with checkpoint.open_manager(place):
                pass


def test_a_disk_too_small_for_one_checkpoint_is_said_at_the_start(tmp_path, monkeypatch):
    checkpoint.check_space(tmp_path, large(0))
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2**20))
    with pytest.raises(InputError) as caught:
        checkpoint.check_space(tmp_path, {"a": jnp.zeros(2**20)})
    # 4 MiB of arrays and a tenth more
    assert str(caught.value) == f"{tmp_path}: expected 4.4 MiB free on the disk for a checkpoint, found 1.0 MiB"
