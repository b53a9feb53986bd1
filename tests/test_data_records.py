"""What becomes of a format's statements: sizes, boxes, classes, problems; on readings made in memory."""

import functools
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import picture

from ssd_jax import data
from ssd_jax.data.judge import with_background
from ssd_jax.data.part import EVERYTHING, Part, hash_fraction
from ssd_jax.data.problems import Problem, Problems
from ssd_jax.data.records import RecordSource
from ssd_jax.data.statements import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError

SIZE = (80, 100)  # (height, width)
BOX = (10, 20, 50, 60)


@pytest.fixture(autouse=True)
def _no_files(monkeypatch):
    """The readings of these tests have no files; test_a_few_images_are_tried_though_sizes_are_believed makes some."""
    monkeypatch.setattr(data.judge, "SAMPLE", 0)


def judge(*images, stated=(), problems=None, class_names=(), unknown="error", part=EVERYTHING, **reading):
    """Judges images whose sizes are believed, unless told otherwise; ``stated`` are the format's classes."""
    statements = Reading("memory", iter(images), class_names=stated, **({"read_headers": False} | reading))
    tally = Problems() if problems is None else problems
    return RecordSource(statements, problems=tally, class_names=class_names, unknown=unknown, part=part)


def one(name="a", *objects, size=SIZE, **fields):
    return AnnotatedImage(name, Path(f"{name}.png"), objects or (AnnotatedObject("cat", BOX),), size, **fields)


def told(source):
    """{kind: [(name, detail)]}"""
    return {kind: [tuple(entry) for entry in entries] for kind, entries in source.problems.entries.items()}


def encoded(height=80, width=100, orientation=None) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    picture(height, width).save(file, format="JPEG", exif=exif)
    return file.getvalue()


def test_statements_become_examples_and_ground_truth():
    objects = [AnnotatedObject("dog", BOX, difficult=True), AnnotatedObject("cat", (0, 0, 100, 80), crowd=True)]
    source = judge(one("a", *objects), AnnotatedImage("b", Path("b.png"), (), (7, 9)))
    example = source[0]
    assert (example.id, example.size, example.image) == ("a", SIZE, Path("a.png"))
    np.testing.assert_array_equal(example.boxes, np.float32([[0.1, 0.25, 0.5, 0.75], [0, 0, 1, 1]]))  # by hand
    assert example.labels.tolist() == [2, 1]  # cat, dog
    assert example.difficult.tolist() == [True, False] and example.crowd.tolist() == [False, True]
    truth = source.ground_truth(0)
    assert truth.boxes.tolist() == [[*BOX], [0, 0, 100, 80]] and truth.ignored.tolist() == [True, True]
    empty = source[1]
    assert empty.boxes.shape == (0, 4) and empty.labels.shape == empty.difficult.shape == empty.crowd.shape == (0,)
    assert len(source) == 2 and source.ids() == ["a", "b"] and source.max_boxes == 2
    assert source.sizes.tolist() == [[80, 100], [7, 9]] and not source.problems


@pytest.mark.parametrize(
    ("box", "kind", "detail", "kept"),
    [
        ((10, 20, float("nan"), 60), "not_finite", "cat (10, 20, nan, 60) in 100x80", None),
        ((10, 20, 10, 60), "zero_size", "cat (10, 20, 10, 60) in 100x80", None),
        ((100.5, 20, 120, 60), "outside", "cat (100.5, 20, 120, 60) in 100x80", None),
        ((50, 60, 10, 20), "reversed", "cat (50, 60, 10, 20) in 100x80", BOX),
        ((-1, 20, 101, 60), "clipped", "cat (-1, 20, 101, 60) in 100x80", (0, 20, 100, 60)),
    ],
)
def test_each_bad_box_is_told_with_its_values(box, kind, detail, kept):
    source = judge(one("a", AnnotatedObject("cat", box), AnnotatedObject("cat", (1, 1, 2, 2))))
    assert told(source) == {kind: [("a", detail)]}
    assert source.ground_truth(0).boxes.tolist() == [list(b) for b in ([kept] if kept else []) + [(1, 1, 2, 2)]]


def test_a_reversed_box_over_the_edge_is_told_twice():
    source = judge(one("a", AnnotatedObject("cat", (50, 60, -3, 20))))
    assert list(told(source)) == ["reversed", "clipped"]
    assert source.ground_truth(0).boxes.tolist() == [[0, 20, 50, 60]]


