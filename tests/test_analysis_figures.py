"""The figures drawn from the kinds: trends, sensitivities, thresholds, calibration, confusions, remedies; by hand."""

import math

import analysis_cases as cases
import hypothesis
import numpy as np
import pytest
from test_evaluation_voc import annotated, found

from ssd_jax import analysis
from ssd_jax.analysis import confusion, sensitivity
from ssd_jax.analysis.types import REMEDIES, Bin, Kind, Sensitivity
from ssd_jax.evaluation import gather

NAMES = ("background", "cat", "dog")
SIMILAR = {1: {2}, 2: {1}, 3: set()}


def analyze(detections, truth, names=NAMES, **options):
    return analysis.analyze(detections, truth, class_names=names, groups={}, **options)


def square(x):
    return (x, 0, x + 9, 9)


def test_trend_by_hand():
    # 4 cats; ranked: correct, misplaced on the second (IoU .333), background, second detection of the first, correct.
    truth = [annotated("a", *((*square(x), 1, 0) for x in (0, 100, 200, 300)))]
    rows = [(0, 0.9), (105, 0.8), (50, 0.7), (1, 0.6), (200, 0.5)]
    trend = analyze([found("a", *((*square(x), score, 1) for x, score in rows))], truth).classes[0].trend
    np.testing.assert_allclose(trend.ratio[::2], [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], rtol=1e-15)
    # Taken: 0.5 -> 1, 0.71 -> 1, 1, 1.41 -> 1, 2, 2.83 -> 3, 4, 5.66 -> 6: too few from there on.
    taken = [1, 1, 1, 1, 2, 3, 4]
    fractions = {
        1: [1, 0, 0, 0, 0],
        2: [1 / 2, 1 / 2, 0, 0, 0],
        3: [1 / 3, 1 / 3, 0, 0, 1 / 3],
        4: [0.25, 0.5, 0, 0, 0.25],
    }
    np.testing.assert_allclose(trend.fractions[:7], [fractions[n] for n in taken], rtol=1e-15)
    assert np.isnan(trend.fractions[7:]).all()
    np.testing.assert_array_equal(trend.recall_strong, [*[0.25] * 7, *[0.5] * 6])
    np.testing.assert_array_equal(trend.recall_weak, [*[0.25] * 4, *[0.5] * 3, *[0.75] * 6])


