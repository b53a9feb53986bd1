"""Going on with a run: the newest checkpoint that is whole, one training a folder, and where a run came from."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest
from test_checkpoint import META, assert_same, state
from test_checkpoint_faults import array_file, break_file, names

import ssd_jax
from ssd_jax import checkpoint, parallel
from ssd_jax.commands import provenance, resume, setup
from ssd_jax.errors import InputError

REPOSITORY = Path(ssd_jax.__file__).parents[1]
MESH = parallel.data_mesh(jax.devices()[:1])
DESCRIPTION = {**META, "versions": {"jax": "1.0", "python": "3.11.7"}}


def write_run(workdir: Path, steps=(3, 6), scores=()) -> None:
    with checkpoint.open_manager(workdir) as manager:
        for step, score in zip(steps, [*scores, *[None] * len(steps)], strict=False):
            metrics = None if score is None else {"map": score}
            checkpoint.save(manager, step, state(step, size=1000), DESCRIPTION, metrics=metrics)


def damage(workdir: Path, step: int) -> None:
    break_file(array_file(workdir / "checkpoints" / str(step)), "flipped bit")


def go_on(manager, description=DESCRIPTION, size=1000):
    return resume.resume(manager, state(0, size=size), description, MESH)


def test_a_run_goes_on_from_the_newest_checkpoint_and_says_nothing_if_nothing_changed(tmp_path, capsys):
    write_run(tmp_path)
    with checkpoint.open_manager(tmp_path) as manager:
        restored, step = go_on(manager)
    assert step == 6 and capsys.readouterr().out == ""
    assert_same(restored, state(6, size=1000))


def test_an_empty_folder_is_started_in(tmp_path):
    with checkpoint.open_manager(tmp_path) as manager:
        restored, step = go_on(manager)
    assert step == 0
    assert_same(restored, state(0, size=1000))


def test_a_damaged_newest_checkpoint_is_moved_aside_and_the_one_before_is_taken(tmp_path, capsys):
    write_run(tmp_path)
    for times in (0, 1):  # the second time, a damaged checkpoint of that step lies there already
        damage(tmp_path, 6)
        broken = array_file(tmp_path / "checkpoints" / "6").read_bytes()
        with checkpoint.open_manager(tmp_path) as manager:
            restored, step = go_on(manager)
            assert (step, checkpoint.steps(manager)) == (3, [3])
            assert_same(restored, state(3, size=1000))
            said = capsys.readouterr().out
            aside = tmp_path / "checkpoints_damaged" / ("6.1" if times else "6")
            assert said.startswith(f"note: {tmp_path}/checkpoints/6: ") and said.count("\n") == 1
            assert f"moved to {aside}; going on from step 3" in said
            checkpoint.save(manager, 6, state(6, size=1000), DESCRIPTION)
        assert array_file(aside).read_bytes() == broken  # never deleted
    with checkpoint.open_manager(tmp_path) as manager:
        assert go_on(manager)[1] == 6


@pytest.mark.parametrize("remains", ["an empty folder", "half a folder"])
def test_a_half_written_checkpoint_is_damaged_too(tmp_path, capsys, remains):
    write_run(tmp_path)
    newest = tmp_path / "checkpoints" / "6"
    for path in sorted(newest.rglob("*"), reverse=True):
        if remains == "an empty folder" or "state" in path.parts:
            path.rmdir() if path.is_dir() else path.unlink()
    with checkpoint.open_manager(tmp_path) as manager:
        assert go_on(manager)[1] == 3
    assert "going on from step 3" in capsys.readouterr().out


def test_when_none_can_be_read_nothing_is_trained_from_scratch(tmp_path):
    write_run(tmp_path)
    damage(tmp_path, 3)
    damage(tmp_path, 6)
    for _ in range(2):  # and the next attempt is refused as well
        with checkpoint.open_manager(tmp_path) as manager, pytest.raises(InputError) as caught:
            go_on(manager)
        assert f"{tmp_path}/checkpoints/3: " in str(caught.value)
        assert f"{tmp_path}/checkpoints/6: " in str(caught.value)
        assert names(tmp_path) == ["checkpoints"] and names(tmp_path / "checkpoints") == ["3", "6"]


@pytest.mark.parametrize("newest_is_damaged", [False, True])
def test_another_network_or_other_classes_are_no_damage(tmp_path, newest_is_damaged):
    write_run(tmp_path)
    if newest_is_damaged:
        damage(tmp_path, 6)
    with checkpoint.open_manager(tmp_path) as manager:
        with pytest.raises(InputError, match="kernel: expected shape"):
            go_on(manager, size=4)
        with pytest.raises(InputError, match="the run has the classes \\['cat'\\], the data \\['dog'\\]"):
            go_on(manager, {**DESCRIPTION, "class_names": ["background", "dog"]})
    assert names(tmp_path) == ["checkpoints"] and names(tmp_path / "checkpoints") == ["3", "6"]


def test_changed_options_and_versions_are_said(tmp_path, capsys):
    write_run(tmp_path)
    now = {**DESCRIPTION, "config": {"train": {"steps": (1, 3)}}, "versions": {"jax": "1.1", "python": "3.12"}}
    with checkpoint.open_manager(tmp_path) as manager:
        go_on(manager, now)
    option, versions = capsys.readouterr().out.splitlines()
    assert option == "note: config.train.steps was (1, 2) when this run was saved, is (1, 3) now"
    assert versions.endswith("when this run was saved: jax 1.0 -> 1.1; the last digits may differ")


def test_what_a_run_once_started_from_is_not_read_again_and_that_is_said(tmp_path, capsys):
    before, now = ({**DESCRIPTION, "config": {"init": {"ckpt": ckpt}}} for ckpt in ("", "runs/coco"))
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 9, state(9, size=1000), before)
    with checkpoint.open_manager(tmp_path) as manager:
        go_on(manager, now)
    (note,) = capsys.readouterr().out.splitlines()
    said = "note: config.init.ckpt was '' when this run was saved, is 'runs/coco' now; it is not read again"
    assert note == said


# ------------------------------------------------------------------------------------- which one is evaluated


def test_the_best_then_the_newest_that_can_be_read_is_evaluated_and_nothing_is_moved(tmp_path):
    write_run(tmp_path, (3, 6, 9), (0.9, 0.2, 0.3))
    damage(tmp_path, 3)
    with checkpoint.open_existing(tmp_path) as manager:
        candidates, choice = checkpoint.choose_steps(manager, None)
        assert candidates == [3, 9, 6] and choice.startswith("best by metric")

        def read(step):
            return checkpoint.restore(manager, step, state(0, size=1000), MESH)

        found, step, damaged = checkpoint.first_readable(manager, candidates, read)
        assert step == 9 and list(damaged) == [3]
        assert_same(found, state(9, size=1000))
        candidates, _ = checkpoint.choose_steps(manager, 3)
        with pytest.raises(checkpoint.DamagedCheckpoint, match="/checkpoints/3: "):
            checkpoint.first_readable(manager, candidates, read)
        with pytest.raises(InputError, match="step: expected one of \\[3, 6, 9\\]"):
            checkpoint.choose_steps(manager, 5)
    assert resume.checkpoint_config(str(tmp_path), None) == {"train": {"steps": [1, 2]}}  # the document is whole
    (tmp_path / "checkpoints" / "3" / "meta" / "metadata").unlink()
    assert resume.checkpoint_config(str(tmp_path), None) == {"train": {"steps": [1, 2]}}
    assert names(tmp_path) == ["checkpoints"]


def test_a_run_is_read_while_its_training_is_saving(tmp_path):
    with setup.lock_workdir(tmp_path), checkpoint.open_manager(tmp_path, keep=1) as manager:
        checkpoint.save(manager, 1, state(1, size=1000), DESCRIPTION)
        checkpoint.wait(manager)
        with checkpoint.open_existing(tmp_path) as reader:
            for step in range(2, 6):
                checkpoint.save(manager, step, state(step, size=1000), DESCRIPTION)
                with checkpoint.open_existing(tmp_path) as second:
                    steps = set(checkpoint.steps(second))
                assert steps and steps <= {step - 1, step}  # complete ones only, whatever the moment
            checkpoint.wait(manager)
            with pytest.raises(checkpoint.GoneCheckpoint, match="/1: cannot be read \\(it is gone\\)"):
                checkpoint.restore(reader, 1, state(0, size=1000), MESH)


def test_a_checkpoint_that_vanishes_while_it_is_read_is_chosen_anew(tmp_path, monkeypatch):
    """As when a training that saves often deletes the old ones, between the choice and the reading of an evaluation."""
    write_run(tmp_path, (1, 2))
    reads = []

    def restore_meta(manager, step, original=checkpoint.restore_meta):
        reads.append(step)
        if len(reads) == 1:
            write_run(tmp_path, (3, 4))  # and of these two only are kept
        return original(manager, step)

    shutil.rmtree(tmp_path / "checkpoints" / "2")
    monkeypatch.setattr(checkpoint, "restore_meta", restore_meta)
    assert resume.checkpoint_config(str(tmp_path), None) == {"train": {"steps": [1, 2]}}
    assert reads == [1, 4]
    with pytest.raises(checkpoint.GoneCheckpoint):  # a reader that always comes too late ends nevertheless
        checkpoint.read_chosen(str(tmp_path), None, vanishing)


def vanishing(manager, step):
    raise checkpoint.GoneCheckpoint(f"{step}: gone")


def test_a_folder_that_is_being_deleted_counts_as_gone(tmp_path):
    write_run(tmp_path, (3,))
    folder = tmp_path / "checkpoints" / "3"
    (folder / "meta" / "metadata").unlink()
    deletion = threading.Timer(0.05, shutil.rmtree, [folder])
    with checkpoint.open_existing(tmp_path) as manager:
        deletion.start()
        with pytest.raises(checkpoint.GoneCheckpoint):
            checkpoint.restore_meta(manager, 3)
    deletion.join()


def test_a_misfit_names_the_options_that_decide_about_it(tmp_path):
    options = {"optimizer": {"algorithm": "sgd"}, "train": {"ema_decay": 0.0, "batch_size": 8}}
    now = {"optimizer": {"algorithm": "adamw"}, "train": {"ema_decay": 0.9, "batch_size": 16}}
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 3, state(3, size=1000), {**META, "config": options})
        checkpoint.wait(manager)
        with pytest.raises(InputError) as caught:
            go_on(manager, {**DESCRIPTION, "config": now}, size=4)
    first, _, rest = str(caught.value).partition("; since it was saved, ")
    assert "expected shape" in first
    assert rest == "config.optimizer.algorithm was 'sgd', is 'adamw'; config.train.ema_decay was 0.0, is 0.9"


# ----------------------------------------------------------------------------------- one training in a folder

TRAINING = """
import sys, time
from pathlib import Path
from ssd_jax.commands import setup
with setup.lock_workdir(Path(sys.argv[1])):
    print("training", flush=True)
    time.sleep(60)
