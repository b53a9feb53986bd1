"""COCO figures: the API's own published example, and the road from our types to it."""

import json
import sys

import numpy as np
import pytest

from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, coco_files
from ssd_jax.types import ImageDetections, ImageGroundTruth

NAMES = ("background", "cat", "dog")
# Printed by cocoapi's pycocoEvalDemo for its fake box results on 100 images of val2014.
PUBLISHED = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)


@pytest.fixture
def oracle(shared):
    pytest.importorskip("pycocotools")
    folder = shared / "oracles" / "coco-fakebbox100"
    return folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"


@pytest.fixture(params=["pycocotools", "fast"])
def engine(request):
    """Each engine that is installed."""
    pytest.importorskip("hotcoco" if request.param == "fast" else request.param)
    return request.param


def test_published_figures(oracle, engine, capfd):
    result = coco.evaluate_json(*oracle, engine=engine)
    assert tuple(round(figure, 3) for figure in result[:12]) == PUBLISHED
    assert capfd.readouterr() == ("", "")
    assert np.nanmean(result.class_ap) == pytest.approx(result.ap)
    assert np.nanmean(result.class_ap50) == pytest.approx(result.ap50)
    assert len(result.class_names) == 80 and result.num_images == 100
    library = {"pycocotools": "pycocotools 2.", "fast": "hotcoco 1."}[engine]
    assert result.engine.startswith(library) and coco.as_dict(result)["engine"] == result.engine
    assert "0.5046" in coco.as_table(result) and f"computed by {library}" in coco.as_table(result)
    read = json.loads(json.dumps(coco.as_dict(result), allow_nan=False))
    assert round(read["ap50"], 3) == 0.697 and read["classes"]["hair drier"]["ap"] is None


def test_in_memory_equals_file(oracle):
    """The same oracle through our own types: xyxy pixels, labels from 1, crowds as ignored, mask areas given."""
    annotations, results = (json.loads(path.read_text()) for path in oracle)
    label_of = {category["id"]: k + 1 for k, category in enumerate(annotations["categories"])}
    names = ("background", *(category["name"] for category in annotations["categories"]))
    truth, detections = [], []
    for image in annotations["images"]:
        mine = [row for row in annotations["annotations"] if row["image_id"] == image["id"]]
        found = [row for row in results if row["image_id"] == image["id"]]
        labels = [np.array([label_of[row["category_id"]] for row in rows], int) for rows in (mine, found)]
        crowd = np.array([row["iscrowd"] for row in mine], bool)
        areas = np.array([row["area"] for row in mine])
        truth.append(ImageGroundTruth(str(image["id"]), _corners(mine), labels[0], crowd, areas))
        scores = np.array([row["score"] for row in found])
        detections.append(ImageDetections(str(image["id"]), _corners(found), scores, labels[1]))
    result = coco.evaluate(detections, truth, class_names=names)
    assert tuple(round(figure, 3) for figure in result[:12]) == PUBLISHED
    # Box areas instead of mask areas move objects between small, medium and large, and nothing else.
    by_box = coco.evaluate(detections, [entry._replace(areas=None) for entry in truth], class_names=names)
    assert by_box.ap == result.ap and by_box.ap_small != result.ap_small


