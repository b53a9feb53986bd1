"""Compiled programs that are kept between runs: where, for how long, and what is refused."""

import os
import stat
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
import tiny_run
import trained_network as tiny
from PIL import Image

from ssd_jax.commands import compilation_cache
from ssd_jax.errors import InputError
from ssd_jax.weights import published


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Returns start(value of the option, **environment) -> what JAX is told; nothing of this process changes."""

    def start(stated=None, *, given=None, **environment):
        told = {}
        config = SimpleNamespace(update=told.__setitem__, jax_compilation_cache_dir=given)
        flags = SimpleNamespace(FLAGS={compilation_cache.OPTION: SimpleNamespace(value=stated)})
        with monkeypatch.context() as patch:
            patch.setattr(jax, "config", config)
            patch.setattr(compilation_cache, "flags", flags)
            for name, value in {"XDG_CACHE_HOME": str(tmp_path / "home"), **environment}.items():
                patch.setenv(name, value)
            compilation_cache.start()
        return told

    return start


def test_by_default_it_is_in_the_users_cache_and_nobody_else_may_write_there(start, tmp_path, capsys):
    folder = tmp_path / "home" / "ssd_jax" / "compiled"
    told = start()
    assert told["jax_compilation_cache_dir"] == str(folder)
    assert told["jax_persistent_cache_min_compile_time_secs"] == compilation_cache.LEAST_SECONDS
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert capsys.readouterr().out == f"compiled programs: {folder} (--compilation_cache= keeps none)\n"


def test_the_option_comes_before_the_variable_and_the_variable_before_the_default(start, tmp_path):
    stated, given = str(tmp_path / "a b"), str(tmp_path / "given")
    assert start(stated, given=given)["jax_compilation_cache_dir"] == stated
    assert start(given=given)["jax_compilation_cache_dir"] == given
    told = start(given=given, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="3")
    assert "jax_persistent_cache_min_compile_time_secs" not in told  # the user has said it
    assert start("", given=given) == {"jax_enable_compilation_cache": False}


def test_a_relative_folder_of_caches_is_none(monkeypatch):
    """By the XDG specification, such paths are to be ignored."""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(compilation_cache.default_folder()) == "/home/me/.cache/ssd_jax/compiled"


def test_a_folder_that_others_write_to_or_that_is_none_is_refused(start, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--compilation_cache: .*open: expected a folder that only you write to"):
        start(str(tmp_path / "open"))
    with pytest.raises(InputError, match=r"JAX_COMPILATION_CACHE_DIR: .*file: expected a folder to write to"):
        start(given=str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"--compilation_cache: .*in: expected a folder to write to"):
        start(str(tmp_path / "file" / "in"))


def test_without_a_place_for_the_default_one_the_command_goes_on(start, tmp_path, capsys):
    (tmp_path / "home").write_text("")
    assert start() == {"jax_enable_compilation_cache": False}
    assert capsys.readouterr().out.startswith(f"compiled programs are not kept: {tmp_path}/home/ssd_jax/compiled: ")


def test_what_was_not_used_for_the_longest_time_is_deleted_and_nothing_else(tmp_path, start):
    names = [f"jit_step-{k:064x}-cache" for k in range(4)]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    os.utime(tmp_path / names[3], (2000, 5))  # written first, used last
    (tmp_path / "my-cache").write_bytes(bytes(1000))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / names[0]).write_bytes(bytes(1000))
    compilation_cache.delete_oldest(tmp_path, 250)
    assert {file.name for file in tmp_path.iterdir()} == {names[0], names[3], "my-cache", "folder"}
    assert (tmp_path / "folder" / names[0]).exists()
    compilation_cache.delete_oldest(tmp_path, 200)
    assert (tmp_path / names[0]).exists()


def test_a_folder_of_the_users_own_choice_is_never_cleared(tmp_path, start, monkeypatch):
    monkeypatch.setattr(compilation_cache, "LARGEST", 0)
    name = f"jit_step-{0:064x}-cache"
    for folder in (tmp_path / "mine", tmp_path / "home" / "ssd_jax" / "compiled"):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"program")
    start(str(tmp_path / "mine"))
    start(given=str(tmp_path / "mine"))
    assert (tmp_path / "mine" / name).exists()
    start()
    assert not (tmp_path / "home" / "ssd_jax" / "compiled" / name).exists()


def test_the_second_start_compiles_nothing_and_finds_the_same(tmp_path):
    published.write(tmp_path / "tiny.safetensors", tiny.trained())
    Image.fromarray(tiny.pictures(1)[0]).save(tmp_path / "picture.png")
    environment = {**os.environ, **tiny_run.environment(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "home")}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    found, folder = [], tmp_path / "home" / "ssd_jax" / "compiled"

    def detect():
        command = [sys.executable, "detect.py", f"--ckpt={tmp_path / 'tiny.safetensors'}", "--score_threshold=0"]
        command += [f"--input={tmp_path / 'picture.png'}", f"--output={tmp_path / 'out'}", "--write=jsonl"]
        done = subprocess.run(command, cwd=tiny_run.REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append((tmp_path / "out" / "detections.jsonl").read_text())
        return done

    assert f"compiled programs: {folder}" in detect().stdout
    kept = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert any(name.startswith("jit_run-") for name in kept)
    detect()
    assert kept == {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    for file in folder.iterdir():  # as a process leaves it that is killed while it writes
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "Error reading persistent compilation cache entry" in detect().stderr
    assert len(found) == 3 and len(set(found)) == 1
