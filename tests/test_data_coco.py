"""COCO's JSON: which files a split means, what they say, and figures that equal the official ones."""

import json
import pickle

import numpy as np
import pytest
from coco_folder import CATEGORIES, annotation, image, make, save_images, write

from ssd_jax import data
from ssd_jax.commands import scoring
from ssd_jax.data import sources
from ssd_jax.data.formats import coco as reader
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, coco_files, voc
from ssd_jax.types import ImageDetections

pytest.importorskip("pycocotools")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(sources.READERS, "coco", reader.read)


def read(root, split="val2017", **options):
    return data.make_source(kind="coco", root=str(root), split=split, **options)


def ids(source):
    return [source[index].id for index in range(len(source))]


def as_detections(truth):
    """The annotation, handed in as if a detector had found it; crowds are nothing to be found."""
    found = ~truth.ignored
    boxes, labels = truth.boxes[found].astype(np.float32), truth.labels[found]
    return ImageDetections(truth.id, boxes, np.ones(len(labels), np.float32), labels)


def official(source, detections):
    results = coco_files.as_results(detections, source.image_ids, source.category_ids)
    return coco.evaluate_dataset(source.coco_dataset(), results)


def refuse(root, split="val2017", **options):
    with pytest.raises(InputError) as caught:
        read(root, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_file_says(tmp_path):
    entries = annotation(2), annotation(1, (0.5, 1, 2, 3), 3), annotation(2, (0, 0, 100, 80), 1, iscrowd=1, area=50)
    source = read(make(tmp_path, *entries, numbers=(2, 1)))
    # In the order of "images"; classes in the order of the category ids 1, 3.
    assert ids(source) == ["000000000002", "000000000001"] and source.class_names == ("background", "cat", "dog")
    assert source.category_ids == (None, 1, 3) and source.image_ids == {"000000000002": 2, "000000000001": 1}
    first, second = data.ground_truth(source)
    assert first.boxes.tolist() == [[10, 20, 50, 60], [0, 0, 100, 80]] and first.areas.tolist() == [800, 50]
    assert first.ignored.tolist() == [False, True] and source[0].crowd.tolist() == [False, True]
    assert not source[0].difficult.any()
    assert second.boxes.tolist() == [[0.5, 1, 2.5, 4]] and second.labels.tolist() == [2]
    np.testing.assert_array_equal(source[0].boxes[0], np.float32([0.1, 0.25, 0.5, 0.75]))
    assert not source.problems and source.annotated and source.max_boxes == 2
    assert "segmentation" not in json.dumps(source.coco_dataset())


@pytest.mark.parametrize("crowd", ["drop", "ignore"])
def test_crowds_are_dropped_or_ignored(tmp_path, crowd):
    source = read(make(tmp_path, annotation(1), annotation(1, (0, 0, 100, 80), 3, iscrowd=1), numbers=(1,)))
    batch = next(data.make_loader(source, batch_size=1, seed=0, canvas=(80, 100), crowd=crowd, num_threads=1))
    kept = [1] if crowd == "drop" else [1, 2]
    assert batch.labels[0][: len(kept)].tolist() == kept and (batch.labels[0] > 0).sum() == len(kept)
    assert batch.ignored[0].sum() == (crowd == "ignore")


@pytest.mark.parametrize(
    ("entry", "kind", "named"),
    [
        (annotation(1, (5, 5, 0, 9)), "zero_size", "000000000001"),
        (annotation(1, (90, 70, 20, 20)), "clipped", "000000000001"),
        (annotation(1, (10, 20, -5, 9)), "reversed", "000000000001"),
        (annotation(1, (200, 20, 5, 9)), "outside", "000000000001"),
        (annotation(1, (float("nan"), 20, 5, 9)), "not_finite", "000000000001"),
        (annotation(1, (1, 2, 3)), "no_box", "000000000001"),
        (annotation(1, (1, 2, 3, "4")), "no_box", "000000000001"),
        (annotation(1, None), "no_box", "000000000001"),
        (annotation(1, category=2), "no_box", "000000000001"),
        (annotation(1, category=None), "no_box", "000000000001"),
        (annotation(77), "bad_line", "val2017 annotations[1]"),
        (annotation([1]), "bad_line", "val2017 annotations[1]"),
        ("text", "bad_line", "val2017 annotations[1]"),
    ],
)
def test_dirty_annotations_are_counted_and_named(tmp_path, entry, kind, named):
    source = read(make(tmp_path, annotation(1), entry))
    assert source.problems.named == {kind: [named]} and len(source) == 2
    assert data.ground_truth(source)[0].boxes[0].tolist() == [10, 20, 50, 60]
    assert official(source, [as_detections(truth) for truth in data.ground_truth(source)]).num_images == 2
    assert all(np.isfinite(stated["bbox"]).all() for stated in source.coco_dataset()["annotations"])


def test_dirty_images_are_counted_and_named(tmp_path):
    entries = [
        image(1, "a.jpg"),
        image(1, "b.jpg"),
        image("7", "c.jpg"),
        {"id": 8},
        "text",
        image(9, "gone.jpg"),
        image(10, "a.jpg"),
        image(11, "a.png"),
        image(12, "d.jpg", None),
    ]
    write(tmp_path / "annotations/instances_val2017.json", entries, [annotation(1), annotation(9), annotation(10)])
    save_images(tmp_path / "val2017", "a.jpg", "b.jpg", "c.jpg", "a.png", "d.jpg")
    source = read(tmp_path)
    assert source.problems.named == {
        "missing_image": ["gone"],
        "duplicate": ["b.jpg", "a.jpg"],
        "no_size": ["d"],
        "bad_line": ["val2017 images[2]", "val2017 images[3]", "val2017 images[4]"],
    }
    # Two files of one stem keep their extensions.
    assert ids(source) == ["a.jpg", "a.png", "d"] and source[2].size == (80, 100)
    assert source.image_ids == {"a.jpg": 1, "gone": 9, "a.png": 11, "d": 12}


def test_file_names_with_a_path(tmp_path):
    """As a few tools write them: from Windows, absolute, or relative to the annotation file's folder."""
    names = ["sub\\a.jpg", str(tmp_path / "far/b.jpg"), "../val2017/c.jpg"]
    entries = [image(number, name) for number, name in enumerate(names)]
    write(tmp_path / "annotations/instances_val2017.json", entries, [annotation(0)])
    save_images(tmp_path, "val2017/sub/a.jpg", "far/b.jpg", "val2017/c.jpg")
    source = read(tmp_path)
    assert ids(source) == ["sub/a", "far/b", "val2017/c"] and not source.problems


@pytest.mark.parametrize("folder", ["val2017", "images/val2017", "annotations", "images", ".", "elsewhere/deep"])
def test_images_are_found_by_convention_or_as_told(tmp_path, folder):
    write(tmp_path / "annotations/instances_val2017.json", [image(1), image(2, "sub/x.jpg")], [annotation(1)])
    save_images(tmp_path / folder, "000000000001.jpg", "sub/x.jpg")
    if folder != "elsewhere/deep":
        source = read(tmp_path)
    else:
        message = refuse(tmp_path)
        assert "none of its 2 images, such as 000000000001.jpg, is in" in message and "images=FOLDER" in message
        assert str(tmp_path / "images/val2017") in message
        assert len(read(tmp_path, images=str(tmp_path / folder))) == 2  # absolute
        source = read(tmp_path, images=folder)
        assert str(tmp_path / "wrong") in refuse(tmp_path, images="wrong")
    assert ids(source) == ["000000000001", "sub/x"] and not source.problems
    assert data.decode_image(source[1].image).shape == (80, 100, 3)


def make_2014(root):
    """train2014 and the two parts of val2014 as their official files name things."""
    for name, folder, numbers in (
        ("train2014", "train2014", (9, 25)),
        ("valminusminival2014", "val2014", (42,)),
        ("minival2014", "val2014", (139,)),
    ):
        entries = [image(number, f"COCO_{folder}_{number:012d}.jpg") for number in numbers]
        path = root / f"annotations/instances_{name}.json"
        write(path, entries, [annotation(number) for number in numbers])
        save_images(root / folder, *(entry["file_name"] for entry in entries))
    return root


def test_the_splits_of_2014(tmp_path):
    make_2014(tmp_path)
    expected = ["COCO_train2014_000000000009", "COCO_train2014_000000000025", "COCO_val2014_000000000042"]
    for split in ("trainval35k", "train2014+valminusminival2014", " train2014 + valminusminival2014"):
        source = read(tmp_path, split)
        assert ids(source) == expected and not source.problems
        assert source.image_ids == dict(zip(expected, (9, 25, 42), strict=True))
    assert ids(read(tmp_path, "minival")) == ids(read(tmp_path, "minival2014")) == ["COCO_val2014_000000000139"]
    assert {source[index].image.parent.name for index in range(3)} == {"train2014", "val2014"}


def test_one_file_over_both_folders_of_2014(tmp_path):
    make_2014(tmp_path)
    entries = [image(9, "COCO_train2014_000000000009.jpg"), image(42, "COCO_val2014_000000000042.jpg")]
    write(tmp_path / "annotations/instances_mine.json", entries, [annotation(42)])
    assert len(read(tmp_path, "mine")) == 2


def test_the_same_image_in_two_parts_counts_once(tmp_path):
    make_2014(tmp_path)
    write(
        tmp_path / "annotations/instances_val2014.json", [image(42, "COCO_val2014_000000000042.jpg")], [annotation(42)]
    )
    source = read(tmp_path, "valminusminival2014+val2014")
    assert ids(source) == ["COCO_val2014_000000000042"] and source.problems.counts == {"duplicate": 1}
    assert len(source.coco_dataset()["annotations"]) == 1


@pytest.mark.parametrize(
    ("split", "twin"), [("trainval35k", "train2017"), ("minival", "val2017"), ("minival2014", "val2017")]
)
def test_2017_is_suggested_and_never_taken_silently(tmp_path, split, twin):
    make(tmp_path, annotation(1), name=twin)
    message = refuse(tmp_path, split)
    assert f"{twin} holds the same images as {split}" in message
    (tmp_path / f"annotations/instances_{twin}.json").rename(tmp_path / "annotations/instances_other.json")
    assert "holds the same" not in refuse(tmp_path, split)


def test_test_dev_has_images_only(tmp_path):
    write(tmp_path / "annotations/image_info_test-dev2017.json", [image(1), image(16)])
    save_images(tmp_path / "test2017", "000000000001.jpg", "000000000016.jpg", "000000000017.jpg")
    source = read(tmp_path, "test-dev2017")
    assert len(source) == 2 and not source.annotated and source.max_boxes == 0 and source.coco_dataset() is None
    found = ImageDetections("000000000016", np.float32([[1, 2, 4, 6]]), np.float32([0.5]), np.array([2]))
    assert coco_files.as_results([found], source.image_ids, source.category_ids) == [
        {"image_id": 16, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}
    ]
    make(tmp_path, annotation(1))
    assert "all have annotations" in refuse(tmp_path, "val2017+test-dev2017")


def test_exports_of_roboflow(tmp_path):
    """Ids from 0, images beside the JSON, a supercategory as category 0, and the same numbers in each part."""
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}, *CATEGORIES]
    for part in ("train", "valid"):
        path = tmp_path / part / "_annotations.coco.json"
        write(path, [image(0, "a_jpg.rf.1.jpg")], [annotation(0, id=0)], categories)
        save_images(path.parent, "a_jpg.rf.1.jpg")
    source = read(tmp_path, "train/_annotations.coco.json")
    assert ids(source) == ["a_jpg.rf.1"] and source.image_ids == {"a_jpg.rf.1": 0}
    assert source.class_names == ("background", "pets", "cat", "dog") and source.category_ids == (None, 0, 1, 3)
    detections = [as_detections(truth) for truth in data.ground_truth(source)]
    assert official(source, detections).ap == pytest.approx(1)  # the API alone gives 0: it takes id 0 for "unmatched"
    both = read(tmp_path, "train/_annotations.coco.json+valid/_annotations.coco.json")
    assert ids(both) == ["train/_annotations.coco/a_jpg.rf.1", "valid/_annotations.coco/a_jpg.rf.1"]
    assert list(both.image_ids.values()) == [1, 2] and not both.problems
    assert official(both, [as_detections(truth) for truth in data.ground_truth(both)]).ap == pytest.approx(1)