def _corners(rows):
    boxes = np.array([row["bbox"] for row in rows], float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def annotated(name, *boxes, ignored=()):
    count = len(boxes)
    flags = np.array(ignored or [False] * count, bool)
    return ImageGroundTruth(name, np.array(boxes, float).reshape(-1, 4), np.ones(count, int), flags)


def found(name, *boxes, scores):
    return ImageDetections(name, np.array(boxes, float).reshape(-1, 4), np.array(scores), np.ones(len(boxes), int))


def test_hand_computed():
    pytest.importorskip("pycocotools")
    # 100 x 100 against 100 x 72: IoU 0.72, a hit at 0.50 to 0.70 (5 of 10 thresholds), no hit at 0.75.
    truth = [annotated("a", (0, 0, 100, 100)), annotated("b")]
    result = coco.evaluate([found("a", (0, 0, 100, 72), scores=[0.9])], truth, class_names=NAMES)
    assert (result.ap, result.ap50, result.ap75, result.ar1) == (pytest.approx(0.5), pytest.approx(1), 0, 0.5)
    assert result.ap_large == pytest.approx(0.5) and np.isnan(result.ap_small)
    assert np.isnan(result.class_ap[1])  # no dogs


def test_crowd_swallows_detections():
    pytest.importorskip("pycocotools")
    truth = [annotated("a", (0, 0, 40, 40), (100, 0, 200, 100), ignored=[False, True])]
    inside = found("a", (110, 10, 130, 30), (150, 50, 180, 80), (0, 0, 40, 40), scores=[0.9, 0.8, 0.7])
    outside = found("a", (310, 10, 330, 30), (0, 0, 40, 40), scores=[0.9, 0.7])
    assert coco.evaluate([inside], truth, class_names=NAMES).ap == pytest.approx(1)
    assert coco.evaluate([outside], truth, class_names=NAMES).ap == pytest.approx(0.5)


def test_no_detections_is_zero():
    pytest.importorskip("pycocotools")
    result = coco.evaluate([], [annotated("a", (0, 0, 40, 40))], class_names=NAMES)
    assert result.ap == 0 and result.ar100 == 0 and result.num_detections.tolist() == [0, 0]


def test_areas_must_fit():
    truth = annotated("a", (0, 0, 40, 40))._replace(areas=np.zeros(2))
    with pytest.raises(ValueError, match="areas of image 'a'"):
        coco.evaluate([], [truth], class_names=NAMES)


def test_areas_decide_what_is_small():
    pytest.importorskip("pycocotools")
    truth = [annotated("a", (0, 0, 40, 40))._replace(areas=np.array([900.0])), annotated("b", (0, 0, 40, 40))]
    detections = [found("a", (0, 0, 40, 40), scores=[0.9])]
    result = coco.evaluate(detections, truth, class_names=NAMES)
    assert result.ap_small == pytest.approx(1) and result.ap_medium == 0  # 900 < 32^2 <= 1600, the box of b


def test_an_annotation_may_have_id_zero_and_lack_its_area(tmp_path):
    pytest.importorskip("pycocotools")
    path = tmp_path / "a.json"
    truth = {"id": 0, "image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9]}
    path.write_text(json.dumps({"images": [{"id": 0}], "annotations": [truth], "categories": [{"id": 0, "name": "x"}]}))
    row = {"image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9], "score": 1}
    assert coco.evaluate_json(path, [row]).ap == pytest.approx(1)
    assert coco.evaluate_dataset(json.loads(path.read_text()), [row]).ap_small == pytest.approx(1)
    with pytest.raises(InputError, match="at least one object"):
        coco.evaluate_dataset({"images": [], "annotations": [], "categories": []}, [])


def test_results_carry_coco_numbers():
    image_ids, category_ids = {"a": 7, "b": 8}, (None, 1, None, 90)
    one = ImageDetections("a", np.array([[1, 2, 4, 6], [0, 0, 5, 5]]), np.array([0.5, 0.25]), np.array([3, 2]))
    assert coco_files.as_results([one], image_ids, category_ids) == [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.5}
    ]
    with pytest.raises(InputError, match="at most once .* got 'a'"):
        coco_files.as_results([one, one], image_ids, category_ids)
    with pytest.raises(InputError, match="got 'c'"):
        coco_files.as_results([one._replace(id="c")], image_ids, category_ids)
    with pytest.raises(InputError, match="labels 1 to 3, got 4"):
        coco_files.as_results([one._replace(labels=np.array([3, 4]))], image_ids, category_ids)
    with pytest.raises(InputError, match="finite"):
        coco_files.as_results([one._replace(scores=np.array([np.nan, 1]))], image_ids, category_ids)


def test_says_when_pycocotools_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(InputError, match="pip install pycocotools"):
        coco.evaluate([], [annotated("a", (0, 0, 40, 40))], class_names=NAMES)


def test_refuses_bad_files(tmp_path):
    bad = tmp_path / "bad.json"
    with pytest.raises(InputError, match="bad.json.*readable"):
        coco.evaluate_json(bad, [])
    bad.write_text("{")
    with pytest.raises(InputError, match="bad.json.*JSON"):
        coco.evaluate_json(bad, [])
    bad.write_text("[]")
    with pytest.raises(InputError, match="bad.json.*annotations"):
        coco.evaluate_json(bad, [])
    dataset = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 3, "name": "x"}]}
    bad.write_text(json.dumps(dataset))
    with pytest.raises(InputError, match="bad.json.*at least one object.*0 crowds"):
        coco.evaluate_json(bad, [])
    truth = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    bad.write_text(json.dumps({**dataset, "annotations": [truth]}))
    row = {"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 1}
    with pytest.raises(InputError, match="image_id 2"):
        coco.evaluate_json(bad, [{**row, "image_id": 2}])
    with pytest.raises(InputError, match="category_id 4"):
        coco.evaluate_json(bad, [{**row, "category_id": 4}])
    with pytest.raises(InputError, match="lacks 'score'"):
        coco.evaluate_json(bad, [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}])
    with pytest.raises(InputError, match="list of COCO results"):
        coco.evaluate_json(bad, {"annotations": []})
