"""Options and what each changes, and only that; docs/policies.md has the table.

One training step on a toy network, uncompiled so that equal work gives equal bits: an option changes
the quantities named beside it, all others stay as they are to the last bit.
"""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from voc_folder import add_image, annotation, one_object

from configs import ssd300_voc
from ssd_jax import checkpoint, data, losses, matching, objective, optim, parallel, priors, recipe, training
from ssd_jax.data.assemble import Assembler, Policy
from ssd_jax.errors import InputError
from ssd_jax.models import Model
from ssd_jax.types import Batch, Example, LossParts, Predictions

TESTS = Path(__file__).resolve().parent
SECTIONS = recipe.plain(ssd300_voc.get_config())  # the defaults, which are the original's
CLASSES = 3
# The first image's object lies on a prior, with another one at IoU 0.64 and one at 0.36; the third's on one that
# leaves the image, with one inside at IoU 0.6.
PRIORS = np.float32(
    [
        (0.1, 0.1, 0.6, 0.6),
        (0.1, 0.1, 0.6, 0.42),
        (0.1, 0.1, 0.6, 0.28),
        (-0.1, 0.5, 0.4, 1.0),
        (0.0, 0.5, 0.3, 1.0),
        (0.7, 0.7, 0.9, 0.9),
        (0.6, 0.0, 0.9, 0.3),
        (0.6, 0.4, 1.1, 0.6),
        (0.5, 0.05, 0.7, 0.25),
        (0.4, 0.75, 0.6, 0.95),
    ]
)
BATCH = Batch(
    canvas=np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3),
    size=np.int32([[4, 4]] * 3),
    boxes=np.float32([[(0.1, 0.1, 0.6, 0.6)], [(0, 0, 0, 0)], [(-0.1, 0.5, 0.4, 1.0)]]),
    labels=np.int32([[1], [0], [2]]),
    ignored=np.zeros((3, 1), bool),
    index=np.arange(3, dtype=np.uint32),
    epoch=np.zeros(3, np.uint32),
    valid=np.ones(3, bool),
)
KERNELS, BIASES = {"conv1_1/kernel", "loc/kernel", "conf/kernel"}, {"conv1_1/bias", "loc/bias", "conf/bias"}
LOCATION, CONFIDENCE = {"loc/kernel", "loc/bias"}, {"conf/kernel", "conf/bias"}
UPDATE = KERNELS | BIASES | {"opt_state", "update_norm"}
GRADIENT = UPDATE | {"loss", "gradient_norm"}


def toy_network() -> Model:
    """One hidden layer on the mean color; as many outputs as the priors need."""
    features, count = 4, len(PRIORS)

    def init(key):
        def layer(key, inputs, outputs):
            return {"kernel": jax.random.normal(key, (inputs, outputs)), "bias": jnp.full(outputs, 0.1)}

        keys = jax.random.split(key, 3)
        heads = {"loc": layer(keys[1], features, count * 4), "conf": layer(keys[2], features, count * CLASSES)}
        return {"params": {"backbone": {"conv1_1": layer(keys[0], 3, features)}, "heads": heads}}

    def apply(variables, images):
        def layer(x, weights):
            return x @ weights["kernel"] + weights["bias"]

        params = variables["params"]
        x = jnp.tanh(layer(images.mean(axis=(1, 2)) / 255, params["backbone"]["conv1_1"]))
        offsets, logits = (layer(x, params["heads"][name]) for name in ("loc", "conf"))
        return Predictions(offsets.reshape(-1, count, 4), logits.reshape(-1, count, CLASSES))

    return Model(init, apply, lambda variables, images: (apply(variables, images), {}), ())


@functools.cache
def start(section: str = "", options: tuple = ()) -> training.TrainState:
    optimizer = dict(SECTIONS["optimizer"], **(dict(options) if section == "optimizer" else {}))
    ema_decay = dict(options)["ema_decay"] if section == "train" else 0.0
    tx = optim.make_optimizer(num_steps=100, **optimizer)
    return training.init_state(jax.random.key(0), toy_network(), tx, ema_decay=ema_decay)


