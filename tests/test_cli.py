"""The frame of the commands: what the user got wrong is said in one sentence, with exit status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags
from PIL import Image

from ssd_jax.commands import cli, options
from ssd_jax.errors import InputError

ROOT = Path(cli.__file__).parents[2]
RECIPE = """
from ml_collections import ConfigDict

def get_config():
    config = ConfigDict()
    config.model = dict(width=1.0, layers=3, sizes=(300, 300), batch_norm=False)
    config.seed = 1
    return config
"""
BROKEN = {
    "syntax.py": "x = 1\ndef get_config(:\n",
    "name.py": "def get_config():\n    return undefined\n",
    "value.py": "def get_config():\n    return int('x')\n",
    "module.py": "import does_not_exist\n",
    "empty.py": "x = 1\n",
    "none.py": "def get_config():\n    pass\n",
}
PROGRAM = """
from absl import flags
from ml_collections import config_flags
from ssd_jax.commands import cli
from ssd_jax.errors import InputError

config_flags.DEFINE_config_file("config")
flags.DEFINE_string("fail", "", "")

def main(argv):
    if flags.FLAGS.fail == "input":
        raise InputError("folder: expected images, got none")
    if flags.FLAGS.fail == "hostile":
        raise InputError("a\\x1b[2J\\n\\x9b1m.png: \\udcff")
    if flags.FLAGS.fail == "interrupt":
        raise KeyboardInterrupt
    if flags.FLAGS.fail == "bug":
        raise ValueError("a bug")
    print("seed", flags.FLAGS.config.seed)
    return 7 if flags.FLAGS.fail == "status" else 0

cli.run(main)
"""
PILLOW = """
import warnings
from PIL import Image
from ssd_jax.commands import cli

def main(argv):
    Image.MAX_IMAGE_PIXELS = 100
    Image.open("large.png")  # 120 pixels: warns from 100 on, refuses from 200 on
    warnings.warn("not of Pillow")

cli.run(main)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in {"recipe.py": RECIPE, **BROKEN, "program.py": PROGRAM}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    # ml_collections loads each config file into the module of the previous one, if that still is there.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(*arguments):
    """Parses a command line as a program with --config, --workdir and --count would; returns its flags."""
    argv = ["program.py", *arguments]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    flags.DEFINE_integer("count", 1, "", flag_values=values)
    flags.mark_flag_as_required("workdir", flag_values=values)
    assert options.parse(argv, values) == ["program.py"]
    return values


