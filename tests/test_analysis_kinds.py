"""What detections are: a table typed by hand, and the slow reference on random cases."""

from collections import Counter

import analysis_cases as cases
import hypothesis
import numpy as np
import pytest

from ssd_jax import analysis
from ssd_jax.analysis import confusion, kinds
from ssd_jax.analysis.types import KEPT, Kind
from ssd_jax.evaluation import gather, voc

SIMILAR = {1: {2}, 2: {1}, 3: set()}


def type_all(detections, truth):
    found, objects = gather.gather(detections, truth, class_names=cases.NAMES)
    matchings = [voc.match(found, objects, label) for label in SIMILAR]
    return kinds.type_detections(found, objects, matchings, {"animal": (1, 2)})


@pytest.fixture(scope="module")
def by_hand():
    return analysis.analyze(*cases.by_hand(), class_names=cases.NAMES, groups=cases.GROUPS)


@pytest.mark.parametrize("row", range(len(cases.TYPED)))
def test_each_row_of_the_table(by_hand, row):
    *_, kind, target = cases.TYPED[row]
    assert (Kind(by_hand.typed.kind[row]), by_hand.typed.target[row]) == (kind, target)
    assert (by_hand.typed.overlap[row] > 0) == (target >= 0)


def test_the_table_has_every_kind_often_enough():
    kinds_in_table = Counter(row[4] for row in cases.TYPED)
    assert len(cases.TYPED) == 42 and set(kinds_in_table) == set(Kind) and min(kinds_in_table.values()) >= 3


def test_overlaps_of_the_table(by_hand):
    # Rows of the table: second detection, exactly 0.1, on a similar class, tie of two classes, exactly half.
    overlap = by_hand.typed.overlap[[1, 4, 7, 24, 38]]
    np.testing.assert_allclose(overlap, [9 / 11, 0.1, 2 / 18, 8 / 12, 0.5], rtol=1e-15)


def test_counts_and_missed_objects(by_hand):
    assert by_hand.missed.tolist() == cases.MISSED
    for label, findings in enumerate(by_hand.classes, start=1):
        expected = Counter(row[4] for row in cases.TYPED if row[2] == label)
        assert findings.counts == {kind: expected[kind] for kind in Kind}
        assert findings.num_detections == sum(expected.values())
    cat, dog, car = by_hand.classes
    assert (cat.num_objects, dog.num_objects, car.num_objects) == (5, 3, 2)
    assert (cat.num_difficult, dog.num_difficult, car.num_difficult) == (1, 1, 1)
    (animal,) = by_hand.group_findings
    assert animal.labels == (1, 2) and animal.num_objects == 8
    assert animal.counts[Kind.SIMILAR] == cat.counts[Kind.SIMILAR] + dog.counts[Kind.SIMILAR] == 8
    assert by_hand.overall.counts == Counter(row[4] for row in cases.TYPED)


@hypothesis.given(cases.cases)
@hypothesis.settings(max_examples=100)
def test_equals_the_slow_reference(case):
    detections, truth = case
    typed = type_all(detections, truth)
    expected = cases.reference_kinds(detections, truth, SIMILAR)
    assert [*zip(typed.kind.tolist(), typed.target.tolist(), strict=True)] == expected


@hypothesis.given(cases.cases)
@hypothesis.settings(max_examples=40)
def test_agrees_with_the_metric(case):
    detections, truth = case
    result = analysis.analyze(detections, truth, class_names=cases.NAMES, groups=cases.GROUPS)
    metric = voc.evaluate(detections, truth, class_names=cases.NAMES)
    for k, findings in enumerate(result.classes):
        np.testing.assert_array_equal(findings.ap_area, metric.ap_area[k])
        np.testing.assert_array_equal(findings.ap_11point, metric.ap_11point[k])
        # The curve itself gives the same figures.
        curve = voc.PrecisionRecall(findings.curve.precision, findings.curve.recall)
        if findings.num_objects:
            assert voc.area_ap(curve) == metric.ap_area[k] and voc.eleven_point_ap(curve) == metric.ap_11point[k]
        kept = sum(findings.counts[kind] for kind in KEPT)
        assert kept == len(findings.curve.scores) == findings.num_detections - findings.counts[Kind.IGNORED]


@hypothesis.given(cases.cases)
@hypothesis.settings(max_examples=40)
def test_pairs_in_small_portions_are_the_same(case):
    whole, found, objects = type_all(*case), *gather.gather(*case, class_names=cases.NAMES)
    matrix = confusion.confusion(found, objects, num_classes=4, threshold=0.25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voc, "PAIRS_AT_ONCE", 1)
        parts = type_all(*case)
        matrix_of_parts = confusion.confusion(found, objects, num_classes=4, threshold=0.25)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(matrix.counts, matrix_of_parts.counts)


def test_a_class_in_two_groups_is_similar_to_both():
    groups = {"animal": ("cat", "dog"), "red things": ("cat", "car")}
    result = analysis.analyze(*cases.by_hand(), class_names=cases.NAMES, groups=groups)
    # The cat on a car was OTHER; a dog is still no car.
    assert result.typed.kind[9] == Kind.SIMILAR and result.typed.target[9] == 2
    without = analysis.analyze(*cases.by_hand(), class_names=cases.NAMES, groups={})
    assert without.overall.counts[Kind.SIMILAR] == 0 and without.group_findings == ()
    before = analysis.analyze(*cases.by_hand(), class_names=cases.NAMES, groups=cases.GROUPS).overall.counts
    assert without.overall.counts[Kind.OTHER] == before[Kind.OTHER] + before[Kind.SIMILAR]
