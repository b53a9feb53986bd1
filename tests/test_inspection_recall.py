"""ssd_jax.inspection.recall: against hand-computed IoUs and a slow reference."""

import math

import numpy as np
import pytest
import reference

from ssd_jax.inspection import recall
from ssd_jax.inspection.recall import prior_recall

PRIORS = np.array([(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)], np.float32)


def random_boxes(count, seed=0):
    generator = np.random.default_rng(seed)
    center, size = generator.random((count, 2)), generator.uniform(0.02, 0.6, (count, 2))
    return np.concatenate([center - size / 2, center + size / 2], axis=1).astype(np.float32)


def test_by_hand():
    boxes = [
        (0.0, 0.0, 0.5, 0.25),  # half of the first: exactly 0.5
        (0.5, 0.5, 1.0, 1.0),  # the second: 1
        (0.25, 0.25, 0.75, 0.75),  # 1/16 shared with either, of 7/16: 1/7
        (0.5, 0.0, 1.0, 0.5),  # neither: 0
    ]
    result = prior_recall(np.array(boxes), PRIORS, image_size=(300, 300))
    np.testing.assert_allclose(result.best_iou, [0.5, 1, 1 / 7, 0], rtol=1e-6)  # float32
    assert result.reached.tolist() == [True, True, False, False]
    assert result.share == 0.5 and result.num_boxes == 4 and result.chosen.tolist() == [0, 1, 2, 3]
    # sqrt(150 * 75) = 106 px, the others 150 px
    assert result.by_size == (("64-128", 1, 1.0), ("128-256", 3, pytest.approx(1 / 3)))
    assert result.by_aspect == (("about 1", 3, pytest.approx(1 / 3)), ("2:1 to 3:1", 1, 1.0))
    assert result.mean_iou == pytest.approx((1.5 + 1 / 7) / 4)


@pytest.mark.parametrize("count", [1, 5, recall.CHUNK + 3])
def test_chunks_equal_a_slow_reference(count):
    boxes, priors = random_boxes(count), random_boxes(50, seed=1)
    expected = reference.pairwise_iou(boxes, priors).max(axis=1)
    np.testing.assert_allclose(recall.best_iou(boxes, priors), expected, atol=1e-6)  # float32 against float64


def test_recall_falls_with_the_threshold():
    boxes, priors = random_boxes(200), random_boxes(50, seed=1)
    shares = [
        prior_recall(boxes, priors, image_size=(300, 300), iou_threshold=threshold).share
        for threshold in (0.0, 0.3, 0.5, 0.7, 1.01)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1 and shares[-1] == 0


def test_recall_grows_with_more_default_boxes():
    boxes, priors = random_boxes(200), random_boxes(50, seed=1)
    few, many = (prior_recall(boxes, part, image_size=(300, 300)) for part in (priors[:20], priors))
    assert (few.best_iou <= many.best_iou).all() and few.share < many.share


def test_bins_hold_every_box_once_and_average_to_the_whole():
    result = prior_recall(random_boxes(300), random_boxes(50, seed=1), image_size=(200, 400))
    for bins in (result.by_size, result.by_aspect):
        assert sum(row.count for row in bins) == 300
        assert sum(row.count * row.share for row in bins) == pytest.approx(300 * result.share)


@pytest.mark.parametrize(
    ("width", "height", "size", "aspect"),
    [  # pixels of an input 400 wide and 200 high
        (8, 8, "<16", "about 1"),
        (16, 16, "16-32", "about 1"),  # a bin holds its lower edge
        (10, 40, "16-32", "<1:3"),
        (20, 50, "16-32", "1:3 to 1:2"),
        (50, 75, "32-64", "1:2 to 1:1.25"),
        (75, 50, "32-64", "1.25:1 to 2:1"),
        (150, 60, "64-128", "2:1 to 3:1"),
        (390, 195, "256-", "2:1 to 3:1"),
        (390, 100, "128-256", ">3:1"),
    ],
)
def test_bins_are_in_pixels_of_the_input(width, height, size, aspect):
    box = np.array([(0, 0, width / 400, height / 200)])
    result = prior_recall(box, PRIORS, image_size=(200, 400))
    assert [row.label for row in result.by_size] == [">256" if size == "256-" else size]
    assert [row.label for row in result.by_aspect] == [aspect]


def test_a_draw_of_many_is_seeded_and_in_order():
    boxes, priors = random_boxes(500), random_boxes(20, seed=1)
    draws = [prior_recall(boxes, priors, image_size=(300, 300), limit=100, seed=seed) for seed in (0, 0, 1)]
    assert draws[0].num_boxes == 500 and len(draws[0].best_iou) == len(set(draws[0].chosen)) == 100
    np.testing.assert_array_equal(draws[0].chosen, draws[1].chosen)
    assert (draws[0].chosen != draws[2].chosen).any() and (np.diff(draws[0].chosen) > 0).all()
    np.testing.assert_array_equal(draws[0].best_iou, recall.best_iou(boxes[draws[0].chosen], priors))


def test_no_boxes():
    result = prior_recall(np.zeros((0, 4)), PRIORS, image_size=(300, 300))
    assert math.isnan(result.share) and math.isnan(result.mean_iou)
    assert result.by_size == result.by_aspect == () and len(result.reached) == 0


def test_a_senseless_limit_is_refused():
    with pytest.raises(ValueError, match="limit must be positive, got 0"):
        prior_recall(random_boxes(3), PRIORS, image_size=(300, 300), limit=0)
