"""Files of detections: what is written is read back, by anyone's names for images, and what does not fit is refused."""

import io
import json
import tarfile
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from ssd_jax import data
from ssd_jax.data.formats.voc import VOC_CLASSES
from ssd_jax.errors import InputError
from ssd_jax.evaluation import archives, coco_files, comp4_files, comp4_names, detection_files, submissions
from ssd_jax.types import ImageDetections

NAMES = ("background", "cat", "traffic light", "light")


class Source(SimpleNamespace):
    """What the functions ask of a source."""

    def ids(self):
        return self.names


def make_source(*ids, class_names=NAMES, **more):
    return Source(names=list(ids), class_names=class_names, name="the test set", **more)


def with_numbers(*ids, class_names=NAMES):
    """As COCO's: numbers that are neither positions nor labels."""
    image_ids = {name: 1000 - 7 * row for row, name in enumerate(ids)}
    category_ids = (None, *(10 * label + 3 for label in range(1, len(class_names))))
    return make_source(*ids, class_names=class_names, image_ids=image_ids, category_ids=category_ids)


def random_detections(ids, *, num_classes=4, seed=0, most=9):
    """float32 of all sizes, also tiny and large ones, best score first; every third image has none."""
    random = np.random.default_rng(seed)
    found = []
    for row, name in enumerate(ids):
        count = 0 if row % 3 == 1 else int(random.integers(1, most))
        corners = np.float32(10) ** random.uniform(-6, 4, (count, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + random.uniform(0, 300, (count, 2))], axis=1).astype(np.float32)
        scores = np.sort(random.uniform(0, 1, count) ** 8)[::-1].astype(np.float32)
        found.append(ImageDetections(name, boxes, scores, random.integers(1, num_classes, count).astype(np.int32)))
    return found


