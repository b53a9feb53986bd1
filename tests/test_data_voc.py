"""VOC-layout folders: what annotations say, and what each kind of dirt becomes (the table of docs/data.md)."""

import pickle

import numpy as np
import pytest
from PIL import Image
from voc_folder import add_image, annotation, one_object, picture

from ssd_jax import data
from ssd_jax.data.repair import repair_box
from ssd_jax.errors import InputError


def read(root, split="train", **options):
    return data.make_source(kind="voc", root=str(root), split=split, **options)


def pixel_boxes(source, index=0):
    return data.ground_truth(source)[index].boxes.tolist()


def test_boxes_are_pixels_over_size_without_a_shift(tmp_path):
    add_image(tmp_path, "a", annotation(one_object(box=(10, 20, 50, 60)), one_object("dog", (0.5, 0, 100, 80), 1)))
    source = read(tmp_path)
    example = source[0]
    # 10/100, 20/80, 50/100, 60/80 by hand
    np.testing.assert_array_equal(example.boxes[0], np.float32([0.1, 0.25, 0.5, 0.75]))
    assert (source.class_names, source.max_boxes, example.id) == (("background", "cat", "dog"), 2, "a")
    assert example.labels.tolist() == [1, 2] and example.difficult.tolist() == [False, True]
    truth = data.ground_truth(source)[0]
    assert truth.boxes.tolist() == [[10, 20, 50, 60], [0.5, 0, 100, 80]] and truth.ignored.tolist() == [False, True]
    assert not source.problems and str(source.problems) == ""


def test_one_based_subtracts_one_from_all_four(tmp_path):
    add_image(tmp_path, "a", annotation(one_object(box=(1, 1, 100, 80))))
    assert pixel_boxes(read(tmp_path, one_based=True)) == [[0, 0, 99, 79]]
    assert pixel_boxes(read(tmp_path)) == [[1, 1, 100, 80]]


@pytest.mark.parametrize(
    ("box", "kind", "expected"),
    [
        ((10, 20, 10, 60), "zero_size", None),
        ((10, 20, 50, 20), "zero_size", None),
        ((50, 60, 10, 20), "reversed", [10, 20, 50, 60]),
        ((50, 20, 10, 60), "reversed", [10, 20, 50, 60]),
        ((-5, 20, 50, 90), "clipped", [0, 20, 50, 80]),
        ((100, 20, 120, 60), "outside", None),
        ((-9, -9, 0, 0), "outside", None),
        (("nan", 20, 50, 60), "not_finite", None),
        ((10, 20, "inf", 60), "not_finite", None),
        ((10, 20, "wide", 60), "no_box", None),
    ],
)
def test_bad_boxes_are_repaired_or_dropped_and_named(tmp_path, box, kind, expected):
    add_image(tmp_path, "bad", annotation(one_object(box=box), one_object(box=(1, 2, 3, 4))))
    source = read(tmp_path)
    assert pixel_boxes(source) == [*([expected] if expected else []), [1, 2, 3, 4]]
    assert dict(source.problems.counts) == {kind: 1}
    assert "(bad)" in str(source.problems) and str(source.problems).startswith("1 ")


@pytest.mark.parametrize(
    ("box", "expected", "found"),
    [  # an image of 100 x 80
        ((-0.49, 0, 100.49, 80.49), (0, 0, 100, 80), []),
        ((-0.5, 0, 100, 80), (0, 0, 100, 80), ["clipped"]),
        ((0, -0.5, 100, 80), (0, 0, 100, 80), ["clipped"]),
        ((0, 0, 100.5, 80), (0, 0, 100, 80), ["clipped"]),
        ((0, 0, 100, 80.5), (0, 0, 100, 80), ["clipped"]),
        ((60, 0, 20, 80.01), (20, 0, 60, 80), ["reversed"]),
        ((100, 0, 100.4, 80), None, ["outside"]),
        ((99.9, 0, 100.4, 80), None, ["outside"]),  # 0.1 px of half a pixel
        ((99.4, 0, 100.4, 80), (99.4, 0, 100, 80), []),
        ((50, 10, 50.1, 20), (50, 10, 50.1, 20), []),  # as narrow as annotated
        ((-20, 0, 0.0001, 80), None, ["outside"]),
    ],
)
def test_less_than_half_a_pixel_over_the_edge_is_rounding(box, expected, found):
    assert repair_box(box, (80, 100)) == (expected, found)


def test_images_without_objects_are_kept(tmp_path):
    add_image(tmp_path, "empty", annotation())
    add_image(tmp_path, "full")
    source = read(tmp_path)
    assert len(source) == 2 and source[0].boxes.shape == (0, 4) and source[0].labels.shape == (0,)
    assert data.ground_truth(source)[0].boxes.shape == (0, 4) and not source.problems


def test_unknown_classes_are_refused_all_at_once_or_dropped(tmp_path):
    add_image(tmp_path, "a", annotation(one_object("emu"), one_object("yak"), one_object("cat", (1, 1, 9, 9))))
    with pytest.raises(InputError, match="emu, yak .known: cat"):
        read(tmp_path, class_names=("cat",))
    source = read(tmp_path, class_names=("background", "cat"), unknown="drop")
    assert source.class_names == ("background", "cat") and pixel_boxes(source) == [[1, 1, 9, 9]]
    assert dict(source.problems.counts) == {"unknown_class": 2}


@pytest.mark.parametrize("names", [("cat", "cat"), ("cat", "background"), ("",)])
def test_class_names_must_make_sense(tmp_path, names):
    add_image(tmp_path, "a")
    with pytest.raises(InputError, match="class_names"):
        read(tmp_path, class_names=names)


