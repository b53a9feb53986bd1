"""YOLO labels: what is found in the layouts that are met, and what each wrong turn is told."""

import os
import pickle

import numpy as np
import pytest
from voc_folder import picture

from ssd_jax import data
from ssd_jax.data.formats import yolo, yolo_layout
from ssd_jax.data.sources import READERS
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections

LINE = "1 0.3 0.5 0.4 0.5"  # in an image of 100x80: x 0.3 -+ 0.2, y 0.5 -+ 0.25 = (10, 20, 50, 60), by hand
BOX = [10, 20, 50, 60]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(READERS, "yolo", yolo.read)


def read(root, split="train", **options):
    return data.make_source(kind="yolo", root=str(root), split=split, **options)


def add(root, image, label=None, text=LINE):
    """Saves an image, 100 wide and 80 high, and its label file if a path of one is given."""
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    picture(80, 100).save(root / image)
    if label:
        write(root / label, text)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def pixel_boxes(source, index=0):
    return data.ground_truth(source)[index].boxes.round(9).tolist()


def ultralytics(root, text=LINE, yaml="names: [cat, dog]\n"):
    add(root, "images/train/a.jpg", "labels/train/a.txt", text)
    if yaml:
        write(root / "data.yaml", yaml)
    return root


def roboflow(root):
    for part, name in (("train", "a"), ("valid", "v")):
        add(root, f"{part}/images/{name}.jpg", f"{part}/labels/{name}.txt")
    write(root / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    return root


def darknet(root):
    """As CVAT exports it: paths begin with a folder "data" that is not there."""
    add(root, "obj_train_data/a.jpg", "obj_train_data/a.txt")
    write(root / "train.txt", "data/obj_train_data/a.jpg\n")
    write(root / "obj.names", "cat\ndog\n")
    return root


def flat(root):
    add(root, "a.jpg", "a.txt")
    write(root / "classes.txt", "cat\r\ndog\r\n\n")
    return root


@pytest.mark.parametrize(
    ("layout", "split", "ids"),
    [
        (ultralytics, "train", ["a"]),
        (ultralytics, "images/train", ["a"]),
        (ultralytics, "all", ["train/a"]),
        (roboflow, "train", ["a"]),
        (roboflow, "val", ["v"]),
        (roboflow, "valid", ["v"]),
        (roboflow, "train+valid", ["train/images/a", "valid/images/v"]),
        (roboflow, "all", ["train/images/a", "valid/images/v"]),
        (darknet, "train", ["obj_train_data/a"]),
        (darknet, "train.txt", ["obj_train_data/a"]),
        (darknet, "obj_train_data", ["a"]),
        (darknet, ".", ["obj_train_data/a"]),
        (flat, "all", ["a"]),
        (flat, ".", ["a"]),
    ],
)
def test_layouts(tmp_path, layout, split, ids):
    source = read(layout(tmp_path / "my dätä 图"), split)
    assert source.ids() == ids and source.class_names == ("background", "cat", "dog") and not source.problems
    for index in range(len(ids)):
        assert pixel_boxes(source, index) == [BOX] and source[index].labels.tolist() == [2]
        np.testing.assert_allclose(source[index].boxes, [[0.1, 0.25, 0.5, 0.75]], rtol=1e-6)  # float32
    assert pickle.loads(pickle.dumps(source))[0].id == ids[0]


def test_images_are_sorted_and_odd_names_kept(tmp_path):
    ultralytics(tmp_path)
    for name in ("b c.JPG", "Z.png", "sub/é 猫.jpeg", "v1.2.jpg", "a.png"):
        add(tmp_path, f"images/train/{name}", f"labels/train/{os.path.splitext(name)[0]}.txt")
    add(tmp_path, "images/train/.hidden.jpg")
    source = read(tmp_path)
    # two images called a share a label file; their ids keep what tells them apart
    assert source.ids() == ["Z", "a.jpg", "a.png", "b c", "sub/é 猫", "v1.2"]
    assert all(pixel_boxes(source, index) == [BOX] for index in range(6)) and not source.problems


@pytest.mark.parametrize(
    ("line", "box"),
    [
        (f"{LINE} 0.87", BOX),
        ("1\t0.3   0.5 0.4 0.5 ", BOX),
        ("1.0 3e-1 .5 0.4 0.5", BOX),
        ("1 0.1 0.25 0.5 0.4 0.2 0.75", BOX),  # x 0.1 to 0.5, y 0.25 to 0.75
        ("1 0.1 0.5 0.3 0.25 0.5 0.5 0.3 0.75", BOX),
        ("1 0.5 0.5 1 1", [0, 0, 100, 80]),
    ],
    ids=["confidence", "blanks", "numbers", "triangle", "diamond", "whole"],
)
def test_lines(tmp_path, line, box):
    source = read(ultralytics(tmp_path, line))
    assert pixel_boxes(source) == [box] and not source.problems


def test_edges_passed_by_rounding_are_no_problem(tmp_path):
    third = "1 0.166666 0.5 0.333333 1.000001"  # six digits, as most tools write: xmin -5e-7, ymin -5e-7
    source = read(ultralytics(tmp_path, third))
    assert not source.problems
    # 100 and 80 pixels times the rounding of 1e-6
    np.testing.assert_allclose(pixel_boxes(source), [[0, 0, 100 / 3, 80]], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.3 0.5 0.4 0.5", "class 2 is not among the 2 names (0 to 1)"),
        ("-1 0.3 0.5 0.4 0.5", "class -1 is not"),
        ("1 0.3 0.5 0.4", "or a class and 3 or more points, got 4 values"),
        ("1 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "got 8 values"),
        ("cat 0.3 0.5 0.4 0.5", "expected a number, got 'cat'"),
        ("1 0.3 wide 0.4 0.5", "expected a number, got 'wide'"),
        ("0.5 0.3 0.5 0.4 0.5", "expected the number of a class, got '0.5'"),
        ("nan 0.3 0.5 0.4 0.5", "expected the number of a class, got 'nan'"),
        ("1,0.3,0.5,0.4,0.5", "expected a number"),
    ],
)
def test_a_bad_line_is_left_out_and_told_with_its_place(tmp_path, line, reason):
    source = read(ultralytics(tmp_path, f"{LINE}\n\n{line}\n{LINE}\n"))
    assert pixel_boxes(source) == [BOX, BOX]
    (problem,) = source.problems.entries["bad_line"]
    assert problem.name == "a" and f"{os.sep}a.txt:3: " in problem.detail and reason in problem.detail


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1 0.3 0.5 0 0.5", "zero_size"),
        ("1 0.3 0.5 nan 0.5", "not_finite"),
        ("1 1.3 0.5 0.1 0.1", "outside"),
        ("1 0.9 0.5 0.4 0.5", "clipped"),
        ("1 0.3 0.5 -0.4 0.4", "reversed"),
    ],
)
def test_boxes_are_judged_as_in_every_format(tmp_path, line, kind):
    source = read(ultralytics(tmp_path, f"{LINE}\n{line}"))
    assert dict(source.problems.counts) == {kind: 1} and pixel_boxes(source)[0] == BOX


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1 0.5 0.5 0.1 0.1\n\xff\xfe1\x00", "expected text in UTF-8, but line 2 is not; save it as UTF-8"),
        (b"cat dog\nhello", "no line can be read, the first because: .*a.txt:1: expected a number"),
        (b"1 30 40 40 40\n0 20 20 10 10\n1 0.3 0.5 0.4 0.5", "2 of 3 boxes have values far above 1, as if .* pixels"),
    ],
)
def test_a_bad_label_file_skips_its_image(tmp_path, content, reason):
    """Its image is not to be learned as one without objects."""
    ultralytics(tmp_path)
    add(tmp_path, "images/train/b.jpg", "labels/train/b.txt")
    (tmp_path / "labels/train/a.txt").write_bytes(content)
    source = read(tmp_path)
    assert source.ids() == ["b"] and source.problems.named == {"bad_annotation": ["a"]}
    (tmp_path / "labels/train/b.txt").unlink()  # with no sound file left, it is the format that is misunderstood
    with pytest.raises(InputError, match=f"none of 1 label files can be used, the first being .*{reason}") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_images_without_objects_and_without_label_files_are_kept(tmp_path):
    ultralytics(tmp_path)
    add(tmp_path, "images/train/empty.jpg", "labels/train/empty.txt", " \n")
    add(tmp_path, "images/train/none.jpg")
    source = read(tmp_path)
    assert [len(source[index].boxes) for index in range(3)] == [1, 0, 0] and not source.problems


