"""Annotations without images: the same ground truth as with them, in every layout that states sizes."""

import json
import pickle
import shutil
import tarfile
from typing import Any

import coco_folder
import layouts
import numpy as np
import pytest
import voc_folder

from ssd_jax import data
from ssd_jax.commands import annotations, pictures
from ssd_jax.data import judge
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, coco_files, detection_files, voc
from ssd_jax.types import ImageDetections

IMAGES = (".jpg", ".jpeg", ".png", ".JPEG")


def write_sized_csv(root, items):
    """As layouts.write_csv, with columns for the size."""
    options = layouts.write_csv(root, items)
    height, width = items[0].pixels.shape[:2]
    header, *lines = (root / "train.csv").read_text().splitlines()
    rows = [f"{header},width,height", *(f"{line},{width},{height}" for line in lines)]
    (root / "train.csv").write_text("\n".join(rows))
    return options


WRITERS = {**{kind: layouts.WRITERS[kind] for kind in ("voc", "coco", "ilsvrc")}, "csv": write_sized_csv}


def remove_images(root):
    for path in [path for path in root.rglob("*") if path.suffix in IMAGES]:
        path.unlink()


def assert_same_truth(source, other):
    assert source.ids() == other.ids() and source.class_names == other.class_names
    np.testing.assert_array_equal(source.sizes, other.sizes)
    for one, two in zip(data.ground_truth(source), data.ground_truth(other), strict=True):
        for name in ("boxes", "labels", "ignored", "areas"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("kind", WRITERS)
def test_without_images_the_ground_truth_is_the_same(kind, tmp_path, monkeypatch):
    root = tmp_path / "a folder"
    options = WRITERS[kind](root, layouts.pictures())
    usual: Any = data.make_source(**options)
    monkeypatch.setattr(judge, "read_header", lambda image: pytest.fail(f"opened {image}"))
    with_images = annotations.open_annotations(root, options["split"])
    assert_same_truth(with_images, usual)
    assert [with_images[row].image for row in range(8)] == [usual[row].image for row in range(8)]
    remove_images(root)
    source = annotations.open_annotations(str(root), options["split"])
    assert_same_truth(source, usual)
    assert not source.problems and source.image_ids == usual.image_ids and source.category_ids == usual.category_ids
    assert len(pickle.loads(pickle.dumps(source))) == 8
    assert (pictures.annotated_frame(source[0]) == 128).all()  # drawn on gray
    with pytest.raises(InputError, match="expected|none"):
        data.make_source(**options)
    part, rest = (annotations.open_annotations(root, options["split"] + text) for text in ("[:50%]", "[50%:]"))
    assert {*part.ids(), *rest.ids()} == {*usual.ids()} and len(part) + len(rest) == 8


def test_without_folders_of_images(tmp_path):
    items = layouts.pictures(3)
    layouts.write_voc(tmp_path / "VOCdevkit/VOC2007", items)
    shutil.rmtree(tmp_path / "VOCdevkit/VOC2007/JPEGImages")
    shutil.rmtree(tmp_path / "VOCdevkit/VOC2007/ImageSets")
    source = annotations.open_annotations(tmp_path / "VOCdevkit", "VOC2007/all")
    assert source.ids() == [item.name for item in items] and len(source.class_names) == 21
    assert annotations.open_annotations(tmp_path, "VOCdevkit/VOC2007/all").ids() == source.ids()
    twice = annotations.open_annotations(tmp_path / "VOCdevkit", "VOC2007/all+VOC2007/all")
    assert twice.ids() == [f"VOC2007/{item.name}" for item in items]
    with pytest.raises(InputError, match=r"VOCdevkit has no folder Annotations \(but there is VOC2007\)"):
        annotations.open_annotations(tmp_path / "VOCdevkit", "all", kind="voc")
    with pytest.raises(InputError, match=r"^--split 'VOC2007/test': cannot read the list|^--split 'test': cannot read"):
        annotations.open_annotations(tmp_path / "VOCdevkit", "VOC2007/test")


def test_ilsvrc_without_its_folder_of_images(tmp_path):
    options = layouts.write_ilsvrc(tmp_path, layouts.pictures(3))
    usual = data.make_source(**options)
    shutil.rmtree(tmp_path / "Data")
    assert_same_truth(annotations.open_annotations(tmp_path, "val1"), usual)


def test_what_is_wrong_is_counted_as_ever(tmp_path):
    voc_folder.add_image(tmp_path, "good")
    voc_folder.add_image(tmp_path, "bad", "<annotation>")
    voc_folder.add_image(tmp_path, "swapped", voc_folder.annotation(voc_folder.one_object(box=(50, 20, 10, 60))))
    voc_folder.add_image(tmp_path, "sizeless", voc_folder.annotation(voc_folder.one_object(), size=None))
    voc_folder.add_image(tmp_path, "seen", voc_folder.annotation(voc_folder.one_object(), size=None))
    for name in ("good", "bad", "swapped", "sizeless"):
        (tmp_path / f"JPEGImages/{name}.jpg").unlink()
    voc_folder.write_list(tmp_path, "train", "good", "bad", "swapped", "sizeless", "seen", "unlisted")
    source = annotations.open_annotations(tmp_path, "train")
    assert source.ids() == ["good", "swapped", "seen"]
    counts = {"missing_annotation": 1, "missing_image": 1, "bad_annotation": 1, "no_size": 1, "reversed": 1}
    assert source.problems.counts == counts
    assert "no size in its annotation" in source.problems.entries["missing_image"][0].detail
    assert pictures.annotated_frame(source[2]).shape == (80, 100, 3)  # of the image that is there


def test_sizes_that_only_images_could_tell(tmp_path):
    voc_folder.add_image(tmp_path / "voc", "a", voc_folder.annotation(voc_folder.one_object(), size=None))
    layouts.write_csv(tmp_path / "csv", layouts.pictures(2))
    layouts.write_yolo(tmp_path / "yolo", layouts.pictures(2))
    assert len(annotations.open_annotations(tmp_path / "yolo", "train")) == 2  # while they are there
    remove_images(tmp_path)
    for kind in ("voc", "csv"):
        with pytest.raises(
            InputError, match="none can be used: .*; the first has no size in its annotation, and there"
        ):
            annotations.open_annotations(tmp_path / kind, "train")
    with pytest.raises(InputError, match="YOLO's labels are fractions .* no image in .*yolo$"):
        annotations.open_annotations(tmp_path / "yolo", "train")


def test_a_json_file_is_enough(tmp_path):
    entries = [coco_folder.image(1), coco_folder.image(2)]
    path = tmp_path / "anything.json"
    coco_folder.write(path, entries, [coco_folder.annotation(1), coco_folder.annotation(2, iscrowd=1)])
    source = annotations.open_annotations(path)
    assert source.ids() == ["000000000001", "000000000002"] and source.image_ids == {i: int(i) for i in source.ids()}
    assert source.category_ids == (None, 1, 3)
    dataset = source.coco_dataset()
    assert len(dataset["images"]) == 2 and len(dataset["annotations"]) == 2
    assert len(annotations.open_annotations(path, "[:100%]")) == 2
    # Beside images as COCO's, they are found, so that they can be drawn.
    root = coco_folder.make(tmp_path / "coco", coco_folder.annotation(1))
    source = annotations.open_annotations(root / "annotations/instances_val2017.json")
    assert [source[row].image.is_file() for row in range(2)] == [True, True]


def test_images_of_two_files_that_have_one_name_stay_two(tmp_path):
    for name in ("train", "valid"):  # as Roboflow exports them
        path = tmp_path / name / "_annotations.coco.json"
        coco_folder.write(path, [coco_folder.image(0, "a.jpg")], [coco_folder.annotation(0)])
    source = annotations.open_annotations(tmp_path, "train/_annotations.coco.json+valid/_annotations.coco.json")
    assert len(source) == 2 and not source.problems and len(set(source.ids())) == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: (root / "absent", "test", {}), "but there is no .*absent$"),
        (lambda root: (root, "test", {}), "looks like none of voc, coco"),
        (lambda root: (root, "test", {"kind": "folder"}), "one of the formats voc, .*, got 'folder'"),
        (lambda root: (coco_folder.make(root, coco_folder.annotation(1)), "", {}), "^--split: expected the part"),
        (lambda root: (coco_folder.make(root, coco_folder.annotation(1)), "x", {}), "^--split 'x': there is no file"),
        (
            lambda root: (coco_folder.make(root), "val2017", {}),
            "annotated objects to evaluate against, got .*none counts",
        ),
        (lambda root: (write(root / "a.json", []), "", {}), "is a list, as files of detections are"),
        (lambda root: (write(root / "a.json", {}), "", {}), "a.json: expected COCO annotations.* it lacks images"),
        (lambda root: (write(root / "a.json", {}), "val", {}), "^--split: expected none, or a part .*got 'val'"),
        (
            lambda root: (write(root / "a.json", {}), "", {"kind": "voc"}),
            "expected a folder of kind voc, .*got the file",
        ),
        (lambda root: (write(root / "a.xml", {}), "", {}), r"COCO JSON file \(.json\) or a CSV table .*got the file"),
    ],
)
def test_annotations_that_cannot_be_used(make, says, tmp_path):
    path, split, options = make(tmp_path)
    with pytest.raises(InputError, match=says) as error:
        annotations.open_annotations(path, split, **options)
    assert "\n" not in str(error.value)


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_list_of_images_is_no_ground_truth(tmp_path):
    path = tmp_path / "image_info_test-dev2017.json"
    coco_folder.write(path, [coco_folder.image(1)])
    with pytest.raises(InputError, match="annotated objects to evaluate against, got .*which states no objects"):
        annotations.open_annotations(path)


