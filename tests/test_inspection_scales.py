"""ssd_jax.inspection.scales and clusters: k-means on known clusters; suggestions are pasted, built and measured."""

import math
import shlex
import sys

import numpy as np
import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import config_flags

from configs import ssd300_voc, ssd_demo
from ssd_jax import recipe as recipes
from ssd_jax.commands import options
from ssd_jax.inspection import prior_recall, scales, suggest
from ssd_jax.inspection.clusters import cluster_shapes

DEMO = recipes.plain(ssd_demo.get_config())


def boxes_of(low, high, *, count=400, elongation=1.0, seed=0):
    """Returns boxes inside of the image with a root of the area between two shares of it."""
    generator = np.random.default_rng(seed)
    scale = generator.uniform(low, high, count)
    stretch = np.sqrt(np.where(generator.random(count) < 0.5, elongation, 1 / elongation))
    size = np.stack([scale * stretch, scale / stretch], axis=1)
    corner = generator.random((count, 2)) * (1 - size)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def test_separate_clusters_are_found_whichever_side_is_longer():
    generator = np.random.default_rng(0)
    expected = np.array([(12, 10), (60, 20), (200, 150)])
    sides = np.repeat(expected, 50, axis=0) * generator.uniform(0.97, 1.03, (150, 2))
    turned = np.where(generator.random((150, 1)) < 0.5, sides, sides[:, ::-1])
    for seed in range(5):
        found = cluster_shapes(turned, 3, seed=seed)
        # The mean of 50 values within 3 % of a number is within 1 % of it with great certainty (4 sigma).
        np.testing.assert_allclose(found, expected, rtol=0.01)


def test_equal_boxes_are_one_cluster():
    np.testing.assert_array_equal(cluster_shapes(np.array([(3.0, 5.0)] * 9), 4), [(5, 3)])


@pytest.mark.parametrize("side", [1e-6, 1e-8, 0.0])  # float32 rounds the second to 0
def test_boxes_of_a_millionth_are_no_trouble(side):
    corner = np.random.default_rng(0).uniform(0.1, 0.9, (7, 2))
    found = suggest(np.concatenate([corner, corner + side], axis=1).astype(np.float32), DEMO)
    assert found.keep and found.recall_before == 0 and np.isfinite(found.clusters).all()


sides_strategy = st.lists(st.tuples(*[st.floats(1, 300)] * 2), min_size=1, max_size=25)


@given(sides_strategy, st.integers(1, 7), st.integers(0, 3))
def test_no_cluster_is_empty(pairs, k, seed):
    sides = np.sort(np.array(pairs), axis=1)[:, ::-1]
    found = cluster_shapes(np.array(pairs), k, seed=seed)
    assert 1 <= len(found) <= k and (found[:, 0] >= found[:, 1]).all()
    assert {_nearest(pair, found) for pair in sides} == set(range(len(found)))


def _nearest(pair, centers):
    """Returns the center with the largest IoU, by scalar arithmetic."""
    overlaps = []
    for long, short in centers:
        shared = min(pair[0], long) * min(pair[1], short)
        overlaps.append(shared / (pair[0] * pair[1] + long * short - shared))
    return int(np.argmax(overlaps))


@given(st.lists(st.floats(1, 600), min_size=2, max_size=7), st.integers(64, 512), st.floats(1, 40))
def test_fitted_sizes_increase_and_stay_inside(sizes, side, floor):
    fitted = scales.fit_sizes(np.array(sizes), [floor] * len(sizes), side=side)
    assert all(size == int(size) for size in fitted) and fitted[0] >= 1
    assert all(a < b for a, b in zip(fitted, fitted[1:], strict=False))
    assert fitted[-1] <= scales.LARGEST * side


def test_sizes_that_fit_are_kept():
    own = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0)
    assert scales.fit_sizes(np.array(own), [16, 32, 64, 128, 200, 264], side=300) == own
    assert scales.fit_sizes(np.array([2.0, 3.0]), [8, 16], side=300) == (8, 16)  # both lifted to their grids


