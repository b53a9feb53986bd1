"""From detections to the figures that training reports and compares checkpoints by."""

import numpy as np
import pytest

from ssd_jax.commands import checks, describe, scoring
from ssd_jax.types import ImageDetections, ImageGroundTruth, LossParts

BOXES = np.array([[10.0, 10, 50, 50], [60, 60, 90, 90]])


def evaluation(shift: float) -> scoring.Evaluation:
    """Two objects; the first is found, the second so many pixels beside its place."""
    truth = [ImageGroundTruth("a", BOXES, np.array([1, 1]), np.zeros(2, bool))]
    found = [
        ImageDetections("a", (BOXES + [[0], [shift]]).astype(np.float32), np.float32([0.9, 0.8]), np.array([1, 1]))
    ]
    return scoring.Evaluation(None, ("background", "cat"), found, truth)


def test_every_metric_that_a_recipe_may_name_has_its_figures():
    assert tuple(scoring.METRICS) == checks.METRICS
    for figures in scoring.METRICS.values():
        assert set(figures(evaluation(0))) <= set(describe.TITLES)
        assert list(figures(evaluation(0)).values()) == pytest.approx([1] * len(figures(evaluation(0))))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # Half of the objects, at precision 1: six of eleven recalls.
        ("11point", {"map_11point": 6 / 11, "map_area": 0.5}),
        ("area", {"map_area": 0.5, "map_11point": 6 / 11}),
        # 51 of the 101 recalls of COCO, at every threshold.
        ("ilsvrc", {"ilsvrc_map": 0.5}),
        ("coco", {"coco_ap": 51 / 101, "coco_ap50": 51 / 101, "coco_ap75": 51 / 101}),
    ],
)
def test_the_first_figure_is_the_one_that_checkpoints_are_compared_by(metric, expected):
    figures = scoring.METRICS[metric](evaluation(20))
    assert list(figures) == list(expected)
    assert list(figures.values()) == pytest.approx(list(expected.values()), abs=1e-9)


def test_the_validation_losses_are_sums_over_all_images_divided_by_all_matches():
    parts = LossParts(np.float32([6, 0, 3]), np.float32([4, 0, 11]), np.int32([2, 0, 1]), np.int32([6, 0, 3]))
    losses = scoring.validation_losses(parts, location_weight=2.0)
    # 9 and 15 over three matches; 5 + 2 x 3.
    assert losses == {"validation_loss": 11.0, "validation_location_loss": 3.0, "validation_confidence_loss": 5.0}
    nothing = LossParts._make(np.zeros_like(part) for part in parts)
    assert set(scoring.validation_losses(nothing, location_weight=1.0).values()) == {0.0}


def test_the_figures_of_training_end_with_the_validation_losses():
    found = evaluation(0)._replace(losses={"validation_loss": 2.5})
    assert list(scoring.figures(found, "area").items()) == [
        ("map_area", pytest.approx(1)),
        ("map_11point", pytest.approx(1)),
        ("validation_loss", 2.5),
    ]
