"""Splits of VOC-layout folders: lists and what stands in them, unions, test sets without annotations."""

import pytest
from voc_folder import add_image, annotation, one_object, write_list

from ssd_jax import data
from ssd_jax.data.formats.voc_layout import UNIONS
from ssd_jax.data.part import hash_fraction
from ssd_jax.errors import InputError


def read(root, split="train", **options):
    return data.make_source(kind="voc", root=str(root), split=split, **options)


def test_voc_names_keep_their_usual_order_in_a_devkit_only(tmp_path):
    add_image(tmp_path / "VOC2007", "a", annotation(one_object("person"), one_object("cat")))
    add_image(tmp_path / "mine", "a", annotation(one_object("person"), one_object("cat")))
    assert read(tmp_path, "VOC2007/train").class_names == ("background", *data.VOC_CLASSES)
    assert read(tmp_path, "VOC2007/train")[0].labels.tolist() == [15, 8]  # 1-based positions in the devkit's list
    assert read(tmp_path, "mine/train").class_names == ("background", "cat", "person")


def test_parts_are_joined_in_order_with_unique_ids(tmp_path):
    add_image(tmp_path / "VOC2012", "b")
    add_image(tmp_path / "VOC2007", "b")
    add_image(tmp_path / "VOC2007", "a")
    source = read(tmp_path, "VOC2007/train+VOC2012/train")
    assert [source[i].id for i in range(3)] == ["VOC2007/b", "VOC2007/a", "VOC2012/b"]
    assert [truth.id for truth in data.ground_truth(source)] == [source[i].id for i in range(3)]


def test_all_takes_every_annotation_sorted(tmp_path):
    for name in ("c", "a", "b"):
        add_image(tmp_path, name)
    (tmp_path / "ImageSets/Main/train.txt").unlink()
    source = read(tmp_path, "all")
    assert [source[i].id for i in range(3)] == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"train\.txt .*'all' takes every annotation"):
        read(tmp_path)


def devkit(root):
    """A VOCdevkit with one image a list: 7 of 2007, 12 of 2012, t of VOC2007 test."""
    add_image(root / "VOC2007", "7", split="trainval")
    add_image(root / "VOC2007", "t", split="test")
    add_image(root / "VOC2012", "12", split="trainval")
    return root


@pytest.mark.parametrize(
    ("union", "ids"),
    [  # Table 4 of the paper: "07++12": union of VOC2007 trainval and test and VOC2012 trainval
        ("07", ["7"]),
        ("07+12", ["VOC2007/7", "VOC2012/12"]),
        (" 07++12 ", ["VOC2007/7", "VOC2007/t", "VOC2012/12"]),
    ],
)
def test_unions_are_called_as_in_the_paper(tmp_path, union, ids):
    source = read(devkit(tmp_path), union)
    assert source.ids() == ids == read(tmp_path, UNIONS[union.strip()]).ids()
    assert source.class_names == ("background", *data.VOC_CLASSES)


def test_unions_have_parts_too(tmp_path):
    devkit(tmp_path)
    fractions = {name: hash_fraction(name) for name in ("VOC2007/7", "VOC2007/t", "VOC2012/12")}
    cut = f"{100 * sorted(fractions.values())[1]:.3f}%"  # between two of the three
    low, high = read(tmp_path, f"07++12[:{cut}]").ids(), read(tmp_path, f"07++12[{cut}:]").ids()
    assert low and high and sorted(low + high) == sorted(fractions)


def test_a_union_needs_the_devkit_and_a_list_called_so_wins(tmp_path):
    devkit(tmp_path)
    with pytest.raises(InputError, match=r"root itself holds JPEGImages: point it at the folder above") as caught:
        read(tmp_path / "VOC2007", "07+12")
    assert str(tmp_path) in str(caught.value)
    write_list(tmp_path / "VOC2007", "07", "t")
    assert read(tmp_path / "VOC2007", "07").ids() == ["t"]


