"""VOC average precision on random cases: against the slow reference, and what has to hold for any detections.

That ground truth given as detections is perfect stands in test_evaluation_voc.py.
"""

import numpy as np
import pytest
import random_detections
import reference_voc

from ssd_jax.evaluation import voc
from ssd_jax.types import ImageDetections

NAMES = random_detections.NAMES
CASES = 200


def evaluate(detections, truth, **options):
    return voc.evaluate(detections, truth, class_names=NAMES, **options)


@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.0])
def test_equals_the_slow_reference(threshold):
    undefined = partial = 0
    for seed in range(CASES):
        detections, truth = random_detections.random_case(seed)
        result = evaluate(detections, truth, iou_threshold=threshold)
        expected = np.array([reference_voc.average_precisions(detections, truth, k, threshold) for k in (1, 2, 3)])
        # Sums of at most 60 float64 terms in another order.
        for figures, references in zip((result.ap_11point, result.ap_area), expected.T, strict=True):
            np.testing.assert_allclose(figures, references, rtol=0, atol=1e-12, err_msg=f"seed {seed}")
        undefined += np.isnan(expected[:, 0]).sum()
        partial += np.sum((expected[:, 1] > 0) & (expected[:, 1] < 1))
    # The cases are not trivial: of 600 classes many have no object, and many are found in part.
    assert undefined > 80 and partial > 150


def test_the_cases_hold_what_they_promise():
    """Each special case occurs often enough for the comparison above to see it."""
    seen = dict.fromkeys(("tie", "duplicate", "difficult", "over border", "no entry", "no object", "no detection"), 0)
    for seed in range(CASES):
        detections, truth = random_detections.random_case(seed)
        objects = {entry.id: entry.boxes for entry in truth}
        scores = np.concatenate([np.zeros(0), *(found.scores for found in detections)])
        seen["tie"] += len(np.unique(scores)) < len(scores)
        seen["duplicate"] += any(
            np.sum((found.boxes == box).all(axis=1)) > 1 for found in detections for box in objects[found.id]
        )
        seen["difficult"] += any(entry.ignored.any() for entry in truth)
        seen["over border"] += any((found.boxes < 0).any() or (found.boxes > 60).any() for found in detections)
        seen["no entry"] += len(detections) < len(truth)
        seen["no object"] += any(len(entry.boxes) == 0 for entry in truth)
        seen["no detection"] += any(len(found.scores) == 0 for found in detections)
    assert min(seen.values()) > 20, seen


def test_shuffled_detections_of_different_scores_give_the_same():
    for seed in range(CASES):
        detections, truth = random_detections.random_case(seed)
        rng = np.random.default_rng(seed)
        distinct = iter(rng.permutation(1000) / 1000)
        detections = [found._replace(scores=np.array([next(distinct) for _ in found.scores])) for found in detections]
        shuffled = []
        for place in rng.permutation(len(detections)):
            found = detections[place]
            order = rng.permutation(len(found.scores))
            shuffled.append(ImageDetections(found.id, found.boxes[order], found.scores[order], found.labels[order]))
        one, two = evaluate(detections, truth), evaluate(shuffled, truth)
        for name in ("ap_11point", "ap_area", "recall"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=f"seed {seed}")


def test_equal_scores_rank_in_the_order_given():
    """As the same scores made different, each less than the one before by next to nothing."""
    for seed in range(CASES):
        detections, truth = random_detections.random_case(seed)
        place = iter(range(1000))
        strict = [
            found._replace(scores=found.scores - 1e-9 * np.array([next(place) for _ in found.scores]))
            for found in detections
        ]
        np.testing.assert_array_equal(evaluate(detections, truth).ap_area, evaluate(strict, truth).ap_area)


def test_a_class_without_objects_is_reported_and_left_out_of_the_mean():
    seen = 0
    for seed in range(CASES):
        result = evaluate(*random_detections.random_case(seed))
        without = [name for name, count in zip(NAMES[1:], result.num_ground_truth, strict=True) if count == 0]
        assert voc.as_dict(result)["classes_without_objects"] == without
        assert (f"no object is annotated: {', '.join(without)}" in voc.as_table(result)) == bool(without)
        assert result.map_area == pytest.approx(result.ap_area[result.num_ground_truth > 0].mean())
        seen += bool(without)
    assert CASES / 5 < seen < CASES


def test_a_worse_detection_never_raises_the_area():
    """One more detection, far from everything and after all others, leaves the figures; before all others it lowers."""
    for seed in range(0, CASES, 3):
        detections, truth = random_detections.random_case(seed)
        before = evaluate(detections, truth)
        for score, holds in ((-1.0, np.array_equal), (2.0, lambda new, old: (new <= old).all())):
            extra = [ImageDetections("far", np.array([[500.0, 500, 510, 510]]), np.array([score]), np.array([1]))]
            place = [
                truth[0]._replace(id="far", boxes=np.zeros((0, 4)), labels=np.zeros(0, int), ignored=np.zeros(0, bool))
            ]
            after = evaluate(detections + extra, truth + place)
            defined = before.num_ground_truth > 0
            assert holds(after.ap_area[defined], before.ap_area[defined]), seed
