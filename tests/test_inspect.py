"""Inspecting data: everything damaged is found and named, and what training would refuse is refused."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import compiling
import jax
import pytest
from damage import DAMAGES, Damage, damage, make_folder
from test_page import Reader

from ssd_jax import inspection, parallel, recipe
from ssd_jax.commands import describe, inputs, setup
from ssd_jax.commands.inspect import findings as inspect_findings
from ssd_jax.commands.inspect import pictures as inspect_pictures
from ssd_jax.commands.inspect import report as inspect_report
from ssd_jax.commands.inspect import text as inspect_text
from ssd_jax.data.problems import PROBLEM_KINDS
from ssd_jax.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = {
    "loader": dict(canvas=(64, 64)),
    "model": dict(
        image_size=(64, 64),
        width_multiplier=0.125,
        min_sizes=(8.0, 16.0, 30.0, 48.0),
        max_sizes=(16.0, 30.0, 48.0, 60.0),
    ),
    "train": dict(batch_size=8, num_steps=12),
    "evaluate": dict(batch_size=8),
}


def tiny_recipe(root, **sections):
    """The demo's network at an eighth of its width, on a folder in VOC layout."""
    from configs import ssd_demo

    settings = dict(kind="voc", root=str(root), train_split="train", eval_split="val")
    options = recipe.plain(ssd_demo.get_config())
    changes = {**TINY, "data": {**settings, **sections.pop("data", {})}, **sections}
    return {key: {**value, **TINY.get(key, {}), **changes.get(key, {})} for key, value in options.items()}


def options(root, **data):
    """The same as command line options."""
    settings = dict(kind="voc", root=str(root), train_split="train", eval_split="val", **data)
    sections = {"data": settings, **TINY}
    pairs = [(f"{section}.{key}", value) for section, keys in sections.items() for key, value in keys.items()]
    return ["--config=configs/ssd_demo.py", *(f"--config.{key}={value}" for key, value in pairs)]


def run(module, *arguments, **environment):
    variables = {"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": compiling.flags()}
    variables |= {"HOME": "/nowhere", **environment}
    command = [sys.executable, *module, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, env=variables)


class Inspected(NamedTuple):
    root: Path
    output: Path
    damaged: dict[str, Damage]
    run: subprocess.CompletedProcess
    numbers: dict


def inspect_damaged(root, output, *more):
    arguments = [*options(root, class_names="('cat','dog')", unknown="drop"), f"--output={output}", *more]
    return run(["-m", "ssd_jax.commands.inspect"], *arguments)


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """The command as a person runs it, on a folder with a space and a tag in its name."""
    root = tmp_path_factory.mktemp("data") / "my <b>data"
    make_folder(root)
    damaged = damage(root)
    output = tmp_path_factory.mktemp("report")
    done = inspect_damaged(root, output, "--num_samples=2", "--priors", "--num_priors=1")
    assert done.returncode == 0, done.stderr
    return Inspected(root, output, damaged, done, json.loads((output / "inspection.json").read_text()))


def problems_by_name(numbers, split="train"):
    """name -> kinds."""
    found = {}
    for kind, entries in numbers["splits"][split]["problems"].items():
        for entry in entries:
            found.setdefault(entry["name"], []).append(kind)
    return found


def test_there_are_thirty_ways_and_more():
    assert len(DAMAGES) >= 30 and len({one.what for one in DAMAGES}) == len(DAMAGES)
    assert {one.kind for one in DAMAGES} <= {*PROBLEM_KINDS, *inspection.FILE_KINDS}


def test_every_damage_is_found_and_nothing_else(inspected):
    found = problems_by_name(inspected.numbers)
    expected = {name: [one.kind] for name, one in inspected.damaged.items() if one.kind}
    assert found == expected
    assert not problems_by_name(inspected.numbers, "eval")


