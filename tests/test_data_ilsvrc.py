"""ILSVRC DET: lists, synsets, negatives, and every wrong turn, on a tiny tree in the archive's layout."""

import pickle

import numpy as np
import pytest
from ilsvrc_folder import (
    AIRPLANE,
    EXTRA,
    LEAF,
    MAP,
    SECOND,
    VAL,
    YEAR,
    add_image,
    build,
    set_annotation,
    write_list,
)
from voc_folder import annotation, one_object

from ssd_jax import data
from ssd_jax.data import sources
from ssd_jax.data.formats import ilsvrc
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections


@pytest.fixture(autouse=True)
def reader(monkeypatch):
    monkeypatch.setitem(sources.READERS, "ilsvrc", ilsvrc.read)


@pytest.fixture
def root(tmp_path):
    return build(tmp_path / "ILSVRC")


def read(root, split="train", **options):
    return data.make_source(kind="ilsvrc", root=str(root), split=split, **options)


def test_objects_are_named_and_numbered_by_the_devkit(root):
    source = read(root)
    assert source.class_names == ("background", "accordion", "airplane", "baby bed")
    assert source.ids() == [LEAF, YEAR]  # as the lists write them; the negative has no annotation
    assert source[0].labels.tolist() == [1, 3] and source[1].labels.tolist() == [2]
    # 10/100, 20/80, 50/100, 60/80 by hand: no shift, since the archive's coordinates start at 0
    np.testing.assert_array_equal(source[0].boxes[0], np.float32([0.1, 0.25, 0.5, 0.75]))
    assert source[1].size == (60, 90) and not source.problems
    assert data.decode_image(source[1].image, source[1].size).shape == (60, 90, 3)


@pytest.mark.parametrize("split", ["train", "val", "train+val"])
def test_ground_truth_as_detections_is_perfect(root, split):
    source = read(root, split)
    truth = data.ground_truth(source)
    found = [
        ImageDetections(t.id, t.boxes.astype(np.float32), np.ones(len(t.labels), np.float32), t.labels) for t in truth
    ]
    result = voc.evaluate(found, truth, class_names=source.class_names)
    assert result.num_ground_truth.sum() == {"train": 3, "val": 3, "train+val": 6}[split]
    assert np.nanmean(result.ap_11point) == np.nanmean(result.ap_area) == 1
    pytest.importorskip("pycocotools", reason="COCO figures need pycocotools")
    assert coco.evaluate(found, truth, class_names=source.class_names).ap == pytest.approx(1)


def test_lists_of_a_class_leave_out_their_negatives(root):
    assert read(root, "train_1").ids() == [LEAF]
    assert read(root, "train_2").ids() == [YEAR, LEAF]
    # -1 is what leaves an image out, annotated or not
    write_list(root, "train_3", f"{LEAF} -1", f"{YEAR} 1")
    assert read(root, "train_3").ids() == [YEAR]


def test_overlapping_lists_give_each_image_once_without_a_word(root):
    source = read(root, "train_1+train_2+train")
    assert source.ids() == [LEAF, YEAR] and not source.problems


@pytest.mark.parametrize("where", ["inside", "relative", "absolute"])
def test_given_lists_mix_train_and_val(root, tmp_path, where):
    """val1 and val2 are given as files, with or without numbers."""
    if where == "inside":
        write_list(root, "val1", SECOND)
        split = "train+val1"
    else:
        (root / "lists").mkdir()
        (root / "lists/val1.txt").write_bytes(f"\ufeff{SECOND} 7\r\n\r\n".encode())
        split = "train + lists/val1.txt" if where == "relative" else f"train+{root}/lists/val1.txt"
    assert read(root, split).ids() == [LEAF, YEAR, SECOND]