def test_detections_of_difficult_objects_are_not_taken():
    truth = [annotated("a", (*square(0), 1, 0), (*square(100), 1, 1))]
    detections = [found("a", (*square(100), 0.9, 1), (*square(105), 0.8, 1), (*square(0), 0.7, 1))]
    trend = analyze(detections, truth).classes[0].trend
    # The first is ignored; the second is misplaced on the difficult object, which nobody has to find, weakly or not.
    np.testing.assert_array_equal(trend.fractions[6], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(trend.recall_weak[[6, 8]], [0, 1])


def test_several_classes_are_pooled_by_score():
    truth = [annotated("a", (*square(0), 1, 0), (*square(100), 1, 0), (*square(200), 2, 0))]
    cats, dogs = ((*square(0), 0.9, 1), (*square(900), 0.5, 1)), ((*square(200), 0.8, 2), (*square(900), 0.7, 2))
    trend = analyze([found("a", *cats, *dogs)], truth).overall.trend
    # Two taken of three objects (ratio 0.71): the cat and the dog that are right; then the wrong dog.
    np.testing.assert_allclose(trend.fractions[[5, 6], 0], [1, 2 / 3], rtol=1e-15)
    np.testing.assert_allclose(trend.recall_strong[[5, 6]], 2 / 3, rtol=1e-15)


def test_distribution_by_hand():
    # A hit, then 60 false positives: 20 of background, 25 misplaced on the difficult dog, 15 of background.
    truth = [annotated("a", (*square(0), 2, 0), (*square(100), 2, 1))]
    xs = [0] + [500] * 20 + [105] * 25 + [500] * 15
    rows = [(*square(x), 1 - k / 100, 2) for k, x in enumerate(xs)]
    worst = analyze([found("a", *rows)], truth).classes[1].false_positives
    assert worst.counts.tolist() == [25, 50]
    np.testing.assert_allclose(worst.fractions, [[5 / 25, 0, 0, 20 / 25], [25 / 50, 0, 0, 25 / 50]], rtol=1e-15)


def test_bins_by_hand():
    # 10 %, 20 %, 40 %, 20 %, 10 % of ten; of seven the cuts are at ranks 0.7, 2.1, 4.9, 6.3, rounded.
    np.testing.assert_array_equal(sensitivity.assign_bins(np.arange(10.0)), [0, 1, 1, 2, 2, 2, 2, 3, 3, 4])
    np.testing.assert_array_equal(sensitivity.assign_bins(np.arange(7.0)), [0, 1, 2, 2, 2, 3, 4])
    # Of five they are at 0.5, 1.5, 3.5, 4.5: halves are rounded up, as by MATLAB, which leaves nothing for the last.
    np.testing.assert_array_equal(sensitivity.assign_bins(np.array([9.0, 1, 5, 3, 7])), [3, 0, 2, 1, 2])
    # One object is of medium size; equal ones share the lowest bin that one of them reaches.
    np.testing.assert_array_equal(sensitivity.assign_bins(np.ones(1)), [2])
    np.testing.assert_array_equal(sensitivity.assign_bins(np.ones(20)), [0] * 20)
    np.testing.assert_array_equal(sensitivity.assign_bins(np.zeros(0)), [])


def test_sensitivity_to_area_by_hand():
    # Ten cats, 1 to 10 pixels wide and 10 high: XS is 1, S is 2 and 3, M is 4 to 7, L is 8 and 9, XL is 10.
    wide = [(100 * k, 0, 100 * k + k - 1, 9) for k in range(1, 11)]
    truth = [annotated("a", *((*box, 1, 0) for box in wide))]
    # Ranked: a hit on an L, a second detection of it, a hit on an S, a hit on the XS.
    rows = [(*wide[8], 0.9, 1), (*wide[8], 0.8, 1), (*wide[2], 0.7, 1), (*wide[0], 0.6, 1)]
    result = analyze([found("a", *rows)], truth, normal_count=10)
    area = result.classes[0].area
    assert [bin.name for bin in area.bins] == ["XS", "S", "M", "L", "XL"]
    assert [(bin.low, bin.high) for bin in area.bins] == [(10, 10), (20, 30), (40, 70), (80, 90), (100, 100)]
    assert [bin.num_objects for bin in area.bins] == [1, 2, 4, 2, 1]
    # The second detection is false in every bin, hits of other bins drop out: P_N = R 10 / (R 10 + 1), where R is 1 of
    # 1 for XS, 1 of 2 for S; the hit on L comes before it, hence P_N = 1. Means over the objects, the missed ones 0.
    np.testing.assert_allclose([bin.ap for bin in area.bins], [10 / 11, 5 / 6 / 2, 0, 1 / 2, 0], rtol=1e-14)
    # Standard deviation of (x, 0) is x / sqrt(2); divided by the root of two objects.
    np.testing.assert_allclose([bin.error for bin in area.bins], [np.nan, 5 / 12, 0, 1 / 2, np.nan], rtol=1e-14)
    # All: precisions 1, 2 / 3, 3 / 4 at the hits, so 1, 3/4, 3/4 beyond.
    assert area.overall == pytest.approx(2.5 / 10, rel=1e-14)


def test_sensitivity_to_aspect_ratio_uses_width_over_height():
    shapes = [(10, 50), (10, 20), (10, 10), (10, 8), (10, 6), (20, 10), (50, 10)]
    boxes = [(200 * k, 0, 200 * k + w - 1, h - 1) for k, (w, h) in enumerate(shapes)]
    truth = [annotated("a", *((*box, 1, 0) for box in boxes[::-1]))]
    aspect = analyze([found("a", (*boxes[0], 0.9, 1))], truth).classes[0].aspect_ratio
    assert [(bin.name, bin.low) for bin in aspect.bins] == [("XT", 0.2), ("T", 0.5), ("M", 1), ("W", 2), ("XW", 5)]
    assert [bin.ap for bin in aspect.bins] == [1, 0, 0, 0, 0]


def test_normalized_precision_does_not_depend_on_how_common_a_class_is():
    # One cat and nine dogs; in both cases half of the detections of a full recall are false.
    places = [100 * k for k in range(10)]
    truth = [annotated("a", *((*square(x), 1 + (k > 0), 0) for k, x in enumerate(places)))]
    rows = [(*square(x), 0.5, 1 + (k > 0)) for k, x in enumerate(places)]
    false = [(*square(5000), 0.9, 1)] * 5 + [(*square(5000), 0.9, 2)] * 5
    result = analyze([found("a", *false, *rows)], truth)
    assert result.normal_count == 5  # ten objects, two classes
    cat, dog = result.classes
    assert cat.ap_area == pytest.approx(1 / 6) and dog.ap_area == pytest.approx(9 / 14)
    assert cat.area.overall == dog.area.overall == pytest.approx(5 / 10)
    assert result.overall.area.overall == pytest.approx(5 / 10)


def test_means_over_classes():
    truth = [annotated("a", (*square(0), 1, 0), (*square(100), 1, 0), (*square(200), 2, 0))]
    result = analyze([found("a", (*square(0), 0.9, 1), (*square(200), 0.8, 2))], truth, names=(*NAMES, "cow"))
    assert [findings.ap_area for findings in result.classes[:2]] == [0.5, 1]
    assert result.overall.ap_area == 0.75  # no cow is annotated: not in the mean
    # Two equal cats: cuts at ranks 0, 1, 1, 2 leave both in S; one dog is M.
    assert [bin.num_objects for bin in result.overall.area.bins] == [0, 2, 1, 0, 0]
    np.testing.assert_array_equal([bin.ap for bin in result.overall.area.bins], [np.nan, 0.5, 1, np.nan, np.nan])


def test_mean_of_bins():
    parts = [
        Sensitivity("area", (Bin("XS", 10, 20, 4, 0.5, 0.3), Bin("S", 30, 40, 2, 0.75, 0.25)), 0.5),
        Sensitivity("area", (Bin("XS", 15, 35, 6, 0.25, 0.4), Bin("S", np.nan, np.nan, 0, np.nan, np.nan)), np.nan),
    ]
    mean = sensitivity.mean_sensitivity(parts)
    # The error of (x + y) / 2 is the root of 0.3^2 + 0.4^2, halved.
    assert mean.bins[0] == ("XS", 10, 35, 10, 0.375, pytest.approx(0.25)) and mean.overall == 0.5
    assert mean.bins[1] == parts[0].bins[1]


def test_best_f1_by_hand():
    # 3 objects; ranked hit, hit, miss, hit, miss: F1 = 2/4, 4/5, 4/6, 6/7, 6/8.
    truth = [annotated("a", *((*square(x), 1, 0) for x in (0, 100, 200)))]
    xs = (0, 100, 900, 200, 950)
    scores = (0.9, 0.75, 0.625, 0.5, 0.25)
    best = analyze([found("a", *((*square(x), s, 1) for x, s in zip(xs, scores, strict=True)))], truth).classes[0].best
    assert best == (0.5, 3 / 4, 1, 6 / 7)
    # With the last two scores equal the threshold takes both: 6/8 loses against 4/5.
    tied = (0.9, 0.75, 0.625, 0.5, 0.5)
    best = analyze([found("a", *((*square(x), s, 1) for x, s in zip(xs, tied, strict=True)))], truth).classes[0].best
    assert best == (0.75, 1, 2 / 3, 4 / 5)


def test_calibration_by_hand():
    truth = [annotated("a", *((*square(x), 1, 0) for x in (0, 100)))]
    # Two of the bin 0.5 to 0.6 (its lower edge belongs to it), one of them right; a right one at 1, in the last bin.
    detections = [found("a", (*square(0), 0.5, 1), (*square(900), 0.59375, 1), (*square(100), 1, 1))]
    result = analyze(detections, truth).classes[0].calibration
    np.testing.assert_allclose(result.edges, np.linspace(0, 1, 11), rtol=1e-15)
    assert result.counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    np.testing.assert_allclose(result.mean_score[[5, 9]], [0.546875, 1], rtol=1e-15)
    np.testing.assert_allclose(result.precision[[5, 9]], [0.5, 1], rtol=1e-15)
    assert np.isnan(np.delete(result.precision, [5, 9])).all()
    assert result.expected_error == pytest.approx(2 / 3 * 0.046875 + 1 / 3 * 0)
    # Scores that are no probabilities.
    odd = analyze([found("a", (*square(0), 3.5, 1))], truth).classes[0].calibration
    assert odd.counts.sum() == 0 and math.isnan(odd.expected_error)


def test_confusion_by_hand():
    truth = [
        annotated("a", (*square(0), 1, 0), (*square(3), 2, 0), (*square(100), 2, 1), (*square(200), 1, 0)),
        annotated("b", (*square(0), 2, 0), (*square(2), 1, 0)),
    ]
    detections = [
        found(
            "a",
            (*square(0), 0.8, 1),  # the cat is taken by the next, which scores better, so it takes the dog (.538)
            (*square(1), 0.9, 2),  # a dog on the cat (IoU .818 against .667)
            (*square(3), 0.7, 2),  # the dog is taken: on nothing
            (*square(100), 0.6, 1),  # on a difficult object, of another class: left out
            (*square(204), 0.55, 1),  # IoU .429: on nothing, and the cat is missed
            (*square(200), 0.1, 1),  # below the threshold
        ),
        found("b", (*square(2), 0.5, 1)),  # at the threshold; on the cat (1 against .667), so the dog is missed
    ]
    result = analyze(detections, truth, confusion_threshold=0.5).confusion
    assert result.threshold == 0.5
    # Rows: background, cat, dog.
    np.testing.assert_array_equal(result.counts, [[0, 1, 1], [1, 1, 1], [1, 1, 0]])


def test_confusion_threshold_is_that_of_the_best_f1_over_all_classes():
    truth = [annotated("a", (*square(0), 1, 0), (*square(100), 2, 0))]
    detections = [found("a", (*square(0), 0.75, 1), (*square(100), 0.5, 2), (*square(900), 0.25, 1))]
    assert analyze(detections, truth).confusion.threshold == 0.5
    result = analyze([], truth).confusion
    assert math.isnan(result.threshold) and result.counts.tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]