def test_options_reach_the_config(folder):
    overrides = ["--config.model.width=0.5", "--config.model.sizes=(1,2,3)", "--config.model.batch_norm"]
    values = parse("--workdir=w", "--config=recipe.py", *overrides, "--config.seed=7", "--count=2")
    model = values.config.model
    assert (model.width, model.sizes, model.batch_norm, model.layers) == (0.5, (1, 2, 3), True, 3)
    assert (values.config.seed, values.count) == (7, 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--config=recipe.py --config.model.widht=2", "unknown setting --config.model.widht; did you mean width?"),
        ("--config=recipe.py --config.zzz=2", "unknown setting --config.zzz; config has model, seed"),
        ("--config=recipe.py --noconfig.zzz", "unknown setting --config.zzz"),
        ("--config=recipe.py --config.seed.x=2", "config.seed is a value, not a section"),
        ("--config=recipe.py --config.model.width=abc", "--config.model.width=abc: could not convert"),
        ("--config=recipe.py --config.model.layers=1.5", "--config.model.layers=1.5: invalid literal"),
        ("--config=recipe.py --config.model.batch_norm=maybe", "--config.model.batch_norm=maybe"),
        ("--config=recipe.py --config.model.sizes=(3,'x')", "--config.model.sizes: expected a tuple of int"),
        ("--config=recipe.py --config.model=3", "--config.model=3"),
        ("--config.seed=1", "--config.seed needs --config=FILE before it"),
        ("--config.seed=1 --config=recipe.py", "--config.seed=1"),
        ("--config=recipe.py:variant", "recipe.py: TypeError: get_config() takes 0 positional arguments"),
        ("--config=absent.py", "expected a config file, got 'absent.py' (no such file)"),
        ("--config=absent.py --config.seed=1", "expected a config file, got 'absent.py' (no such file)"),
        ("--config absent.py", "expected a config file, got 'absent.py' (no such file)"),
        ("--config=.", "expected a config file, got '.' (a folder)"),
        ("--config=", "expected a config file, got '' (nothing)"),
        ("--config=syntax.py", "syntax.py, line 2: "),
        ("--config=name.py", "name.py, line 2: NameError: name 'undefined' is not defined"),
        ("--config=value.py", "value.py, line 2: ValueError: invalid literal"),
        ("--config=module.py", "module.py, line 1: ModuleNotFoundError: No module named 'does_not_exist'"),
        ("--config=empty.py", "empty.py: expected a config file, which defines get_config()"),
        ("--config=none.py", "none.py: expected get_config() to return a ConfigDict, got NoneType"),
        ("--confg=recipe.py", "unknown option --confg; did you mean --config?"),
        ("--count=x", "--count=x: invalid literal"),
        ("--config=recipe.py --config=recipe.py", "--config: expected once, given 2 times"),
        ("--config=recipe.py --config recipe.py --config.seed=2", "--config: expected once, given 2 times"),
        (
            "--config=recipe.py --config.model.sizes=(1,2) --config.model.sizes (3,)",
            "--config.model.sizes: expected once, given 2 times",
        ),
        ("recipe.py", "expected options only (--name=value), got 'recipe.py'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(folder, arguments, expected):
    with pytest.raises(InputError) as caught:
        parse("--workdir=w", *arguments.split())
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message and len(message) < 200


def test_a_required_option_is_named():
    with pytest.raises(InputError, match="^--workdir is required$"):
        parse()


def test_of_a_scalar_given_twice_the_last_counts_as_everywhere(folder):
    assert parse("--workdir=w", "--config=recipe.py", "--config.seed=7", "--config.seed=8").config.seed == 8


def test_overrides_of_a_config_without_a_file():
    def define(*arguments):
        config = ConfigDict({"seed": 1, "sizes": (1, 2)})
        options.define_config_dict("config", config, ["program.py", *arguments], values, origin="a run")
        return options.parse(["program.py", *arguments], values)

    values = flags.FlagValues()
    define("--config.seed=5")
    assert values.config.seed == 5
    values = flags.FlagValues()
    with pytest.raises(InputError, match="unknown setting --config.sede; did you mean seed"):
        define("--config.sede=5")
    values = flags.FlagValues()
    define("--config.sizes=(3,4,5)")
    assert values.config.sizes == (3, 4, 5)
    values = flags.FlagValues()
    with pytest.raises(InputError, match="^--config.sizes: expected once, given 2 times$"):
        define("--config.sizes=(3,4)", "--config.sizes=(5,)")
    values = flags.FlagValues()
    with pytest.raises(InputError, match="^--config.sizes: expected a tuple of int, got"):
        define("--config.sizes=(3,'x')")
    for given in (["--config=recipe.py"], ["--config", "recipe.py"], ["-config=recipe.py"]):
        values = flags.FlagValues()
        with pytest.raises(InputError, match="^--config: expected no file, since the configuration comes from a run; "):
            define(*given)


@pytest.mark.parametrize(
    ("arguments", "status", "stderr"),
    [
        (["--fail=status"], 7, ""),
        (["--fail=input"], 2, "program.py: error: folder: expected images, got none\n"),
        (["--fail=hostile"], 2, "program.py: error: a\\x1b[2J\\n\\x9b1m.png: \\udcff\n"),
        (["--fail=interrupt"], 130, "\nprogram.py: interrupted\n"),
        (["--config.sed=1"], 2, "program.py: error: unknown setting --config.sed; did you mean seed?\n"),
    ],
)
def test_exit_status_and_message(folder, arguments, status, stderr):
    done = run_program(folder, *arguments)
    assert (done.returncode, done.stderr) == (status, stderr)
    assert (done.stdout == "seed 1\n") == (status == 7)


def test_names_cannot_command_the_terminal():
    assert cli.printable("a\x1b[2Jb\udcffc é 猫\n") == "a\\x1b[2Jb\\udcffc é 猫\\n"


def test_a_bug_keeps_its_traceback(folder):
    done = run_program(folder, "--fail=bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: a bug" in done.stderr


IMPORTING = """
import signal
from ssd_jax.commands import cli

def main(_):
    print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)

cli.run(main, imports=["slow_import"])
"""
SLOW_IMPORT = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
print("import goes on", flush=True)
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_ends_a_program_that_still_imports_at_once_and_only_then(folder, ignored):
    (folder / "slow_import.py").write_text(SLOW_IMPORT)
    (folder / "importing.py").write_text(IMPORTING)
    # A shell lets what it starts in the background ignore Ctrl-C; so does nohup for SIGHUP.
    command = ["sh", "-c", ('trap "" INT; ' if ignored else "") + f'exec "{sys.executable}" importing.py']
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=60
    )
    if ignored:
        assert (done.returncode, done.stdout, done.stderr) == (0, "import goes on\nTrue\n", "")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nimporting.py: interrupted\n")


def test_main_is_interrupted_as_usual_once_everything_is_imported(folder):
    program = "from ssd_jax.commands import cli\nimport os, signal\ndef main(_):\n    try:\n        "
    program += "os.kill(os.getpid(), signal.SIGINT)\n    finally:\n        print('tidied up')\n"
    (folder / "usual.py").write_text(program + "cli.run(main, imports=['json'])\n")
    done = subprocess.run(
        [sys.executable, "usual.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidied up\n", "\nusual.py: interrupted\n")


def run_program(folder, *arguments):
    command = [sys.executable, "program.py", "--config=recipe.py", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=60
    )


@pytest.mark.parametrize("option", ["--help", "-h", "-help", "--helpshort", "--helpfull", "-?"])
def test_asking_for_help_is_no_mistake(folder, option):
    done = run_program(folder, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--fail" in done.stdout and "seed" not in done.stdout


def test_help_that_nobody_reads_is_one_sentence(folder):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-u", "program.py", "--help"]
    done = subprocess.run(
        command, cwd=folder, stdout=write, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (
        2,
        "program.py: error: what it says cannot be written (Broken pipe)\n",
    )


def test_a_config_that_leaves_the_program_is_not_taken_for_help(folder):
    (folder / "recipe.py").write_text("raise SystemExit(3)")
    assert run_program(folder).returncode == 3


@pytest.mark.parametrize(
    "module",
    ["train.py", "evaluate.py", "-m ssd_jax.commands.inspect", "-m ssd_jax.commands.prepare"],
)
def test_every_command_helps(module):
    command = [sys.executable, *module.split(), "-h"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "--" in done.stdout


def test_what_pillow_remarks_on_odd_files_is_silenced_and_nothing_else(folder):
    Image.new("L", (12, 10)).save(folder / "large.png")
    (folder / "program.py").write_text(PILLOW)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert "DecompressionBomb" not in done.stderr and "UserWarning: not of Pillow" in done.stderr


@pytest.mark.parametrize(
    ("backend", "wanted", "gpu", "warns"),
    [
        ("cpu", None, True, True),
        ("cpu", "", True, True),
        ("cpu", "cuda,cpu", True, True),  # the GPU was asked for and not found
        ("cpu", "cpu", True, False),  # the user's choice
        ("cpu", None, False, False),
        ("gpu", None, True, False),
    ],
)
def test_warning_of_an_idle_gpu(backend, wanted, gpu, warns):
    message = cli.idle_gpu_message(backend=backend, wanted_platforms=wanted, gpu_present=gpu)
    assert (message is not None) == warns
    assert message is None or '-m pip install -e ".[cuda12]"' in message


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_is_not_idle(hidden, monkeypatch):
    monkeypatch.setattr(cli.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert cli.nvidia_gpu_present({})
    assert cli.nvidia_gpu_present({"CUDA_VISIBLE_DEVICES": "0"})
    assert not cli.nvidia_gpu_present({"CUDA_VISIBLE_DEVICES": hidden})