def test_an_absent_division_is_refused_with_the_reason(root):
    with pytest.raises(InputError, match=r"val2\.txt \(val1 and val2 are R-CNN's .* there are: test, train, val, tra"):
        read(root, "val2")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n02672831 accordion\nn02691156 airplane\nn02766320 baby bed\n", ("accordion", "airplane", "baby bed")),
        (
            "n02766320\t1\tbaby bed\n\nn02672831 2 accordion\nn02691156 3 airplane",
            ("baby bed", "accordion", "airplane"),
        ),
        # names that start with a number are names, unless every line has a number
        ("n02672831 1 accordion\nn02691156 airplane\nn02766320 bed", ("1 accordion", "airplane", "bed")),
        (
            "n02672831 1 crane\nn02691156 2 airplane\nn02766320 3 crane\n",
            ("crane (n02672831)", "airplane", "crane (n02766320)"),
        ),
    ],
    ids=["names", "another order", "numbered names", "homonyms"],
)
def test_class_lists_given_as_a_file(root, text, names):
    (root / "mine.txt").write_text(text)
    source = read(root, synsets="mine.txt")
    assert source.class_names == ("background", *names)
    assert source.class_names[source[1].labels[0]] == "airplane"
    assert read(root, synsets=str(root / "mine.txt")).class_names == source.class_names


@pytest.mark.parametrize("place", ["devkit/data", "../devkit/data", "data", "."])
def test_the_class_list_is_found_by_convention(root, place):
    (root / "devkit/data/map_det.txt").unlink()
    (root / place).mkdir(parents=True, exist_ok=True)
    (root / place / "map_det.txt").write_text(MAP)
    assert len(read(root).class_names) == 4