def test_a_list_of_a_class_gives_its_images(tmp_path):
    """As ImageSets/Main/cat_train.txt: 1, 0 (only difficult ones) and -1 (none), aligned by blanks."""
    for name in ("pos", "part", "neg", "photo 1", "photo -1"):
        add_image(tmp_path, name)
    lines = ("pos  1", "part  0", "neg -1", "photo 1", "photo 1  1", "photo -1 -1", "gone -1", "lost 1")
    write_list(tmp_path, "cat_train", *lines)
    source = read(tmp_path, "cat_train")
    assert source.ids() == ["pos", "part", "photo 1"]
    # A name that ends like a flag is a name; the second line that names it is a repetition.
    assert source.problems.named == {"missing_annotation": ["lost"], "duplicate": ["photo 1"]}


def test_lists_may_hold_extensions_paths_and_windows_line_ends(tmp_path):
    for name in ("a", "b", "c", "d.v2", "e", "f"):
        add_image(tmp_path, name)
    lines = [
        "a.jpg",
        "JPEGImages/b.JPG 1",
        r"C:\data\JPEGImages\c.jpg",
        "d.v2",
        "Annotations/e.xml",
        "",
        "f  ",
        "x/g.png",
    ]
    (tmp_path / "ImageSets/Main/train.txt").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    source = read(tmp_path)
    assert source.ids() == ["a", "b", "c", "d.v2", "e", "f"]
    assert source.problems.named == {"missing_annotation": ["x/g"]}


def test_a_list_in_another_encoding_is_refused(tmp_path):
    add_image(tmp_path, "a")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"train\.txt is not UTF-8 text"):
        read(tmp_path)


def test_a_secret_test_set_is_refused_with_the_way_to_read_it(tmp_path):
    """VOC2012's has annotations for other tasks on some of its images, or no such folder at all."""
    for name in ("a", "b", "c"):
        add_image(tmp_path / "VOC2012", name, split="test")
    for name in ("b", "c"):
        (tmp_path / f"VOC2012/Annotations/{name}.xml").unlink()
    with pytest.raises(InputError, match=r"2 of 3 images of .*VOC2012 have no annot.*data\.voc\.annotations=none") as e:
        read(tmp_path, "VOC2012/test")
    assert "\n" not in str(e.value)
    (tmp_path / "VOC2012/Annotations/a.xml").unlink()
    (tmp_path / "VOC2012/Annotations").rmdir()
    with pytest.raises(InputError, match=r"no folder Annotations .*data\.voc\.annotations=none"):
        read(tmp_path, "VOC2012/test")
    for split in ("VOC2012/test", "VOC2012/all"):
        source = read(tmp_path, split, annotations="none")
        assert source.ids() == ["a", "b", "c"] and source.class_names == ("background", *data.VOC_CLASSES)
        assert source[0].size == (80, 100) and source.max_boxes == 0
        assert not source.annotated and not source.problems


def test_images_alone_are_read_without_looking_at_annotations(tmp_path):
    add_image(tmp_path, "a", "not XML")
    add_image(tmp_path, "b", image=b"no image")
    add_image(tmp_path, "c")
    (tmp_path / "JPEGImages/c.jpg").unlink()
    source = read(tmp_path, annotations="none", class_names=("cat",))
    assert source.ids() == ["a"] and source.problems.named == {"missing_image": ["c"], "bad_image": ["b"]}
    with pytest.raises(InputError, match="expected 'required' or 'none', got 'optional'"):
        read(tmp_path, annotations="optional")


def test_a_name_listed_twice_counts_once(tmp_path):
    add_image(tmp_path, "a")
    add_image(tmp_path, "a")
    source = read(tmp_path)
    assert len(source) == 1 and dict(source.problems.counts) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("root", "split", "message"),
    [
        ("nowhere", "train", "nowhere is not a folder"),
        ("", "train", "has no folder Annotations .but there is inner"),
        ("inner", "", "FOLDER"),
        ("inner", "val", "there are: train; 'all'"),
        ("inner", "empty", "none is listed"),
    ],
)
def test_wrong_paths_are_refused_in_one_sentence(tmp_path, root, split, message):
    add_image(tmp_path / "inner", "a")
    if split == "empty":
        (tmp_path / "inner/ImageSets/Main/empty.txt").write_text("\n")
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / root, split)
    assert "\n" not in str(caught.value)