def test_unreadable_objects_are_counted_one_by_one():
    assert told(judge(one(unreadable=2))) == {"no_box": [("a", ""), ("a", "")]}


def test_relative_boxes_are_judged_and_told_in_pixels():
    objects = (AnnotatedObject("cat", (0.1, 0.25, 0.5, 0.75)), AnnotatedObject("cat", (-0.02, 0, 1.004, 1)))
    source = judge(AnnotatedImage("a", Path("a.png"), objects, SIZE, relative=True))
    np.testing.assert_allclose(source.ground_truth(0).boxes, [BOX, (0, 0, 100, 80)], atol=1e-12)
    assert told(source) == {"clipped": [("a", "cat (-2, 0, 100.4, 80) in 100x80")]}
    np.testing.assert_allclose(source.ground_truth(0).areas, [1600, 8000])


def test_areas_are_those_stated_or_those_of_the_repaired_boxes():
    objects = (
        AnnotatedObject("cat", BOX, area=123.5),
        AnnotatedObject("cat", (10, 20, 10, 60), area=7.0),  # dropped, and its area with it
        AnnotatedObject("cat", (50, 60, 10, 20)),
        AnnotatedObject("cat", (90, 0, 120, 80)),
    )
    # 40 * 40; 10 * 80 after clipping
    assert judge(one("a", *objects)).ground_truth(0).areas.tolist() == [123.5, 1600, 800]


def test_an_image_stated_twice_is_used_once_with_the_objects_of_both():
    cat, dog = AnnotatedObject("cat", BOX, difficult=True), AnnotatedObject("dog", BOX, crowd=True, area=7)
    bad = AnnotatedObject("dog", (1, 1, 1, 5))
    source = judge(one("a", cat), one("a", cat, dog, bad), one("a", cat, dog, bad), one("b"))
    truth, example = source.ground_truth(0), source[0]
    assert source.ids() == ["a", "b"] and [source.class_names[label] for label in truth.labels] == ["cat", "dog"]
    assert truth.boxes.tolist() == [list(BOX)] * 2 and truth.areas[1] == 7
    assert example.difficult.tolist() == [True, False] and example.crowd.tolist() == [False, True]
    assert told(source)["duplicate"] == [("a", "1 more objects"), ("a", "")]
    assert len(told(source)["zero_size"]) == 1


def test_another_image_of_the_same_id_is_left_out():
    other = one("a", AnnotatedObject("dog", BOX))._replace(image=Path("elsewhere/a.png"))
    source = judge(one("a", AnnotatedObject("cat", BOX)), other)
    assert source.class_names == ("background", "cat") and told(source) == {"duplicate": [("a", "")]}


def test_what_is_learned_follows_the_policies():
    objects = [
        AnnotatedObject("cat", BOX),
        AnnotatedObject("cat", BOX, difficult=True),
        AnnotatedObject("cat", BOX, crowd=True),
    ]
    source = judge(one("a", *objects))
    counts = {policy: source.count_learned(difficult=policy, crowd="drop") for policy in ("train", "ignore", "drop")}
    assert counts == {"train": 2, "ignore": 1, "drop": 1}


def test_dropping_unknown_classes_keeps_all_columns_aligned():
    objects = [
        AnnotatedObject(name, (left, 0, left + 10, left + 10), difficult=name == "cat", crowd=name == "dog", area=left)
        for name, left in (("emu", 0), ("cat", 10), ("yak", 20), ("dog", 30))
    ]
    source = judge(one("a", *objects), class_names=("dog", "cat"), unknown="drop")
    truth, example = source.ground_truth(0), source[0]
    assert truth.labels.tolist() == [2, 1] and truth.areas.tolist() == [10, 30]
    assert truth.boxes.tolist() == [[10, 0, 20, 20], [30, 0, 40, 40]]
    assert example.difficult.tolist() == [True, False] and example.crowd.tolist() == [False, True]
    assert told(source) == {"unknown_class": [("a", "emu"), ("a", "yak")]}
    assert source.max_boxes == 2