def test_a_folder_of_two_formats_needs_its_kind(tmp_path):
    layouts.write_voc(tmp_path, layouts.pictures(2))
    layouts.write_csv(tmp_path, layouts.pictures(2))
    with pytest.raises(InputError, match="looks like several: voc, csv; --kind=KIND says which"):
        annotations.open_annotations(tmp_path, "train")
    assert len(annotations.open_annotations(tmp_path, "train", kind="voc").class_names) == 1 + len(
        {label for item in layouts.pictures(2) for label in item.labels}
    )


def test_options_reach_the_reader(tmp_path):
    layouts.write_voc(tmp_path, layouts.pictures(2))
    plain, shifted = (annotations.open_annotations(tmp_path, "train", one_based=one) for one in (False, True))
    np.testing.assert_array_equal(np.maximum(plain.ground_truth(0).boxes - 1, 0), shifted.ground_truth(0).boxes)
    names = (*layouts.CLASSES, "zebra")
    assert annotations.open_annotations(tmp_path, "train", class_names=names).class_names == ("background", *names)
    with pytest.raises(InputError, match="image_files: expected 'required' or 'optional', got 'some'"):
        data.make_source(kind="voc", root=str(tmp_path), split="train", image_files="some")


@pytest.mark.slow
def test_voc2007_from_its_files_alone(shared, tmp_path):
    """A real detector on all of VOC2007 test: archive and annotations in, the figures of its oracle out."""
    folder = shared / "oracles" / "voc2007-yolov2"
    with tarfile.open(folder / "voc2007-test-annotations.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    source = annotations.open_annotations(tmp_path / "VOCdevkit", "VOC2007/all")
    assert len(source) == 4952 and not source.problems
    detections = detection_files.read(folder / "comp4-detections.tar.gz", source, split="VOC2007/test")
    result = voc.evaluate(detections, data.ground_truth(source), class_names=source.class_names)
    expected = json.loads((folder / "expected.json").read_text())
    for row, name in enumerate(source.class_names[1:]):
        assert result.ap_11point[row] == pytest.approx(expected[name]["ap_11point"], abs=1e-6), name
        assert result.ap_area[row] == pytest.approx(expected[name]["ap_area"], abs=1e-6), name
        assert result.num_ground_truth[row] == expected[name]["npos"]
        assert result.num_detections[row] == expected[name]["detections"]
    assert result.map_11point == pytest.approx(0.7213806, abs=1e-7)


def test_coco_example_from_its_files_alone(shared):
    pytest.importorskip("pycocotools")
    folder = shared / "oracles" / "coco-fakebbox100"
    paths = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    source = annotations.open_annotations(paths[0])
    detections = detection_files.read(paths[1], source)
    results = coco_files.as_results(detections, source.image_ids, source.category_ids)
    figures, direct = coco.evaluate_dataset(source.coco_dataset(), results), coco.evaluate_json(*paths)
    assert figures[:12] == direct[:12]
    published = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)  # pycocoEvalDemo
    assert tuple(round(figure, 3) for figure in figures[:12]) == published
    # float32, as a network gives them, would be exact no more: boxes lie on the thresholds of overlap.
    assert all(isinstance(found, ImageDetections) and found.boxes.dtype == np.float64 for found in detections)
