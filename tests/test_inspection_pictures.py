"""ssd_jax.inspection.samples and assignments, and visualize.grid: the pictures show what training does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from listed_source import Listed, example

from configs import ssd_demo
from ssd_jax import data, inspection, models, training, visualize
from ssd_jax import recipe as recipes
from ssd_jax.errors import InputError
from ssd_jax.inspection import assignments, samples
from ssd_jax.types import Predictions
from ssd_jax.visualize import class_color, grid

RECIPE = recipes.plain(ssd_demo.get_config())
# More happens to the pictures than the demo's mild settings do.
RECIPE["augment"].update(expand_probability=0.5, crop_probability=1.0)
MODEL, PRIORS = recipes.build_network(RECIPE, 4)


BAD = 3  # position of the unreadable image


@pytest.fixture(scope="module")
def source():
    shapes = data.make_source(kind="shapes", split="test", image_size=(96, 128), length=4)
    examples = [shapes[k] for k in range(4)]
    return Listed([*examples[:BAD], example("bad", image=b""), *examples[BAD:]], shapes.class_names)


@pytest.fixture(scope="module")
def batch(source):
    """Returns the training batch of the epochs 0 and 1 of the five images."""
    section = {**RECIPE["loader"], "num_threads": 0}
    stream = data.make_loader(source, batch_size=10, seed=RECIPE["train"]["seed"], **section)
    batch = next(stream)
    stream.close()
    return batch


@pytest.fixture(scope="module")
def shown(source):
    groups = inspection.augmented(source, range(5), RECIPE, num_draws=2)
    return dict(zip((0, 1, 2, 4), groups, strict=True))  # BAD is left out


def images_of_the_step(batch):
    """Returns the images that the training step hands to the network, as its "batch statistics"."""
    priors = PRIORS[:4]

    def apply_train(variables, images):
        logits = jnp.zeros((len(images), len(priors), 8)) * variables["params"]["kernel"]
        return Predictions(logits[..., :4], logits), {"images": images}

    model = models.Model(init=None, apply=None, apply_train=apply_train, levels=())  # pyright: ignore
    optimizer = recipes.build_optimizer(RECIPE)
    step = training.make_train_step(
        model,
        priors,
        optimizer,
        seed=RECIPE["train"]["seed"],
        output_size=RECIPE["model"]["image_size"],
        augment_options={"mean": RECIPE["model"]["mean"], **RECIPE["augment"]},
        match_options=RECIPE["match"],
        axis_name=None,
    )
    params = {"kernel": jnp.ones(())}
    empty = jnp.zeros((len(batch.index), *RECIPE["model"]["image_size"], 3))
    model_state, opt_state = {"images": empty}, optimizer.tx.init(params)
    state = training.TrainState(jnp.int32(0), params, model_state, opt_state, None, jnp.bool_(False))
    state, metrics = jax.jit(step)(state, batch)
    assert metrics.finite
    return np.asarray(state.model_state["images"])


def test_the_pictures_are_those_of_the_training_step(batch, shown):
    trained = images_of_the_step(batch)
    for image, index, epoch in zip(trained, batch.index, batch.epoch, strict=True):
        if index != BAD:
            picture = shown[int(index)][1 + int(epoch)].image
            # Other batch sizes are other programs, whose rounding moves ties (0.03 to 0.1 % of the values,
            # docs/augmentation.md); another key would change nearly all.
            assert (picture != image).mean() < 0.005


def test_the_boxes_are_those_of_the_augmentation(batch, shown):
    _, boxes, labels, _, _ = jax.jit(lambda batch: samples.augment_batch(batch, RECIPE))(batch)
    lost = 0
    for row, (index, epoch) in enumerate(zip(batch.index, batch.epoch, strict=True)):
        if index != BAD:
            panel = shown[int(index)][1 + int(epoch)]
            assert panel.caption.startswith(f"epoch {epoch}: ")
            np.testing.assert_allclose(panel.boxes, boxes[row] * 128, atol=1e-3)  # pixels; rounding of float32
            np.testing.assert_array_equal(panel.labels, labels[row])
            lost += int((batch.labels[row] > 0).sum() - (panel.labels > 0).sum())
    assert lost > 0  # some boxes were cropped away, so that the slots mean something


def test_the_first_picture_is_the_image_as_loaded(source, shown):
    for index, (panel, *_) in shown.items():
        truth = source[index]
        np.testing.assert_array_equal(panel.image, truth.image)
        count = len(truth.labels)
        np.testing.assert_allclose(panel.boxes[:count], truth.boxes * [128, 96, 128, 96], rtol=1e-6)
        assert panel.labels[:count].tolist() == truth.labels.tolist() and not panel.labels[count:].any()
        assert panel.caption == f"{truth.id}: {count} box{'' if count == 1 else 'es'}"


def test_captions_say_what_was_drawn(shown):
    captions = " ".join(panel.caption for group in shown.values() for panel in group)
    assert all(word in captions for word in (", expand ", ", crop ", ", flip"))


def test_a_misspelt_option_is_named(source):
    wrong = {**RECIPE, "augment": {"hues": 3.0}}
    with pytest.raises(InputError, match=r"config\.augment: .*hues"):
        inspection.augmented(source, [0], wrong)


def test_every_matched_default_box_is_drawn_on_its_level():
    start, stop = np.cumsum([level.num_boxes for level in MODEL.levels[:2]])
    second = PRIORS[start:stop]
    exact = second[(second >= 0).all(axis=1) & (second <= 1).all(axis=1)][0]
    source = Listed([example("a", [exact, (0.05, 0.1, 0.95, 0.9)], [2, 3], size=(128, 128))])
    ((truth, *levels),) = inspection.panels(source, [0], RECIPE, MODEL, PRIORS)
    labels = reference.match(source[0].boxes, source[0].labels, PRIORS)[1]
    counts, start = [], 0
    for level in MODEL.levels:
        counts.append(int((labels[start : start + level.num_boxes] > 0).sum()))
        start += level.num_boxes
    assert counts[1] > 0 and sum(counts) > 2
    assert truth.caption == f"a: objects: 2, default boxes: {sum(counts)}"
    names = [f"{n} {m.grid[0]}x{m.grid[1]}" for n, m in zip(MODEL.level_names, MODEL.levels, strict=True)]
    for panel, name, count in zip(levels, names, counts, strict=True):
        assert panel.caption == f"{name}: {count} default box{'' if count == 1 else 'es'}"
        np.testing.assert_allclose(panel.boxes, truth.boxes * panel.image.shape[0] / 128, rtol=1e-6)


def test_an_unreadable_image_has_no_panels(source):
    assert inspection.panels(source, [BAD], RECIPE, MODEL, PRIORS) == []


def test_assign_sorts_by_level():
    labels = np.zeros(len(PRIORS), np.int32)
    first = MODEL.levels[0].num_boxes
    labels[[0, first - 1, first]] = 1, 2, 3
    found = assignments.assign(labels, MODEL.levels, PRIORS)
    assert [one.labels.tolist() for one in found] == [[1, 2], [3]] + [[]] * (len(MODEL.levels) - 2)
    np.testing.assert_array_equal(found[0].boxes, PRIORS[[0, first - 1]])
    with pytest.raises(ValueError, match=f"expected {len(PRIORS)} as the levels have, got 5 and"):
        assignments.assign(labels[:5], MODEL.levels, PRIORS)


def test_grid_lines_and_nothing_else():
    image = np.full((60, 90, 3), 100, np.uint8)
    drawn = grid.draw_grid(image, (20, 30))
    lines = np.zeros((60, 90), bool)
    lines[[20, 40]] = True
    lines[:, [30, 60]] = True
    plain = drawn[0, 0]
    assert (drawn[lines] > plain).all() and (drawn[~lines] == plain).all()
    assert (image == 100).all()


def test_matches_are_dashed_with_a_dot_at_the_center():
    image = np.zeros((300, 300, 3), np.uint8)
    drawn = grid.draw_matches(image, np.array([(50, 50, 151, 101)]), np.array([2]))
    color = class_color(2)
    assert tuple(drawn[75, 100]) == color and tuple(drawn[50, 50]) == color
    top = (drawn[50] > 0).any(axis=1)
    assert not top[:50].any() and not top[153:].any()
    assert 0.4 < top[50:151].mean() < 0.75  # dashes and gaps
    assert (grid.draw_matches(image, np.zeros((0, 4)), np.zeros(0, int)) == 0).all()
    beyond = grid.draw_matches(image, np.array([(-500, -500, 900, 900)]), np.array([1]))
    assert tuple(beyond[200, 200]) == class_color(1) and not beyond[100, 100].any()


def test_the_groups_are_rows_of_a_sheet(source, shown):
    rows = [*inspection.panels(source, [0], RECIPE, MODEL, PRIORS), shown[1]]
    sheet = visualize.contact_sheet(rows, class_names=source.class_names, title="both", width=800)
    assert sheet.shape[1] == 800 and sheet.dtype == np.uint8
