"""The report in a real browser: it can be operated by everyone, on a wide screen and a phone."""

import pytest
from browser import DESK, PHONE, axe_violations, open_page, running_browser, scrolls_sideways
from test_report import FOUND, TRUTH, gray, make_run, write


@pytest.fixture(scope="module")
def browser():
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Reports by name: of one run, of two, of none that detects anything."""
    folder = tmp_path_factory.mktemp("reports")
    first = make_run("first", FOUND, TRUTH, with_coco=True, facts={"checkpoint": "runs/first"})
    second = make_run("second", FOUND[1:], TRUTH, with_coco=True)
    cases = {"one": [first], "two": [first, second], "nothing": [make_run("none", [], TRUTH)]}
    for name, runs in cases.items():
        write(folder / f"{name}.html", runs, TRUTH, pictures=gray)
    return {name: folder / f"{name}.html" for name in cases}


SIZES = {"desk": DESK, "phone": PHONE}
LOOKS = [(name, size, dark) for name in ("one", "two", "nothing") for size in SIZES for dark in (False, True)]
QUICK = [("two", "phone", True), ("nothing", "desk", False)]  # each takes seconds


@pytest.mark.parametrize(
    ("name", "size", "dark"),
    [
        pytest.param(*look, marks=() if look in QUICK else pytest.mark.slow, id="-".join(map(str, look)))
        for look in LOOKS
    ],
)
def test_no_complaint_of_browser_or_axe(browser, paths, name, size, dark):
    with open_page(browser, paths[name], dark=dark, **SIZES[size]) as (page, messages):
        assert not scrolls_sideways(page)
        assert axe_violations(page) == []
        assert messages == []


@pytest.mark.parametrize("size", SIZES)
def test_every_option_can_be_chosen(browser, paths, size):
    with open_page(browser, paths["two"], **SIZES[size]) as (page, messages):
        for menu in page.locator("select:visible").all():
            for value in menu.locator("option").evaluate_all("options => options.map((option) => option.value)"):
                menu.select_option(value)
                assert not scrolls_sideways(page), value
        assert messages == []


def test_tables_sort_and_filter(browser, paths):
    with open_page(browser, paths["one"], **DESK) as (page, _):
        table = page.locator("#classes .table-box")
        names = table.locator("tbody tr:visible th")
        assert names.all_inner_texts() == ["cat", "dog", "car"]
        table.get_by_role("button", name="objects").click()
        assert names.all_inner_texts() == ["cat", "car", "dog"]  # 4, 2, 1
        table.get_by_label("Find class").fill("ca")
        assert names.all_inner_texts() == ["cat", "car"]
        kinds = page.locator("#kinds-of-detections .table-box")
        kinds.get_by_role("button", name="shares").click()  # by the share that is correct
        assert kinds.locator("tbody tr th").first.inner_text() == "cat"


def test_class_is_switched_in_charts_and_galleries_together(browser, paths):
    with open_page(browser, paths["one"], **DESK) as (page, _):
        page.locator("#calibration select").select_option("dog")
        for section in ("precision-and-recall", "what-the-best-detections-are", "calibration"):
            heading = page.locator(f"#{section} details:visible h3").first
            assert heading.inner_text().startswith("dog:"), section
        pictures = page.locator("#pictures")
        pictures.locator("select[data-group=pictures]").select_option(label="Missed: the largest (5)")
        assert pictures.locator("li:visible figcaption b").all_inner_texts() == ["dog, 40 \u00d7 40 pixels"]
        page.locator("#calibration select").select_option("all classes")
        assert pictures.locator("li:visible figcaption").count() == 5


def test_pictures_open_large_by_keyboard(browser, paths):
    with open_page(browser, paths["one"], **PHONE) as (page, _):
        page.locator("#pictures li:visible button.open").first.focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("dialog").is_visible()
        assert "cat 0.80" in page.get_by_role("dialog").inner_text()
        page.keyboard.press("ArrowRight")
        assert "second detection" in page.get_by_role("dialog").inner_text()
        page.keyboard.press("Escape")
        assert page.get_by_role("dialog").count() == 0


def test_runs_are_compared(browser, paths):
    with open_page(browser, paths["two"], **DESK) as (page, _):
        table = page.locator("#classes details:visible table")
        assert table.locator("thead th").all_inner_texts()[-1].startswith("difference")
        page.locator("#classes select").first.select_option("COCO AP")
        assert "COCO AP of each class" in page.locator("#classes details:visible caption").inner_text()
        page.locator("#confusions select").select_option("second")
        assert page.locator("#kinds-of-detections select").input_value() == "second"
        assert page.locator("#precision-and-recall details:visible svg .curve").count() == 2


def test_without_scripts_everything_unfolds(browser, paths):
    with open_page(browser, paths["one"], scripting=False, **DESK) as (page, messages):
        summaries = page.locator("#pictures summary")
        assert "False positives: localization (2)" in summaries.first.inner_text()
        summaries.first.click()
        assert page.locator("#pictures figcaption:visible").count() == 2
        assert messages == []