def make_step(section: str = "", halt: bool = False, **options):
    """The step of the defaults, but for some options of one section. Not compiled."""
    sections = {name: dict(SECTIONS[name], **(options if section == name else {})) for name in SECTIONS}
    return training.make_train_step(
        toy_network(),
        PRIORS,
        optim.make_optimizer(num_steps=100, **sections["optimizer"]),
        seed=0,
        output_size=(4, 4),
        augment_options={},
        match_options=sections["match"],
        ema_decay=sections["train"]["ema_decay"],
        halt=halt,
        axis_name=None,
        **sections["loss"],
    )


def one_step(section: str = "", **options) -> dict[str, np.ndarray]:
    """All that a step gives, by name: metrics, parameters, and the state of the optimizer as a list of arrays."""
    state, metrics = make_step(section, **options)(start(section, tuple(options.items())), BATCH)
    leaves = jax.tree_util.tree_flatten_with_path(state.params)[0]
    named = {"/".join(entry.key for entry in path[1:]): np.asarray(leaf) for path, leaf in leaves}
    opt_state = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.opt_state)])
    ema = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.ema)] or [np.zeros(0)])
    return {**jax.device_get(metrics._asdict()), **named, "opt_state": opt_state, "ema": ema}


@pytest.fixture(scope="module", autouse=True)
def _without_augmentation():
    """The images as they are: augmentation is switched off by its own options, which docs/augmentation.md lists."""

    def augment(key, canvas, size, boxes, labels, ignored, *, output_size):
        return canvas.astype(jnp.float32), boxes, labels, ignored, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective.augment, "augment", augment)
        yield


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    return one_step()


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_the_original_by_hand(original):
    # Image 1: priors 0 and 1 (IoU 1 and 0.64) match; prior 2 has 0.36 and may be a negative, as may the other seven: 6.
    # Image 2 has no object and adds nothing. Image 3: priors 3 and 4 (1 and 0.6) match, again 6 negatives.
    assert (original["positives"], original["negatives"]) == (4, 12)
    assert original["image_loss"][1] == 0 and (original["image_loss"][[0, 2]] > 0).all()
    assert original["learning_rate"] == np.float32(1e-3)
    assert changed(original, one_step()) == set()


CASES = [  # section, option, value -> all that changes
    ("loss", "per", "image", GRADIENT),
    ("loss", "per", "device", set()),  # there is but one; tests/test_normalize.py has several
    ("loss", "location_weight", 2.0, GRADIENT - CONFIDENCE | {"image_loss"}),
    ("loss", "negative_ratio", 1.0, GRADIENT - LOCATION | {"image_loss", "confidence_loss", "negatives"}),
    ("loss", "empty_negatives", 2, GRADIENT - LOCATION | {"image_loss", "confidence_loss", "negatives"}),
    # The errors are beyond 1 here, where smooth L1 has a slope of 1 whatever they are.
    ("match", "variances", (0.1, 0.1, 0.1, 0.1), {"loss", "image_loss", "location_loss"}),
    ("optimizer", "learning_rate", 1e-2, UPDATE | {"learning_rate"}),
    ("optimizer", "clip_norm", 1e-3, UPDATE),
    ("optimizer", "clip_norm", 1e6, set()),
    ("optimizer", "warmup_steps", 10, UPDATE | {"learning_rate"}),
    ("optimizer", "warmup_factor", 0.5, set()),  # without a warm-up
    ("optimizer", "schedule", "cosine", set()),  # starts at the same rate
    ("optimizer", "bias_multiplier", 1.0, BIASES | {"opt_state", "update_norm"}),
    ("optimizer", "weight_decay", 0.0, KERNELS | {"opt_state", "update_norm"}),
    ("optimizer", "momentum", 0.0, set()),  # of a velocity that is still zero
    ("optimizer", "algorithm", "adamw", UPDATE),
    ("optimizer", "freeze", ("conv1",), {"conv1_1/kernel", "conv1_1/bias", "opt_state", "update_norm"}),
    ("train", "ema_decay", 0.9, {"ema"}),
]


@pytest.mark.parametrize(
    ("section", "option", "value", "expected"), CASES, ids=[f"{case[0]}.{case[1]}={case[2]}" for case in CASES]
)
def test_an_option_changes_what_it_should_and_nothing_else(original, section, option, value, expected):
    assert changed(original, one_step(section, **{option: value})) == expected