def assert_same(read, written):
    assert [found.id for found in read] == [found.id for found in written]
    for one, other in zip(read, written, strict=True):
        for name in ("boxes", "scores", "labels"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, (one.id, name)
            np.testing.assert_array_equal(mine, theirs, err_msg=f"{one.id} {name}")


ODD = ("with two  spaces", "grün/日本語", "a.b.jpg", "000012", "-3 0.5", "x\u3000y", "caf\udce9")


@pytest.mark.parametrize("kind", detection_files.KINDS)
@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("ids", [[f"{row:06d}" for row in range(40)], list(ODD), ["one"]], ids=["many", "odd", "one"])
def test_what_is_written_is_read(kind, numbers, ids, tmp_path):
    source = (with_numbers if numbers else make_source)(*ids)
    found = random_detections(ids)
    path = detection_files.write(tmp_path / "new folder", source, found, kind=kind, split="VOC2007/test[:80%]")
    assert_same(detection_files.read(path, source), found)
    # Those that are not in the list come back without detections, and the order is the source's.
    some = detection_files.write(tmp_path / "some", source, found[::-2], kind=kind)
    read = detection_files.read(some, source)
    assert [entry.id for entry in read] == ids
    kept = {entry.id for entry in found[::-2]}
    assert_same([entry for entry in read if entry.id in kept], [entry for entry in found if entry.id in kept])
    assert all(len(entry.labels) == 0 for entry in read if entry.id not in kept)


@pytest.mark.parametrize("kind", detection_files.KINDS)
def test_nothing_found_is_read_as_nothing(kind, tmp_path):
    source = make_source("a", "b")
    read = detection_files.read(detection_files.write(tmp_path, source, [], kind=kind), source)
    assert [found.boxes.shape for found in read] == [(0, 4), (0, 4)]


def test_the_kind_follows_from_the_source(tmp_path):
    found = random_detections(["a", "b"])
    assert detection_files.write(tmp_path, make_source("a", "b"), found).name == "comp4"
    assert detection_files.write(tmp_path, with_numbers("a", "b"), found).name == "coco_results.json"
    negatives = with_numbers("a", "b")
    negatives.image_ids.pop("b")  # an image that COCO does not know
    assert detection_files.write(tmp_path, negatives, found).name == "comp4"
    with pytest.raises(ValueError, match="kind must be one of comp4, coco, got 'voc'"):
        detection_files.write(tmp_path, negatives, found, kind="voc")
    with pytest.raises(InputError, match="numbers of all images and classes, but the test set lacks some"):
        detection_files.write(tmp_path, negatives, found, kind="coco")
    # Numbers go by the name of the class, whatever order the labels are in.
    other = ("background", *NAMES[:0:-1])
    one = [ImageDetections("a", np.ones((1, 4), np.float32), np.ones(1, np.float32), np.array([1], np.int32))]
    path = detection_files.write(tmp_path, with_numbers("a"), one, other)
    assert json.loads(path.read_text())[0]["category_id"] == 33
    assert detection_files.read(path, with_numbers("a"), other)[0].labels.tolist() == [1]
    assert detection_files.read(path, with_numbers("a"))[0].labels.tolist() == [3]


def test_comp4_text_as_the_devkit_has_it(tmp_path):
    boxes = np.array([[1.5, 2, 30, 40.25], [0, 0, 9, 9], [3, 3, 4, 4]], np.float32)
    found = [ImageDetections("000001", boxes, np.array([0.75, 0.5, 0.25], np.float32), np.array([2, 1, 2], np.int32))]
    comp4_files.write(tmp_path, found, NAMES, split="test", ids={"000001": "1"}, shift=1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("comp4_det_test_cat.txt", "comp4_det_test_light.txt", "comp4_det_test_traffic light.txt")
    ]
    assert (tmp_path / "comp4_det_test_cat.txt").read_text() == "1 0.5 1.0 1.0 10.0 10.0\n"
    assert (tmp_path / "comp4_det_test_light.txt").read_text() == ""
    assert (tmp_path / "comp4_det_test_traffic light.txt").read_text() == (
        "1 0.75 2.5 3.0 31.0 41.25\n1 0.25 4.0 4.0 5.0 5.0\n"
    )
    assert_same(comp4_files.read(tmp_path, class_names=NAMES, shift=1.0), [found[0]._replace(id="1")])


def write_comp4(folder, texts, split="test"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"comp4_det_{split}_{name}.txt").write_text(text, encoding="utf-8")
    return folder


ROW = "{} {} 1 2 3 4\n"
EMPTY = dict.fromkeys(NAMES[1:], "")


def test_equal_scores_keep_the_order_of_the_file(tmp_path):
    lines = "a .5 1 1 2 2\nb .9 1 1 2 2\na .5 3 3 4 4\na .75 5 5 6 6\n"
    write_comp4(tmp_path, {**EMPTY, "cat": lines, "light": "a .5 7 7 8 8\n"})
    first, second = comp4_files.read(tmp_path, class_names=NAMES)
    assert (first.id, second.id) == ("a", "b")
    assert first.boxes[:, 0].tolist() == [5, 1, 3, 7] and first.labels.tolist() == [1, 1, 1, 3]


def test_text_may_come_from_windows(tmp_path):
    write_comp4(tmp_path, {**EMPTY, "cat": "\ufeffa  .5\t1 1 2 2 \r\n\r\n b c .25 1 1 2 2\r\n   \r\n"})
    read = detection_files.read(tmp_path, make_source("b c", "a"))
    assert [found.scores.tolist() for found in read] == [[0.25], [0.5]]


def test_numbers_that_are_no_float32_stay_as_they_are(tmp_path):
    write_comp4(tmp_path, {**EMPTY, "cat": "a 0.1 1 1 2.3 2\n"})
    found = comp4_files.read(tmp_path, class_names=NAMES)[0]
    assert found.boxes.tolist() == [[1, 1, 2.3, 2]] and found.scores.tolist() == [0.1]
    entry = {"image_id": "a", "category_id": "cat", "bbox": [258.15, 41.29, 348.26, 243.78], "score": 0.236}
    (tmp_path / "r.json").write_text(json.dumps([entry]))
    found = detection_files.read(tmp_path / "r.json", make_source("a"))[0]
    assert found.boxes.tolist() == [[258.15, 41.29, 258.15 + 348.26, 41.29 + 243.78]] and found.scores[0] == 0.236


def test_class_names_that_cannot_be_names_of_files(tmp_path):
    names = ("background", "n/a", "../up", "50%", "a:b", "%2F", "è")
    found = random_detections(["x", "y", "z"], num_classes=len(names))
    comp4_files.write(tmp_path, found, names, split="a/b")
    assert (tmp_path / "comp4_det_a%2Fb_n%2Fa.txt").is_file() and len(list(tmp_path.iterdir())) == 6
    (tmp_path / "comp4_det_a%2Fb_è.txt").rename(tmp_path / "comp4_det_a%2Fb_e\u0300.txt")  # as macOS may store it
    assert_same(comp4_files.read(tmp_path, class_names=names, ids=["x", "y", "z"]), found)
    with pytest.raises(InputError, match="at most 255 bytes, got that of class 'kkk"):
        comp4_files.to_texts([], ("background", "k" * 250), split="test")


def test_underscores_may_be_of_the_split_or_of_the_class(tmp_path):
    names = ("background", "light", "traffic_light")
    write_comp4(tmp_path, {"light": ROW.format("a", 0.5), "traffic_light": ROW.format("a", 0.25)}, split="my_test")
    assert comp4_files.read(tmp_path, class_names=names)[0].labels.tolist() == [1, 2]


def test_of_several_splits_one_is_read(tmp_path):
    write_comp4(tmp_path, {**EMPTY, "cat": ROW.format("a", 0.5)}, split="val")
    write_comp4(tmp_path, {**EMPTY, "cat": ROW.format("a", 0.25)}, split="test")
    (tmp_path / "comp4_det_other_zebra.txt").write_text("nonsense")
    source = make_source("a")
    assert detection_files.read(tmp_path, source, split="VOC2007/test")[0].scores.tolist() == [0.25]
    assert detection_files.read(tmp_path, source, split="val")[0].scores.tolist() == [0.5]
    with pytest.raises(InputError, match="of one split, but there are files of 'test' and 'val'"):
        detection_files.read(tmp_path, source)


def test_names_that_others_give_their_files(tmp_path):
    for name, score in zip(EMPTY, (0.5, 0.25, 0.125), strict=True):  # as py-faster-rcnn does
        (tmp_path / f"comp3_1f2-9a_det_test_{name}.txt").write_text(ROW.format("a", score))
    (tmp_path / "comp4_cls_test_cat.txt").write_text("classification")
    assert comp4_files.read(tmp_path, class_names=NAMES)[0].labels.tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip"])
def test_archives_are_read_in_place(suffix, tmp_path):
    found = random_detections(["a", "b"])
    texts = comp4_files.to_texts(found, NAMES, split="test")
    path = tmp_path / f"results.{suffix}"
    folder = "../../results/VOC2012/Main/"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in texts.items():
                archive.writestr(folder + name, text)
    else:
        mode = f"w:{suffix.rpartition('.')[2].replace('tgz', 'gz').replace('tar', '')}"
        with tarfile.open(path, mode) as archive:  # type: ignore
            link = tarfile.TarInfo("comp4_det_test_zebra.txt")  # a link is not followed
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
            for name, text in texts.items():
                member = tarfile.TarInfo(folder + name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    assert_same(detection_files.read(path, make_source("a", "b")), found)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[: 1200 if suffix == "tar" else path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{path.name}: expected a readable whole tar or zip archive, but .* fails"):
        detection_files.read(path, make_source("a", "b"))


def test_archives_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LIMIT", 20_000)
    source = make_source("a")
    content = {"comp4_det_test_cat.txt": b" " * 50_000}
    for name, make in (("bomb.tar.gz", archives.make_tar_gz), ("bomb.zip", archives.make_zip)):
        (tmp_path / name).write_bytes(make(content))
        assert (tmp_path / name).stat().st_size < 1000
        with pytest.raises(InputError, match=f"{name}: expected result files, at most .* there is more"):
            detection_files.read(tmp_path / name, source)
    monkeypatch.setattr(archives, "ENTRIES", 2)
    (tmp_path / "many.zip").write_bytes(archives.make_zip({str(number): b"" for number in range(3)}))
    with pytest.raises(InputError, match="at most 2 and"):
        detection_files.read(tmp_path / "many.zip", source)


def test_short_ids_fit_where_they_mean_one_image(tmp_path):
    source = make_source("VOC2007/000001", "VOC2012/000001", "VOC2012/000002")
    full = write_comp4(tmp_path / "full", {**EMPTY, "cat": ROW.format("VOC2012/000001", 0.5)})
    assert [len(found.labels) for found in detection_files.read(full, source)] == [0, 1, 0]
    short = write_comp4(tmp_path / "short", {**EMPTY, "cat": ROW.format("000002", 0.5)})
    assert [len(found.labels) for found in detection_files.read(short, source)] == [0, 0, 1]
    unclear = write_comp4(tmp_path / "unclear", {**EMPTY, "cat": ROW.format("000001", 0.5)})
    with pytest.raises(InputError, match="'000001' may be 'VOC2007/000001' or 'VOC2012/000001'"):
        detection_files.read(unclear, source)
    both = ROW.format("000002", 0.5) + ROW.format("VOC2012/000002", 0.5)
    with pytest.raises(InputError, match="one id an image, but '000002' and 'VOC2012/000002' mean the same"):
        detection_files.read(write_comp4(tmp_path / "both", {**EMPTY, "cat": both}), source)


@pytest.mark.parametrize(
    ("ids", "stated", "says"),
    [
        (["000001"], ["1"], "none of the 1 in the file is one of them, such as '1' .*'000001', with other leading"),
        (["000001"], ["000001.jpg"], r"such as '000001.jpg' \(without the extension it would be '000001'\)"),
        (["000001"], ["JPEGImages/000001"], r"\(without the folder it would be '000001'\)"),
        (["a/IMG_1"], ["img_1"], r"\(upper and lower case differ: 'IMG_1'\)"),
        (["COCO_val2014_000000000042"], ["42"], "it seems to be 'COCO_val2014_000000000042'"),
        (
            ["000001", "000002"],
            ["000005", "000006"],
            r"2 images, such as '000001'\), but none of the 2 .*another split",
        ),
        (["a", "b", "c"], ["a", "x", "y"], "such as 'a'., but 2 of the 3 in the file are unknown, the first 'x'"),
    ],
)
def test_images_that_do_not_fit(ids, stated, says, tmp_path):
    write_comp4(tmp_path, {**EMPTY, "cat": "".join(ROW.format(name, 0.5) for name in stated)})
    with pytest.raises(
        InputError, match=f"{tmp_path}/comp4_det_test_cat.txt:.: expected images of the test set .*{says}"
    ):
        detection_files.read(tmp_path, make_source(*ids))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (
            {"cat": "", "light": ""},
            r"each of the 3 classes, but 1 are missing, such as comp4_det_test_traffic light.txt",
        ),
        ({**EMPTY, "zebra": ""}, "of the classes cat, traffic light, light, got class 'zebra'$"),
        ({"Cat": "", "Traffic Light": ""}, r"got class 'Cat' and 1 more \(did you mean 'cat'\?\)"),
        ({**EMPTY, "lihgt": ""}, r"got class 'lihgt' \(did you mean 'light'\?\)"),
        ({**EMPTY, "cat": "a .5 1 2 3\n"}, "comp4_det_test_cat.txt:1: expected 'ID SCORE .*', got 'a .5 1 2 3'"),
        ({**EMPTY, "cat": "a .5 1 2 3 4\na .5 1 2 3 x\n"}, "_cat.txt:2: expected 'ID .* five numbers, got 'x'"),
        ({**EMPTY, "cat": "a nan 1 2 3 4\n"}, "_cat.txt:1: expected finite numbers, got 'nan 1 2 3 4'"),
        ({**EMPTY, "cat": "\na .5 1 2 1e400 4\n"}, "_cat.txt:2: expected finite numbers"),
        ({**EMPTY, "cat": "a .5 3 2 1 4\n"}, "_cat.txt:1: expected a box with xmin <= xmax .* got '3 2 1 4'"),
    ],
)
def test_comp4_files_that_do_not_fit(texts, says, tmp_path):
    write_comp4(tmp_path, texts)
    with pytest.raises(InputError, match=says) as error:
        detection_files.read(tmp_path, make_source("a"))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def result(**more):
    return {"image_id": 1000, "category_id": 13, "bbox": [1, 2, 3, 4], "score": 0.5} | more


def without(key):
    return {name: value for name, value in result().items() if name != key}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([result(), without("score")], "result 1: expected image_id, category_id, bbox, score; it lacks 'score'"),
        ([result(score="0.9")], "result 0: expected a finite number as score, got score '0.9'"),
        ([result(score=float("nan"))], "result 0: expected a finite number as score, got score nan"),
        ([result(score=True)], "expected a finite number as score, got score True"),
        ([result(bbox=[1, 2, -3, 4])], r"width and height are not negative, got bbox \[1, 2, -3, 4\]"),
        ([result(bbox=[1, 2, 3])], r"a bbox of four finite numbers \(x, y, width, height\), got bbox \[1, 2, 3\]"),
        ([result(bbox=[1, 2, 3, None])], "a bbox of four finite numbers"),
        ([result(bbox="1 2 3 4")], "a bbox of four finite numbers"),
        ([result(bbox=[10**400, 0, 1, 1])], "a bbox of four finite numbers"),
        ([result(bbox=[1e300, 0, 1, 1])], "result 0: expected a box of finite size"),
        ([result(), 7], "result 1: expected an entry .* got '7'"),
        ([result(image_id=[1])], r"a number as image_id, got image_id \[1\]"),
        ([result(), result(image_id=5)], "result 1: expected images of the test set .*1 of the 2 .* the first 5"),
        ([result(image_id=5)], r"result 0: .*such as 1000\), but none of the 1 in the file .* such as 5 \(are the"),
        ([result(image_id="b.jpg")], r"result 0: .*none of the 1 .* 'b.jpg' \(without the extension it would be 'b'\)"),
        (
            [result(category_id=99)],
            r"result 0: expected one of 3 categories \(13 is 'cat', 33 is 'light'\), got .* 99$",
        ),
        ([result(category_id=0)], "got category_id 0 .do the numbers in the file count the classes"),
        ([result(category_id="Cat")], r"got category_id 'Cat' \(did you mean 'cat'\?\)"),
        ({"annotations": []}, "expected a list of COCO results.* got an object with annotations"),
    ],
)
def test_results_that_do_not_fit(entries, says, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=says) as error:
        detection_files.read(path, with_numbers("a", "b"))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_results_against_annotations_are_checked_alike(tmp_path):
    dataset = {"images": [{"id": 1000}], "categories": [{"id": 13, "name": "cat"}], "annotations": []}
    assert coco_files.read_results([result(segmentation=[])], dataset) == [result()]
    with pytest.raises(InputError, match="^results: result 1: expected a finite number as score, got score '1'"):
        coco_files.read_results([result(), result(score="1")], dataset)
    path = tmp_path / "results.json"
    path.write_text(json.dumps([result(bbox=[0, 0, 1, -1])]))
    with pytest.raises(InputError, match="results.json: result 0: .*not negative, got bbox .0, 0, 1, -1"):
        coco_files.read_results(path, dataset)


