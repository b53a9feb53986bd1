"""VOC annotation files: encodings, blanks, parts, damage; and the genuine ones of VOC2007 test."""

import json
import tarfile

import numpy as np
import pytest
from voc_folder import add_image, annotation, one_object

from ssd_jax import data
from ssd_jax.data.formats import voc
from ssd_jax.data.formats.voc_layout import annotations_by_stem
from ssd_jax.data.problems import Problems
from ssd_jax.data.records import RecordSource


def read(root, split="train"):
    return data.make_source(kind="voc", root=str(root), split=split)


def pixel_boxes(source, index=0):
    return data.ground_truth(source)[index].boxes.tolist()


ENTITIES = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxx">]>'


@pytest.mark.parametrize(
    "xml",
    [ENTITIES + annotation(one_object("&x;")), "<annotation><object>", "", "not XML"],
    ids=["doctype", "cut off", "empty", "text"],
)
def test_unreadable_annotations_skip_the_image(tmp_path, xml):
    add_image(tmp_path, "bad", xml)
    add_image(tmp_path, "good")
    source = read(tmp_path)
    assert len(source) == 1 and source.problems.named == {"bad_annotation": ["bad"]}


def test_a_doctype_is_refused_in_any_encoding(tmp_path):
    add_image(tmp_path, "good")
    add_image(tmp_path, "bad")
    text = ENTITIES.replace("?>", ' encoding="utf-16"?>', 1) + annotation(one_object("&x;"))
    (tmp_path / "Annotations/bad.xml").write_bytes(text.encode("utf-16"))
    assert read(tmp_path).problems.named == {"bad_annotation": ["bad"]}


def test_extensions_may_be_in_capitals(tmp_path):
    add_image(tmp_path, "a")
    (tmp_path / "Annotations/a.xml").rename(tmp_path / "Annotations/a.XML")
    (tmp_path / "JPEGImages/a.jpg").rename(tmp_path / "JPEGImages/a.JPG")
    assert read(tmp_path).ids() == ["a"] == read(tmp_path, "all").ids()
    (tmp_path / "Annotations/a.xml").write_text(annotation(one_object("dog")))  # of both, the usual one
    assert read(tmp_path).class_names == ("background", "dog")


def test_numbers_and_names_are_read_generously(tmp_path):
    box = "<bndbox><ymax> 60.0</ymax><xmin>10.0</xmin><xmax>5e1\n</xmax><ymin>20</ymin></bndbox>"
    xml = f"<object><name>\n hot dog </name>{box}</object>"
    add_image(tmp_path, "a", annotation(xml).replace("<width>100<", "<width> 100.0 <"))
    source = read(tmp_path)
    assert source.class_names == ("background", "hot dog") and pixel_boxes(source) == [[10, 20, 50, 60]]
    assert source[0].size == (80, 100) and not source.problems


def test_parts_of_an_object_are_no_objects(tmp_path):
    """VOC marks heads, hands and feet within a person; some files put them before the person's own box."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part>"
    add_image(tmp_path, "a", annotation(one_object("person").replace("<object>", f"<object>{part}")))
    add_image(tmp_path, "b", annotation(f"<object><name>person</name>{part}</object>"))
    add_image(tmp_path, "c", annotation(f"<group>{one_object('dog')}</group>"))
    source = read(tmp_path)
    assert source.class_names == ("background", "person") and pixel_boxes(source) == [[10, 20, 50, 60]]
    assert source.problems.named == {"no_box": ["b"]} and source.max_boxes == 1


@pytest.mark.parametrize(
    ("name", "encoding", "declared"),
    [
        ("caf&#233;", "ascii", False),
        ("café", "utf-8", False),
        ("café", "utf-8-sig", False),
        ("café", "latin-1", True),
        ("café", "cp1252", True),
        ("café", "utf-16", True),
    ],
)
def test_names_in_any_declared_encoding(tmp_path, name, encoding, declared):
    add_image(tmp_path, "a")
    head = f'<?xml version="1.0" encoding="{encoding}"?>' if declared else ""
    text = head + annotation(one_object(f"{name} &amp; co"))
    (tmp_path / "Annotations/a.xml").write_bytes(text.encode(encoding))
    assert read(tmp_path).class_names == ("background", "café & co")


@pytest.mark.parametrize(
    ("name", "encoding", "declared", "reason"),
    [
        ("café", "latin-1", "", "invalid token"),
        ("caf&eacute;", "ascii", "", "undefined entity"),  # HTML's entities are not XML's
        ("猫", "gb2312", "gb2312", "multi-byte encodings are not supported"),
        ("cat", "ascii", "klingon", "unknown encoding"),
    ],
)
def test_unreadable_encodings_are_named_with_the_reason(tmp_path, name, encoding, declared, reason):
    add_image(tmp_path, "bad")
    add_image(tmp_path, "good")
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    (tmp_path / "Annotations/bad.xml").write_bytes((head + annotation(one_object(name))).encode(encoding))
    source = read(tmp_path)
    (problem,) = source.problems.entries["bad_annotation"]
    assert source.ids() == ["good"] and problem.name == "bad" and reason in problem.detail


def test_names_with_spaces_and_beyond_ascii(tmp_path):
    root = tmp_path / "my dätä 图"
    add_image(root, "pic ture é 猫", annotation(one_object("hot dog")))
    source = read(root)
    assert source[0].id == "pic ture é 猫" and source.class_names == ("background", "hot dog")


def test_all_of_voc2007_test_is_read(shared, tmp_path, monkeypatch):
    """The genuine annotations of VOC2007 test; the images are said to be there, and their headers are not read."""
    oracle = shared / "oracles/voc2007-yolov2"
    with tarfile.open(oracle / "voc2007-test-annotations.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "VOCdevkit/VOC2007/JPEGImages").mkdir()
    monkeypatch.setattr(voc, "images_by_stem", annotations_by_stem)
    monkeypatch.setattr(data.judge, "SAMPLE", 0)
    problems = Problems()
    reading = voc.read(str(tmp_path / "VOCdevkit"), "VOC2007/all", problems=problems)
    source = RecordSource(reading._replace(read_headers=False), problems=problems)
    truth = data.ground_truth(source)
    labels, ignored = (np.concatenate([getattr(t, name) for t in truth]) for name in ("labels", "ignored"))
    # VOC2007 test has 4952 images, 14976 objects, 12032 of them not difficult (README.md of the shared data)
    assert (len(source), len(labels), ignored.sum()) == (4952, 14976, 2944) and not problems
    expected = json.loads((oracle / "expected.json").read_text())
    counts = dict(zip(source.class_names, np.bincount(labels[~ignored], minlength=21), strict=True))
    assert {name: counts[name] for name in data.VOC_CLASSES} == {n: expected[n]["npos"] for n in data.VOC_CLASSES}
