"""ssd_jax.inspection.counts: every number against one counted by hand."""

import numpy as np
import pytest
from listed_source import Listed, example

from ssd_jax import inspection
from ssd_jax.data import make_source

BOX = (0.1, 0.2, 0.4, 0.8)  # 0.3 wide, 0.6 high


@pytest.fixture
def annotations():
    examples = [
        example("a", [BOX, BOX], [1, 1], size=(10, 20), difficult=[True, False]),
        example("b", size=(50, 40)),
        example("c", [BOX, BOX, BOX], [1, 3, 3], size=(30, 30), crowd=[False, True, False]),
        example("d", [(0, 0, 1, 1)], [3], size=(60, 60)),
    ]
    return inspection.collect(Listed(examples))


def test_collected_annotations_keep_the_order(annotations):
    assert annotations.ids == ("a", "b", "c", "d")
    assert annotations.image.tolist() == [0, 0, 2, 2, 2, 3]
    assert annotations.labels.tolist() == [1, 1, 1, 3, 3, 3]
    np.testing.assert_array_equal(annotations.boxes[-1], [0, 0, 1, 1])
    np.testing.assert_array_equal(annotations.sizes, [[10, 20], [50, 40], [30, 30], [60, 60]])


def test_counts_by_hand(annotations):
    counts = inspection.count(annotations)
    assert counts.class_names == ("cat", "dog", "owl")
    assert counts.images_with.tolist() == [2, 0, 2]
    assert counts.objects.tolist() == [3, 0, 3]
    assert counts.difficult.tolist() == [1, 0, 0]
    assert counts.crowd.tolist() == [0, 0, 1]
    assert (counts.num_images, counts.num_objects, counts.num_empty) == (4, 6, 1)
    assert counts.boxes_per_image == (("0", 1), ("1", 1), ("2", 1), ("3-4", 1))
    assert counts.sizes == ((10, 20), (50, 40), (60, 60))  # areas 200, 900, 2000, 3600: of two middle ones the larger
    assert counts.box_sides[0] == (0, pytest.approx(0.3), pytest.approx(0.6))
    assert counts.box_sides[3] == (50, pytest.approx(0.3), pytest.approx(0.6))
    assert counts.box_sides[-1] == (100, 1.0, 1.0)


def test_the_histogram_keeps_empty_bins_between_others():
    boxes = [BOX] * 9
    counts = inspection.count(inspection.collect(Listed([example("a", [BOX], [1]), example("b", boxes, [1] * 9)])))
    assert counts.boxes_per_image == (("1", 1), ("2", 0), ("3-4", 0), ("5-8", 0), ("9-16", 1))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, [1, 1, 1, 0, 1, 1]),
        ({"difficult": "ignore"}, [0, 1, 1, 0, 1, 1]),
        ({"difficult": "drop", "crowd": "ignore"}, [0, 1, 1, 0, 1, 1]),
    ],
)
def test_what_training_learns(annotations, policy, expected):
    assert annotations.learned(**policy).tolist() == [bool(value) for value in expected]


@pytest.mark.parametrize("policy", [{"difficult": "skip"}, {"crowd": "train"}])
def test_an_unknown_policy_is_refused(annotations, policy):
    with pytest.raises(ValueError, match=next(iter(policy))):
        annotations.learned(**policy)


def test_a_source_without_objects_or_images():
    assert inspection.count(inspection.collect(Listed([example("a")]))).boxes_per_image == (("0", 1),)
    empty = inspection.count(inspection.collect(Listed([])))
    assert (empty.num_images, empty.boxes_per_image, empty.sizes, empty.box_sides) == (0, (), (), ())


def test_progress_counts_images():
    seen = []
    inspection.collect(Listed([example("a"), example("b")]), seen.append)
    assert seen == [1, 2]


def test_real_data(shared):
    source = make_source(kind="voc", split="train", root=str(shared / "data/bccd"))
    counts = inspection.count(inspection.collect(source))
    assert sum(images for _, images in counts.boxes_per_image) == counts.num_images == len(source)
    truth = [source.ground_truth(k).labels for k in range(len(source))]  # another way to the annotations
    labels = np.concatenate(truth)
    assert counts.objects.tolist() == [(labels == k).sum() for k in range(1, 4)]
    assert counts.images_with.tolist() == [sum(k in image for image in truth) for k in range(1, 4)]
