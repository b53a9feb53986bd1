"""The analysis as a whole: a real detector, properties, classes without anything, groups, text, JSON, mistakes."""

import json
import math
import time

import analysis_cases as cases
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import test_evaluation_voc as metric

from ssd_jax import analysis
from ssd_jax.analysis import groups as grouping
from ssd_jax.analysis.types import FALSE, KEPT, Kind
from ssd_jax.errors import InputError
from ssd_jax.types import ImageDetections

voc2007 = metric.voc2007  # the fixture, for this module too
annotated, found = metric.annotated, metric.found


def plain(result):
    return json.dumps(analysis.as_dict(result), allow_nan=False)


def test_real_detector_on_voc2007_test(voc2007):
    names, truth, detections, expected = voc2007
    started = time.monotonic()
    result = analysis.analyze(detections, truth, class_names=names)
    assert time.monotonic() - started < 10  # 0.7 s on one core
    assert tuple(result.groups) == ("animal", "vehicle", "furniture", "animal or person", "aeroplane or bird")
    for findings in result.classes:
        stated = expected[findings.name]
        # 1e-6 as the oracle asks, see test_evaluation_voc.py.
        assert findings.ap_11point == pytest.approx(stated["ap_11point"], abs=1e-6), findings.name
        assert findings.ap_area == pytest.approx(stated["ap_area"], abs=1e-6), findings.name
        assert findings.num_objects == stated["npos"]
        assert findings.num_detections == stated["detections"] == sum(findings.counts.values())
        assert (
            sum(findings.counts[kind] for kind in KEPT)
            == len(findings.curve.scores)
            == findings.calibration.counts.sum()
        )
        assert sum(bin.num_objects for bin in findings.area.bins) == findings.num_objects
        assert min(findings.gains.values()) >= 0
        low = [bin.ap for bin in findings.area.bins][0]
        assert low < findings.area.overall, "every class of this detector is worst on its smallest objects"
    assert result.overall.ap_11point == pytest.approx(0.7213806, abs=1e-6)
    assert sum(result.overall.counts.values()) == 101_139 == len(result.typed.kind)
    assert len(result.missed) == result.overall.num_objects - result.overall.counts[Kind.CORRECT]
    # Bottles, plants and screens are in no group.
    assert [f.name for f in result.classes if f.counts[Kind.SIMILAR] == 0] == ["bottle", "pottedplant", "tvmonitor"]
    whole = [*result.classes, *result.group_findings, result.overall]
    for findings in whole:
        sums = findings.trend.fractions.sum(axis=1)
        np.testing.assert_allclose(sums[~np.isnan(sums)], 1, rtol=1e-12)
        np.testing.assert_allclose(findings.false_positives.fractions.sum(axis=1), 1, rtol=1e-12)
        assert findings.false_positives.fractions.shape == (len(findings.false_positives.counts), len(FALSE))
    assert result.overall.false_positives.counts.tolist() == [25, 50, 100, 200, 400, 800, 1600, 3200]
    np.testing.assert_array_equal(result.confusion.counts[1:].sum(axis=1), [f.num_objects for f in result.classes])
    assert len(plain(result)) < 500_000


@hypothesis.given(cases.cases, st.randoms(use_true_random=False))
@hypothesis.settings(max_examples=20)
def test_order_of_images_does_not_matter(case, random):
    detections, truth = case
    # Distinct scores: order decides among equal ones.
    count = iter(range(1, 1000))
    detections = [d._replace(scores=np.array([next(count) * 0.377 % 1 for _ in d.scores])) for d in detections]
    shuffled_detections, shuffled_truth = list(detections), list(truth)
    random.shuffle(shuffled_detections)
    random.shuffle(shuffled_truth)
    one = analysis.analyze(detections, truth, class_names=cases.NAMES, groups=cases.GROUPS)
    two = analysis.analyze(shuffled_detections, shuffled_truth, class_names=cases.NAMES, groups=cases.GROUPS)
    assert plain(one) == plain(two)


@hypothesis.given(cases.cases)
@hypothesis.settings(max_examples=40)
def test_ground_truth_as_detections_is_all_correct(case):
    _, truth = case
    # Of two equal boxes of one class only the first can be hit, so each box is kept once.
    unique = [np.unique(np.column_stack([t.boxes, t.labels]), axis=0, return_index=True)[1] for t in truth]
    truth = [
        t._replace(boxes=t.boxes[k], labels=t.labels[k], ignored=t.ignored[k])
        for t, k in zip(truth, unique, strict=True)
    ]
    hypothesis.assume(any((~t.ignored).any() for t in truth))
    detections = [ImageDetections(t.id, t.boxes, np.full(len(t.labels), 0.5), t.labels) for t in truth]
    result = analysis.analyze(detections, truth, class_names=cases.NAMES, groups=cases.GROUPS)
    assert result.overall.counts[Kind.CORRECT] == result.overall.num_objects
    assert result.overall.counts[Kind.IGNORED] == result.overall.num_difficult
    assert len(result.missed) == 0
    for findings in (*result.classes, *result.group_findings, result.overall):
        if findings.num_objects:
            assert findings.ap_area == findings.ap_11point == pytest.approx(1)
            assert list(findings.gains.values()) == pytest.approx([0] * 6, abs=1e-12)
            assert findings.area.overall == findings.aspect_ratio.overall == 1
    assert all(findings.best.f1 == 1 for findings in result.classes if findings.num_objects)