def test_an_unused_category_may_share_its_name(tmp_path):
    path = tmp_path / "train/_annotations.coco.json"
    write(path, [image(0)], [annotation(0)], [{"id": 0, "name": "cat"}, {"id": 1, "name": "cat"}])
    save_images(path.parent, "000000000000.jpg")
    source = read(tmp_path, "train/_annotations.coco.json")
    assert source.class_names == ("background", "cat") and source.category_ids == (None, 1)


def test_exports_of_cvat(tmp_path):
    write(tmp_path / "annotations/instances_default.json", [image(1, "a.png")], [annotation(1)])
    save_images(tmp_path / "images/default", "a.png")
    for split in ("default", "annotations/instances_default.json"):
        assert ids(read(tmp_path, split)) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "lacks images, annotations, categories"),
        ('{"images": [], "categories": []}', "lacks annotations"),
        ('{"images": {}, "annotations": [], "categories": []}', "lacks images"),
        ('{"images": [], "annotations": [], "categories": []}', "none is listed"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "integer id and a name"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "distinct category ids",
        ),
        (
            '{"images": [], "annotations": [{"category_id": 1}, {"category_id": 2}],'
            ' "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            "distinct category names, got 'a' with the ids 1 and 2",
        ),
    ],
)
def test_files_that_are_not_cocos_are_refused(tmp_path, content, message):
    path = tmp_path / "annotations/instances_val2017.json"
    path.parent.mkdir()
    path.write_text(content)
    assert message in refuse(tmp_path)