@pytest.mark.parametrize("cut", [1, 30, 80, -3])
def test_truncated_json(cut, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(coco_files.to_text([result(), result()])[:cut])
    with pytest.raises(
        InputError, match="results.json: expected JSON with COCO results, but it breaks at line .*cut off"
    ):
        detection_files.read(path, with_numbers("a"))


def test_numbers_without_those_of_coco(tmp_path):
    """As YOLOv5 writes them: the number in the file's name, and labels counted from 1."""
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps([result(image_id=12, category_id=2), result(image_id="x y", category_id="light")]))
    read = detection_files.read(path, make_source("val/000012", "x y", "13"))
    assert [found.labels.tolist() for found in read] == [[2], [3], []]
    path.write_text(json.dumps([result(image_id=12, category_id=0)]))
    with pytest.raises(InputError, match="expected one of 3 categories .1 is 'cat', 3 is 'light'., got category_id 0"):
        detection_files.read(path, make_source("val/000012"))
    path.write_text(json.dumps([result(image_id=12, category_id=1)]))
    with pytest.raises(
        InputError, match="result 0: expected ids that mean one image, but '12' may be 'a/12' or 'b/12'"
    ):
        detection_files.read(path, make_source("a/12", "b/12"))


def test_what_is_there_is_told_by_its_content(tmp_path):
    source, found = with_numbers("a", "b", "c"), random_detections(["a", "b", "c"])
    detection_files.write(tmp_path, source, found, kind="coco")
    (tmp_path / "metrics.json").write_text("{}")
    assert_same(detection_files.read(tmp_path, source), found)
    (tmp_path / "coco_results.json").rename(tmp_path / "no extension")
    assert_same(detection_files.read(str(tmp_path / "no extension"), source), found)
    with pytest.raises(InputError, match="but there is none in it"):
        detection_files.read(tmp_path, source)
    with pytest.raises(InputError, match="absent: expected a folder or an archive of files .* nothing of that name"):
        detection_files.read(tmp_path / "absent", source)
    for content, says in ((b"", "an empty file"), (b"\x80\x04picked", "begins with b'.x80")):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(InputError, match=f"odd: expected .*got .*{says}"):
            detection_files.read(tmp_path / "odd", source)
    single = write_comp4(tmp_path / "one", {"cat": ROW.format("a", 0.5)}) / "comp4_det_test_cat.txt"
    with pytest.raises(InputError, match=f"point to the folder, {tmp_path / 'one'}"):
        detection_files.read(single, source)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(boxes=np.array([[5, 0, 1, 1]], np.float32)), "xmin <= xmax"),
        (dict(boxes=np.array([[0, 0, np.inf, 1]], np.float32)), "finite"),
        (dict(scores=np.array([np.nan], np.float32)), "finite"),
        (dict(labels=np.array([4], np.int32)), "labels 1 to 3, got 4"),
        (dict(labels=np.array([0], np.int32)), "labels 1 to 3, got 0"),
        (dict(id="b"), "at most once in a list, got 'b' twice"),
    ],
)
@pytest.mark.parametrize("kind", detection_files.KINDS)
def test_nothing_malformed_is_written(kind, change, says, tmp_path):
    good = ImageDetections("b", np.array([[0, 0, 1, 1]], np.float32), np.ones(1, np.float32), np.ones(1, np.int32))
    bad = good._replace(id="a")._replace(**change)
    with pytest.raises(InputError, match=says):
        detection_files.write(tmp_path / "out", make_source("a", "b"), [good, bad], kind=kind)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="as many boxes as scores"):
        detection_files.write(tmp_path / "out", make_source("a"), [good._replace(scores=np.ones(2))], kind=kind)