def test_labels_without_an_image_are_told(tmp_path):
    ultralytics(tmp_path)
    write(tmp_path / "labels/train/sub/lost.txt", LINE)
    write(tmp_path / "labels/train/classes.txt", "cat\ndog")  # LabelImg leaves it there
    write(tmp_path / "labels/train/README.txt", "exported on 2024 01 02 03 04\n")
    source = read(tmp_path)
    assert source.ids() == ["a"] and source.problems.named == {"missing_image": ["sub/lost"]}


def test_images_that_are_none_are_skipped(tmp_path):
    ultralytics(tmp_path)
    (tmp_path / "images/train/bad.jpg").write_bytes(b"not an image")
    assert read(tmp_path).problems.named == {"bad_image": ["bad"]}


def test_lists_keep_their_order_and_tell_what_is_missing(tmp_path):
    for name in ("b", "a"):
        add(tmp_path, f"images/{name}.jpg", f"labels/{name}.txt")
    lines = [str(tmp_path / "images/b.jpg"), "./images/a.jpg", "", "images\\b.jpg", "images/lost.jpg"]
    write(tmp_path / "lists/train.txt", "\ufeff" + "\r\n".join(lines))
    write(tmp_path / "data.yaml", "names: {1: dog, 0: cat}\ntrain: lists/train.txt")
    source = read(tmp_path)
    assert source.ids() == ["images/b", "images/a"] and source.class_names[1:] == ("cat", "dog")
    assert source.problems.named == {"missing_image": ["images/lost.jpg"], "duplicate": ["images/b"]}