def test_given_class_names_set_the_labels(tmp_path):
    add_image(tmp_path, "a", annotation(one_object("cat")))
    assert read(tmp_path, class_names=("dog", "cat"))[0].labels.tolist() == [2]


def test_missing_files_are_skipped_and_named(tmp_path):
    for name in ("good", "no_image", "no_xml"):
        add_image(tmp_path, name)
    (tmp_path / "JPEGImages/no_image.jpg").unlink()
    (tmp_path / "Annotations/no_xml.xml").unlink()
    source = read(tmp_path)
    assert [source[i].id for i in range(len(source))] == ["good"]
    assert source.problems.named == {"missing_image": ["no_image"], "missing_annotation": ["no_xml"]}
    (tmp_path / "JPEGImages/good.jpg").unlink()
    with pytest.raises(InputError, match="none can be used: .*good, no_image"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0garbage"])
def test_files_that_are_no_images_are_skipped(tmp_path, content):
    add_image(tmp_path, "bad", image=content)
    add_image(tmp_path, "good")
    source = read(tmp_path)
    assert len(source) == 1 and source.problems.named == {"bad_image": ["bad"]}


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_without_a_size_that_of_the_image_counts(tmp_path, size):
    add_image(tmp_path, "a", annotation(one_object(), size=size))
    source = read(tmp_path)
    assert source[0].size == (80, 100) and dict(source.problems.counts) == {"no_size": 1}


def test_a_resized_copy_is_used_and_a_foreign_image_is_not(tmp_path):
    add_image(tmp_path, "half", image=picture(40, 50))
    add_image(tmp_path, "foreign", image=picture(80, 80))
    source = read(tmp_path)
    assert len(source) == 1 and pixel_boxes(source) == [[10, 20, 50, 60]]
    assert source.problems.named == {"resized_image": ["half"], "wrong_size": ["foreign"]}


def test_exif_rotation_follows_the_annotation(tmp_path):
    """The file holds 100x80; the tag says it is to be seen 80x100. Both habits of annotating are met."""
    exif = Image.Exif()
    exif[0x0112] = 6
    add_image(tmp_path, "as_seen", annotation(one_object(), size=(100, 80)), exif=exif)
    add_image(tmp_path, "as_stored", annotation(one_object(), size=(80, 100)), exif=exif)
    add_image(tmp_path, "unstated", annotation(one_object(), size=None), exif=exif)
    source = read(tmp_path)
    shapes = [data.decode_image(source[i].image, source[i].size).shape[:2] for i in range(3)]
    assert shapes == [source[i].size for i in range(3)] == [(100, 80), (80, 100), (100, 80)]
    assert source.problems.named == {"unrotated": ["as_stored"], "no_size": ["unstated"]}


def test_other_image_formats_and_a_tiny_image(tmp_path):
    add_image(tmp_path, "a", annotation(one_object(box=(0, 0, 1, 1)), size=(1, 1)), image=picture(1, 1))
    (tmp_path / "JPEGImages/a.jpg").unlink()
    picture(1, 1).save(tmp_path / "JPEGImages/a.PNG")
    source = read(tmp_path)
    assert source[0].boxes.tolist() == [[0, 0, 1, 1]] and source[0].image.name == "a.PNG"


def test_a_folder_without_any_object_needs_class_names(tmp_path):
    add_image(tmp_path, "a", annotation())
    with pytest.raises(InputError, match="so the classes must be named"):
        read(tmp_path)
    assert read(tmp_path, class_names=("cat",)).max_boxes == 0


def test_unknown_kind_is_refused():
    with pytest.raises(InputError, match="one of .*voc.*shapes; got 'stars'"):
        data.make_source(kind="stars", split="train")


def test_sources_are_picklable(tmp_path):
    add_image(tmp_path, "a")
    copy = pickle.loads(pickle.dumps(read(tmp_path)))
    assert copy[0].id == "a" and copy.class_names == ("background", "cat")


@pytest.mark.parametrize(  # counts: README.md of the shared data
    ("split", "images", "named"),
    [("trainval", 292, {"zero_size": ["BloodImage_00338", "BloodImage_00343"]}), ("test", 72, {})],
)
def test_bccd_counts(shared, split, images, named):
    source = read(shared / "data/bccd", split)
    assert len(source) == images and source.problems.named == named
    assert source.class_names == ("background", "Platelets", "RBC", "WBC")


def test_bccd_boxes_are_those_of_the_readme_less_two(shared):
    boxes = [read(shared / "data/bccd", split) for split in ("trainval", "test")]
    labels = np.concatenate([source[i].labels for source in boxes for i in range(len(source))])
    # RBC 4155, WBC 372, Platelets 361; two of RBC have no size and are dropped
    assert np.bincount(labels).tolist() == [0, 361, 4153, 372]


def test_voc2012_ground_truth_is_what_the_files_say(shared):
    source = read(shared / "data/voc2012-animals/VOCdevkit", "VOC2012/val")
    assert len(source) == 300 and len(source.class_names) == 21 and not source.problems
    for example, truth in zip((source[i] for i in range(300)), data.ground_truth(source), strict=True):
        assert (truth.boxes == truth.boxes.round(0)).mean() > 0.9  # a few annotations are fractional
        from_example = data.sources.pixel_ground_truth(example)
        np.testing.assert_allclose(from_example.boxes, truth.boxes, atol=5e-4)  # rounded to 1/1000 px