@pytest.mark.parametrize("per", ["global", "image"])
def test_micro_batches_add_up_to_the_batch(original, per):
    whole = original if per == "global" else one_step("loss", per=per)
    cut = one_step("loss", per=per, accumulation_steps=3)
    for name, value in whole.items():
        # Three sums in place of one round differently, by some ulp of the largest of their terms.
        np.testing.assert_allclose(cut[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_micro_batches_are_the_shares_of_the_device_normalizer(original):
    # Image 1 and 3 have two matched boxes each, image 2 none: (a / 2 + 0 / 1 + b / 2) / 3, as Caffe's iter_size has it.
    first, _, third = original["image_loss"]
    cut = one_step("loss", per="device", accumulation_steps=3)
    np.testing.assert_allclose(cut["loss"], (first / 2 + third / 2) / 3, rtol=1e-6)
    np.testing.assert_allclose(cut["gradient_norm"], original["gradient_norm"] * 4 / 6, rtol=1e-5)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="accumulation_steps: expected a divisor of the 3 images of a device, got 2"):
        one_step("loss", accumulation_steps=2)


def test_the_moving_average_follows_the_parameters_by_its_decay():
    before = start("train", (("ema_decay", 0.75),))
    after, _ = make_step("train", ema_decay=0.75)(before, BATCH)
    for old, new, average in zip(*map(jax.tree.leaves, (before.params, after.params, after.ema)), strict=True):
        np.testing.assert_allclose(average, 0.75 * old + 0.25 * new, rtol=1e-6)
    assert training.evaluated_variables(after)["params"] is after.ema


def test_after_a_halt_the_state_stays_until_the_host_has_looked():
    good, step = start(), make_step(halt=True)
    poisoned = good._replace(params={**good.params, "heads": jax.tree.map(jnp.log, good.params["heads"])})  # of < 0
    after, _ = step(good, BATCH)
    assert int(after.step) == 1 and not after.halted
    halted, metrics = step(poisoned, BATCH)
    assert not metrics.finite and halted.halted and int(halted.step) == 0
    kept, metrics = step(good._replace(halted=halted.halted), BATCH)  # a batch that would do
    assert metrics.finite and kept.halted and int(kept.step) == 0
    jax.tree.map(np.testing.assert_array_equal, kept.params, good.params)
    going_on, metrics = make_step()(poisoned, BATCH)  # without the option, only the bad step is left out
    assert not metrics.finite and not going_on.halted and int(going_on.step) == 0


def test_images_without_objects_alone_gain_by_their_negatives(original):
    after = one_step("loss", empty_negatives=2)
    assert after["negatives"] == 14
    assert (after["image_loss"] == original["image_loss"]).tolist() == [True, False, True]


def test_frozen_layers_stay_and_keep_no_velocity(original):
    before, after = start().params["backbone"]["conv1_1"], one_step("optimizer", freeze=("conv1",))
    for leaf, value in before.items():
        np.testing.assert_array_equal(after[f"conv1_1/{leaf}"], value)
    assert len(original["opt_state"]) - len(after["opt_state"]) == sum(value.size for value in before.values())


def test_a_run_with_frozen_layers_is_saved_and_resumed(tmp_path):
    state, mesh = start("optimizer", (("freeze", ("conv1",)),)), parallel.data_mesh(jax.devices()[:1])
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save(manager, 1, state, {"config": {}, "class_names": []})
        manager.wait_until_finished()
        resumed = checkpoint.restore(manager, 1, state, mesh)
        assert jax.tree.structure(resumed) == jax.tree.structure(state)
        jax.tree.map(np.testing.assert_array_equal, resumed, state)
        with pytest.raises(InputError, match="opt_state/.*expected"):  # another training than the saved one
            checkpoint.restore(manager, 1, start(), mesh)


def test_boxes_that_cross_the_image_are_neither_positive_nor_negative(original):
    after = one_step("loss", ignore_cross_boundary=True)
    # Image 3 matches prior 4 alone (bipartite: the best of those inside), with 3 negatives.
    assert (after["positives"], after["negatives"]) == (3, 9)
    assert after["image_loss"][1] == 0 and "learning_rate" not in changed(original, after)
    # What the network says of the priors that cross, 3 and 7, has no influence any more: no gradient of the loss.
    crossing = np.repeat(((PRIORS < 0) | (PRIORS > 1)).any(axis=1), CLASSES)
    assert np.flatnonzero(crossing[::CLASSES]).tolist() == [3, 7]
    still = one_step("optimizer", freeze=("heads",))["conf/bias"]  # as at the start; biases do not decay
    np.testing.assert_array_equal(after["conf/bias"][crossing], still[crossing])
    assert (original["conf/bias"][crossing] != still[crossing]).any()


def targets(**options):
    return matching.match(jnp.asarray(BATCH.boxes[0]), BATCH.labels[0], PRIORS, **{**SECTIONS["match"], **options})


def test_thresholds_of_the_matching_move_only_the_priors_between_them():
    base = targets()
    assert base.labels.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0] and not base.ignore.any()
    # IoU 0.64 and 0.36 are those of priors 1 and 2.
    strict = targets(iou_threshold=0.7)
    assert strict.labels.tolist() == [1, 0, *[0] * 8]
    assert np.flatnonzero(strict.ignore).tolist() == [1]  # for a negative it overlaps too much, 0.64 >= 0.5
    shy = targets(negative_overlap=0.3)
    assert np.flatnonzero(shy.ignore).tolist() == [2]
    np.testing.assert_array_equal(shy.labels, base.labels)
    np.testing.assert_array_equal(shy.offsets, base.offsets)
    np.testing.assert_array_equal(np.delete(strict.offsets, 1, axis=0), np.delete(base.offsets, 1, axis=0))