def test_wrong_paths_are_refused(tmp_path):
    make(tmp_path, annotation(1))
    assert "not a folder" in refuse(tmp_path / "nowhere")
    assert "(there is: val2017)" in refuse(tmp_path, "train2017")
    assert "no file" in refuse(tmp_path, "train/x.json") and "joined by '+'" in refuse(tmp_path, "val2017+")
    assert "coco_annotations_minival.tgz" in refuse(tmp_path, "valminusminival2014")
    (tmp_path / "annotations/instances_val2017.json").rename(tmp_path / "labels.json")
    assert "(there is: labels.json)" in refuse(tmp_path)


def test_parts_must_agree_on_categories(tmp_path):
    make(tmp_path, annotation(1))
    write(tmp_path / "annotations/instances_other.json", [image(5)], [], [{"id": 1, "name": "dog"}])
    save_images(tmp_path / "other", "000000000005.jpg")
    assert "'dog' with id 1 differs" in refuse(tmp_path, "val2017+other")


def test_classes_of_several_parts_are_ordered_by_id(tmp_path):
    make(tmp_path, annotation(1))
    write(tmp_path / "annotations/instances_other.json", [image(5)], [], [{"id": 2, "name": "yak"}])
    save_images(tmp_path / "other", "000000000005.jpg")
    assert read(tmp_path, "val2017+other").class_names == ("background", "cat", "yak", "dog")