@pytest.mark.parametrize("name", ["", " a", "a\nb", "a\t"])
def test_ids_that_cannot_stand_in_a_line(name):
    with pytest.raises(InputError, match="expected ids that can stand in a line"):
        comp4_files.to_texts([random_detections(["x"])[0]._replace(id=name)], NAMES, split="test")
    with pytest.raises(ValueError, match="split must not be empty"):
        comp4_files.to_texts([], NAMES, split="")


def test_a_hundred_thousand_lines_take_a_second_or_two(tmp_path):
    random = np.random.default_rng(0)
    numbers = random.uniform(0, 500, (100_000, 2))
    lines = [
        f"{row % 5000:06d} {row % 997 / 997:.6f} {x:.6f} {y:.6f} {x + 9:.6f} {y + 9:.6f}"
        for row, (x, y) in enumerate(numbers)
    ]
    write_comp4(tmp_path, {**EMPTY, "cat": "\n".join(lines)})
    start = time.process_time()
    read = detection_files.read(tmp_path, make_source(*(f"{row:06d}" for row in range(5000))))
    assert time.process_time() - start < 8  # it takes 0.7 s on a core of its own
    assert sum(len(found.labels) for found in read) == 100_000


VOC_NAMES = ("background", *VOC_CLASSES)


def test_the_archive_for_the_server_of_voc(tmp_path):
    source = make_source("VOC2012/2008_000001", "VOC2012/2008_000007", class_names=VOC_NAMES)
    found = random_detections(source.names, num_classes=21)
    path = submissions.write(tmp_path, source, found)
    first = path.read_bytes()
    assert path.name == "results.tar.gz" and submissions.write(tmp_path, source, found).read_bytes() == first
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == [
            f"results/VOC2012/Main/comp4_det_test_{n}.txt" for n in sorted(VOC_CLASSES)
        ]
        assert all(m.isfile() and m.mtime == 0 and m.uid == 0 and not m.uname for m in members)
    texts = archives.read_files(path, lambda name: True)
    assert {line.split()[0] for text in texts.values() for line in text.splitlines()} == {b"2008_000001"}
    assert_same(detection_files.read(path, source), found)
    with pytest.raises(InputError, match="VOC's 20 classes, but they differ in aeroplane, "):
        submissions.write(tmp_path, make_source("2008_000001"), [])
    with pytest.raises(InputError, match="called as 2008_000001, each once, got 1 others, such as '000001'"):
        submissions.write(tmp_path, make_source("000001", class_names=VOC_NAMES), [])
    with pytest.raises(InputError, match="got 1 others, such as '2008_000009'"):
        submissions.write(tmp_path, source, [found[0]._replace(id="2008_000009")])


