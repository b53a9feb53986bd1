"""Tables of objects: what is understood, and what each wrong turn is told."""

import csv

import numpy as np
import pytest
from voc_folder import picture

from ssd_jax import data
from ssd_jax.data.formats import csv_table
from ssd_jax.data.sources import READERS
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections

HEADER = "path,xmin,ymin,xmax,ymax,class\n"
BOX = [10, 20, 50, 60]
ROW = "a.jpg,10,20,50,60,cat\n"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(READERS, "csv", csv_table.read)


def read(root, split="train", **options):
    return data.make_source(kind="csv", root=str(root), split=split, **options)


def write(root, text, *images, name="train.csv"):
    """Writes a table, and images 100 wide and 80 high."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        picture(80, 100).save(root / image)
    return root


def pixel_boxes(source, index=0):
    return data.ground_truth(source)[index].boxes.tolist()


def reasons(source, kind="bad_line"):
    return [(problem.name, problem.detail) for problem in source.problems.entries[kind]]


@pytest.mark.parametrize(
    "text",
    [
        ROW,
        HEADER + ROW,
        HEADER.upper() + "\n" + ROW + "\n\n",
        "\ufeff" + HEADER + ROW,
        (HEADER + ROW).replace("\n", "\r\n"),
        (HEADER + ROW).replace("\n", "\r"),
        (HEADER + ROW).replace(",", ";"),
        (HEADER + ROW).replace(",", "\t"),
        (HEADER + ROW).replace(",", " , "),
        '"path","xmin","ymin","xmax","ymax","class"\n"a.jpg","10","20","50","60","cat"',
        "class,ymax,xmax,ymin,xmin,path\ncat,60,50,20,10,a.jpg",
        "filename,label,x1,y1,x2,y2\na.jpg,cat,10,20,50,60",
        "Image Path,Class Name,left,top,right,bottom\n./a.jpg,cat,1e1,20.0,50.,+60",
        "file,x_min,y_min,x_max,y_max,category,split,,score\na.jpg,10,20,50,60,cat,train,,0.5",
        "name,path,file,xmin,ymin,xmax,ymax,class\nx,a.jpg,y,10,20,50,60,cat",  # "path" and "class" are preferred
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,100,80,cat,10,20,50,60",
        HEADER + "a.jpg,10,20,50,60,cat,,\n",
        "sub\\..\\a.jpg,10,20,50,60,cat",
    ],
)
def test_spellings_of_the_same_table(tmp_path, text):
    source = read(write(tmp_path, text, "a.jpg"))
    assert source.ids() == ["a"] and source.class_names == ("background", "cat") and not source.problems
    assert pixel_boxes(source) == [BOX]
    # 10/100, 20/80, 50/100, 60/80 by hand
    np.testing.assert_array_equal(source[0].boxes, np.float32([[0.1, 0.25, 0.5, 0.75]]))


def test_images_come_as_first_named_and_keep_all_their_lines(tmp_path):
    text = ROW.replace("a.", "b.") + ROW + "empty.jpg,,,,,\n" + "b.jpg,1.5,2,3,4,dog\n" + "a.jpg,,,,,\n"
    source = read(write(tmp_path, text, "a.jpg", "b.jpg", "empty.jpg"))
    assert source.ids() == ["b", "a", "empty"] and source.class_names[1:] == ("cat", "dog")
    assert [pixel_boxes(source, index) for index in range(3)] == [[BOX, [1.5, 2, 3, 4]], [BOX], []]
    assert source[0].labels.tolist() == [1, 2] and not source.problems


def test_a_table_may_begin_with_an_image_without_objects(tmp_path):
    assert read(write(tmp_path, "e.jpg,,,,,\n" + ROW, "a.jpg", "e.jpg")).ids() == ["e", "a"]


def test_odd_names(tmp_path):
    names = ["my dätä/é 猫 1.JPG", "a, b.png", "v1.2.jpeg", "same.jpg", "same.png"]
    text = "".join(f'"{name}",10,20,50,60,"hot dog, mustard"\n' for name in names)
    source = read(write(tmp_path / "图 片", text, *names))
    assert source.ids() == ["my dätä/é 猫 1", "a, b", "v1.2", "same.jpg", "same.png"]
    assert source.class_names == ("background", "hot dog, mustard") and not source.problems


def test_where_images_are_looked_for(tmp_path):
    text = "".join(f"{name},10,20,50,60,cat\n" for name in ("a.jpg", "b.jpg", "c.jpg", f"{tmp_path}/elsewhere/d.jpg"))
    write(tmp_path, text, "lists/a.jpg", "a.jpg", "b.jpg", "images/b.jpg", "images/c.jpg", name="lists/train.csv")
    write(tmp_path, "", "elsewhere/d.jpg", name="unused")
    source = read(tmp_path, "lists/train")
    places = [str(source[index].image.relative_to(tmp_path)) for index in range(4)]
    assert places == ["lists/a.jpg", "b.jpg", "images/c.jpg", "elsewhere/d.jpg"]
    assert source.ids() == ["a", "b", "c", "elsewhere/d"]


def test_ids_lead_nowhere_else(tmp_path):
    write(tmp_path / "set", "../a.jpg,10,20,50,60,cat\n" + f"{tmp_path}/b.jpg,10,20,50,60,cat", "../a.jpg", "../b.jpg")
    assert read(tmp_path / "set").ids() == ["a", f"{tmp_path}/b".lstrip("/")]


def test_several_tables(tmp_path):
    write(tmp_path, ROW, "one/a.jpg", name="one/t.csv")
    write(tmp_path, ROW + ROW.replace("a.", "b."), "two/a.jpg", "two/b.jpg", name="two/t.csv")
    source = read(tmp_path, "one/t + two/t.csv")
    assert source.ids() == ["one/a", "two/a", "two/b"]
    write(tmp_path, "one/a.jpg,1,2,3,4,cat", name="again.csv")
    assert read(tmp_path, "one/t+again").problems.named == {"duplicate": ["one/a"]}


def test_flags_and_stated_sizes(tmp_path):
    text = (
        "path,xmin,ymin,xmax,ymax,class,width,height,difficult,iscrowd\n"
        "a.jpg,10,20,50,60,cat,100,80,1,0\n"
        "a.jpg,10,20,50,61,cat,,,False,TRUE\n"
        "half.jpg,20,40,100,120,cat,200,160,0,\n"
        "turned.jpg,1,2,3,4,cat,80,100,0,\n"
        "unstated.jpg,10,20,50,60,cat,,,0,\n"
    )
    source = read(write(tmp_path, text, "a.jpg", "half.jpg", "turned.jpg", "unstated.jpg"))
    assert source.ids() == ["a", "half", "unstated"]
    assert source[0].difficult.tolist() == [True, False] and source[0].crowd.tolist() == [False, True]
    # the boxes of a copy of half the size are stated in the frame of the original
    assert source[1].size == (160, 200) and pixel_boxes(source, 1) == [[20, 40, 100, 120]]
    np.testing.assert_array_equal(source[1].boxes, source[0].boxes[:1])
    named = {"wrong_size": ["turned"], "no_size": ["unstated"], "resized_image": ["half"]}
    assert source.problems.named == named


def test_lines_that_contradict_the_size_of_their_image_are_left_out(tmp_path):
    text = "path,xmin,ymin,xmax,ymax,class,width,height\na.jpg,10,20,50,60,cat,100,80\na.jpg,1,2,3,4,cat,50,40\n"
    source = read(write(tmp_path, text, "a.jpg"))
    assert pixel_boxes(source) == [BOX]
    assert reasons(source) == [("train.csv:3", "(height, width) is (40, 50), first (80, 100)")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.jpg,10,20,50,60", "expected 6 values, got 5"),
        ("a.jpg,10,20,50,60,cat,dog", "expected 6 values, got 7"),
        ("a.jpg,10,wide,50,60,cat", "expected a number, got 'wide'"),
        ("a.jpg,,,,,cat", "has a class without a whole box"),
        ("a.jpg,10,,50,60,cat", "has a class without a whole box"),
        ("a.jpg,10,20,50,60,", "has a box without a class"),
        (",10,20,50,60,cat", "has no path"),
        ('"a.jpg,10,20,50,60,cat', "expected 6 values, got 1"),
        ("path,xmin,ymin,xmax,ymax,class", "expected a number, got 'xmin'"),
        ("x" * 200_000, "field larger than field limit"),
    ],
)
@pytest.mark.parametrize("header", ["", HEADER])
def test_a_bad_line_is_left_out_and_told_with_its_number(tmp_path, header, line, reason):
    source = read(write(tmp_path, f"{header}{ROW}\n{line}\n{ROW}", "a.jpg"))
    assert pixel_boxes(source) == [BOX, BOX]  # the lines behind it are not lost, whatever it holds
    ((name, detail),) = reasons(source)
    assert name == ("train.csv:4" if header else "train.csv:3") and reason in detail


def test_a_bad_flag_is_a_bad_line(tmp_path):
    source = read(
        write(tmp_path, "path,xmin,ymin,xmax,ymax,class,crowd\n" + ROW[:-1] + ",2\n" + ROW[:-1] + ",0\n", "a.jpg")
    )
    assert reasons(source) == [("train.csv:2", "expected 0 or 1, got '2'")]


def test_an_image_of_bad_lines_alone_is_no_image_without_objects(tmp_path):
    source = read(write(tmp_path, ROW + "b.jpg,10,20,x,60,cat", "a.jpg", "b.jpg"))
    assert source.ids() == ["a"] and reasons(source) == [("train.csv:2", "expected a number, got 'x'")]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("a.jpg,10,20,10,60,cat", "zero_size"),
        ("a.jpg,50,60,10,21,cat", "reversed"),
        ("a.jpg,-5,20,50,90,cat", "clipped"),
        ("a.jpg,100,20,120,60,cat", "outside"),
        ("a.jpg,nan,20,50,60,cat", "not_finite"),
    ],
)
def test_boxes_are_judged_as_in_every_format(tmp_path, line, kind):
    assert dict(read(write(tmp_path, ROW + line, "a.jpg")).problems.counts) == {kind: 1}


def test_missing_images_are_told_and_bad_ones_skipped(tmp_path):
    write(tmp_path, ROW + "lost.jpg,10,20,50,60,cat\nbad.jpg,10,20,50,60,cat\n", "a.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    source = read(tmp_path)
    assert source.ids() == ["a"] and source.problems.named == {"missing_image": ["lost"], "bad_image": ["bad"]}
    ((name, detail),) = reasons(source, "missing_image")
    assert (name, detail) == ("lost", f"train.csv:2: lost.jpg is not in {tmp_path}, {tmp_path / 'images'}")


def test_fractions_are_read_if_said_so_and_never_guessed(tmp_path):
    write(tmp_path, "a.jpg,0.1,0.25,0.5,0.75,cat\na.jpg,0,0,1,1,cat", "a.jpg")
    with pytest.raises(InputError, match=r"train\.csv: expected boxes in pixels, but all 2 lie .*csv.relative=True"):
        read(tmp_path)
    assert pixel_boxes(read(tmp_path, relative=True)) == [BOX, [0, 0, 100, 80]]
    write(tmp_path, ROW)
    with pytest.raises(InputError, match=r"expected boxes in fractions .*, but 1 of 1 have values far above 1"):
        read(tmp_path, relative=True)


def test_one_tiny_box_among_others_is_no_fraction(tmp_path):
    source = read(write(tmp_path, ROW + "a.jpg,0,0,1,1,cat", "a.jpg"))
    assert pixel_boxes(source) == [BOX, [0, 0, 1, 1]] and not source.problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            r"train\.csv: expected lines path,xmin,ymin,xmax,ymax,class \(comma, .*\), but the file is empty",
        ),
        ("\n \n", "the file is empty"),
        ("x" * 200_000, r"but the first is none \(field larger than field limit"),
        (HEADER, "there is a header alone"),
        ("file,x,y,w,h,label\n", "columns path, .* but xmin, ymin, xmax, ymax cannot be found in file, x, y, w, h, la"),
        ("a.jpg\nb.jpg", "none of 2 can be read: train.csv:1: expected 6 values, got 1"),
        (HEADER.replace("ymin", "xmin") + ROW, "expected one column 'xmin', but the header has path, xmin, xmin"),
        ("a.jpg,10,20,50,60,cat,1\n", "none of 1 can be read: train.csv:1: expected 6 values, got 7"),
        ("cat,10,20,50,60,a.jpg\n", r"none of 1 is there, such as cat in .*images"),
        (ROW, r"expected images, but none of 1 is there, such as a\.jpg in "),
        (HEADER.encode("utf-16"), "expected text in UTF-8, but line 1 is not; save it as UTF-8"),
        (
            (HEADER + ROW + ROW.replace("cat", "é")).encode("latin-1"),
            "expected text in UTF-8, but line 3 is not; save it",
        ),
        (
            (HEADER + ROW).replace(",", "|"),
            r"comma, semicolon and tab are understood.* train.csv:1: expected 6 values, got 1",
        ),
        ("a.jpg 10 20 50 60 cat", r"comma, semicolon and tab are understood"),
        ("a.jpg,,,,,\n", "expected images, but none of 1 is there"),
    ],
)
def test_wrong_tables_are_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("root", "split", "message"),
    [
        ("nowhere", "train", "data root: expected a folder with CSV files, but .*nowhere is not a folder"),
        ("train.csv", "train", r"but .*train\.csv is not a folder"),
        ("", "val", r"data split 'val': expected .*val\.csv beside it, but there are sub/more\.csv, train\.csv"),
        ("", "train+val", "data split 'val'"),
        ("", "", "data split '': .* there are sub"),
        ("", "sub", r"data split 'sub': expected a CSV file .*sub or sub\.csv .* there are sub/more\.csv"),
        ("empty", "train", "there are no CSV files"),
    ],
)
def test_wrong_paths_are_refused_in_one_sentence(tmp_path, root, split, message):
    write(tmp_path, ROW, "a.jpg")
    write(tmp_path, ROW, name="sub/more.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / root, split)
    assert "\n" not in str(caught.value)


def test_a_table_without_objects_needs_class_names(tmp_path):
    write(tmp_path, "a.jpg,,,,,\n", "a.jpg")
    with pytest.raises(InputError, match="so the classes must be named"):
        read(tmp_path)
    assert read(tmp_path, class_names=("cat",)).max_boxes == 0


@pytest.mark.parametrize("header", [True, False])
def test_bccd_written_as_a_table_reads_back_the_same(shared, tmp_path, header):
    """Ground truth handed in as detections scores in full, too: nothing is shifted, swapped or lost."""
    origin = data.make_source(kind="voc", root=str(shared / "data/bccd"), split="test")
    with open(tmp_path / "test.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if header:
            table.writerow(csv_table.NEEDED)
        for index, truth in enumerate(data.ground_truth(origin)):
            (tmp_path / f"{truth.id}.jpg").symlink_to(origin[index].image)
            for box, label in zip(truth.boxes, truth.labels, strict=True):
                table.writerow([f"{truth.id}.jpg", *box, origin.class_names[label]])
    source = read(tmp_path, "test")
    assert source.class_names == origin.class_names and source.ids() == origin.ids() and not source.problems
    truths = data.ground_truth(source)
    for mine, theirs in zip(truths, data.ground_truth(origin), strict=True):
        np.testing.assert_array_equal(mine.boxes, theirs.boxes)
        np.testing.assert_array_equal(mine.labels, theirs.labels)
    found = [ImageDetections(t.id, t.boxes.astype(np.float32), np.ones(len(t.labels)), t.labels) for t in truths]
    assert voc.evaluate(found, truths, class_names=source.class_names).map_11point == 1
    assert coco.evaluate(found, truths, class_names=source.class_names).ap == pytest.approx(1, abs=1e-12)