def test_labels_beside_the_images_though_the_folder_is_called_images(tmp_path):
    add(tmp_path, "images/a.jpg", "images/a.txt")
    write(tmp_path / "voc.names", "cat\ndog")
    assert pixel_boxes(read(tmp_path, "all")) == [BOX]


def test_the_folder_of_labels_is_preferred_to_files_beside_the_images(tmp_path):
    write(ultralytics(tmp_path) / "images/train/a.txt", "0 0.5 0.5 1 1")
    assert pixel_boxes(read(tmp_path)) == [BOX]


def test_paths_of_the_description(tmp_path):
    roboflow(tmp_path)
    yaml = "path: {}\ntrain: [train/images, valid/images]\nval: /not/on/this/machine\nvalid: valid\nnames: [cat, dog]\n"
    write(tmp_path / "data.yaml", yaml.format("../datasets/elsewhere"))
    assert read(tmp_path).ids() == ["train/images/a", "valid/images/v"]
    assert read(tmp_path, "valid").ids() == ["images/v"]  # the entry comes before the folder valid/images
    with pytest.raises(InputError, match=r"an existing path at val: in data\.yaml, a folder images/val, val/images or"):
        read(tmp_path, "val")
    (tmp_path / "moved").mkdir()
    write(tmp_path / "moved/data.yaml", yaml.format(tmp_path))
    assert read(tmp_path / "moved", "valid").ids() == ["images/v"]


def test_key_points_are_no_polygon(tmp_path):
    yaml = "names: [cat, dog]\nkpt_shape: [2, 2]\n"
    assert pixel_boxes(read(ultralytics(tmp_path, f"{LINE} 0.9 0.9 0.8 0.8", yaml))) == [BOX]


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("names: [no, yes]", ("no", "yes")),
        ("names:\n  0: no\n  1: 7\n", ("no", "7")),
        ("names: {3: dog, 1: cat}", ("cat", "dog")),
        ("names: ['traffic light', 猫]", ("traffic light", "猫")),
    ],
)
def test_names_are_what_stands_there(tmp_path, yaml, names):
    assert read(ultralytics(tmp_path, LINE, yaml)).class_names == ("background", *names)


def test_where_names_are_looked_for(tmp_path):
    """Each place is preferred to those before it."""
    ultralytics(tmp_path, yaml="")
    places = ["images/train/classes.txt", "labels/train/classes.txt", "labels/my.names", "obj.names", "classes.txt"]
    for number, place in enumerate(places):
        write(tmp_path / place, f"cat\nfrom {number}")
        assert read(tmp_path).class_names == ("background", "cat", f"from {number}")
    write(tmp_path / "data.yaml", "names: [cat, from yaml]")
    assert read(tmp_path).class_names[2] == "from yaml"
    assert read(tmp_path, names_file="labels/my.names").class_names[2] == "from 2"
    assert read(tmp_path, names_file=str(tmp_path / "data.yaml")).class_names[2] == "from yaml"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("", "expected the names of the classes in .* classes.txt or obj.names; .* --config.data.yolo.names_file"),
        ("nc: 2", "expected the names of the classes"),
        ("names: [cat, cat]", r"data\.yaml: expected class names, none of them empty or twice, got cat, cat"),
        ("names: [cat, '']", "none of them empty"),
        ("names: coco.names", "names: as a list or as number: name, got 'coco.names'"),
        ("names: {a: cat}", "names: as a list"),
        ("names: [cat", "cannot be read as YAML .*while parsing"),
        ("names", "expected YAML with entries such as names:, got str"),
        ("names: [cat]", "class 1 is not among the 1 names"),
    ],
)
def test_wrong_names_are_refused_in_one_sentence(tmp_path, yaml, message):
    with pytest.raises(InputError, match=message) as caught:
        read(ultralytics(tmp_path, LINE, yaml))
    assert "\n" not in str(caught.value)


