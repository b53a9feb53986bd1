"""Drawings: exact pixels where they are promised, and every odd input that a data set can hold."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from ssd_jax import visualize
from ssd_jax.types import ImageDetections, ImageGroundTruth
from ssd_jax.visualize import draw, palette, text

NAMES = ("background", "cat", "dog", "a class with a rather long name that fits nowhere at all", "ørsted-Größe 猫")
GRAY = np.full((120, 160, 3), 128, np.uint8)
BOXES = np.array([[20, 30, 70, 90], [60, 40, 140, 110]], np.float32)


def colored(picture, label):
    """Where the picture has exactly the color of the class."""
    return (picture == visualize.class_color(label)).all(axis=-1)


def test_outline_is_where_the_box_is():
    picture = visualize.draw_boxes(GRAY, BOXES[:1], [1], class_names=NAMES, thickness=2, brief=True)
    expected = np.zeros((120, 160), bool)
    expected[30:90, 20:70] = True  # pixels 20..69 and 30..89: the box covers [20, 70] x [30, 90]
    expected[32:88, 22:68] = False
    np.testing.assert_array_equal(colored(picture, 1), expected)
    # A darkened rim of one pixel inside the picture, and nothing else has changed.
    assert (picture[29, 19:71] < 128).all() and (picture[28] == 128).all()


def test_input_is_not_changed_and_the_same_input_gives_the_same_picture():
    before = GRAY.copy()
    one = visualize.draw_boxes(GRAY, BOXES, [1, 2], class_names=NAMES, scores=np.array([0.3, 0.9]))
    two = visualize.draw_boxes(GRAY, BOXES, [1, 2], class_names=NAMES, scores=np.array([0.3, 0.9]))
    np.testing.assert_array_equal(GRAY, before)
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.uint8 and one.shape == GRAY.shape


def test_order_of_scored_boxes_does_not_matter():
    scores = np.array([0.3, 0.9])
    one = visualize.draw_boxes(GRAY, BOXES, [1, 2], class_names=NAMES, scores=scores)
    two = visualize.draw_boxes(GRAY, BOXES[::-1], [2, 1], class_names=NAMES, scores=scores[::-1])
    np.testing.assert_array_equal(one, two)


def test_nothing_to_draw_gives_the_picture_back():
    outside = np.array([[-50, -50, -10, -10], [200, 10, 300, 50], [10, 130, 20, 140]])
    for boxes, labels in ((np.zeros((0, 4)), []), (np.zeros(0), []), (outside, [1, 1, 1]), (BOXES, [0, 0])):
        picture = visualize.draw_boxes(GRAY, boxes, labels, class_names=NAMES)
        np.testing.assert_array_equal(picture, GRAY)


def test_boxes_reaching_out_are_clipped():
    picture = visualize.draw_boxes(GRAY, [[-40, -40, 400, 400]], [1], class_names=NAMES, thickness=1, brief=True)
    expected = np.ones((120, 160), bool)
    expected[1:-1, 1:-1] = False
    np.testing.assert_array_equal(colored(picture, 1), expected)


@pytest.mark.parametrize("box", [(50, 50, 50, 50), (70, 90, 20, 30), (50, 20, 50.2, 100)])
def test_empty_and_reversed_boxes_are_seen(box):
    picture = visualize.draw_boxes(GRAY, [box], [1], class_names=NAMES, brief=True)
    assert colored(picture, 1).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 3), (7, 5, 3), (40, 30), (40, 30, 1)])
def test_odd_pictures(shape):
    image = np.zeros(shape, np.uint8)
    boxes = np.array([[0, 0, shape[1], shape[0]], [0, 0, 1, 1]])
    picture = visualize.draw_boxes(image, boxes, [1, 3], class_names=NAMES, scores=np.array([0.5, 1.0]))
    assert picture.shape == (*shape[:2], 3) and colored(picture, 1).any() | colored(picture, 3).any()
    panel = visualize.Panel(image, boxes, np.array([1, 3]))
    assert visualize.contact_sheet([[panel, panel]], class_names=NAMES, width=480).shape[1] == 480


def test_ignored_boxes_are_dashed():
    solid, dashed = (
        visualize.draw_boxes(GRAY, BOXES[:1], [1], class_names=NAMES, ignored=np.array([flag]), brief=True)
        for flag in (False, True)
    )
    full, part = colored(solid, 1), colored(dashed, 1)
    assert (part <= full).all() and 0.3 * full.sum() < part.sum() < 0.7 * full.sum()


def test_labels_stay_inside_and_never_overlap(monkeypatch):
    rng = np.random.default_rng(0)
    corners = rng.uniform(-20, 160, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 60, (60, 2))], axis=1)
    places = []
    real = draw._free_place
    monkeypatch.setattr(draw, "_free_place", lambda *args: places.append(real(*args)) or places[-1])
    visualize.draw_boxes(GRAY, boxes, rng.integers(1, 5, 60), class_names=NAMES, scores=rng.uniform(size=60))
    kept = [place for place in places if place is not None]
    assert 5 < len(kept) < 60
    for x0, y0, x1, y1 in kept:
        assert x0 >= 0 and y0 >= 0 and x1 < 160 and y1 < 120
    for a, b in itertools.combinations(kept, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


@pytest.mark.parametrize("size", [(30, 40), (60, 80), (120, 160)])
def test_labels_leave_most_of_a_picture_free(size, monkeypatch):
    height, width = size
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 0.6, (200, 2))
    boxes = np.concatenate([low, low + 0.4], axis=1) * [width, height, width, height]
    areas = []
    real = draw._free_place

    def free_place(*args):
        place = real(*args)
        if place is not None:
            areas.append((place[2] - place[0] + 1) * (place[3] - place[1] + 1))
        return place

    monkeypatch.setattr(draw, "_free_place", free_place)
    image = np.zeros((height, width, 3), np.uint8)
    visualize.draw_boxes(image, boxes, np.ones(200, int), class_names=NAMES, scores=rng.uniform(size=200))
    assert sum(areas) <= height * width / 3 and max(areas, default=0) <= height * width / 8
    assert bool(areas) == (size != (30, 40))  # of 1200 pixels, a score alone takes 300


@pytest.mark.parametrize("thickness", [1, 4, 20])
def test_rims_are_darkened_once_and_as_wide_as_lines_need(thickness):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (100, 140, 3), dtype=np.uint8)
    low = rng.integers(-20, 100, (8, 2))
    boxes = np.concatenate([low, low + rng.integers(3, 60, (8, 2))], axis=1)
    picture = visualize.draw_boxes(image, boxes, np.ones(8, int), class_names=NAMES, thickness=thickness, brief=True)
    rows, columns = np.mgrid[:100, :140]
    expected = image.copy()
    for inside in (False, True):  # all rims first, so that no line is darkened
        for x0, y0, x1, y1 in boxes.tolist():
            if x1 < 0 or y1 < 0 or x0 > 140 or y0 > 100:
                continue
            x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, 140), min(y1, 100)
            side = min(x1 - x0, y1 - y0)
            own = min(thickness, max(2, side // 8), (side + 1) // 2)
            # Pixels from the rectangle: 0 on it, 1 beside it.
            away = np.maximum.reduce([x0 - columns, columns - x1 + 1, y0 - rows, rows - y1 + 1])
            if inside:
                expected[(away <= 0) & (away > -own)] = visualize.class_color(1)
            else:
                near = (away > 0) & (away <= max(1, own // 4))
                expected[near] = (0.4 * image[near]).astype(np.uint8)
    np.testing.assert_array_equal(picture, expected)


def test_long_names_are_cut_and_leave_room():
    with_name = visualize.draw_boxes(GRAY, [[5, 40, 150, 110]], [3], class_names=NAMES)
    without = visualize.draw_boxes(GRAY, [[5, 40, 150, 110]], [3], class_names=NAMES, brief=True)
    columns = np.flatnonzero((with_name != without).any(axis=(0, 2)))
    assert 20 < np.ptp(columns) <= 8 * 10 + 4  # at most 8 letter heights of 10 pixels, and the padding


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dog", "dog"),
        ("Größe", "Grosse"),
        ("naïve ø", "naive o"),
        ("hund 犬", "hund ?"),
        ("猫", "class 7"),
        ("", "class 7"),
    ],
)
def test_names_in_other_letters(name, shown):
    assert text.class_title(name, 7) == shown
    picture = visualize.draw_boxes(GRAY, BOXES[:1], [1], class_names=("background", name))
    expected = visualize.draw_boxes(
        GRAY, BOXES[:1], [1], class_names=("background", shown.replace("class 7", "class 1"))
    )
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": GRAY.astype(np.float32)}, "image must be uint8"),
        ({"image": GRAY[None]}, r"\[1, 120, 160, 3\]"),
        ({"labels": [1]}, "as many"),
        ({"scores": np.zeros(3)}, "scores"),
        ({"boxes": np.full((2, 4), np.nan)}, "finite"),
        ({"labels": [1, 9]}, "labels must be 0 to 4, got 1 to 9"),
        ({"labels": [-1, 1]}, "labels must be 0 to 4"),
    ],
)
def test_misuse_names_the_argument(change, says):
    arguments = {"image": GRAY, "boxes": BOXES, "labels": [1, 2], **change}
    with pytest.raises(ValueError, match=says):
        visualize.draw_boxes(**arguments, class_names=NAMES)


def test_colors_are_distinct_stable_and_readable():
    colors = [visualize.class_color(label) for label in range(1, 97)]
    assert len(set(colors)) == 96 and visualize.class_color(97) == colors[0]
    # The first ones as first published: a change would give every class of every earlier picture another color.
    assert colors[:4] == FIRST_COLORS
    # Just noticeable is about 0.02 in Oklab; twenty classes are far from that.
    oklab = palette._oklab(np.array(colors[:20]))
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(oklab, 2)) > 0.1
    for color in colors:  # WCAG 2 asks for a contrast of 4.5 for text
        assert _contrast(color, palette.text_color(color)) > 4.5
    with pytest.raises(ValueError, match="label"):
        visualize.class_color(0)


def _contrast(one, other):
    dark, bright = sorted(palette._linear(np.array([one, other])) @ [0.2126, 0.7152, 0.0722])
    return (bright + 0.05) / (dark + 0.05)


FIRST_COLORS = [(255, 85, 68), (51, 255, 102), (34, 119, 255), (17, 153, 85)]


def _rows(count, shapes=((120, 160), (160, 120), (90, 240))):
    rng = np.random.default_rng(1)
    for k in range(count):
        height, width = shapes[k % len(shapes)]
        image = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        truth = ImageGroundTruth(f"image_{k}", BOXES.astype(float), np.array([1, 4]), np.array([False, True]))
        found = ImageDetections(f"image_{k}", BOXES, np.array([0.9, 0.2], np.float32), np.array([1, 2], np.int32))
        yield visualize.detection_panels(image, found, truth)


def test_detection_panels_hide_low_scores_and_say_so():
    found, truth = next(_rows(1))
    assert found.labels.tolist() == [1] and found.boxes.shape == (1, 4)
    assert found.caption == "image_0: 1 detected, score >= 0.5" and truth.caption == "2 annotated"
    assert truth.ignored.tolist() == [False, True]


def test_contact_sheet_shows_every_panel_and_class():
    rows = list(_rows(5))
    sheet = visualize.contact_sheet(rows, class_names=NAMES, title="A title", subtitle="and more", width=800)
    assert sheet.shape[1] == 800 and sheet.dtype == np.uint8
    np.testing.assert_array_equal(
        sheet, visualize.contact_sheet(rows, class_names=NAMES, title="A title", subtitle="and more", width=800)
    )
    assert colored(sheet, 1).any() and colored(sheet, 4).any()
    assert not colored(sheet, 2).any()  # the dog was below the threshold and nobody annotated one
    # Margins are paper.
    assert (sheet[:, :8] == 255).all() and (sheet[:, -8:] == 255).all() and (sheet[:4] == 255).all()


def test_contact_sheet_without_boxes_or_captions():
    panel = visualize.Panel(GRAY, np.zeros((0, 4)), np.zeros(0, int))
    sheet = visualize.contact_sheet([[panel]], class_names=NAMES)
    assert (sheet == 128).all(axis=-1).any()
    with pytest.raises(ValueError, match="rows"):
        visualize.contact_sheet([], class_names=NAMES)
    with pytest.raises(ValueError, match="width"):
        visualize.contact_sheet([[panel]], class_names=NAMES, width=100)


def test_many_classes_fit_the_legend():
    names = ("background", *(f"class number {k}" for k in range(1, 201)))
    panel = visualize.Panel(GRAY, np.tile(BOXES[:1], (200, 1)), np.arange(1, 201))
    sheet = visualize.contact_sheet([[panel]], class_names=names, width=640)
    assert sheet.shape[1] == 640


def test_saved_sheet_keeps_its_bound(tmp_path):
    rows = list(_rows(4))
    path = tmp_path / "sheet.png"
    visualize.save_contact_sheet(path, rows, class_names=NAMES, width=800)
    free = path.stat().st_size
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        np.testing.assert_array_equal(picture, visualize.contact_sheet(rows, class_names=NAMES, width=800))
    # Half the length asks for fewer colors and perhaps a smaller sheet.
    visualize.save_contact_sheet(path, rows, class_names=NAMES, width=800, max_bytes=free // 2)
    assert path.stat().st_size <= free // 2
    with Image.open(path) as picture:
        assert picture.format == "PNG" and 480 <= picture.width <= 800
    with pytest.raises(ValueError, match="max_bytes"):
        visualize.save_contact_sheet(path, rows, class_names=NAMES, max_bytes=100)


def test_real_pictures_stay_under_300_kb(shared, tmp_path):
    folder = shared / "data" / "bccd" / "JPEGImages"
    rows = []
    for path in sorted(folder.iterdir())[:8]:
        with Image.open(path) as picture:
            panel = visualize.Panel(np.asarray(picture.convert("RGB")), BOXES, np.array([1, 2]), caption=path.stem)
        rows.append((panel, panel))
    visualize.save_contact_sheet(tmp_path / "sheet.png", rows, class_names=NAMES, max_bytes=300_000)
    assert (tmp_path / "sheet.png").stat().st_size <= 300_000
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 800  # still large enough to read