def figures(result):
    return np.nan_to_num(np.array(result[:12]), nan=-1)


def noisy(truth, seed):
    """Detections near the objects, some with another class, and some nowhere."""
    random = np.random.default_rng(seed)
    boxes = np.concatenate([truth.boxes + random.normal(0, 3, truth.boxes.shape), [[1, 1, 30, 40]]])
    labels = np.append(truth.labels, 1)
    return ImageDetections(truth.id, boxes.astype(np.float32), random.random(len(boxes)), labels)


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_ground_truth_scores_one(shared, split):
    source = read(shared / "data/coco2017-mini", split)
    assert len(source) == 60 and len(source.class_names) == 81 and not source.problems
    assert source.category_ids[-1] == 90 and source.class_names[1] == "person"
    truth = data.ground_truth(source)
    assert sum(entry.ignored.sum() for entry in truth) == 8  # crowds in either file
    detections = [as_detections(entry) for entry in truth]
    assert coco.evaluate(detections, truth, class_names=source.class_names).ap == pytest.approx(1, abs=1e-12)
    assert official(source, detections).ap == pytest.approx(1, abs=1e-12)
    result = voc.evaluate(detections, truth, class_names=source.class_names)
    assert result.map_11point == result.map_area == 1


def test_in_memory_equals_official_on_clean_data(shared):
    root = shared / "data/coco2017-mini"
    source = read(root, "val2017")
    truth = data.ground_truth(source)
    detections = [noisy(entry, seed) for seed, entry in enumerate(truth)]
    results = coco_files.as_results(detections, source.image_ids, source.category_ids)
    by_file = coco.evaluate_json(root / "annotations/instances_val2017.json", results)
    in_memory = coco.evaluate(detections, truth, class_names=source.class_names)
    by_source = scoring.Evaluation(source, source.class_names, detections, truth).coco()
    assert 0.05 < by_file.ap < 0.95 and np.isfinite(by_file[:12]).all()
    # 1e-9: widths are differences here and stated there
    np.testing.assert_allclose(figures(in_memory), figures(by_file), atol=1e-9)
    np.testing.assert_array_equal(figures(by_source), figures(by_file))
    assert by_source.class_names == by_file.class_names == source.class_names[1:]


