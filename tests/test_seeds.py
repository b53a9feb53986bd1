"""Several seeds of one recipe: which programs run with which options, what is skipped, and the spread."""

import functools
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_end_to_end import REPOSITORY, TINY

from ssd_jax.commands import seeds
from ssd_jax.errors import InputError

# Stand-ins for train.py and evaluate.py: they write down how they were called.
TRAIN = """
import json, pathlib, sys
folder = pathlib.Path(next(a for a in sys.argv if a.startswith("--workdir=")).partition("=")[2])
folder.mkdir(parents=True, exist_ok=True)
with (folder / "calls").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + chr(10))
sys.exit(7 if "--fail" in sys.argv else 0)
"""
EVALUATE = """
import json, pathlib, sys
options = dict(argument.lstrip("-").split("=") for argument in sys.argv[1:])
output = pathlib.Path(options.get("output", options["ckpt"] + "/evaluation"))
output.mkdir(exist_ok=True)
figures = {"voc": {"mean_ap": {"voc07_11point": 0.5, "area": 0.25}}, "coco": {"ap": 0.125, "ap50": 0.5, "ap75": None}}
(output / "metrics.json").write_text(json.dumps({"step": int(options["step"]), **figures}))
"""


@pytest.fixture
def programs(tmp_path) -> Path:
    for name, text in {"train.py": TRAIN, "evaluate.py": EVALUATE}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run_of(values):
    return dict(zip(seeds.FIGURES, values, strict=True))


def test_the_programs_own_options_are_not_passed_on():
    arguments = [
        "--config=a.py:x",
        "--num_seeds=3",
        "--workdir",
        "w",
        "--config.train.batch_size",
        "8",
        "-num_seeds",
        "2",
    ]
    assert seeds.passed_on(arguments) == ["--config=a.py:x", "--config.train.batch_size", "8"]
    assert seeds.passed_on(["--workdir=w", "--config.num_seeds=1"]) == ["--config.num_seeds=1"]


def test_a_seed_is_trained_and_evaluated_once(programs, tmp_path):
    folder = tmp_path / "run" / "seed4"
    for _ in range(2):
        assert seeds.run_seed(folder, 4, ["--config=a.py"], num_steps=10, programs=programs) == 0
    calls = (folder / "calls").read_text().splitlines()
    assert calls == [f"--config=a.py --config.train.seed=4 --workdir={folder}"]
    figures = seeds.read_figures(folder, 10)
    assert figures is not None and [figures[title] for title in list(seeds.FIGURES)[:4]] == [0.5, 0.25, 0.125, 0.5]
    assert math.isnan(figures["COCO AP75"])


def test_a_longer_training_goes_on(programs, tmp_path):
    folder = tmp_path / "seed0"
    for num_steps in (10, 20):
        seeds.run_seed(folder, 0, [], num_steps=num_steps, programs=programs)
        assert seeds.read_figures(folder, num_steps) is not None
    assert len((folder / "calls").read_text().splitlines()) == 2


def test_a_failed_training_is_not_evaluated(programs, tmp_path):
    assert seeds.run_seed(tmp_path / "seed0", 0, ["--fail"], num_steps=10, programs=programs) == 7
    assert seeds.read_figures(tmp_path / "seed0", 10) is None


# Cut off by an interruption; JSON of another form; figures of another program; a figure that is no number.
@pytest.mark.parametrize(
    "text",
    [
        '{"step": 10, "voc',
        "[10]",
        "10",
        '{"step": 10}',
        '{"step": 10, "voc": 1, "coco": 2}',
        '{"step": 10, "voc": {"mean_ap": {"voc07_11point": [], "area": 1}}, "coco": {"ap": 1, "ap50": 1, "ap75": 1}}',
    ],
)
def test_figures_of_another_form_do_not_count(programs, tmp_path, text):
    folder = tmp_path / "seed0"
    metrics = seeds.metrics_file(folder)
    metrics.parent.mkdir(parents=True)
    metrics.write_text(text)
    assert seeds.read_figures(folder, 10) is None
    assert seeds.run_seed(folder, 0, [], num_steps=10, programs=programs) == 0
    assert seeds.read_figures(folder, 10) is not None


