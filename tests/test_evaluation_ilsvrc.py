"""ILSVRC DET's average precision: by hand, and against the slow reference."""

import json

import numpy as np
import pytest
import random_detections
import reference_ilsvrc

from ssd_jax.errors import InputError
from ssd_jax.evaluation import ilsvrc, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth

NAMES = ("background", "cat", "dog")


def found(name, *rows):
    """Detections from rows of (xmin, ymin, xmax, ymax, score, label)."""
    rows = np.reshape(np.array(rows, np.float32), (-1, 6))
    return ImageDetections(name, rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))


def annotated(name, *rows):
    """Ground truth from rows of (xmin, ymin, xmax, ymax, label, ignored)."""
    rows = np.reshape(np.array(rows, np.float64), (-1, 6))
    return ImageGroundTruth(name, rows[:, :4], rows[:, 4].astype(np.int32), rows[:, 5].astype(bool))


def cat_ap(detections, truth, **options):
    return ilsvrc.evaluate(detections, truth, class_names=NAMES, **options).ap[0]


@pytest.mark.parametrize(
    ("width", "height", "threshold"),
    [
        (10, 10, 0.25),  # 100 / (20 * 20)
        (1, 1, 1 / 121),
        (20, 5, 100 / (30 * 15)),
        (24, 24, 576 / 1156),  # the largest square below 0.5
        (25, 25, 0.5),  # 625 / 1225 = 0.510
        (500, 4, 2000 / (510 * 14)),
        (500, 500, 0.5),
    ],
)
def test_overlap_that_an_object_asks_for(width, height, threshold):
    box = np.array([[3.0, 7, 3 + width - 1, 7 + height - 1]])
    assert ilsvrc.overlap_thresholds(box) == pytest.approx([threshold], rel=1e-15)
    assert reference_ilsvrc.needed_overlap(box[0].tolist()) == pytest.approx(threshold, rel=1e-15)


def test_an_overlap_of_exactly_the_threshold_hits():
    # The left quarter of 10 x 10 pixels, or one row short of it: IoU 25/100 and 24/100.
    truth = [annotated("a", (0, 0, 9, 9, 1, 0))]
    assert cat_ap([found("a", (0, 0, 4, 4, 0.9, 1))], truth) == 1
    assert cat_ap([found("a", (0, 0, 5, 3, 0.9, 1))], truth) == 0
    # The upper half of 40 x 40: exactly 0.5. VOC's rule, strictly greater, gives no hit.
    large, half = [annotated("a", (0, 0, 39, 39, 1, 0))], [found("a", (0, 0, 39, 19, 0.9, 1))]
    assert cat_ap(half, large) == 1
    assert voc.evaluate(half, large, class_names=NAMES).ap_area[0] == 0


def test_a_detection_takes_the_best_object_that_is_free():
    # Both overlap the first object most. By VOC's rule the second one is a duplicate, here it takes the other object.
    truth = [annotated("a", (0, 0, 39, 39, 1, 0), (4, 0, 43, 39, 1, 0))]
    detections = [found("a", (0, 0, 39, 39, 0.9, 1), (1, 0, 40, 39, 0.8, 1))]
    assert cat_ap(detections, truth) == 1
    assert voc.evaluate(detections, truth, class_names=NAMES).ap_area[0] == 0.5
    # A third one finds nothing free.
    third = [found("a", (0, 0, 39, 39, 0.9, 1), (1, 0, 40, 39, 0.8, 1), (0, 0, 39, 39, 0.85, 1))]
    assert cat_ap(third, truth) == 1  # the third one, 0.85, takes the second object, and the miss comes last
    result = ilsvrc.evaluate(third, truth, class_names=NAMES)
    assert result.recall[0] == 1 and result.num_detections[0] == 3