def test_the_normalizer_scales_the_gradient_of_an_image_and_no_more():
    # 2 and 4 matched priors in two images: 1 / (2 + 4), or 1 / 2 and 1 / 4 averaged over the two.
    parts = LossParts(np.float32([3, 5]), np.float32([7, 11]), np.int32([2, 4]), np.int32([6, 12]))

    def gradient(per):
        return jax.grad(lambda c: losses.normalize(parts._replace(confidence=c), per=per))(jnp.float32([7, 11]))

    np.testing.assert_allclose(gradient("global"), [1 / 6, 1 / 6], rtol=1e-6)
    np.testing.assert_allclose(gradient("image"), [1 / 4, 1 / 8], rtol=1e-6)


def test_clipping_keeps_the_direction():
    def update(**options):
        params = {"conv": {"kernel": jnp.ones((2, 2))}}
        tx = optim.make_optimizer(learning_rate=1.0, weight_decay=0.0, **options).tx
        return tx.update({"conv": {"kernel": jnp.float32([[3, 0], [0, 4]])}}, tx.init(params), params)[0]

    # The gradient has norm 5.
    np.testing.assert_allclose(update(clip_norm=1.0)["conv"]["kernel"], [[-0.6, 0], [0, -0.8]], rtol=1e-6)
    np.testing.assert_array_equal(update(clip_norm=6.0)["conv"]["kernel"], update()["conv"]["kernel"])


def test_a_warmup_changes_its_own_steps_only():
    base = optim.make_schedule(learning_rate=1e-3, boundaries=(60, 80))
    warm = optim.make_schedule(learning_rate=1e-3, boundaries=(60, 80), warmup_steps=50)
    rates = np.array([[float(schedule(step)) for step in range(100)] for schedule in (base, warm)])
    assert np.flatnonzero(rates[0] != rates[1]).tolist() == list(range(50))


def test_clipped_priors_differ_where_they_crossed_the_image():
    level = priors.PriorLevel(grid=(2, 2), step=(50.0, 50.0), shapes=((20.0, 20.0), (60.0, 60.0)))
    base, clipped = (priors.default_boxes([level], (100, 100), clip=clip) for clip in (False, True))
    assert (base != clipped).any(axis=1).tolist() == [False, True] * 4  # 25 - 30 < 0
    np.testing.assert_array_equal(clipped, base.clip(0, 1))


DIFFICULT = np.array([False, True, False])
CROWD = np.array([False, False, True])
EXAMPLE = Example(
    np.full((10, 10, 3), 7, np.uint8),
    (10, 10),
    np.float32([(0, 0, 0.2, 0.2), (0.2, 0.2, 0.4, 0.4), (0.4, 0.4, 0.9, 0.9)]),
    np.int32([1, 2, 3]),
    DIFFICULT,
    CROWD,
    "a",
)


