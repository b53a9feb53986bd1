"""The report of an evaluation: what it says is what was found, and nothing written in it can become code."""

import re
from html.parser import HTMLParser
from types import MappingProxyType

import numpy as np
import pytest

from ssd_jax import analysis
from ssd_jax.commands import report
from ssd_jax.commands.report import run as runs_room
from ssd_jax.commands.report import summary, writing
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections, ImageGroundTruth

NAMES = ("background", "cat", "dog", "car")
GROUPS = {"animals": ("cat", "dog")}


class Reader(HTMLParser):
    """Reads a page: its tags with their attributes, the text outside of style and script, and its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.pieces, self.balanced, self._open = [], [], True, []
        self.feed(text)
        self.close()
        self.balanced = self.balanced and not self._open
        self.text = " ".join("".join(self.pieces).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.pieces.append(" ")
        if tag not in {"meta", "img", "br", "input"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self._open) and self._open.pop() == tag
        self.pieces.append(" ")

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.pieces.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def annotated(name, *rows):
    """An image with (x0, y0, x1, y1, label) or (..., ignored)."""
    table = np.array([(*row, 0)[:6] for row in rows], np.float64).reshape(-1, 6)
    return ImageGroundTruth(name, table[:, :4], table[:, 4].astype(np.int32), table[:, 5].astype(bool))


def found(name, *rows):
    """Detections of an image: (x0, y0, x1, y1, score, label)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return ImageDetections(name, table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def make_run(name, detections, truth, *, names=NAMES, groups=GROUPS, with_coco=False, facts=MappingProxyType({})):
    return report.Run(
        name,
        analysis.analyze(detections, truth, class_names=names, groups=groups),
        voc.evaluate(detections, truth, class_names=names),
        coco.evaluate(detections, truth, class_names=names) if with_coco else None,
        detections,
        facts,
    )


# One image a kind of mistake; each box is 40 x 40 or so.
TRUTH = [
    annotated("right", (10, 10, 50, 50, 1)),
    annotated("misplaced", (10, 10, 50, 50, 1)),
    annotated("similar", (10, 10, 50, 50, 2)),
    annotated("other", (10, 10, 50, 50, 3)),
    annotated("background", (10, 10, 50, 50, 1)),
    annotated("missed", (10, 10, 50, 50, 3), (60, 60, 75, 75, 1)),
    annotated("empty"),
]
FOUND = [
    found("right", (10, 10, 50, 50, 0.9, 1), (12, 10, 50, 50, 0.4, 1)),
    found("misplaced", (30, 10, 70, 50, 0.8, 1)),
    found("similar", (10, 10, 50, 52, 0.7, 1)),
    found("other", (10, 12, 50, 50, 0.6, 1)),
    found("background", (10, 10, 50, 50, 0.95, 1), (60, 60, 90, 90, 0.5, 2), (60, 10, 90, 30, 0.55, 3)),
]


def random_case(seed, *, num_images=20, num_classes=3, size=120):
    """Ground truth at random, and detections of most of it, some misplaced, of a wrong class, or of nothing."""
    random = np.random.default_rng(seed)
    truth, detections = [], []
    for index in range(num_images):
        corners = random.uniform(0, size - 50, (random.integers(1, 4), 2))
        boxes = np.hstack([corners, corners + random.uniform(15, 50, corners.shape)])
        labels = random.integers(1, num_classes + 1, len(boxes))
        truth.append(annotated(f"image{index:03}", *np.column_stack([boxes, labels])))
        shaken = boxes + random.normal(0, 5, boxes.shape)
        wrong = np.where(random.random(len(boxes)) < 0.2, random.integers(1, num_classes + 1, len(boxes)), labels)
        nothing = np.array([[0, 0, 25, 25, random.random() / 2, 1 + index % num_classes]])
        rows = np.column_stack([shaken, random.uniform(0.3, 1, len(boxes)), wrong])
        rows = rows[random.random(len(rows)) < 0.85]
        detections.append(found(f"image{index:03}", *np.vstack([rows, nothing])))
    return truth, detections


def gray(name):
    return np.full((100, 120, 3), 90, np.uint8)


def nothing(name):
    return None


def write(path, runs, truth, *, names=NAMES, pictures=gray, **options):
    length = report.write(path, runs, truth, class_names=names, pictures=pictures, title="Report", **options)
    assert length == path.stat().st_size
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The report of the hand-made case."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write(path, [make_run("first", FOUND, TRUTH, with_coco=True, facts={"step": "1,000"})], TRUTH)


def test_page_is_sound_and_holds_everything_itself(plain):
    assert plain.balanced
    levels = [int(tag[1]) for tag, _ in plain.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert plain.all("img") and all(image["src"].startswith("data:image/jpeg;base64,") for image in plain.all("img"))
    assert all(image["alt"] for image in plain.all("img"))
    assert not plain.all("link") and not plain.all("iframe") and len(plain.all("script")) == 1
    assert all(link["href"].startswith("#") for link in plain.all("a"))
    ids = [attributes["id"] for _, attributes in plain.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_summary_has_the_figures_by_name(plain):
    result = voc.evaluate(FOUND, TRUTH, class_names=NAMES)
    for words in (
        f"VOC07 11-point mAP {result.map_11point:.4f}",
        f"area mAP {result.map_area:.4f}",
        f"COCO AP {coco.evaluate(FOUND, TRUTH, class_names=NAMES).ap:.4f}",
        "images 7",
        "objects 7 ",
        "detections 8 5 objects missed by all",  # all but those of "right" and "background"
        "step 1,000",
        "metrics.json",
    ):
        assert words in plain.text, words


def test_every_part_is_there(plain):
    titles = [attributes.get("aria-labelledby") for attributes in plain.all("section")]
    expected = ["summary", "classes", "what-mending-would-bring", "kinds-of-detections", "what-the-best-detections-are"]
    expected += ["precision-and-recall", "size-and-shape-of-objects", "confusions", "calibration", "pictures"]
    assert [title.removesuffix("-title") for title in titles if title] == expected
    options = [option["value"] for option in plain.all("option")]
    assert {"all classes", "animals (group)", "cat", "dog", "car"} <= set(options)


def test_kinds_of_the_hand_made_case_stand_in_their_table(plain):
    # cat: right 2, misplaced 1 and a second one, similar 1, other 1; of the others one each, on nothing.
    assert "cat 2 2 1 1 0 0 dog 0 0 0 0 1 0 car 0 0 0 0 1 0 all 2 2 1 1 2 0" in plain.text


def verdict_with(**gains):
    base = make_run("first", FOUND, TRUTH).analysis
    return summary.verdict(base._replace(overall=base.overall._replace(ap_area=0.5, gains=gains)))


def test_verdict_names_the_largest_gains_in_order():
    first, second = verdict_with(localization=0.12, similar=0.01, missed=0.2, **{"false positives": 0.4})
    assert (
        first.startswith("Most is lost to objects that no detection hits") and "0.200 to the area mAP of 0.500" in first
    )
    assert "misplaced boxes" in second and "0.120" in second


def test_verdict_where_nothing_hits_names_what_there_is_instead():
    missing = [item._replace(boxes=item.boxes + 10_000) for item in FOUND]
    (sentence,) = summary.verdict(make_run("off", missing, TRUTH).analysis)
    assert sentence.startswith("None of ") and "background" in sentence and "objects are missed" in sentence


@pytest.mark.parametrize("gains", [{}, {"similar": 0.0}, {"missed": np.nan, "background": 0.0001}])
def test_verdict_of_nothing_to_be_gained(gains):
    (sentence,) = verdict_with(**gains)
    assert sentence.startswith("No kind of error costs")


@pytest.mark.parametrize("coco_too", [False, True])
def test_without_any_detection(tmp_path, coco_too):
    page = write(tmp_path / "report.html", [make_run("none", [], TRUTH, with_coco=coco_too)], TRUTH)
    assert page.balanced and "Nothing was detected in 7 images" in page.text
    assert "nan" not in page.text and page.all("img")  # the missed objects


def test_one_image_of_one_class(tmp_path):
    truth = [annotated("only", (10, 10, 50, 50, 1))]
    run = make_run("one", [found("only", (10, 10, 50, 50, 0.9, 1))], truth, names=NAMES[:2], groups=None)
    page = write(tmp_path / "report.html", [run], truth, names=NAMES[:2])
    assert page.balanced and "1 of 1 objects found" in page.text and "nan" not in page.text


def test_without_pictures_it_says_so_once(tmp_path):
    page = write(tmp_path / "report.html", [make_run("first", FOUND, TRUTH)], TRUTH, pictures=nothing)
    assert page.text.count("There are no pictures here") == 1 and not page.all("img")


@pytest.mark.parametrize("class_name", ["<script>alert('1')</script>", "all classes", "猫\x00", "animals (group)"])
def test_strange_names_stay_text(tmp_path, class_name):
    names = ("background", class_name, "dog", "car")
    strange = "</code><img src=x> 猫\udcff"
    rename = {"right": strange, "missed": strange + "2"}
    truth = [one._replace(id=rename.get(one.id, one.id)) for one in TRUTH]
    detections = [one._replace(id=rename.get(one.id, one.id)) for one in FOUND]
    name = "<b>run</b>"
    groups = {"animals": (class_name, "dog")}
    runs = [make_run(name, some, truth, names=names, groups=groups, facts={"<i>": "</p>"}) for some in (detections, [])]
    page = write(tmp_path / "report.html", runs, truth, names=names)
    assert page.balanced and len(page.all("script")) == 1 and not page.all("i")
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert "</code><img src=x> 猫\ufffd" in page.text and "<b>run</b> (2)" in page.text
    assert class_name.replace("\x00", "\ufffd") in page.text


def test_same_input_same_bytes(tmp_path):
    truth, detections = random_case(0, num_images=6)
    for name in ("one", "other"):
        write(tmp_path / name, [make_run("first", detections, truth)], truth)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_two_runs_side_by_side(tmp_path):
    worse = [one._replace(boxes=one.boxes + [30, 0, 30, 0]) for one in FOUND[:1]] + FOUND[1:]
    runs = [make_run("first", FOUND, TRUTH, with_coco=True), make_run("second", worse, TRUTH, with_coco=True)]
    page = write(tmp_path / "report.html", runs, TRUTH)
    before, after = (run.voc.ap_area[0] for run in runs)
    assert after < before
    assert f"cat 4 {before:.3f} {after:.3f} {after - before:+.3f}" in page.text
    assert "second against first:" in page.text and "better in 0 classes, worse in 1" in page.text
    assert "first: area AP" in page.text and "second: area AP" in page.text  # beside the curves
    assert "Found by first, missed by second (1)" in page.text and "Found by second, missed by first (0)" in page.text
    assert "COCO AP of each class" in page.text


def test_more_runs_than_are_compared(tmp_path):
    run = make_run("run", FOUND, TRUTH)
    page = write(tmp_path / "report.html", [run] * 11, TRUTH, pictures=nothing)
    assert "The first 8 of 11 runs are compared." in page.text
    assert "run (8)" in page.text and "run (9)" not in page.text


@pytest.mark.parametrize("charted", [10, pytest.param(80, marks=pytest.mark.slow)])
def test_of_many_classes_charts_are_left_out_and_that_is_said(tmp_path, monkeypatch, charted):
    monkeypatch.setattr(writing, "_CHARTED", (charted,))
    names = ("background", *(f"class{k:03}" for k in range(1, 201)))
    truth, detections = random_case(1, num_classes=200, num_images=150)
    run = make_run("many", detections, truth, names=names, groups=None)
    page = write(tmp_path / "report.html", [run], truth, names=names, pictures=nothing)
    assert f"Charts are shown of the {charted} classes with the most objects, of 200" in page.text
    assert "A matrix of 200 classes could not be read" in page.text
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    options = {option["value"] for option in page.all("option")}
    counts = run.voc.num_ground_truth
    assert len(options & set(names)) == charted
    assert min(counts[k] for k in range(200) if names[k + 1] in options) >= max(
        counts[k] for k in range(200) if names[k + 1] not in options
    )


def test_refuses_what_does_not_belong_together(tmp_path):
    run = make_run("first", FOUND, TRUTH)
    with pytest.raises(ValueError, match="runs: expected at least one"):
        write(tmp_path / "report.html", [], TRUTH)
    with pytest.raises(ValueError, match="classes .* in 'first'"):
        write(tmp_path / "report.html", [run], TRUTH, names=NAMES[:3])
    with pytest.raises(ValueError, match="6 images of the ground truth, got 7"):
        write(tmp_path / "report.html", [run], TRUTH[:-1])
    with pytest.raises(ValueError, match="max_bytes: .* got 1000"):
        write(tmp_path / "report.html", [run], TRUTH, max_bytes=1000)
    assert not (tmp_path / "report.html").exists()


def test_distinct_names_are_numbered():
    assert runs_room.distinct(["a", "a", "a (2)", "b", "a"]) == ["a", "a (2)", "a (2) (2)", "b", "a (3)"]


def test_charts_give_way_to_a_small_limit(tmp_path):
    truth, detections = random_case(6, num_classes=3)
    run = make_run("first", detections, truth)
    full = write(tmp_path / "full.html", [run], truth, pictures=nothing)
    limit = (tmp_path / "full.html").stat().st_size
    page = write(tmp_path / "small.html", [run], truth, pictures=nothing, max_bytes=limit)
    assert len(page.all("svg")) < len(full.all("svg")) and "Charts are shown" not in full.text
    assert "Charts are shown of no single class, of 3" in page.text
