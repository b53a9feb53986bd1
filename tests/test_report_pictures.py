"""The pictures of the report: which are chosen, what is drawn on them, and that they fit into the page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from test_report import FOUND, GROUPS, NAMES, TRUTH, annotated, found, gray, make_run, random_case, write

from ssd_jax import analysis
from ssd_jax.analysis.types import FALSE, Kind
from ssd_jax.commands.report import galleries, scenes, selection, thumbnails
from ssd_jax.commands.report.thumbnails import Mark


def analyze(detections, truth):
    return analysis.analyze(detections, truth, class_names=NAMES, groups=GROUPS)


def make_atlas(detections=FOUND, truth=TRUTH):
    return scenes.make_atlas(analyze(detections, truth), [one.id for one in truth])


def albums_of(*atlases, pictures=gray, max_bytes=10_000_000):
    planned = galleries.plan(atlases, ("first", "second"))
    return {album.title: album for album in galleries.fill(planned, pictures, max_bytes=max_bytes)}


def captions(album):
    return [thumb.caption for thumb in album.thumbs]


def test_false_positives_are_the_best_scored_of_their_kind():
    truth, detections = random_case(2, num_images=60)
    atlas = make_atlas(detections, truth)
    found_ = atlas.analysis.detections
    for kind in FALSE:
        rows = selection.highest_false(atlas.analysis, kind)
        scores = found_.scores[rows]
        assert (atlas.analysis.typed.kind[rows] == kind).all() and (np.diff(scores) <= 0).all()
        assert len(rows) == np.sum(atlas.analysis.typed.kind == kind) > 0


def test_equal_scores_keep_their_order():
    detections = [found("right", *((10 + k, 60, 40 + k, 90, 0.5, 1) for k in range(5)))]
    rows = selection.highest_false(analyze(detections, TRUTH), Kind.BACKGROUND)
    np.testing.assert_array_equal(rows, range(5))


def test_hand_made_case_in_the_galleries():
    albums = albums_of(make_atlas())
    expected = {
        # 20 of 40 + 40 - 20: with VOC's widths 41, 21 * 41 / (2 * 41 * 41 - 21 * 41) = 0.34.
        "False positives: localization": [
            ("cat 0.80", "misplaced, IoU 0.34", "misplaced"),
            ("cat 0.40", "second detection, IoU 0.95", "right"),  # 39 / 41
        ],
        "False positives: similar class": [("cat 0.70", "annotated as dog, IoU 0.95", "similar")],  # 41 / 43
        "False positives: other class": [("cat 0.60", "annotated as car, IoU 0.95", "other")],  # 39 / 41
        "False positives: background": [
            ("car 0.55", "nothing annotated here", "background"),
            ("dog 0.50", "nothing annotated here", "background"),
        ],
        "Missed: the largest": [
            ("cat, 40 \u00d7 40 pixels", "misplaced detection, score 0.80, IoU 0.34", "misplaced"),
            ("dog, 40 \u00d7 40 pixels", "taken for cat, score 0.70, IoU 0.95", "similar"),
            ("car, 40 \u00d7 40 pixels", "taken for cat, score 0.60, IoU 0.95", "other"),
            ("car, 40 \u00d7 40 pixels", "no detection on it", "missed"),
            ("cat, 15 \u00d7 15 pixels", "no detection on it", "missed"),
        ],
    }
    for title, pictures in expected.items():
        assert captions(albums[title]) == [
            f"<b>{headline}</b><br>{remark}<br><code>{name}</code>" for headline, remark, name in pictures
        ], title
    assert albums["False positives: similar class"].thumbs[0].tags == {"cat", "dog"}
    assert albums["Missed: the largest"].thumbs[1].tags == {"dog"}
    assert "Missed: drawn by lot" not in albums  # all of them are shown already


def test_missed_objects_are_not_hit_by_any_detection():
    truth, detections = random_case(3, num_images=60)
    found_analysis = analyze(detections, truth)
    ids = [one.id for one in truth]
    hit = set(found_analysis.typed.target[found_analysis.typed.kind == Kind.CORRECT].tolist())
    for rows in (
        selection.largest_first(found_analysis, found_analysis.missed),
        selection.missed_by_lot(found_analysis, ids),
    ):
        assert len(rows) + len(hit) == len(found_analysis.truth.labels)
        assert not hit & set(rows.tolist())


def test_lots_depend_on_names_alone():
    truth, detections = random_case(4, num_images=60)
    backward = analyze(detections, truth[::-1])
    forward = analyze(detections, truth)
    ids = [one.id for one in truth]
    assert [ids[k] for k in selection.images_by_lot(ids)] == [ids[::-1][k] for k in selection.images_by_lot(ids[::-1])]
    assert selection.images_by_lot(ids).tolist() != list(range(60))
    lots = [
        [tuple(one.truth.boxes[row]) for row in selection.missed_by_lot(one, names)]
        for one, names in ((forward, ids), (backward, ids[::-1]))
    ]
    assert lots[0] == lots[1] and len(lots[0]) > 5


def test_best_images_have_the_best_f1_and_then_the_most_objects():
    boxes = [(10, 10, 50, 50), (60, 10, 90, 50), (10, 60, 50, 90)]
    truth = [annotated(name, *((*box, 1) for box in boxes[:n])) for name, n in (("a", 1), ("b", 3), ("c", 3), ("d", 1))]
    detections = [
        found("a", (*boxes[0], 0.9, 1)),
        found("b", *((*box, 0.9, 1) for box in boxes)),
        found("c", *((*box, 0.9, 1) for box in boxes[:2])),
        found("d", (0, 60, 20, 90, 0.9, 1)),
    ]
    found_analysis = analyze(detections, truth)
    f1, objects = selection.image_f1(found_analysis)
    # c: 2 * 2 / (2 + 0 + 3); d: nothing right.
    np.testing.assert_allclose(f1, [1, 1, 0.8, 0])
    np.testing.assert_array_equal(objects, [1, 3, 3, 1])
    np.testing.assert_array_equal(selection.best_images(found_analysis), [1, 0, 2])


def test_what_one_detector_finds_and_another_misses():
    found_nothing_right = [one for one in FOUND if one.id != "right"]
    albums = albums_of(make_atlas(FOUND), make_atlas(found_nothing_right))
    (caption,) = captions(albums["Found by first, missed by second"])
    assert caption.endswith("<code>right</code>") and "no detection on it" in caption
    assert not captions(albums["Found by second, missed by first"])


def test_images_without_a_file_leave_their_place_to_the_next():
    albums = albums_of(make_atlas(), pictures=lambda name: None if name in ("misplaced", "other") else gray(name))
    assert [caption.split("<code>")[1] for caption in captions(albums["Missed: the largest"])] == [
        f"{name}</code>" for name in ("similar", "missed", "missed")
    ]
    assert captions(albums["False positives: other class"]) == []


def test_at_most_forty_of_a_kind(tmp_path):
    truth = [annotated(f"image{k}", (10, 10, 50, 50, 1)) for k in range(50)]
    run = make_run("first", [], truth)
    page = write(tmp_path / "report.html", [run], truth, pictures=lambda name: np.zeros((8, 8, 3), np.uint8))
    assert "Missed: the largest (40 of 50)" in page.text and "Shown: 40 of 50." in page.text
    assert len(page.all("img")) == 40 + 40 + 40  # missed largest, by lot; images by lot; there is no best one


@pytest.mark.parametrize("max_bytes", [400_000, 900_000])
def test_budget_holds_for_pictures_that_do_not_compress(tmp_path, max_bytes):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (300, 400, 3), np.uint8)
    truth, detections = random_case(5, num_images=25)
    page = write(
        tmp_path / "report.html",
        [make_run("first", detections, truth)],
        truth,
        pictures=lambda name: noise,
        max_bytes=max_bytes,
    )
    assert 0.5 * max_bytes < (tmp_path / "report.html").stat().st_size <= max_bytes
    assert len(page.all("img")) >= 16 and page.balanced


def test_without_room_for_pictures_there_are_none(tmp_path):
    run = make_run("first", FOUND, TRUTH)
    write(tmp_path / "bare.html", [run], TRUTH, pictures=lambda name: None)
    room = (tmp_path / "bare.html").stat().st_size + 3_000
    page = write(tmp_path / "report.html", [run], TRUTH, max_bytes=room)
    assert "There are no pictures here" in page.text and not page.all("img")


def test_long_names_stay_within_the_budget(tmp_path):
    rename = {one.id: one.id + "&" * 20_000 for one in TRUTH}
    truth = [one._replace(id=rename[one.id]) for one in TRUTH]
    detections = [one._replace(id=rename[one.id]) for one in FOUND]
    write(tmp_path / "report.html", [make_run("first", detections, truth)], truth, max_bytes=1_000_000)


def test_pictures_are_what_the_page_says(tmp_path):
    page = write(tmp_path / "report.html", [make_run("first", FOUND, TRUTH)], TRUTH)
    for image in page.all("img"):
        data = base64.b64decode(image["src"].split(",")[1])
        opened = Image.open(io.BytesIO(data))
        assert opened.format == "JPEG" and opened.size == (int(image["width"]), int(image["height"]))
        assert max(opened.size) <= thumbnails.SIDE


@pytest.mark.parametrize("box", [(3, 4, 9, 8), (600, 10, 640, 470), (-20, -20, 30, 10), (300, 200, 340, 240)])
def test_region_shows_the_box_with_its_surroundings(box):
    x0, y0, x1, y1 = thumbnails.region_around(np.array([box], np.float64), (480, 640))
    assert 0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 480
    assert x0 <= max(box[0], 0) and y0 <= max(box[1], 0) and x1 >= min(box[2], 640) and y1 >= min(box[3], 480)
    assert y1 - y0 >= min(64, 480) and (x1 - x0) >= 1.3 * (box[2] - max(box[0], 0))


def test_region_of_a_large_box_is_the_whole_image():
    assert thumbnails.region_around(np.array([[10, 10, 300, 400.0]]), (480, 640)) == (0, 0, 640, 480)


def test_small_objects_are_enlarged_at_most_fourfold():
    frame = np.full((480, 640, 3), 90, np.uint8)
    box = np.array([[300, 200, 306, 206.0]])
    picture = thumbnails.draw(frame, thumbnails.region_around(box, (480, 640)), [Mark(box[0], thumbnails.MISSED)])
    assert picture.size == (340, 256)  # 85 x 64 of the frame, four times as large


def test_looks_are_told_apart_without_color():
    frame = np.full((100, 100, 3), 90, np.uint8)
    box = np.array([20, 20, 80, 80])

    def gaps(look):
        picture = np.asarray(thumbnails.draw(frame, (0, 0, 100, 100), [Mark(box, look)]))
        row = (picture[80] == look.color).all(axis=-1)[90:310]  # the upper side, enlarged fourfold, on its first pixels
        return int(np.sum(row[:-1] & ~row[1:]))

    assert all((gaps(look) > 5) == look.is_dashed for look in thumbnails.LOOKS)
    assert thumbnails.WRONG.width > max(thumbnails.RIGHT.width, thumbnails.BESIDE.width)


def test_encoding_meets_its_limit_or_ends():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    for limit in (100_000, 20_000, 3_000):
        data, size = thumbnails.encode(noise, limit)
        assert len(data) <= limit and Image.open(io.BytesIO(data)).size == size[::-1]
    data, size = thumbnails.encode(noise, 0)
    assert max(size) <= 24 and len(data) < 2_000