def test_an_evaluation_by_hand_leaves_the_figures_alone(programs, tmp_path):
    folder = tmp_path / "seed0"
    seeds.run_seed(folder, 0, [], num_steps=10, programs=programs)
    before = seeds.metrics_file(folder).read_text()
    subprocess.run([sys.executable, programs / "evaluate.py", f"--ckpt={folder}", "--step=5"], check=True)
    assert (folder / "evaluation" / "metrics.json").exists()
    assert seeds.metrics_file(folder).read_text() == before


RECIPE = {
    "model": {"sizes": (1, 2)},
    "loader": {"cache": "", "crowd": "drop"},
    "optimizer": {"schedule": "steps"},
    "train": {"seed": 0, "num_steps": 10, "log_every": 5},
}


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    """Where the recipe of a run belongs that has saved a checkpoint."""
    (tmp_path / "seed0" / "checkpoints" / "5").mkdir(parents=True)
    return tmp_path / "recipe.json"


def changed(**sections):
    return {section: {**settings, **sections.get(section, {})} for section, settings in RECIPE.items()}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"model": {"sizes": (1, 3)}}, "config.model.sizes=(1, 2) (now (1, 3))"),
        ({"loader": {"crowd": "ignore"}}, "config.loader.crowd='drop' (now 'ignore')"),
        ({"train": {"num_steps": 9}}, "config.train.num_steps=10 (now 9)"),
        ({"train": {"new": 1}}, "config.train.new=None (now 1)"),
        ({"model": dict.fromkeys("abcdef", 1)}, "config.model.e=None (now 1), 1 more;"),
    ],
)
def test_runs_of_another_recipe_are_not_mixed_with_those_there_are(recipe_file, sections, expected):
    seeds.keep_recipe(recipe_file, RECIPE)
    before = recipe_file.read_text()
    with pytest.raises(InputError, match="expected the same options, or another --workdir$") as caught:
        seeds.keep_recipe(recipe_file, changed(**sections))
    assert expected in str(caught.value) and str(caught.value).startswith(f"{recipe_file}: ")
    assert recipe_file.read_text() == before


def test_what_changes_no_figure_may_differ(recipe_file):
    seeds.keep_recipe(recipe_file, RECIPE)
    seeds.keep_recipe(recipe_file, changed(train={"seed": 3, "log_every": 1}, loader={"cache": "somewhere"}))


def test_a_recipe_that_nothing_was_trained_with_is_replaced(tmp_path):
    path = tmp_path / "recipe.json"
    (tmp_path / "seed0").mkdir()
    seeds.keep_recipe(path, RECIPE)
    seeds.keep_recipe(path, changed(model={"sizes": (5, 6)}))
    assert json.loads(path.read_text())["model"]["sizes"] == [5, 6]


def test_a_recipe_may_grow_and_not_shrink_again(recipe_file):
    for num_steps in (10, 20, 20):
        seeds.keep_recipe(recipe_file, changed(train={"num_steps": num_steps}))
    with pytest.raises(InputError, match=r"num_steps=20 \(now 10\)"):
        seeds.keep_recipe(recipe_file, RECIPE)


def test_a_rate_spread_over_the_whole_training_does_not_grow(recipe_file):
    seeds.keep_recipe(recipe_file, changed(optimizer={"schedule": "cosine"}))
    with pytest.raises(InputError, match="num_steps=10"):
        seeds.keep_recipe(recipe_file, changed(optimizer={"schedule": "cosine"}, train={"num_steps": 20}))


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_a_damaged_recipe_is_one_sentence(recipe_file, text):
    recipe_file.write_text(text)
    with pytest.raises(InputError, match=r"recipe\.json: expected the recipe of the runs"):
        seeds.keep_recipe(recipe_file, RECIPE)


