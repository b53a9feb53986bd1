"""Fine-tuning: what is copied of a trained network, class by class; what is refused; and that it helps."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from voc_folder import add_image, annotation, one_object

from ssd_jax import checkpoint, parallel, recipe, training, weights
from ssd_jax.commands import checks, inputs, resume, scoring, setup
from ssd_jax.data.formats.voc import VOC_CLASSES as VOC
from ssd_jax.errors import InputError
from ssd_jax.weights.class_names import find_classes, normalize

REPOSITORY = Path(__file__).resolve().parent.parent
# The 80 categories of instances_val2017.json, by their ids.
COCO = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
PRIORS = np.zeros((4, 4), np.float32)


def test_every_class_of_voc_is_found_in_coco():
    found = [COCO[index] for index in find_classes(VOC, COCO)]
    renamed = {ours: theirs for ours, theirs in zip(VOC, found, strict=True) if ours != theirs}
    assert len(COCO) == 80 and len(set(found)) == 20
    assert renamed == {
        "aeroplane": "airplane",
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "sofa": "couch",
        "tvmonitor": "tv",
    }
    # And back: 20 of COCO's 80.
    assert sum(index is not None for index in find_classes(COCO, VOC)) == 20


def test_names_are_compared_without_case_and_spaces_but_the_same_spelling_comes_first():
    assert normalize("Potted Plant") == normalize("potted_plant") == normalize("potted-plant") == "pottedplant"
    assert find_classes(["Cat", "cat", "CAT", "c++", "c"], ["cat", "Cat", "c"]) == [1, 0, 0, None, 2]


def network(classes: tuple[str, ...], boxes: int = 2, start: float = 0.0):
    """Variables of a network with one head; each value says where it stands: start + position."""
    shapes = {
        ("backbone", "conv1", "kernel"): (1, 1, 3, 2),
        ("extras", "conv6", "kernel"): (1, 1, 2, 2),
        ("heads", "conv6_mbox_loc", "bias"): (4 * boxes,),
        ("heads", "conv6_mbox_conf", "kernel"): (1, 1, 2, boxes * (len(classes) + 1)),
        ("heads", "conv6_mbox_conf", "bias"): (boxes * (len(classes) + 1),),
    }
    params: dict = {}
    for (part, layer, leaf), shape in shapes.items():
        values = start + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        params.setdefault(part, {}).setdefault(layer, {})[leaf] = values
    statistics = {"backbone": {"conv1_bn": {"mean": np.full(2, start, np.float32)}}}
    return {"params": params, "batch_stats": statistics}


def trained(classes, **options) -> weights.TrainedNetwork:
    return weights.TrainedNetwork("runs/a (step 7)", ("background", *classes), network(classes, **options), PRIORS)


def tune(classes, source: weights.TrainedNetwork, *, boxes: int = 2, **options):
    names = ("background", *classes)
    return weights.fine_tune(network(classes, boxes, start=1000), names, PRIORS, source, **options)


def test_rows_are_copied_by_name_for_every_box_shape():
    # Trained channels: box 0 is 0 background, 1 cat, 2 airplane, 3 dog; box 1 is 4, 5, 6, 7.
    # Wanted: background, aeroplane, hat, cat; a fresh value is 1000 + its channel.
    variables, report = tune(("aeroplane", "hat", "cat"), trained(("cat", "airplane", "dog")))
    heads = variables["params"]["heads"]
    np.testing.assert_array_equal(heads["conv6_mbox_conf"]["bias"], [0, 2, 1002, 1, 4, 6, 1006, 5])
    # The kernel has two input channels of eight outputs: the second starts at 8.
    np.testing.assert_array_equal(
        heads["conv6_mbox_conf"]["kernel"].reshape(2, 8),
        [[0, 2, 1002, 1, 4, 6, 1006, 5], [8, 10, 1010, 9, 12, 14, 1014, 13]],
    )
    np.testing.assert_array_equal(heads["conv6_mbox_loc"]["bias"], np.arange(8))
    np.testing.assert_array_equal(variables["params"]["backbone"]["conv1"]["kernel"].ravel(), np.arange(6))
    np.testing.assert_array_equal(variables["batch_stats"]["backbone"]["conv1_bn"]["mean"], 0)
    # 6 + 4 + 8, and three quarters of 16 + 8; batch statistics are no parameters.
    assert report == (
        "init: 36 parameters of 4 layers from runs/a (step 7); "
        "confidence heads: 2 of 3 classes copied by name (aeroplane <- airplane), 1 new (hat)"
    )


def test_the_number_of_classes_may_differ():
    variables, report = tune(("dog",), trained(("cat", "airplane", "dog")))
    np.testing.assert_array_equal(variables["params"]["heads"]["conv6_mbox_conf"]["bias"], [0, 3, 4, 7])
    assert report.endswith("1 of 1 classes copied by name, 0 new")


def test_reset_leaves_all_heads_as_they_are_whatever_their_shape():
    variables, report = tune(("dog",), trained(("cat", "dog"), boxes=3), heads="reset")
    fresh = network(("dog",), start=1000)
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["heads"], fresh["params"]["heads"])
    np.testing.assert_array_equal(variables["params"]["extras"]["conv6"]["kernel"].ravel(), np.arange(4))
    assert report == "init: 10 parameters of 2 layers from runs/a (step 7); all heads new"


def test_keep_takes_everything_over():
    source = trained(("tv", "dog"))
    variables, report = tune(("tvmonitor", "dog"), source, heads="keep")
    jax.tree.map(np.testing.assert_array_equal, variables, source.variables)
    assert "2 of 2 classes copied by name (tvmonitor <- tv), 0 new" in report


def test_other_default_boxes_are_mentioned():
    source = trained(("dog",))._replace(default_boxes=np.ones((4, 4), np.float32))
    assert tune(("dog",), source)[1].endswith("note: its location heads were trained for other default boxes")
    assert "default boxes" not in tune(("dog",), source, heads="reset")[1]


def test_what_comes_before_the_scores_of_a_head_has_no_rows_of_classes():
    # SSDLite: a depthwise convolution, here of as many channels as there would be scores.
    source, fresh = trained(("cat", "dog")), network(("dog", "cat"))
    for variables, value in ((source.variables, 1.0), (fresh, 2.0)):
        depthwise = {"kernel": np.full((3, 3, 1, 6), value, np.float32)}
        variables["params"]["heads"]["conv6_mbox_conf_depthwise"] = depthwise
        variables["batch_stats"]["heads"] = {"conv6_mbox_conf_depthwise_bn": {"mean": np.full(6, value, np.float32)}}
    names = ("background", "dog", "cat")
    copied, _ = weights.fine_tune(fresh, names, PRIORS, source)
    assert (copied["params"]["heads"]["conv6_mbox_conf_depthwise"]["kernel"] == 1).all()
    assert (copied["batch_stats"]["heads"]["conv6_mbox_conf_depthwise_bn"]["mean"] == 1).all()
    reset, _ = weights.fine_tune(fresh, names, PRIORS, source, heads="reset")
    jax.tree.map(np.testing.assert_array_equal, reset["params"]["heads"], fresh["params"]["heads"])
    assert (reset["batch_stats"]["heads"]["conv6_mbox_conf_depthwise_bn"]["mean"] == 2).all()


@pytest.mark.parametrize(
    ("classes", "options", "expected"),
    [
        (("dog", "hat"), dict(heads="keep"), "only the data has hat; only the run has cat ('copy'"),
        (("dog", "cat"), dict(heads="keep"), "their order differs"),
        (("cat",), dict(heads="keep"), "only the run has dog"),
        (("cat", "dog", "CAT"), dict(heads="keep"), "but the data has 3, the run 2 ('copy'"),
        (("cat", "dog"), dict(boxes=3), "_conf/bias: expected 3 boxes a cell by the configuration, got 2; "),
        (("cat", "dog"), dict(boxes=3), "config.init.heads=reset"),
    ],
)
def test_what_does_not_fit_is_one_sentence(classes, options, expected):
    with pytest.raises(InputError) as caught:
        tune(classes, trained(("cat", "dog")), **options)
    assert expected in str(caught.value) and "runs/a (step 7)" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("heads", ["copy", "reset"])
@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (
            (1, 1, 2, 3),
            (1, 1, 2, 2),
            "extras/conv6/kernel: expected shape (1, 1, 2, 3) by the configuration, got shape",
        ),
        (
            (1, 1, 2, 2),
            None,
            "extras/conv6/kernel: expected shape (1, 1, 2, 2) by the configuration, got no such array",
        ),
        (
            None,
            (1, 1, 2, 2),
            "extras/conv6/kernel: expected no such array by the configuration, got shape (1, 1, 2, 2)",
        ),
    ],
)
def test_a_layer_that_differs_is_named(heads, ours, theirs, expected):
    def with_extras(variables, shape):
        return {**variables, "params": {**variables["params"], "extras": {} if shape is None else leaf(shape)}}

    def leaf(shape):
        return {"conv6": {"kernel": np.zeros(shape, np.float32)}}

    source = trained(("cat",))
    source = source._replace(variables=with_extras(source.variables, theirs))
    with pytest.raises(InputError) as caught:
        weights.fine_tune(with_extras(network(("cat",)), ours), ("background", "cat"), PRIORS, source, heads=heads)
    assert expected in str(caught.value)


def test_a_layer_is_named_by_its_parameters_rather_than_by_its_statistics():
    source = trained(("cat",))
    source.variables["params"]["backbone"]["conv1"]["kernel"] = np.zeros((1, 1, 3, 4), np.float32)
    source.variables["batch_stats"]["backbone"]["conv1_bn"]["mean"] = np.zeros(4, np.float32)
    with pytest.raises(InputError, match=r": backbone/conv1/kernel: expected shape \(1, 1, 3, 2\)"):
        tune(("cat",), source)


def test_a_location_head_that_differs_and_an_unknown_choice_are_named():
    source, fresh = trained(("cat",)), network(("cat",))
    source.variables["params"]["heads"]["conv6_mbox_loc"]["bias"] = np.zeros(12, np.float32)
    with pytest.raises(InputError, match=r"loc/bias: expected shape \(8,\) by the configuration, got shape \(12,\); "):
        weights.fine_tune(fresh, ("background", "cat"), PRIORS, source)
    with pytest.raises(ValueError, match=r"heads: expected 'copy', 'keep' or 'reset', got 'new'"):
        weights.fine_tune(fresh, ("background", "cat"), PRIORS, source, heads="new")


def load(name: str, **sections) -> dict:
    options = recipe.plain(importlib.import_module(f"configs.{name}").get_config())
    return {key: {**value, **sections.get(key, {})} for key, value in options.items()}


def tiny(**sections) -> dict:
    size = (64, 64)
    return load("ssd_demo", model=dict(image_size=size, width_multiplier=0.125), loader=dict(canvas=size), **sections)


def one_device(options: dict, class_names: tuple[str, ...]) -> setup.Network:
    mesh = parallel.data_mesh(jax.devices()[:1])
    return setup.build_network(options, ("background", *class_names))._replace(mesh=mesh)


@pytest.fixture(scope="module")
def run_of_coco(tmp_path_factory) -> tuple[Path, training.TrainState]:
    """A run with classes of COCO, batch normalization and a moving average that differs from the parameters."""
    folder = tmp_path_factory.mktemp("runs") / "coco@1"
    options = tiny(train=dict(ema_decay=0.9))
    classes = ("zebra", "airplane", "tv")
    state = setup.initial_state(options, one_device(options, classes))[0]
    state = state._replace(
        ema=jax.tree.map(lambda leaf: leaf + 1, state.params),
        model_state=jax.tree.map(lambda leaf: leaf + 2, state.model_state),
    )
    meta = {"config": options, "class_names": ["background", *classes]}
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, 3, state, meta, metrics={"map": 0.5})
        checkpoint.save(manager, 6, state._replace(ema=state.params), meta, metrics={"map": 0.4})
    return folder, jax.device_get(state)


def test_a_training_starts_from_the_evaluated_parameters_of_a_run(run_of_coco, capsys):
    folder, source = run_of_coco
    classes = ("aeroplane", "cat", "tvmonitor")
    fresh_options = tiny(train=dict(ema_decay=0.5, seed=1))
    target = one_device(fresh_options, classes)
    fresh = jax.device_get(setup.initial_state(fresh_options, target)[0])
    capsys.readouterr()
    # Without a step the best is taken, 3.
    options = {**fresh_options, "init": dict(weights="", ckpt=str(folder), heads="copy", required=True)}
    checks.check_inputs(options)  # a run is as good as weights
    state = jax.device_get(setup.initial_state(options, target)[0])
    said = capsys.readouterr().out
    assert said.startswith("init: ") and f"from {folder} (step 3); " in said and said.count("\n") == 1
    assert "2 of 3 classes copied by name (aeroplane <- airplane, tvmonitor <- tv), 1 new (cat)" in said

    for part in ("backbone", "extras"):
        jax.tree.map(np.testing.assert_array_equal, state.params[part], source.ema[part])
    jax.tree.map(np.testing.assert_array_equal, state.model_state, source.model_state)
    for name, head in state.params["heads"].items():
        for leaf, value in head.items():
            old, new = source.ema["heads"][name][leaf], fresh.params["heads"][name][leaf]
            if name.endswith("_loc"):
                np.testing.assert_array_equal(value, old)
                continue
            rows, old_rows, new_rows = (array.reshape(*array.shape[:-1], -1, 4) for array in (value, old, new))
            for ours, theirs in ((0, 0), (1, 2), (3, 3)):
                np.testing.assert_array_equal(rows[..., ours], old_rows[..., theirs])
            np.testing.assert_array_equal(rows[..., 2], new_rows[..., 2])  # the cat is new
            assert leaf == "bias" or (rows[..., 2] != 0).any()
    jax.tree.map(np.testing.assert_array_equal, state.ema, state.params)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, fresh.opt_state)
    assert state.step == 0


def test_a_step_can_be_chosen_and_no_moving_average_is_needed(run_of_coco):
    folder, source = run_of_coco
    read = weights.read_trained(f"{folder}@6")
    assert read.name == f"{folder} (step 6)" and read.class_names == ("background", "zebra", "airplane", "tv")
    jax.tree.map(np.testing.assert_array_equal, read.variables["params"], source.params)  # its average is that


@pytest.mark.parametrize(
    ("ckpt", "expected"),
    [
        ("{folder}@5", "{folder}: step: expected one of [3, 6], got 5"),
        ("{folder}/no", "{folder}/no: expected the --workdir of a training run, but there is no such folder"),
        ("{folder}/checkpoints", "it holds no 'checkpoints' folder"),
    ],
)
def test_what_is_no_run_is_one_sentence(run_of_coco, ckpt, expected):
    folder, _ = run_of_coco
    with pytest.raises(InputError) as caught:
        weights.read_trained(ckpt.format(folder=folder))
    assert str(caught.value).startswith("config.init.ckpt: ") and expected.format(folder=folder) in str(caught.value)


def test_a_file_and_a_run_are_too_much():
    with pytest.raises(InputError, match=r"config.init: expected weights of a file or ckpt of a run, not both"):
        weights.initialize({}, {}, weights="a.npz", ckpt="runs/a")
    assert "config.init.ckpt" in weights.MISSING_WEIGHTS


def test_an_unknown_way_with_heads_names_the_setting(run_of_coco):
    folder, state = run_of_coco
    options = tiny(init=dict(ckpt=str(folder), heads="new"))
    with pytest.raises(InputError, match=r"config\.init: heads: expected 'copy', 'keep' or 'reset', got 'new'"):
        setup.start_from(options, one_device(options, ("cat",)), state)


def test_a_run_is_resumed_after_what_it_started_from_has_vanished(run_of_coco, tmp_path):
    _, state = run_of_coco
    options = tiny(init=dict(ckpt="runs/vanished"), train=dict(ema_decay=0.9))
    network = one_device(options, ("zebra", "airplane", "tv"))
    with pytest.raises(InputError, match="runs/vanished"):
        setup.start_from(options, network, state)
    description = {"config": options, "class_names": list(network.class_names)}
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 2, state, description)
    start = setup.initial_state(options, network, tmp_path)[0]  # random, and soon replaced
    with checkpoint.open_manager(tmp_path) as manager:
        resumed, step = resume.resume(manager, start, description, network.mesh)
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed.params), state.params)
    assert not setup.is_run(tmp_path / "checkpoints")


def test_a_frozen_layer_that_there_is_not_is_one_sentence():
    options = tiny(optimizer=dict(freeze=("conv11",)))
    with pytest.raises(InputError) as caught:
        setup.initial_state(options, one_device(options, ("cat",)))[0]
    known = "backbone, conv1, conv2, conv3, conv4, conv5, fc6, fc7, extras, conv6, conv7, heads"
    expected = f"config.optimizer: freeze: expected names that layers start with, such as {known}; got 'conv11'"
    assert str(caught.value) == expected


def command(*arguments: str) -> subprocess.CompletedProcess:
    settings = dict(
        data=dict(kind="voc", train_split="train", eval_split="val"),
        loader=dict(canvas=(64, 64)),
        model=dict(image_size=(64, 64), width_multiplier=0.125),
        optimizer=dict(schedule="steps"),
        train=dict(batch_size=4, num_steps=2, log_every=1, evaluate_every=2, checkpoint_every=2),
        evaluate=dict(batch_size=4),
    )
    flags = [f"--config.{section}.{key}={value}" for section, keys in settings.items() for key, value in keys.items()]
    line = [sys.executable, "train.py", "--config=configs/ssd_demo.py", *flags, *arguments]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_from_names_of_coco_to_names_of_voc_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # one device
    coco, voc, runs = tmp_path / "coco", tmp_path / "voc", tmp_path / "runs"
    for root, names in ((coco, ("airplane", "zebra")), (voc, ("aeroplane", "dog"))):
        for number in range(4):
            xml = annotation(one_object(names[number % 2]))
            add_image(root, f"a{number}", xml, split="train")
            add_image(root, f"b{number}", xml, split="val")
    first = command(f"--config.data.root={coco}", f"--workdir={runs / 'coco'}")
    assert first.returncode == 0, first.stderr
    tune = [f"--config.data.root={voc}", f"--workdir={runs / 'voc'}", f"--config.init.ckpt={runs / 'coco'}"]
    second = command(*tune)
    assert second.returncode == 0, second.stderr
    assert f"from {runs / 'coco'} (step 2); confidence heads: 1 of 2 classes copied by name" in second.stdout
    assert "(aeroplane <- airplane), 1 new (dog)" in second.stdout
    shutil.rmtree(runs / "coco")
    third = command(*tune, "--config.train.num_steps=4")
    assert third.returncode == 0, third.stderr
    assert "resuming after step 2 of 4" in third.stdout and "init:" not in third.stdout
    again = command(*tune[:1], f"--workdir={runs / 'new'}", tune[2])
    assert again.returncode == 2 and "config.init.ckpt: " in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1
    both = command(*tune[:1], f"--workdir={runs / 'new'}", tune[2], "--config.init.weights=a.npz")
    assert both.returncode == 2 and "not both" in both.stderr


class Renamed:
    """A source whose classes have other names and stand in another order."""

    def __init__(self, source, names: dict[str, str]):
        self.source, self.name, self.problems = source, f"{source.name}, renamed", source.problems
        self.max_boxes, self.sizes = source.max_boxes, source.sizes
        self.class_names = ("background", *names.values())
        old = ("background", *names)
        self.label = np.array([old.index(name) for name in source.class_names], np.int32)

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index: int):
        example = self.source[index]
        return example._replace(labels=self.label[example.labels])


@pytest.mark.slow
def test_fine_tuning_beats_scratch_after_the_same_few_steps(tmp_path):
    shapes = dict(image_size=(64, 64), length=400, seed=0, shuffle_labels=False)
    data = dict(train_split="train", eval_split="test", shapes=shapes)

    def train(options, names: dict[str, str], workdir: Path | None = None):
        sources = [Renamed(inputs.open_source(options, split), names) for split in ("train", "eval")]
        network = one_device(options, sources[0].class_names[1:])
        state = setup.initial_state(options, network)[0]
        step = setup.compile_train_step(options, network)
        batches = inputs.train_batches(options, sources[0], 0)
        for _ in range(options["train"]["num_steps"]):
            state, _ = step(state, parallel.split(next(batches), network.mesh))
        batches.close()
        if workdir:
            with checkpoint.open_manager(workdir) as manager:
                checkpoint.save(manager, 1, state, setup.run_description(options, sources[0], {}))
        evaluate = scoring.make_evaluator(options, network, sources[1])
        return evaluate(training.evaluated_variables(state)).voc().map_area

    names = inputs.open_source(tiny(data=data), "train").class_names[1:]
    first = train(tiny(data=data, train=dict(num_steps=300)), {name: name for name in names}, tmp_path)
    # The classes in another order, one of them in a spelling of its own, one unknown.
    others = {name: name for name in names[::-1]}
    others |= {names[0]: names[0].upper(), names[1]: "something new"}
    few = dict(num_steps=40)
    scratch = train(tiny(data=data, train=few), others)
    tuned = train(tiny(data=data, train=few, init=dict(ckpt=str(tmp_path))), others)
    reset = train(tiny(data=data, train=few, init=dict(ckpt=str(tmp_path), heads="reset")), others)
    print(f"first {first:.3f}, from scratch {scratch:.3f}, tuned {tuned:.3f}, heads reset {reset:.3f}")
    assert scratch < reset < tuned