def test_classes_without_objects_or_detections():
    names = ("background", "cat", "dog", "cow", "hen")
    box, far = (10, 10, 29, 29), (50, 50, 69, 69)
    # A cat that is found; a dog that nothing looks for; a difficult cow that is found; detections of hens, but no hen.
    truth = [annotated("a", (*box, 1, 0), (*far, 2, 0), (*far, 3, 1)), annotated("empty")]
    detections = [found("a", (*box, 0.9, 1), (*far, 0.8, 3), (*far, 0.7, 4), (900, 0, 950, 9, 0.6, 4))]
    result = analysis.analyze(detections, truth, class_names=names)
    assert result.groups == {}
    cat, dog, cow, hen = result.classes
    assert (cat.ap_area, dog.ap_area) == (1, 0) and math.isnan(cow.ap_area) and math.isnan(hen.ap_area)
    assert cow.counts[Kind.IGNORED] == 1 and hen.counts[Kind.OTHER] == hen.counts[Kind.BACKGROUND] == 1
    assert dog.best.threshold != dog.best.threshold and hen.best.f1 != hen.best.f1
    assert np.isnan(hen.curve.recall).all() and hen.curve.precision.tolist() == [0, 0]
    assert (dog.trend.recall_strong == 0).all() and np.isnan(hen.trend.recall_strong).all()
    assert result.overall.ap_area == 0.5
    assert result.overall.gains["missed"] == 0  # of the cat; undefined for the dog, since no dog is left
    assert analysis.as_table(result).count("\n") > 12
    read = json.loads(plain(result))
    assert read["classes"][3]["ap_area"] is None and read["classes"][3]["curve"]["precision"][0] is None
    nothing = analysis.analyze([], truth, class_names=names)
    assert (nothing.overall.ap_area, nothing.overall.num_detections, len(nothing.typed.kind)) == (0, 0, 0)
    assert nothing.missed.tolist() == [0, 1] and plain(nothing) and analysis.as_table(nothing)


def test_reversed_objects_have_a_shape():
    truth = [annotated("a", (10, 10, 5, 9, 1, 0), (0, 0, 9, 9, 1, 0))]
    aspect = analysis.analyze([], truth, class_names=("background", "cat")).classes[0].aspect_ratio
    assert [bin.low for bin in aspect.bins if bin.num_objects] == [1]


def test_dictionary_and_table():
    result = analysis.analyze(*cases.by_hand(), class_names=cases.NAMES, groups=cases.GROUPS)
    read = json.loads(plain(result))
    assert read["class_names"] == list(cases.NAMES) and read["groups"] == {"animal": [1, 2]}
    assert read["num_missed"] == len(cases.MISSED) and read["num_images"] == 5
    cat = read["classes"][0]
    assert cat["counts"]["localization"] == result.classes[0].counts[Kind.LOCALIZATION]
    assert cat["area"]["bins"][0]["name"] == "XS" and set(cat["gains"]) == set(result.classes[0].gains)
    assert read["kept_kinds"] == ["correct", "localization", "similar", "other", "background"]
    # Three of five cats are hit: no precision beyond a recall of 0.6.
    assert len(cat["curve"]["recall"]) == 101
    assert cat["curve"]["precision"][60] > 0 and set(cat["curve"]["precision"][61:]) == {0}
    lines = analysis.as_table(result).splitlines()
    assert lines[0].split()[:5] == ["class", "objects", "missed", "correct", "localization"]
    assert lines[2].split()[:4] == ["cat", "5", "2", "3"]
    assert [line.split()[0] for line in lines if line.startswith(("animal", "all"))] == ["animal", "all"] * 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cat", "dog", "chair"), {"animal": ("cat", "dog")}),
        (("aeroplane", "bottle", "bird"), {"aeroplane or bird": ("aeroplane", "bird")}),
        (("person", "horse"), {"animal or person": ("person", "horse")}),
        (("airplane", "bus", "tie"), {"vehicle": ("airplane", "bus")}),
        (("red cell", "white cell"), {}),
        (("cat", "dog", "platypus"), {}),
    ],
)
def test_default_groups(names, expected):
    assert analysis.default_groups(("background", *names)) == expected


def test_default_groups_name_every_class_of_voc_and_coco(shared):
    file = shared / "oracles" / "coco-fakebbox100" / "instances_val2014_100.json"
    official = {}
    for category in json.loads(file.read_text())["categories"]:
        official.setdefault(category["supercategory"], set()).add(category["name"])
    assert {name: set(members) for name, members in grouping.COCO.items()} == official
    names = sorted(set().union(*official.values()))
    assert len(names) == 80 and set(analysis.default_groups(("background", *names))) == set(official) - {"person"}
    in_voc = set(grouping.VOC_ALONE).union(*grouping.VOC.values())
    assert len(in_voc) == 20


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"animal": ("cat", "lion")}, "group 'animal': expected classes of the data.*got 'lion'"),
        ({"animal": ("cat", "background")}, "got 'background'"),
        ({"animal": ("cat", "cat")}, "group 'animal'.*each once"),
        ({"animal": ()}, "group 'animal'.*at least one class"),
    ],
)
def test_refuses_groups(groups, says):
    with pytest.raises(InputError, match=says):
        analysis.analyze(*cases.by_hand(), class_names=cases.NAMES, groups=groups)


def test_misuse_names_the_argument():
    detections, truth = cases.by_hand()
    with pytest.raises(ValueError, match="confusion_threshold"):
        analysis.analyze(detections, truth, class_names=cases.NAMES, confusion_threshold=math.nan)
    for count in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="normal_count"):
            analysis.analyze(detections, truth, class_names=cases.NAMES, normal_count=count)
    with pytest.raises(ValueError, match="class_names"):
        analysis.analyze(detections, truth, class_names=("cat", "dog", "car"))
    with pytest.raises(InputError, match="at least one object"):
        analysis.analyze([], [], class_names=cases.NAMES)