@hypothesis.given(cases.cases, hypothesis.strategies.integers(0, 9).map(lambda k: k / 8))
def test_confusion_equals_the_slow_reference(case, threshold):
    detections, truth = case
    flat, objects = gather.gather(detections, truth, class_names=cases.NAMES)
    counts = confusion.confusion(flat, objects, num_classes=len(cases.NAMES), threshold=threshold).counts
    expected = cases.reference_confusion(detections, truth, threshold, len(cases.NAMES))
    np.testing.assert_array_equal(counts, expected)
    assert counts[1:].sum(axis=1).tolist() == [np.sum(~objects.ignored[objects.labels == k]) for k in (1, 2, 3)]


@hypothesis.given(cases.cases)
@hypothesis.settings(max_examples=40)
def test_best_f1_equals_the_slow_reference(case):
    detections, truth = case
    result = analyze(detections, truth, names=cases.NAMES)
    kinds = cases.reference_kinds(detections, truth, {1: set(), 2: set(), 3: set()})
    for label, findings in enumerate(result.classes, start=1):
        expected = cases.reference_best_f1(detections, truth, kinds, label) or (math.nan, math.nan)
        np.testing.assert_array_equal((findings.best.f1, findings.best.threshold), expected)


def test_remedies_by_hand():
    # 3 cats. Ranked: background, misplaced on the second cat, again, on a dog, second detection of the first cat's hit
    # (which comes just before), hit of the first cat.
    truth = [annotated("a", *((*square(x), 1, 0) for x in (0, 100, 200)), (*square(300), 2, 0))]
    rows = [(900, 0.9), (105, 0.8), (104, 0.7), (300, 0.6), (0, 0.5), (1, 0.4)]
    gains = analyze([found("a", *((*square(x), s, 1) for x, s in rows))], truth).classes[0].gains
    before = 1 / 3 * 1 / 5  # one hit of three, fifth of the list
    after = {
        # background, hit (put right), on a dog, hit; the second misplaced one and the second detection are removed.
        "localization": 1 / 3 * 1 / 2 + 1 / 3 * 2 / 4,
        "similar": before,  # there are none
        "other": 1 / 3 * 1 / 4,
        "background": 1 / 3 * 1 / 4,
        "false positives": 1 / 3,
        "missed": 1 * 1 / 5,  # the one cat that is hit
    }
    assert set(gains) == set(REMEDIES)
    for remedy, ap in after.items():
        assert gains[remedy] == pytest.approx(ap - before, abs=1e-15), remedy