def test_unknown_classes_are_refused_together():
    images = (one("a", AnnotatedObject("yak", BOX)), one("b", AnnotatedObject("emu", BOX)), one("c"))
    with pytest.raises(InputError, match=r"not in class_names: emu, yak \(known: cat; --config\.data\.unknown=drop"):
        judge(*images, class_names=("cat",))
    with pytest.raises(InputError, match="data unknown: expected 'error' or 'drop', got 'keep'"):
        judge(*images, unknown="keep")


@pytest.mark.parametrize(
    ("given", "stated", "expected"),
    [
        ((), (), ("cat", "dog")),  # found, sorted
        ((), ("dog", "cat", "emu"), ("dog", "cat", "emu")),  # the format's, with those that do not occur
        (("emu", "dog", "cat"), ("cat", "dog"), ("emu", "dog", "cat")),  # the user's come first
        (("background", "dog", "cat"), (), ("dog", "cat")),
    ],
)
def test_whose_class_names_count(given, stated, expected):
    images = (one("a", AnnotatedObject("dog", BOX)), one("b"))
    source = judge(*images, stated=stated, class_names=given)
    assert source.class_names == ("background", *expected)
    assert source.class_names[source[0].labels[0]] == "dog" and source.class_names[source[1].labels[0]] == "cat"


def test_usual_names_count_if_nothing_else_is_found():
    cat, dog, emu = (one(name[0], AnnotatedObject(name, BOX)) for name in ("cat", "dog", "emu"))
    usual = ("dog", "cat", "pig")
    assert judge(cat, dog, usual_names=usual).class_names == ("background", *usual)
    slip = judge(cat, emu, usual_names=usual)  # half of it is usual: the other half may be a slip of the pen
    assert slip.class_names == ("background", "cat", "emu") and told(slip) == {"unusual_class": [("e", "emu")]}
    other = judge(emu, usual_names=usual)
    assert other.class_names == ("background", "emu") and told(other) == {}


def test_background_is_no_object():
    with pytest.raises(InputError, match="'background' cannot be the class of an object"):
        judge(one("a", AnnotatedObject("background", BOX)))
    assert with_background(()) == () and with_background(["background", "a"]) == ("background", "a")
    for wrong in (("a", "background"), ("background", "background"), ("a", "a"), ("a", "")):
        with pytest.raises(InputError, match="expected distinct names"):
            with_background(wrong)


def test_no_object_at_all_needs_class_names():
    image = AnnotatedImage("a", Path("a.png"), (), SIZE)
    with pytest.raises(InputError, match="so the classes must be named"):
        judge(image)
    assert judge(image, class_names=("cat",)).class_names == ("background", "cat")
    assert judge(image, stated=("cat",)).class_names == ("background", "cat")


def test_a_reading_without_usable_images_says_why():
    with pytest.raises(InputError, match="memory: expected annotated images, but none is listed"):
        judge()
    problems = Problems()
    problems.add("missing_image", "x")  # told by the reader
    with pytest.raises(InputError, match=r"none can be used: 1 annotations without an image file: skipped \(x\)"):
        judge(problems=problems)


def test_a_stated_size_is_believed_only_where_the_reading_says_so(tmp_path):
    images = [one(name)._replace(image=tmp_path / f"{name}.jpg") for name in ("a", "half", "other", "gone", "turned")]
    for image, shape in zip(images, [(80, 100), (40, 50), (80, 80), None, (80, 100)], strict=True):
        if shape:
            image.image.write_bytes(encoded(*shape, orientation=6 if image.id == "turned" else None))
    assert len(judge(*images)) == 5  # no file is opened
    source = judge(*images, read_headers=True)
    assert source.ids() == ["a", "half", "turned"] and source.sizes.tolist() == [list(SIZE)] * 3
    found = told(source)
    assert found.pop("bad_image")[0][0] == "gone"
    assert found == {
        "resized_image": [("half", "")],
        "wrong_size": [("other", "image is 80x80, its annotation says 100x80")],
        "unrotated": [("turned", "")],
    }


@pytest.mark.parametrize(("states_size", "expected"), [(True, {"no_size": [("a", "")]}), (False, {})])
@pytest.mark.parametrize("read_headers", [True, False])
def test_an_absent_size_is_read_from_the_image(tmp_path, states_size, expected, read_headers):
    (tmp_path / "a.jpg").write_bytes(encoded(80, 100, orientation=6))
    image = one()._replace(image=tmp_path / "a.jpg", size=None, objects=(AnnotatedObject("cat", (0, 0, 80, 100)),))
    source = judge(image, read_headers=read_headers, states_size=states_size)
    assert source[0].size == (100, 80)  # as it is seen
    assert told(source) == expected