def test_the_page_and_the_terminal_name_what_was_found(inspected):
    page = (inspected.output / "inspection.html").read_text(encoding="utf-8")
    for name, one in inspected.damaged.items():
        assert (name in page) == bool(one.kind), one.what
    lines = inspected.run.stdout.splitlines()
    assert lines[-1] == "training can start" and str(inspected.output / "inspection.html") in lines[-2]
    assert any(line == "      6  image files that cannot be read: skipped" for line in lines)
    assert any(line.strip() == "and 1 more" for line in lines)  # of these six, five are named
    assert not [name for name, one in inspected.damaged.items() if not one.kind and name in inspected.run.stdout]


def test_the_page_is_sound_and_holds_its_pictures(inspected):
    text = (inspected.output / "inspection.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert len(text) < 6_000_000 and page.balanced
    assert "<b>data" not in text and "my &lt;b&gt;data" in text
    assert [tag for tag, _ in page.tags].count("img") == 2
    assert page.headings[0] == 1 and all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    assert {"samples.png", "default_boxes.png", "inspection.json", "inspection.html"} == {
        path.name for path in inspected.output.iterdir()
    }


def test_the_numbers_are_those_of_the_folder(inspected):
    numbers = inspected.numbers
    evaluation = numbers["splits"]["eval"]
    # make_folder: images 48 to 53, a cat and a dog in each; of every eighth image (47, 55) the cat is difficult
    assert (evaluation["num_images"], evaluation["objects"], evaluation["difficult"]) == (6, [6, 6], [0, 0])
    assert numbers["training_can_start"] and not numbers["refusals"]
    lost = sum(one.kind in inspect_findings.LOSES_IMAGES for one in DAMAGES) - 2  # the undecodable two keep their place
    train = numbers["splits"]["train"]
    assert train["num_images"] == 48 - lost and train["class_names"] == ["cat", "dog"]
    assert train["difficult"][0] > 0 and train["num_learned"] == sum(train["objects"])  # the recipe learns them
    assert 0 <= numbers["default_boxes"]["share"] <= 1
    assert sum(row["count"] for row in numbers["default_boxes"]["by_size"]) == numbers["default_boxes"]["num_boxes"]


def fast_to_compile(step, *arguments):
    """Compiles without optimization: for a dozen small steps it would not pay."""
    return step.lower(*arguments).compile(compiling.FAST)


def test_training_runs_to_its_end_and_lists_the_damage_once(inspected, caplog):
    caplog.set_level(logging.WARNING, logger="ssd_jax.data")
    options_ = tiny_recipe(inspected.root, data=dict(class_names=("cat", "dog"), unknown="drop"))
    source = inputs.open_source(options_, "train")
    network = setup.build_network(options_, source.class_names)._replace(mesh=parallel.data_mesh(jax.devices()[:1]))
    state = setup.initial_state(options_, network)[0]
    text = describe.start_summary(options_, network, state, source, source)
    for line in source.problems.lines():
        assert text.count(line) == 2  # one of train, one of eval, which here is the same source
    batches = inputs.train_batches(options_, source, 0)
    step = fast_to_compile(setup.compile_train_step(options_, network), state, next(batches))
    for _ in range(11):  # and one before, 96 images of 30: each comes more than twice
        state, metrics = step(state, parallel.split(next(batches), network.mesh))
        assert bool(metrics.finite)
    batches.close()
    assert int(state.step) == 11
    undecodable = {name for name, one in inspected.damaged.items() if one.kind == "undecodable"}
    warned = [record.getMessage().split()[0] for record in caplog.records if record.name == "ssd_jax.data"]
    assert sorted(warned) == sorted(undecodable)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    make_folder(root, count=10, held_out=4)
    return root


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (
            dict(
                init=dict(required=True),
                data=dict(eval_split="nowhere"),
                train=dict(batch_size=3, num_steps=12),
                optimizer=dict(algorithm="magic"),
            ),
            [
                "config.init.weights: this recipe starts from",
                "config.train.batch_size: expected a multiple of the 8 devices",
                "config.data.eval_split 'nowhere'",
                "config.optimizer: ",
            ],
        ),
        (
            dict(
                init=dict(weights="absent.npz"),
                data=dict(eval_split="other"),
                loader=dict(canvas=(64, 64), difficult="maybe"),
            ),
            [
                "has objects of classes that are not in class_names: yak",
                "config.loader: difficult must be",
                "config.init.weights: absent.npz: expected a file of weights",
            ],
        ),
        (
            dict(data=dict(eval_split="empty"), match=dict(bogus=1)),
            ["config.(augment, match, loss): ", "config.data.eval_split: expected annotated objects, found none"],
        ),
        (dict(model=dict(image_size=(64, 64), backbone="vgg99")), ["config.model: backbone"]),
    ],
    ids=["settings", "files", "options", "model"],
)
def test_what_training_would_refuse_is_the_verdict(clean, change, reasons):
    write_lists(clean)
    found = inspect_findings.gather(tiny_recipe(clean, **change), decode=False)
    assert len(found.refusals) == len(reasons), found.refusals
    for said, reason in zip(found.refusals, reasons, strict=True):
        assert reason in said
    last = inspect_text.verdict(found.refusals)
    assert last.startswith("training cannot start: ") and "\n" not in last
    assert found.splits[0].counts.num_images == 10  # the data is reported nevertheless
    text = inspect_report.write_page(found, inspect_pictures.Pictures(None, None), title="refused")
    assert "Training cannot start" in text and Reader(text).balanced


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image_size", (300,)),  # as --config.model.image_size=300 is read
        ("image_size", (64, 64, 3)),
        ("image_size", (0, -64)),
        ("image_size", "300"),
        ("min_sizes", (8.0,)),
        ("min_sizes", (-1.0,) * 4),
        ("max_sizes", (float("nan"),) * 4),
        ("aspect_ratios", ()),
        ("width_multiplier", 0.0),
        ("backbone", 7),
        ("no_such_setting", None),
    ],
)
def test_any_setting_that_the_network_refuses_is_the_verdict(clean, setting, value):
    model = {**TINY["model"], setting: value}
    found = inspect_findings.gather(tiny_recipe(clean, model=model), wanted=("train",), decode=False)
    (reason,) = found.refusals
    assert reason.startswith("config.model: ") and found.splits[0].counts.num_images == 10
    text = inspect_report.write_page(found, inspect_pictures.Pictures(None, None), title="refused")
    assert "Training cannot start" in text and Reader(text).balanced
    assert inspect_text.summary(found) and inspect_text.document(found)["refusals"] == [reason]