@pytest.mark.parametrize(
    ("difficult", "crowd", "labels", "ignored"),
    [
        ("train", "drop", [1, 2, 0, 0], [0, 0, 0, 0]),  # the original
        ("ignore", "drop", [1, 2, 0, 0], [0, 1, 0, 0]),
        ("drop", "drop", [1, 0, 0, 0], [0, 0, 0, 0]),
        ("train", "ignore", [1, 2, 3, 0], [0, 0, 1, 0]),
        ("drop", "ignore", [1, 3, 0, 0], [0, 1, 0, 0]),
    ],
)
def test_difficult_and_crowd_objects(difficult, crowd, labels, ignored):
    assert (SECTIONS["loader"]["difficult"], SECTIONS["loader"]["crowd"]) == ("train", "drop")
    batch = Assembler([EXAMPLE], (10, 10), 4, Policy(difficult, crowd), "stop").assemble([0], [0])
    base = Assembler([EXAMPLE], (10, 10), 4, Policy("train", "drop"), "stop").assemble([0], [0])
    assert batch.labels[0].tolist() == labels and batch.ignored[0].tolist() == [bool(flag) for flag in ignored]
    kept = [label - 1 for label in labels if label]
    np.testing.assert_array_equal(batch.boxes[0, : len(kept)], EXAMPLE.boxes[kept])
    for name in ("canvas", "size", "index", "epoch"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(base, name))


def test_what_is_ignored_takes_the_priors_it_covers_out_of_the_negatives():
    # A crowd over priors 5 and 9; the object of image 1 as before.
    boxes = jnp.float32([(0.1, 0.1, 0.6, 0.6), (0.4, 0.7, 1.0, 1.0)])
    base = matching.match(boxes, jnp.int32([1, 0]), PRIORS)  # dropped: its priors are negatives
    ignored = matching.match(boxes, jnp.int32([1, 1]), PRIORS, ignored=jnp.array([False, True]))
    assert not base.ignore.any() and np.flatnonzero(ignored.ignore).tolist() == [5, 9]
    np.testing.assert_array_equal(ignored.labels, base.labels)
    np.testing.assert_array_equal(ignored.offsets, base.offsets)


def open_folder(root, **options):
    return data.make_source(kind="voc", root=str(root), split="train", **options)


def test_one_based_coordinates_shift_the_boxes_by_a_pixel(tmp_path):
    add_image(tmp_path, "a", annotation(one_object("cat", (10, 20, 50, 60)), one_object("dog", (1, 1, 9, 9), 1)))
    base, shifted = open_folder(tmp_path), open_folder(tmp_path, one_based=True)
    # The image is 100 wide and 80 high.
    np.testing.assert_allclose(base[0].boxes[0], [0.1, 0.25, 0.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(shifted[0].boxes[0], [9 / 100, 19 / 80, 49 / 100, 59 / 80], rtol=1e-6)
    for ours, theirs in zip(base[0]._replace(boxes=0), shifted[0]._replace(boxes=0), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_negatives_are_added_behind_the_images_of_the_split(tmp_path):
    add_image(tmp_path / "voc", "a")
    (tmp_path / "none").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "none" / "b.jpg")
    base, more = open_folder(tmp_path / "voc"), open_folder(tmp_path / "voc", negatives=str(tmp_path / "none"))
    assert (len(base), len(more), more.class_names, more.max_boxes) == (1, 2, base.class_names, base.max_boxes)
    for ours, theirs in zip(base[0], more[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(more[1].labels) == 0 and more[1].size == (20, 30)


def test_the_table_names_options_and_tests_that_exist():
    page = (TESTS.parent / "docs" / "policies.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if re.match(r"\| `\w+\.", line)]
    assert len(rows) >= 20
    for row in rows:
        section, *keys = re.match(r"\| `([\w.]+)`", row[0])[1].split(".")
        owner = functools.reduce(dict.__getitem__, keys, SECTIONS[section])
        stated = row[1].strip("`")
        if re.fullmatch(r"[\w.-]+", stated) and stated != "none":
            assert stated in (str(owner), f"{owner:g}" if isinstance(owner, float) else "", "5e-4"), row[
                0
            ]  # as the paper writes 0.0005
    here = "".join(path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py"))
    names = [name for name in re.findall(r"`(test_\w+)`", page) if not (TESTS / f"{name}.py").exists()]
    assert names and all(f"def {name}(" in here for name in names)
    cases = {f"{case[0]}.{case[1]}" for case in CASES}
    assert set(re.findall(r"\[(\w+\.\w+)=", page)) <= cases