def test_a_misplaced_detection_gives_way_to_a_hit_and_cannot_earn_a_difficult_object():
    truth = [annotated("a", (*square(0), 1, 0), (*square(100), 1, 1))]
    rows = [(*square(4), 0.9, 1), (*square(104), 0.8, 1), (*square(0), 0.7, 1)]
    findings = analyze([found("a", *rows)], truth).classes[0]
    assert findings.counts[Kind.LOCALIZATION] == 2
    assert findings.ap_area + findings.gains["localization"] == pytest.approx(1)
    assert findings.ap_area == pytest.approx(1 / 3)


@hypothesis.given(cases.cases)
@hypothesis.settings(max_examples=40)
def test_remedies_never_hurt_and_end_at_the_recall(case):
    detections, truth = case
    result = analysis.analyze(detections, truth, class_names=cases.NAMES, groups=cases.GROUPS)
    for findings in result.classes:
        if findings.num_objects == 0:
            assert all(math.isnan(gain) for gain in findings.gains.values())
            continue
        recall = findings.counts[Kind.CORRECT] / findings.num_objects
        assert findings.ap_area + findings.gains["false positives"] == pytest.approx(recall, abs=1e-12)
        assert math.isnan(findings.gains["missed"]) == (recall == 0)
        assert all(gain >= -1e-12 for gain in findings.gains.values() if not math.isnan(gain))
        for kind in (Kind.SIMILAR, Kind.OTHER, Kind.BACKGROUND):
            assert findings.counts[kind] or findings.gains[kind.name.lower()] == 0
        assert findings.trend.recall_strong[-1] <= recall
        assert (findings.trend.recall_weak >= findings.trend.recall_strong).all()