def test_the_archive_for_the_server_of_coco(tmp_path):
    source = with_numbers("000000000001", "000000000016")
    boxes, labels = np.array([[1.23456, 2, 11.5, 22]], np.float32), np.array([3], np.int32)
    found = [ImageDetections("000000000016", boxes, np.array([0.1], np.float32), labels)]
    path = submissions.write(tmp_path, source, found, algorithm="SSD512")
    assert path.name == "detections_test-dev2017_SSD512_results.zip"
    first = path.read_bytes()
    assert submissions.write(tmp_path, source, found, algorithm="SSD512").read_bytes() == first
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["detections_test-dev2017_SSD512_results.json"]
        content = json.loads(archive.read(archive.namelist()[0]))
    score = float(np.float32(0.1))
    assert content == [{"image_id": 993, "category_id": 33, "bbox": [1.23, 2.0, 10.27, 20.0], "score": score}]
    assert detection_files.read(path, source)[1].labels.tolist() == [3]
    with pytest.raises(InputError, match="algorithm: expected letters, digits, '-' and '.', got 'a_b'"):
        submissions.write(tmp_path, source, found, algorithm="a_b")
    with pytest.raises(InputError, match="COCO's numbers of images and classes, the test set has none"):
        submissions.write_coco(tmp_path, make_source("a"), found, NAMES)


def test_any_source_can_be_read_for(tmp_path):
    source = data.make_source(kind="shapes", split="test", length=3, image_size=(32, 32))
    found = random_detections([source[row].id for row in range(3)], num_classes=8)
    assert_same(detection_files.read(detection_files.write(tmp_path, source, found), source), found)


def test_files_are_told_by_their_names():
    good = ("comp4_det_test_cat.txt", "comp3_det_val_a b.txt", "comp4_1a-b_det_test_cat.txt")
    assert all(map(comp4_names.is_comp4, good))
    assert not any(
        map(comp4_names.is_comp4, ("comp4_cls_test_cat.txt", "comp4_det_.txt", "comp1_det_a_b.txt", "a.txt"))
    )