def test_ratios_are_those_that_a_twentieth_of_the_objects_needs():
    square, double, triple = (10, 10), (20, 10), (10, 30)
    sides = np.array([square] * 96 + [double] * 4, float)  # 4 %: not worth boxes
    assert scales.needed_ratios(sides, (10, 100), ((2, 3), (2,))) == ((), (2,))  # no object of size 100: as it was
    assert scales.needed_ratios(np.array([square] * 95 + [double] * 5, float), (10,), ((),)) == ((2,),)
    assert scales.needed_ratios(np.array([square] * 95 + [triple] * 5, float), (10,), ((),)) == ((2, 3),)


def test_small_objects_get_smaller_boxes():
    suggestion = suggest(boxes_of(0.04, 0.08), DEMO)
    assert not suggestion.keep
    assert suggestion.min_sizes[0] < 12
    assert suggestion.recall_after >= suggestion.recall_before + scales.MIN_GAIN
    assert len(suggestion.clusters) == 4


def test_a_suggestion_has_the_form_of_the_original_recipes():
    suggestion = suggest(boxes_of(0.04, 0.2, elongation=3.0), DEMO)
    assert not suggestion.keep
    assert all(size == int(size) for size in suggestion.min_sizes + suggestion.max_sizes)
    assert list(suggestion.min_sizes) == sorted(set(suggestion.min_sizes))
    assert suggestion.max_sizes[:-1] == suggestion.min_sizes[1:] and suggestion.max_sizes[-1] == round(1.05 * 128)
    assert set(suggestion.aspect_ratios) <= {(), (2,), (2, 3)} and (2, 3) in suggestion.aspect_ratios


def test_the_recipe_is_kept_where_its_own_default_boxes_are_the_objects():
    model, priors = recipes.build_network(DEMO, 2)
    inside = priors[(priors >= 0).all(axis=1) & (priors <= 1).all(axis=1)]
    suggestion = suggest(inside, DEMO)
    assert suggestion.keep and suggestion.config_lines() == []
    assert suggestion.recall_before == suggestion.recall_after == 1
    assert suggestion.min_sizes == DEMO["model"]["min_sizes"]
    assert suggestion.num_priors_after == len(priors) == sum(level.num_boxes for level in model.levels)


def test_no_objects():
    suggestion = suggest(np.zeros((0, 4)), DEMO)
    assert suggestion.keep and "no objects" in suggestion.reason and math.isnan(suggestion.recall_before)


def test_more_default_boxes_have_to_pay():
    before = scales.Score(recall=0.9, mean_iou=0.7, num_priors=1000)
    assert before._replace(recall=0.91, num_priors=2000).worth(before) == pytest.approx(0.88)  # COST
    assert before._replace(num_priors=500).worth(before) == 0.9


@pytest.mark.parametrize(("path", "config"), [("configs/ssd_demo.py", ssd_demo), ("configs/ssd300_voc.py", ssd300_voc)])
def test_pasted_lines_build_the_network_that_was_measured(path, config, monkeypatch):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    boxes = boxes_of(0.03, 0.1, elongation=2.0)
    suggestion = suggest(boxes, recipes.plain(config.get_config()))
    lines = suggestion.config_lines()
    assert len(lines) == 3

    argv = shlex.split(f"train.py --config={path} {' '.join(lines)}")  # as a shell would
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    options.parse(argv, values)
    recipe = recipes.plain(values.config)
    for name in ("min_sizes", "max_sizes", "aspect_ratios"):
        assert recipe["model"][name] == getattr(suggestion, name)

    _, priors = recipes.build_network(recipe, 2)
    assert len(priors) == suggestion.num_priors_after
    measured = prior_recall(boxes, priors, image_size=recipe["model"]["image_size"])
    assert measured.share == suggestion.recall_after
    assert measured.mean_iou == pytest.approx(suggestion.mean_iou_after)
