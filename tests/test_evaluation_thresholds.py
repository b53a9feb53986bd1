"""VOC average precision over IoU thresholds: each threshold is the plain metric at it."""

import json

import numpy as np
import pytest
import random_detections

from ssd_jax.evaluation import gather, voc, voc_thresholds
from ssd_jax.types import ImageDetections, ImageGroundTruth

NAMES = random_detections.NAMES


def test_the_thresholds_are_the_decimals():
    assert voc_thresholds.THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_hand_computed():
    # 100 x 100 pixels against 100 x 72: IoU 0.72, more than 0.50 to 0.70, which are five of the ten thresholds.
    truth = [ImageGroundTruth("a", np.array([[0.0, 0, 99, 99]]), np.array([1]), np.array([False]))]
    detections = [ImageDetections("a", np.array([[0.0, 0, 99, 71]]), np.array([0.9]), np.array([1]))]
    result = voc_thresholds.evaluate(detections, truth, class_names=NAMES)
    np.testing.assert_array_equal(result.ap_area[0], [1] * 5 + [0] * 5)
    np.testing.assert_array_equal(result.map_11point, [1] * 5 + [0] * 5)
    assert (result.mean_area, result.mean_11point) == (0.5, 0.5)
    assert np.isnan(result.ap_area[1:]).all()
    # An overlap of exactly the threshold is no hit: 60 of 100 rows.
    exact = [detections[0]._replace(boxes=np.array([[0.0, 0, 99, 59]]))]
    np.testing.assert_array_equal(
        voc_thresholds.evaluate(exact, truth, class_names=NAMES).ap_area[0], [1] * 2 + [0] * 8
    )


def test_each_threshold_is_the_plain_metric():
    for seed in range(60):
        detections, truth = random_detections.random_case(seed)
        result = voc_thresholds.evaluate(detections, truth, class_names=NAMES)
        for k, threshold in enumerate(result.iou_thresholds):
            plain = voc.evaluate(detections, truth, class_names=NAMES, iou_threshold=threshold)
            np.testing.assert_array_equal(result.ap_11point[:, k], plain.ap_11point, err_msg=f"seed {seed}")
            np.testing.assert_array_equal(result.ap_area[:, k], plain.ap_area, err_msg=f"seed {seed}")
            assert result.map_11point[k] == plain.map_11point and result.map_area[k] == plain.map_area
        np.testing.assert_array_equal(result.num_ground_truth, plain.num_ground_truth)
        assert result.num_images == plain.num_images


def test_the_means_have_the_bits_of_the_plain_metric():
    """Also of many classes, where the order of the additions matters."""
    detections, truth = random_detections.random_case(0)
    plain = voc.evaluate(detections, truth, class_names=NAMES)
    ap = np.random.default_rng(0).random((50, 10))
    ap[::7] = np.nan
    result = voc_thresholds.evaluate(detections, truth, class_names=NAMES)._replace(ap_11point=ap, ap_area=ap)
    for k in range(10):
        expected = plain._replace(ap_11point=ap[:, k].copy(), ap_area=ap[:, k].copy())
        assert (result.map_11point[k], result.map_area[k]) == (expected.map_11point, expected.map_area)


def test_matching_at_another_threshold():
    for seed in range(20):
        detections, truth = random_detections.random_case(seed)
        found, objects = gather.gather(detections, truth, class_names=NAMES)
        base = voc.match(found, objects, 1, iou_threshold=0.3)
        for threshold in (0.0, 0.5, 0.9):
            expected = voc.match(found, objects, 1, iou_threshold=threshold)
            for got, wanted in zip(
                voc_thresholds.at_threshold(base, objects.ignored, threshold), expected, strict=True
            ):
                np.testing.assert_array_equal(got, wanted)


def test_tighter_thresholds_never_find_more():
    for seed in range(60):
        detections, truth = random_detections.random_case(seed)
        # Without difficult objects: those take wrong detections out of the curve, and less so at a tight threshold.
        truth = [entry._replace(ignored=np.zeros(len(entry.labels), bool)) for entry in truth]
        result = voc_thresholds.evaluate(detections, truth, class_names=NAMES)
        for ap in (result.ap_area, result.ap_11point):
            assert (np.diff(ap[result.num_ground_truth > 0], axis=1) <= 1e-12).all(), seed


def test_table_and_dictionary():
    truth = [ImageGroundTruth("a", np.array([[0.0, 0, 99, 99]]), np.array([1]), np.array([False]))]
    detections = [ImageDetections("a", np.array([[0.0, 0, 99, 71]]), np.array([0.9]), np.array([1]))]
    result = voc_thresholds.evaluate(detections, truth, class_names=NAMES)
    text = voc_thresholds.as_table(result)
    lines = text.splitlines()
    assert lines[0].split() == ["VOC07", "11-point,", "IoU", ">", *(f"{t:.2f}" for t in result.iou_thresholds), "mean"]
    assert [line.split() for line in lines if line.startswith("cat")] == [
        ["cat", *["1.0000"] * 5, *["0.0000"] * 5, "0.5000"]
    ] * 2
    assert sum(line.startswith("mean AP (mAP)") and line.endswith("0.5000") for line in lines) == 2
    assert lines[-1].endswith("no object is annotated: dog, cow")
    assert max(map(len, lines)) <= 120
    read = json.loads(json.dumps(voc_thresholds.as_dict(result), allow_nan=False))
    assert read["mean_ap"] == {"voc07_11point": 0.5, "area": 0.5} and read["classes_without_objects"] == ["dog", "cow"]
    assert read["classes"]["cat"]["area"] == [1] * 5 + [0] * 5 and read["classes"]["dog"]["area"] == [None] * 10
    assert read["mean_ap_by_threshold"]["area"] == [1] * 5 + [0] * 5 and len(read["iou_thresholds"]) == 10


@pytest.mark.parametrize("thresholds", [(), (0.5, 1.0), (-0.1,), (50,)])
def test_misuse_names_the_argument(thresholds):
    with pytest.raises(ValueError, match="iou_thresholds"):
        voc_thresholds.evaluate([], [], class_names=NAMES, iou_thresholds=thresholds)