def test_the_best_is_chosen_among_those_that_overlap_enough():
    # A small object of 10 x 10 in a large one of 40 x 40. The detection, 10 x 5 in the small one, overlaps it by 0.5
    # and takes it; the large one by 50/1600, far less than it asks for.
    truth = [annotated("a", (0, 0, 39, 39, 1, 0), (0, 0, 9, 9, 1, 0))]
    assert cat_ap([found("a", (0, 0, 9, 4, 0.9, 1))], truth) == 0.5
    # 10 x 10 asks for 0.25, 60 x 60 for 0.5. The detection, 35 x 35, overlaps the large one more (1225/3600 = 0.34)
    # than the small one (100/1225 = 0.08), and hits neither. One of 18 x 18 hits the small one: 100/324 = 0.31.
    nested = [annotated("a", (0, 0, 59, 59, 1, 0), (0, 0, 9, 9, 1, 0))]
    assert cat_ap([found("a", (0, 0, 34, 34, 0.9, 1))], nested) == 0
    assert cat_ap([found("a", (0, 0, 17, 17, 0.9, 1))], nested) == 0.5


def test_equal_overlaps_go_to_the_object_annotated_first():
    # The first detection overlaps both alike; the second one reaches the right one only.
    truth = [annotated("a", (0, 0, 39, 39, 1, 0), (20, 0, 59, 39, 1, 0))]
    middle, right = (10, 0, 49, 39, 0.9, 1), (30, 0, 69, 39, 0.8, 1)
    assert cat_ap([found("a", middle, right)], truth) == 1
    mirrored = [annotated("a", (20, 0, 59, 39, 1, 0), (0, 0, 39, 39, 1, 0))]
    assert cat_ap([found("a", middle, right)], mirrored) == 0.5


def test_hand_computed_curve():
    # Ranked: hit, miss, hit (of 3 objects): precisions 1, 1/2, 2/3 at recalls 1/3, 1/3, 2/3.
    box, far = (10, 10, 29, 29), (50, 50, 69, 69)
    truth = [annotated("a", (*box, 1, 0), (*far, 1, 0)), annotated("b", (*box, 1, 0))]
    detections = [found("a", (*box, 0.9, 1), (100, 100, 120, 120, 0.8, 1)), found("b", (*box, 0.7, 1))]
    assert cat_ap(detections, truth) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_equal_scores_rank_by_image_then_in_the_order_given():
    box, far = (10, 10, 39, 39), (90, 90, 119, 119)
    truth = [annotated("a", (*box, 1, 0)), annotated("b", (*box, 1, 0))]
    hit, miss = found("a", (*box, 0.5, 1)), found("b", (*far, 0.5, 1))
    for detections in ([hit, miss], [miss, hit]):
        assert cat_ap(detections, truth) == 0.5
        assert cat_ap(detections, truth[::-1]) == pytest.approx(0.25)
    one = truth[:1]
    assert cat_ap([found("a", (*box, 0.5, 1), (*far, 0.5, 1))], one) == 1
    assert cat_ap([found("a", (*far, 0.5, 1), (*box, 0.5, 1))], one) == 0.5


def test_the_blacklist_takes_objects_and_detections_of_one_class_in_one_image():
    box, far = (10, 10, 39, 39), (90, 90, 119, 119)
    truth = [annotated("a", (*box, 1, 0), (*far, 2, 0)), annotated("b", (*box, 1, 0))]
    detections = [found("a", (*far, 0.9, 1), (*far, 0.8, 2)), found("b", (*box, 0.7, 1))]
    assert cat_ap(detections, truth) == pytest.approx(0.25)  # a miss, then one of two objects
    result = ilsvrc.evaluate(detections, truth, class_names=NAMES, blacklist=[("a", 1), ("elsewhere", 1)])
    np.testing.assert_array_equal(result.ap, [1, 1])
    assert result.num_ground_truth.tolist() == [1, 1] and result.num_detections.tolist() == [1, 1]
    with pytest.raises(ValueError, match="blacklist: expected labels 1 to 2, got 3"):
        ilsvrc.evaluate(detections, truth, class_names=NAMES, blacklist=[("a", 3)])
    with pytest.raises(InputError, match="blacklist: .* take all 3"):
        ilsvrc.evaluate(detections, truth, class_names=NAMES, blacklist=[("a", 1), ("a", 2), ("b", 1)])