def write_lists(root):
    """Lists of one image each: an animal that training does not know, and nothing."""
    for name, object_ in (("other", "<object><name>yak</name><bndbox>{}</bndbox></object>"), ("empty", "")):
        box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
        (root / "ImageSets/Main" / f"{name}.txt").write_text(f"{name}\n")
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{object_.format(box)}</annotation>")
        shutil.copy(root / "JPEGImages/image_000.jpg", root / "JPEGImages" / f"{name}.jpg")


def test_several_reasons_are_all_given(clean):
    found = inspect_findings.gather(
        tiny_recipe(clean, data=dict(train_split="nowhere"), init=dict(required=True)), decode=False
    )
    assert [reason.split(":")[0] for reason in found.refusals] == [
        "config.init.weights",
        "config.data.train_split 'nowhere'",
    ]
    assert [part.split for part in found.splits] == ["eval"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dict(root=""), "config.data.root: no images are given"),
        (dict(root="/no/such/folder"), "/no/such/folder is not a folder"),
        (dict(kind="cards"), "config.data.kind"),
    ],
)
def test_without_any_data_there_is_one_sentence(clean, data, reason):
    with pytest.raises(InputError, match=reason) as caught:
        inspect_findings.gather(tiny_recipe(clean, data=data))
    assert "\n" not in str(caught.value) and str(caught.value).count(reason) == 1


