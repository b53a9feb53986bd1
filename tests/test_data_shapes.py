"""The rendered dataset: what it promises about sizes, boxes, visibility and repeatability."""

import pickle

import numpy as np
import pytest

from ssd_jax import data
from ssd_jax.data.shapes.layout import NAMES, TILT, PlacedShape, _covers, _probe, place_objects, unit_outline
from ssd_jax.data.shapes.paint import _mask, paint
from ssd_jax.errors import InputError


def shapes(split="train", **options):
    return data.make_source(kind="shapes", split=split, **options)


SOURCE = shapes(image_size=(96, 128), length=60)
EXAMPLES = [SOURCE[index] for index in range(60)]

FROZEN_LABELS = [6, 2, 2, 4, 5, 6]
FROZEN_BOXES = [
    [0.254597, 0.724014, 0.491945, 0.98708],
    [0.384927, 0.559602, 0.840798, 0.939199],
    [0.726994, 0.460521, 0.886769, 0.606682],
    [0.392583, 0.447926, 0.661774, 0.671596],
    [0.21303, 0.027323, 0.409314, 0.219029],
    [0.601075, 0.028274, 0.950078, 0.34818],
]
FROZEN_MEANS = [78.3, 71.7, 89.2]


def test_contract():
    assert SOURCE.class_names == ("background", *NAMES) and len(SOURCE) == 60 and not SOURCE.problems
    assert len(shapes()) == 4000 and len(shapes("test")) == 200
    for index, example in enumerate(EXAMPLES):
        assert example.image.shape == (96, 128, 3) and example.image.dtype == np.uint8
        assert example.size == (96, 128) and example.id == f"train_{index:06d}"
        assert example.boxes.dtype == np.float32 and example.labels.dtype == np.int32
        assert 1 <= len(example.labels) <= SOURCE.max_boxes == 8


def test_all_classes_and_the_whole_range_of_sizes_occur():
    boxes = np.concatenate([example.boxes for example in EXAMPLES]) * [128, 96, 128, 96]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 96  # of the shorter side
    assert 0.08 <= sides.min() < 0.10 and 0.6 < sides.max() <= 0.80
    assert boxes.min() >= 0 and (boxes <= [128, 96, 128, 96]).all()
    counts = np.bincount(np.concatenate([example.labels for example in EXAMPLES]), minlength=8)
    assert counts[0] == 0 and counts[1:].min() >= 10  # of about 260 objects in 7 classes


def test_examples_are_a_function_of_seed_split_and_index():
    again = shapes(image_size=(96, 128), length=60)
    for index in (0, 7, 59):
        for array, wanted in zip(again[index][:6], EXAMPLES[index][:6], strict=True):
            np.testing.assert_array_equal(array, wanted)
    others = [shapes("test", image_size=(96, 128)), shapes(image_size=(96, 128), seed=1)]
    first = {example.image.tobytes() for example in EXAMPLES}
    assert not any(source[index].image.tobytes() in first for source in others for index in range(20))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(SOURCE))[3].image, EXAMPLES[3].image)


def test_frozen_example():
    """Boxes, labels and pixels of one example as they were in November 2026 (NumPy 2.4.6, Pillow 13.0.0, x86)."""
    example = shapes("test", image_size=(64, 64))[1]
    np.testing.assert_array_equal(example.labels, FROZEN_LABELS)
    # Places are float64 arithmetic on NumPy's PCG64; the last bit of sin and exp may differ by platform.
    np.testing.assert_allclose(example.boxes, FROZEN_BOXES, atol=1e-6)
    # Pillow may round otherwise: one level a pixel, and a margin.
    np.testing.assert_allclose(example.image.mean(axis=(0, 1)), FROZEN_MEANS, atol=1.0)


def test_boxes_are_tight_around_what_is_painted():
    for index in range(20):
        for shape in place_objects(np.random.default_rng(index), (96, 128)):
            mask = _mask(shape, (0, 0), (96, 128))
            rows, columns = np.flatnonzero(mask.max(axis=1) > 0), np.flatnonzero(mask.max(axis=0) > 0)
            painted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            # A box edge lies within the outermost painted pixel; the mask is drawn on a grid of 1/4 pixel, and a
            # sharp tip covers so little that it may round to nothing: 1.5 pixels.
            np.testing.assert_allclose(painted, shape.box, atol=1.5)


def test_most_of_each_object_is_visible():
    for index in range(40):
        placed = place_objects(np.random.default_rng(index), (160, 160))
        masks = [_mask(shape, (0, 0), (160, 160)) for shape in placed]
        for position, mask in enumerate(masks):
            visible = mask * np.prod([1 - other for other in masks[position + 1 :]], axis=0)
            # The layout asks for 0.8, judged at up to 14 x 14 points a shape: a few points of a thin one may err.
            assert visible.sum() >= 0.7 * mask.sum()


def test_coverage_by_hand():
    square = PlacedShape(3, (0, 0, 10, 10), np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float), None)
    hollow = square._replace(hole=np.array([[2, 2], [8, 2], [8, 8], [2, 8]], float))
    points = np.array([[5, 5], [1, 1], [9, 5], [11, 5], [-1, 5], [5, 12]], float)
    assert _covers(square, points).tolist() == [True, True, True, False, False, False]
    assert _covers(hollow, points).tolist() == [False, True, True, False, False, False]
    assert len(_probe(square)) == 14 * 14
    assert len(_probe(hollow)) == 14 * 14 - 8 * 8  # points at (i + 1/2) * 10/14: 8 of 14 lie between 2 and 8


def test_look_alikes_differ():
    """A level square and a standing diamond have the same vertices but for 45 degrees, and TILT stays below 22.5."""
    assert np.pi / 8 > TILT
    turned = unit_outline("diamond", np.pi / 4)
    np.testing.assert_allclose(turned, unit_outline("square", 0.0), atol=1e-12)
    np.testing.assert_array_equal(unit_outline("ring", 0.3), unit_outline("circle", 0.1))


def test_shapes_stand_out_from_what_lies_under_them():
    """The mean color inside an object's box differs between a drawing with and without the object."""
    for index in range(10):
        placed = place_objects(np.random.default_rng(index), (96, 96))[:1]
        seen, empty = (paint(np.random.default_rng(index), (96, 96), objects) for objects in (placed, []))
        mask = _mask(placed[0], (0, 0), (96, 96)) > 0.99
        change = seen[mask].mean(axis=0) - empty[mask].mean(axis=0)
        assert np.linalg.norm(change) > 50  # colors are at least 90 apart if the draw has one; shading takes some


def test_shuffled_labels_keep_the_pictures_and_exchange_their_objects():
    control = shapes(image_size=(96, 128), length=60, shuffle_labels=True)
    for index, original in enumerate(EXAMPLES):
        example, other = control[index], EXAMPLES[(index + 30) % 60]
        np.testing.assert_array_equal(example.image, original.image)
        np.testing.assert_array_equal(example.boxes, other.boxes)
        np.testing.assert_array_equal(example.labels, other.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "train and test, got 'val'"),
        ({"root": "somewhere"}, "need no folder"),
        ({"class_names": ("cat",)}, "got cat"),
        ({"image_size": (8, 96)}, "at least 32"),
        ({"length": -1}, "negative"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        shapes(**{"split": "train", **options})


def test_its_own_class_names_are_accepted():
    assert shapes(class_names=SOURCE.class_names).class_names == SOURCE.class_names
    assert shapes(class_names=NAMES).class_names == SOURCE.class_names


def test_iteration_ends():
    assert len(list(shapes(image_size=(32, 32), length=3))) == 3