"""


def test_a_second_training_in_a_folder_is_refused_until_the_first_is_killed(tmp_path):
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    environ = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "training\n"
        with pytest.raises(InputError) as caught:
            with setup.lock_workdir(tmp_path):
                pytest.fail("two trainings in a folder")
        assert str(caught.value).startswith(f"{tmp_path}: ") and f"process {process.pid} on " in str(caught.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with setup.lock_workdir(tmp_path):
        pass


# ------------------------------------------------------------------------------------------ where it came from


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Returns a git checkout of one file and its commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "checkout"
    folder.mkdir()

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath="]
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init")
    except OSError:
        pytest.skip("needs git")
    (folder / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    git("tag", "-a", "v1", "-m", "v1")  # the commit is wanted even where it has a name
    return folder, git("rev-parse", "HEAD")


def test_the_commit_of_a_checkout_and_whether_it_was_changed(checkout):
    folder, commit = checkout
    assert provenance.git_commit(folder) == commit[:12]
    (folder / "untracked").touch()
    assert provenance.git_commit(folder) == commit[:12]
    (folder / "file").write_text("2")
    assert provenance.git_commit(folder) == f"{commit[:12]}-dirty"


def test_no_commit_outside_of_a_checkout_or_without_a_git_that_works(checkout, tmp_path, monkeypatch):
    folder, _ = checkout
    (folder / "installed").mkdir()
    assert provenance.git_commit(folder / "installed") is None  # that repository is not this library's
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    assert provenance.git_commit(folder) is None
    (tools / "git").write_text("#!/bin/sh\necho oops\nexit 128\n")
    (tools / "git").chmod(0o755)
    assert provenance.git_commit(folder) is None


def test_versions_name_what_the_numbers_depend_on():
    versions = provenance.versions()
    assert versions["jax"] == jax.__version__ and set(versions) <= {"python", *provenance.LIBRARIES}
    assert provenance.version_changes(versions, versions) == []
    assert provenance.version_changes({"numpy": "1", "jax": "2"}, {"jax": "2"}) == ["numpy 1 -> none"]