def test_the_same_pixels_in_train_and_eval_are_said(clean, tmp_path):
    root = tmp_path / "copied"
    shutil.copytree(clean, root)
    shutil.copy(root / "JPEGImages/image_001.jpg", root / "JPEGImages/image_011.jpg")
    remarks = inspect_findings.gather(tiny_recipe(root)).remarks
    assert any("1 images of eval have the same pixels" in remark and "image_011" in remark for remark in remarks)
    assert any("14 of" in remark or "10 of 10 images are reduced" in remark for remark in remarks)  # 128x96 in 64x64


def test_a_source_that_cannot_be_decoded_at_all_cannot_train(clean, tmp_path):
    root = tmp_path / "cut"
    shutil.copytree(clean, root)
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    found = inspect_findings.gather(tiny_recipe(root))
    assert [reason.split(" can be decoded")[0] for reason in found.refusals] == [
        "config.data.train_split: none of its 10 images",
        "config.data.eval_split: none of its 4 images",
    ]


def test_names_cannot_command_the_terminal():
    assert inspect_text.verdict(["a\nb"]) == "training cannot start: a\\nb"


def test_bad_input_to_the_command_is_one_sentence(tmp_path):
    """A report that an earlier inspection left would not be that of this one."""
    module = ["-m", "ssd_jax.commands.inspect"]
    for name in ("inspection.html", "inspection.json", "samples.png", "default_boxes.png", "notes.txt"):
        (tmp_path / name).touch()
    for arguments, expected in (
        (
            ["--config=configs/ssd300_custom.py", f"--output={tmp_path}", "--num_priors=2"],
            "--num_priors needs --priors",
        ),
        (["--config=configs/ssd300_custom.py", f"--output={tmp_path}"], "training cannot start: config.data.root"),
        (["--config=configs/ssd300_custom.py", "--split=trian"], "--split=trian"),
    ):
        done = run(module, *arguments)
        assert done.returncode == 2 and not done.stdout
        assert len(done.stderr.splitlines()) == 1 and expected in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_is_one_sentence(clean, tmp_path):
    """The network is refused, which saves the time of tracing it; its report is to be written all the same."""
    pytest.importorskip("resource")
    given = [option for option in options(clean) if not option.startswith("--config.model.image_size")]
    arguments = [*given, "--fast", "--config.model.image_size=300"]
    done = run(["-m", "ssd_jax.commands.inspect"], *arguments, f"--output={tmp_path}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith("training cannot start: config.model: image_size: expected (height")
    program = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "runpy.run_module('ssd_jax.commands.inspect', run_name='__main__', alter_sys=True)"
    )
    done = run(["-c", program], *arguments, f"--output={tmp_path}")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.endswith(f"inspect: error: {tmp_path / 'inspection.html'}: cannot be written (File too large)\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_damaged_blood_cells_are_inspected_and_trained(shared, tmp_path):
    """The real photographs: everything damaged is found, and train.py reaches its end."""
    root = tmp_path / "bccd"
    shutil.copytree(shared / "data" / "bccd", root)
    damaged = damage(root)
    data = dict(class_names="('Platelets','RBC','WBC')", unknown="drop")
    done = run(["-m", "ssd_jax.commands.inspect"], *options(root, **data), f"--output={tmp_path / 'report'}")
    assert done.returncode == 0, done.stderr
    found = problems_by_name(json.loads((tmp_path / "report" / "inspection.json").read_text()))
    for name, one in damaged.items():
        assert found.pop(name, []) == ([one.kind] if one.kind else []), one.what
    assert found == {"BloodImage_00343": ["zero_size"]}  # as it comes (the data's README)
    steps = ["--config.train.num_steps=60", "--config.train.evaluate_every=60"]
    trained = run(["train.py"], *options(root, **data), f"--workdir={tmp_path / 'run'}", *steps)
    assert trained.returncode == 0 and "trained to step 60" in trained.stdout, trained.stderr
    text = trained.stdout + trained.stderr
    for name, one in damaged.items():
        if one.kind == "undecodable":
            assert text.count(f"{name}:") == 1
    for line in ("6 image files that cannot be read: skipped", "1 images listed more than once"):
        assert text.count(line) == 1