def test_ignored_objects_neither_help_nor_hurt():
    box, far = (10, 10, 39, 39), (90, 90, 119, 119)
    truth = [annotated("a", (*box, 1, 0), (*far, 1, 1))]
    assert cat_ap([found("a", (*far, 0.95, 1), (*far, 0.94, 1), (*box, 0.9, 1))], truth) == 1
    # What hits an object that counts does so, also where it overlaps an ignored one more.
    near = [annotated("a", (0, 0, 39, 39, 1, 0), (1, 0, 40, 39, 1, 1))]
    assert cat_ap([found("a", (1, 0, 40, 39, 0.9, 1))], near) == 1


def test_reversed_boxes_are_hit_by_nothing():
    truth = [annotated("a", (10, 10, 39, 39, 1, 0), (30, 30, 8, 8, 1, 0))]
    assert cat_ap([found("a", (0, 0, 60, 60, 0.9, 1), (30, 30, 8, 8, 0.8, 1))], truth) == 0


def test_classes_without_objects_and_without_detections():
    names = ("background", "cat", "dog", "cow")
    box = (10, 10, 39, 39)
    truth = [annotated("a", (*box, 1, 0), (*box, 2, 0), (*box, 3, 1)), annotated("empty")]
    result = ilsvrc.evaluate([found("a", (*box, 0.9, 1), (*box, 0.8, 3))], truth, class_names=names)
    np.testing.assert_array_equal(result.ap, [1, 0, np.nan])
    np.testing.assert_array_equal(result.recall, [1, 0, np.nan])
    assert result.mean_ap == 0.5 and result.num_ignored.tolist() == [0, 0, 1] and result.num_images == 2
    text = ilsvrc.as_table(result)
    assert "ILSVRC AP" in text and "no object is annotated: cow" in text
    read = json.loads(json.dumps(ilsvrc.as_dict(result), allow_nan=False))
    assert read["classes"]["cow"]["ap"] is None and read["mean_ap"] == 0.5
    assert read["classes_without_objects"] == ["cow"] and read["classes"]["cat"]["num_detections"] == 1


def test_refuses_what_the_other_metrics_refuse():
    with pytest.raises(InputError, match="at least one object"):
        ilsvrc.evaluate([], [annotated("a")], class_names=NAMES)
    with pytest.raises(InputError, match="labels 1 to 2.*got 3"):
        ilsvrc.evaluate([found("a", (0, 0, 9, 9, 0.9, 3))], [annotated("a", (0, 0, 9, 9, 1, 0))], class_names=NAMES)


def test_equals_the_slow_reference():
    undefined = 0
    for seed in range(300):
        detections, truth = random_detections.random_case(seed)
        given = detections[::-1] if seed % 2 else detections
        banned = {(truth[seed % len(truth)].id, 1 + seed % 3)} if seed % 5 == 0 else set()
        counted = {(t.id, k) for t in truth for k, flag in zip(t.labels.tolist(), t.ignored, strict=True) if not flag}
        if not counted - banned:
            continue
        result = ilsvrc.evaluate(given, truth, class_names=random_detections.NAMES, blacklist=banned)
        expected = [reference_ilsvrc.average_precision(detections, truth, k, banned) for k in (1, 2, 3)]
        # Sums of at most 60 float64 terms in another order.
        np.testing.assert_allclose(result.ap, expected, rtol=0, atol=1e-12, err_msg=f"seed {seed}")
        undefined += np.isnan(expected).sum()
    assert 100 < undefined < 600  # of 900 classes: those without objects are compared too


def test_large_images_are_judged_by_parts_alike(monkeypatch):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 60, (300, 2))
    boxes = np.concatenate([corners, corners + rng.integers(3, 40, (300, 2))], axis=1)
    truth = [ImageGroundTruth(str(k), boxes[k::3][:30], np.ones(30, int), np.arange(30) % 7 == 0) for k in range(3)]
    detections = [
        ImageDetections(str(k), boxes[k::3] + rng.integers(-2, 3, (100, 4)), rng.random(100), np.ones(100, int))
        for k in range(3)
    ]
    whole = ilsvrc.evaluate(detections, truth, class_names=NAMES[:2])
    monkeypatch.setattr(voc, "PAIRS_AT_ONCE", 70)
    parts = ilsvrc.evaluate(detections, truth, class_names=NAMES[:2])
    assert parts.ap[0] == whole.ap[0] == pytest.approx(reference_ilsvrc.average_precision(detections, truth, 1))
    assert 0.1 < whole.ap[0] < 0.9