def test_wrong_names_files_are_refused(tmp_path):
    ultralytics(tmp_path)
    with pytest.raises(InputError, match=r"lost\.txt: cannot be read \(No such file or directory\)$"):
        read(tmp_path, names_file="lost.txt")
    with pytest.raises(InputError, match=r"lost\.yaml: cannot be read \(No such file or directory\)$"):
        read(tmp_path, names_file="lost.yaml")
    write(tmp_path / "holes.txt", "cat\n\ndog")
    with pytest.raises(InputError, match="none of them empty"):
        read(tmp_path, names_file="holes.txt")
    for name in ("latin.txt", "latin.yaml"):
        (tmp_path / name).write_bytes("chat\n\nchêne".encode("latin-1"))
        with pytest.raises(InputError, match=rf"{name}: expected text in UTF-8, but line 3 is not; save it as UTF-8$"):
            read(tmp_path, names_file=name)


@pytest.mark.parametrize(
    ("root", "split", "message"),
    [
        ("nowhere", "train", "data root: .*nowhere is not a folder"),
        ("", "val", r"expected in .* data\.yaml, a folder images/val, val/images or val, or a list val\.txt, but"),
        ("", "", "data split '': expected"),
        ("", "train+val", "data split 'val'"),
        ("", "both", "images/both and both exist; name the one that is meant, such as 'images/both'"),
        ("", "images/both", "there is no image in .*both"),
        ("", "unlabeled", r"none of the 1 images has one, such as .*b\.txt"),
        ("", "lost.txt", "there is no image in .*lost.txt"),
        ("", "images/train/a.jpg", r"a list of images cannot be read: .*a\.jpg: expected text in UTF-8, but line 1 is"),
    ],
)
def test_wrong_paths_are_refused_in_one_sentence(tmp_path, root, split, message):
    ultralytics(tmp_path, yaml="")
    write(tmp_path / "classes.txt", "cat\ndog")
    add(tmp_path, "unlabeled/b.jpg")
    write(tmp_path / "lost.txt", "nothing.jpg")
    for folder in ("images/both", "both"):
        (tmp_path / folder).mkdir()
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / root, split)
    assert "\n" not in str(caught.value)


def test_the_last_folder_called_images_counts(tmp_path):
    folder = yolo_layout.labels_folder(tmp_path / "images/set/images/train")
    assert folder == tmp_path / "images/set/labels/train"


def test_parts_divide_the_images(tmp_path):
    ultralytics(tmp_path)
    for index in range(20):
        add(tmp_path, f"images/train/{index}.jpg", f"labels/train/{index}.txt")
    low, high = read(tmp_path, "train[:50%]"), read(tmp_path, "train[50%:]")
    assert sorted(low.ids() + high.ids()) == sorted(read(tmp_path).ids()) and len(low) > 0 < len(high)


def test_bccd_written_as_yolo_reads_back_the_same(shared, tmp_path):
    """Ground truth handed in as detections scores in full, too: nothing is shifted, swapped or lost."""
    origin = data.make_source(kind="voc", root=str(shared / "data/bccd"), split="test")
    for index, truth in enumerate(data.ground_truth(origin)):
        height, width = origin[index].size
        boxes = truth.boxes / [width, height, width, height]
        centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = zip(truth.labels, np.hstack([centers, sides]), strict=True)
        lines = [f"{label - 1} {' '.join(f'{value:.9f}' for value in row)}" for label, row in rows]
        write(tmp_path / "labels/test" / f"{truth.id}.txt", "\n".join(lines))
        image = tmp_path / "images/test" / f"{truth.id}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.symlink_to(origin[index].image)
    write(tmp_path / "classes.txt", "\n".join(origin.class_names[1:]))
    source = read(tmp_path, "test")
    assert source.class_names == origin.class_names and not source.problems
    assert sorted(source.ids()) == sorted(origin.ids()) and len(source) == 72
    truths = {truth.id: truth for truth in data.ground_truth(source)}
    for truth in data.ground_truth(origin):
        # nine digits of 640 pixels: 1e-6 px
        np.testing.assert_allclose(truths[truth.id].boxes, truth.boxes, atol=1e-5)
        np.testing.assert_array_equal(truths[truth.id].labels, truth.labels)
    found = [
        ImageDetections(t.id, t.boxes.astype(np.float32), np.ones(len(t.labels)), t.labels) for t in truths.values()
    ]
    truth = list(truths.values())
    assert voc.evaluate(found, truth, class_names=source.class_names).map_11point == 1
    assert coco.evaluate(found, truth, class_names=source.class_names).ap == pytest.approx(1, abs=1e-12)