def _bytes_of(folder: str, name: str) -> bytes:
    return Path(folder, name).read_bytes()


def test_the_load_hook_turns_what_the_reader_states_into_an_image(tmp_path):
    (tmp_path / "x.jpg").write_bytes(encoded())
    image = AnnotatedImage("a", "x.jpg", (AnnotatedObject("cat", BOX),), SIZE)
    source = judge(image, load=functools.partial(_bytes_of, str(tmp_path)), read_headers=True)
    assert source[0].image == (tmp_path / "x.jpg").read_bytes() and not source.problems
    copy = pickle.loads(pickle.dumps(source))
    assert data.decode_image(copy[0].image, copy[0].size).shape == (80, 100, 3)


def test_numbers_of_the_format_follow_the_labels():
    images = (one("a", AnnotatedObject("dog", BOX)), one("b"))
    numbered = {"category_ids": (18, 17), "image_ids": {"a": 9, "b": 4}}
    source = judge(*images, stated=("dog", "cat"), class_names=("emu", "cat", "dog"), **numbered)
    assert source.category_ids == (None, None, 17, 18)  # neither background nor emu has one
    assert source.image_ids == {"a": 9, "b": 4}
    assert judge(*images).category_ids == () and judge(*images).image_ids is None


def test_a_part_is_taken_after_the_classes():
    images = [one(str(number), AnnotatedObject(f"class {number}", BOX)) for number in range(12)]
    source = judge(*images, part=Part(0, 0.5))
    assert source.ids() == [image.id for image in images if hash_fraction(image.id) < 0.5]
    assert 0 < len(source) < 12 and len(source.class_names) == 13 and source.name == "memory[0%:50%]"


def test_problems_keep_the_order_of_the_report_and_refuse_unknown_kinds():
    problems = Problems()
    assert not problems and str(problems) == ""
    for number in range(7):
        problems.add("clipped", f"image {number % 6}", f"box {number}")
    problems.add("missing_image", "x")
    assert list(problems.counts.items()) == [("missing_image", 1), ("clipped", 7)]  # skipped images first
    assert problems.named["clipped"] == [f"image {number}" for number in range(5)]
    assert problems.entries["clipped"][6] == Problem("image 0", "box 6")
    assert str(problems).splitlines()[1].startswith("7 boxes reaching over the edge: clipped to the image (image 0, ")
    assert str(problems).endswith("image 4, ...)")
    with pytest.raises(ValueError, match="kind must be one of .*; got 'odd'"):
        problems.add("odd", "x")


def test_a_few_images_are_tried_though_sizes_are_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(data.judge, "SAMPLE", 3)
    paths = [tmp_path / f"{number}.jpg" for number in range(7)]
    for path in paths:
        path.write_bytes(encoded(height=40))  # not of the stated shape
    images = [one(path.stem)._replace(image=path) for path in paths]
    with pytest.raises(
        InputError, match=r"none of 3 images tried can be used \(0: image is 100x40, its annotation says"
    ):
        judge(*images)
    paths[3].write_bytes(encoded())  # the second of three tried
    assert len(judge(*images)) == 7


def test_fractions_are_refused_where_pixels_are_expected():
    specks = [AnnotatedObject("cat", (0.1, 0.2, 0.5, 1.0)), AnnotatedObject("cat", (0, 0, 1.5, 1))]
    with pytest.raises(InputError, match=r"expected boxes in pixels, but all 2 lie between 0 and 1\.5, as fractions"):
        judge(one("a", *specks))
    assert len(judge(one("a", *specks), one("b"))) == 2  # a box of pixels: these are small ones
    assert len(judge(one("a", specks[0]._replace(box=(0.1, 0.1, 1, 1)), size=(12, 14)))) == 1  # a tiny image


def test_an_object_stated_twice_is_kept_and_told():
    cat = AnnotatedObject("cat", BOX)
    source = judge(one("a", cat, cat._replace(difficult=True), cat._replace(name="dog")))
    assert source.max_boxes == 3 and told(source) == {"repeated": [("a", "cat (10, 20, 50, 60)")]}