def test_the_command_compares_recipes_before_it_trains(programs, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "runs"

    def call(**sections):
        options = SimpleNamespace(workdir=str(workdir), config=changed(**sections), num_seeds=2)
        monkeypatch.setattr(seeds, "FLAGS", options)
        monkeypatch.setattr(sys, "argv", ["seeds", "--config=a.py"])
        return seeds.main([])

    monkeypatch.setattr(seeds, "run_seed", functools.partial(seeds.run_seed, programs=programs))
    assert call() == 0
    with pytest.raises(InputError, match=r"config\.model\.sizes"):
        call(model={"sizes": (3, 4)})
    assert call(train={"num_steps": 20}) == 0  # the two earlier runs go on
    calls = [(workdir / f"seed{seed}" / "calls").read_text().splitlines() for seed in (0, 1)]
    assert list(map(len, calls)) == [2, 2]
    assert "standard deviation" in capsys.readouterr().out
    assert json.loads((workdir / "seeds.json").read_text())["runs"]["seed1"]["COCO AP"] == 0.125


def test_without_the_checkout_one_sentence_says_so(tmp_path):
    with pytest.raises(InputError, match=r"train\.py.*checkout"):
        seeds.run_seed(tmp_path / "seed0", 0, [], num_steps=1, programs=tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interruption_is_left_to_the_program(tmp_path):
    # The program answers SIGTERM by status 130, after saving; the caller has to live to see it.
    (tmp_path / "train.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n"
        "open(sys.argv[1], 'w').close()\ntime.sleep(60)\n"
    )
    ready = tmp_path / "ready"

    def interrupt():
        while not ready.exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=interrupt, daemon=True).start()
    assert seeds.run_program(tmp_path, ["train.py", str(ready)]) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_spread_by_hand():
    # 0.1, 0.2, 0.6: mean 0.3, deviations -0.2, -0.1, 0.3, squares 0.14, divided by n - 1 = 2: sqrt(0.07).
    figures = {seed: run_of([value, 0.5, 0.5, 0.5, math.nan]) for seed, value in enumerate((0.1, 0.2, 0.6))}
    spreads = seeds.summarize(figures)
    assert spreads["VOC07 11-point"] == pytest.approx((0.3, math.sqrt(0.07), 0.1, 0.6))
    assert spreads["VOC area"].deviation == 0
    lines = seeds.as_table(figures).splitlines()
    assert lines[-2].split() == ["mean", "0.3000", "0.5000", "0.5000", "0.5000", "-"]
    assert lines[-1].split()[:3] == ["standard", "deviation", "0.2646"]
    document = json.loads(json.dumps(seeds.as_dict(figures), allow_nan=False))
    assert document["spread"]["COCO AP75"]["mean"] is None
    assert document["runs"]["seed2"]["VOC07 11-point"] == 0.6


def test_one_seed_has_no_spread():
    assert math.isnan(seeds.summarize({0: run_of([0.5] * 5)})["COCO AP"].deviation)


@pytest.mark.slow
def test_two_seeds_of_a_tiny_recipe(tmp_path):
    workdir = tmp_path / "runs"
    command = [sys.executable, "-m", "ssd_jax.commands.seeds", *TINY, f"--workdir={workdir}", "--num_seeds=2"]
    # One device and compiling once, as in test_end_to_end.py.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    cache["JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", **cache}
    for _ in range(2):
        result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500)
        assert result.returncode == 0, result.stderr
        assert "standard deviation" in result.stdout
    assert result.stdout.count("done before") == 2
    assert {path.name for path in workdir.iterdir()} == {"seed0", "seed1", "recipe.json", "seeds.json"}
    trained = [(workdir / f"seed{seed}" / "metrics.jsonl").read_text() for seed in (0, 1)]
    assert trained[0] != trained[1]