def test_without_a_class_list_one_sentence_says_which(root):
    (root / "devkit/data/map_det.txt").unlink()
    with pytest.raises(
        InputError, match=r"map_det\.txt of the development kit .*devkit\.tar\.gz.*data\.ilsvrc\.syn"
    ) as e:
        read(root)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accordion\n", "expected lines 'n01234567 .number. name', got 'accordion'"),
        ("n02672831\n", "got 'n02672831'"),
        ("n02672831 1 a\nn02672831 2 b\n", "each synset once, got 2 lines of 1"),
        ("", "got 0 lines"),
    ],
)
def test_wrong_class_lists_are_refused(root, text, message):
    (root / "mine.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read(root, synsets="mine.txt")


def test_a_synset_outside_the_list_is_refused_or_counted_and_dropped(root):
    set_annotation(root, VAL, annotation(one_object("n99999999", (1, 1, 9, 9)), one_object(AIRPLANE, (2, 2, 8, 8))))
    with pytest.raises(InputError, match="not in class_names: n99999999"):
        read(root, "val")
    source = read(root, "val", unknown="drop")
    assert data.ground_truth(source)[0].boxes.tolist() == [[2, 2, 8, 8]]
    assert [(p.name, p.detail) for p in source.problems.entries["unknown_class"]] == [(VAL, "n99999999")]


def test_missing_files_are_told_but_negatives_are_not(root):
    other = LEAF.replace("1001", "1002")
    add_image(root, other)  # no annotation beside one that has: a negative
    half = "ILSVRC2013_train/n00007846/n00007846_1"
    add_image(root, half)  # no annotation in the whole folder: half unpacked
    lost = LEAF.replace("1001", "1003")
    set_annotation(root, lost, annotation(one_object(AIRPLANE)))
    bad = LEAF.replace("1001", "1004")
    add_image(root, bad, one_object(AIRPLANE))
    set_annotation(root, bad, "<annotation>")
    add_image(root, "ILSVRC2013_val_00000003")
    write_list(root, "mixed", LEAF, other, half, lost, bad, EXTRA, "ILSVRC2013_val_00000003")
    source = read(root, "mixed")
    assert source.ids() == [LEAF]
    assert source.problems.named == {
        "missing_annotation": [half, "ILSVRC2013_val_00000003"],
        "missing_image": [lost],
        "bad_annotation": [bad],
    }


def test_odd_lines_are_told(root):
    write_list(root, "odd", f"{LEAF}.JPEG 1", "ILSVRC2099_other_1 1", f"{YEAR} one", f"{YEAR} 1 2")
    source = read(root, "odd")
    assert source.ids() == [LEAF]
    assert source.problems.named == {"bad_line": ["odd.txt:2", "odd.txt:3", "odd.txt:4"]}


def test_test_images_are_read_without_annotations(root):
    with pytest.raises(InputError, match=r"Annotations/DET/test; --config\.data\.ilsvrc\.annotations=none"):
        read(root, "test")
    source = read(root, "test", annotations="none")
    assert source.ids() == ["ILSVRC2013_test_00000001"] and not source.annotated and not source.problems
    assert source[0].size == (80, 100) and len(source[0].boxes) == 0 and len(source.class_names) == 4


def test_a_stated_size_is_believed_and_an_absent_one_is_read(root, monkeypatch):
    """No header of 450,000 images is opened; the decoder compares sizes later."""
    opened = []
    monkeypatch.setattr(data.judge, "SAMPLE", 0)
    real = data.judge.read_header
    monkeypatch.setattr(data.judge, "read_header", lambda image: (opened.append(image), real(image))[1])
    read(root, "train+val")
    assert opened == []
    set_annotation(root, VAL, annotation(one_object(AIRPLANE), size=None))
    source = read(root, "val")
    assert [path.name for path in opened] == [f"{VAL}.JPEG"] and source[0].size == (80, 100)
    assert dict(source.problems.counts) == {"no_size": 1}


@pytest.mark.parametrize(
    ("inner", "split", "message"),
    [
        ("nowhere", "train", "nowhere is not a folder"),
        ("..", "train", r"no folder Data/DET \(but there is ILSVRC\)"),
        ("", "", "lists joined by '\\+', got ''"),
        ("", "train+", "lists joined by"),
        ("", "trian", r"trian\.txt \(there are: test, train, val, train_1, train_2\)"),
        ("", "lists/mine.txt", r"lists/mine\.txt \(there are"),
        ("", "train", "no folder Annotations/DET/train"),
        ("", "empty", "none is listed"),
    ],
)
def test_wrong_paths_are_refused_in_one_sentence(root, inner, split, message):
    if "no folder Annotations" in message:
        (root / "Annotations/DET/train").rename(root / "elsewhere")
    if split == "empty":
        write_list(root, "empty")
    with pytest.raises(InputError, match=message) as caught:
        read(root / inner, split, synsets=str(root / "devkit/data/map_det.txt"))
    assert "\n" not in str(caught.value)


def test_a_list_in_another_encoding_is_refused(root):
    (root / "ImageSets/DET/train.txt").write_text(f"{LEAF} 1", encoding="utf-16")
    with pytest.raises(InputError, match=r"train\.txt: expected text in UTF-8, but line 1 is not; save it as UTF-8"):
        read(root)


def test_wrong_options_are_refused(root):
    with pytest.raises(InputError, match="annotations: expected 'required' or 'none', got 'no'"):
        read(root, annotations="no")


def test_the_source_is_picklable(root):
    copy = pickle.loads(pickle.dumps(read(root, "val")))
    assert copy[1].id == SECOND and data.decode_image(copy[1].image, copy[1].size).shape == (80, 100, 3)


def test_each_folder_is_read_once(root, monkeypatch):
    """A file at a time would be half a million questions to a disk."""
    from ssd_jax.data.formats import ilsvrc_layout

    for number in range(20):
        add_image(root, LEAF.replace("1001", str(2000 + number)), one_object(AIRPLANE))
    write_list(root, "many", *(LEAF.replace("1001", str(2000 + number)) for number in range(20)))
    calls, real = [], ilsvrc_layout.os.listdir
    monkeypatch.setattr(ilsvrc_layout.os, "listdir", lambda path: (calls.append(path), real(path))[1])
    assert len(read(root, "many")) == 20
    assert len(calls) == 2  # one of images, one of annotations