def test_a_part_and_a_choice_of_classes(shared):
    root = shared / "data/coco2017-mini"
    source = read(root, "val2017[50%:]", class_names=("dog", "person"), unknown="drop")
    truth = data.ground_truth(source)
    assert 10 < len(source) < 50 and source.category_ids == (None, 18, 1)
    dataset = source.coco_dataset()
    assert {entry["id"] for entry in dataset["images"]} == {source.image_ids[name] for name in source.ids()}
    assert [entry["name"] for entry in dataset["categories"]] == ["person", "dog"]
    detections = [noisy(entry, seed) for seed, entry in enumerate(truth)]
    in_memory = coco.evaluate(detections, truth, class_names=source.class_names)
    np.testing.assert_allclose(figures(official(source, detections)), figures(in_memory), atol=1e-9)


def test_classes_that_the_file_does_not_have(tmp_path):
    """A network for more classes than the data: what it finds of them is no error officially."""
    source = read(make(tmp_path, annotation(1)), class_names=("yak", "cat"))
    assert source.category_ids == (None, None, 1)
    found = ImageDetections("000000000001", np.float32([[0, 0, 9, 9], [10, 20, 50, 60]]), np.ones(2), np.array([1, 2]))
    assert [
        entry["category_id"] for entry in coco_files.as_results([found], source.image_ids, source.category_ids)
    ] == [1]
    assert official(source, [found]).ap == pytest.approx(1)


def test_missing_images_and_dropped_boxes_count_as_missed(tmp_path, capsys):
    root = make(tmp_path, annotation(1), annotation(2), annotation(1, (50, 5, 0, 9), 3))
    (root / "val2017/000000000002.jpg").unlink()
    source = read(root)
    truth = data.ground_truth(source)
    result = scoring.Evaluation(source, source.class_names, [as_detections(entry) for entry in truth], truth).coco()
    # One of two cats is found: precision 1 up to recall 0.5, 51 of the 101 points; the dog without width cannot be.
    np.testing.assert_allclose(result.class_ap, [51 / 101, 0], atol=1e-9)
    assert result.num_images == 2 and "of 1 listed images" in capsys.readouterr().out


def test_negatives_are_evaluated_in_memory(tmp_path):
    root = make(tmp_path / "root", annotation(1))
    save_images(tmp_path / "nothing", "n.jpg")
    source = read(root, negatives=str(tmp_path / "nothing"))
    assert len(source) == 3 and source.coco_dataset() is None
    truth = data.ground_truth(source)
    detections = [as_detections(entry) for entry in truth]
    assert scoring.Evaluation(source, source.class_names, detections, truth).coco().ap == pytest.approx(1)


def test_sources_are_picklable(tmp_path):
    copy = pickle.loads(pickle.dumps(read(make(tmp_path, annotation(1)))))
    assert copy[0].id == "000000000001" and len(copy.coco_dataset()["annotations"]) == 1
