"""Files are written whole or not at all; a lock ends with its process, however that ends."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssd_jax import files
from ssd_jax.errors import InputError

REPOSITORY = Path(files.__file__).parents[1]
HOLDER = """
import sys, time
from pathlib import Path
from ssd_jax import files
with files.exclusive(Path(sys.argv[1]), "busy", holder=" (process 7)"):
    print("held", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back(tmp_path):
    files.write_bytes(tmp_path / "a", b"\x00\r\n")
    files.write_text(str(tmp_path / "b"), "é\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n" and (tmp_path / "b").read_bytes() == b"\xc3\xa9\n"
    files.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and names(tmp_path) == ["a", "b"]


def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_the_longest_of_names_and_a_link_keep_their_place(tmp_path):
    files.write_bytes(tmp_path / ("n" * 255), b"long")
    (tmp_path / "link").symlink_to("target")
    files.write_bytes(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"data"


@contextlib.contextmanager
def small_files():
    """Lets every write beyond 1000 bytes fail, as on a full disk; pytest's own output may be a file."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1001, 3_000_000])  # within a buffer, whose error comes when it closes; beyond it
def test_a_file_that_cannot_be_completed_leaves_the_earlier_one(tmp_path, size):
    (tmp_path / "a").write_bytes(b"whole")
    with small_files(), pytest.raises(InputError) as caught:
        files.write_bytes(tmp_path / "a", bytes(size))
    assert str(caught.value) == f"{tmp_path / 'a'}: cannot be written ({os.strerror(errno.EFBIG)})"
    assert (tmp_path / "a").read_bytes() == b"whole" and names(tmp_path) == ["a"]


def test_an_interruption_leaves_nothing_temporary(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(tmp_path / "a", b"data")
    assert not names(tmp_path)


@pytest.mark.parametrize("path", ["absent/a", "file/a", "folder"])
def test_a_place_that_takes_no_file_is_one_sentence(tmp_path, path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{path}: cannot be written \\(.+\\)$") as caught:
        files.write_text(tmp_path / path, "text")
    assert "\n" not in str(caught.value) and names(tmp_path) == ["file", "folder"]


def test_a_folder_that_is_not_writable_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("the superuser may write anywhere")
    with pytest.raises(InputError, match="cannot be written"):
        files.write_bytes(tmp_path / "a", b"")
    with pytest.raises(InputError, match="cannot be opened"):
        with files.exclusive(tmp_path / "lock", "busy"):
            pass


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the lock for a minute."""
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_is_refused_while_another_process_holds_it_and_not_after_its_death(tmp_path, holder, end):
    with pytest.raises(InputError, match="^busy with it$"):
        with files.exclusive(tmp_path / "lock", "busy with it"):
            pytest.fail("two processes hold the lock")
    holder.send_signal(end)
    holder.wait()
    with files.exclusive(tmp_path / "lock", "busy"):
        pass


def test_who_is_refused_reads_who_holds_the_lock(tmp_path, holder):
    with pytest.raises(InputError, match="^busy with it \\(process 7\\)$"):
        with files.exclusive(tmp_path / "lock", "busy with it", holder=" (somebody else, at length)"):
            pytest.fail("two processes hold the lock")
    holder.kill()
    holder.wait()
    with files.exclusive(tmp_path / "lock", "busy", holder=" (me)"):
        assert (tmp_path / "lock").read_text() == " (me)"


def test_a_lock_is_given_back_after_an_error_and_its_file_means_nothing(tmp_path):
    (tmp_path / "lock").write_text("left by somebody")
    with pytest.raises(ZeroDivisionError):
        with files.exclusive(tmp_path / "lock", "busy"):
            raise ZeroDivisionError
    with files.exclusive(tmp_path / "lock", "busy"), files.exclusive(tmp_path / "other", "busy"):
        pass
    assert (tmp_path / "lock").read_text() == "left by somebody"


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, error):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = False
    with files.exclusive(tmp_path / "lock", "busy"):
        ran = True
    assert ran


def test_a_system_without_fcntl_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with files.exclusive(tmp_path / "lock", "busy"), files.exclusive(tmp_path / "lock", "busy"):
        assert not names(tmp_path)


def test_a_place_that_takes_no_lock_file_is_one_sentence(tmp_path):
    pytest.importorskip("fcntl")
    with pytest.raises(InputError, match=r"absent/lock: cannot be opened \(No such file or directory\)$"):
        with files.exclusive(tmp_path / "absent" / "lock", "busy"):
            pass
