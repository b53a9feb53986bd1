"""What a visitor does with the local page: sends pictures, moves the slider, filters, looks closer."""

import pytest

pytest.importorskip("starlette", reason="needs Starlette: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install -e .[serve]")

from browser import DESK, PHONE, axe_violations, running_browser, scrolls_sideways
from serve_stand_in import LIMITS, StandIn, encoded, running
from serve_visitor import labels, send, slide, visit

from ssd_jax.commands.serve import examples

pytestmark = pytest.mark.slow  # starts a browser, and axe-core takes seconds a page

SHAPES = ("background", "circle", "ring", "square", "diamond", "triangle", "star", "cross")


@pytest.fixture(scope="module")
def browser():
    with running_browser() as started:
        yield started


@pytest.fixture(scope="module")
def port():
    with running(limits=LIMITS._replace(seconds=10), examples=examples.of_shapes(SHAPES)) as started:
        yield started


@pytest.fixture
def page(browser, port):
    with visit(browser, port, **DESK) as (opened, messages):
        yield opened
        assert not messages


def test_a_picture_is_answered_by_boxes(page):
    send(page, encoded(400, 200), names=["street.png"])
    assert labels(page) == ["cat 0.95", "dog 0.80"]
    view, box = (page.locator(what).bounding_box() for what in (".view", ".box:visible >> nth=1"))  # the best is on top
    # The cat: (0.1, 0.2) to (0.5, 0.8) of the picture.
    assert box["x"] - view["x"] == pytest.approx(0.1 * view["width"], abs=1)
    assert box["y"] - view["y"] == pytest.approx(0.2 * view["height"], abs=1)
    assert box["width"] == pytest.approx(0.4 * view["width"], abs=1)
    assert box["height"] == pytest.approx(0.6 * view["height"], abs=1)
    assert view["width"] / view["height"] == pytest.approx(2, rel=0.01)
    assert page.locator(".view img").get_attribute("alt") == "street.png: 1 cat, 1 dog"
    assert page.locator(".side > p").inner_text() == "2 objects, 3 not shown; 400 \u00d7 200 pixels."
    times = dict(zip(*(page.locator(f".timings {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True))
    assert {"decode", "network", "whole", "round trip"} <= set(times) and all(" ms" in one for one in times.values())


def test_the_slider_filters_at_once(page):
    send(page, encoded())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    slide(page, 0.05)
    assert labels(page) == ["cat 0.95", "dog 0.80", "dog 0.55", "traffic light 0.30", "cat 0.07"]
    assert page.locator("#sum").inner_text() == "5 objects in 1 picture"
    slide(page, 0.9)
    assert labels(page) == ["cat 0.95"] and page.locator("#least").inner_text() == "0.90"
    slide(page, 1)
    assert labels(page) == [] and page.locator(".found:visible").count() == 0
    assert page.locator(".view img").get_attribute("alt").endswith("nothing found")
    page.locator("#threshold").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    page.locator("#least", has_text="0.90").wait_for()
    assert labels(page) == ["cat 0.95"]  # 0.90
    assert not asked


def test_classes_are_switched_off_and_on(page):
    send(page, encoded(), encoded())
    slide(page, 0)
    chips = page.locator(".chip")
    assert [text.split("\n") for text in chips.all_inner_texts()] == [
        ["cat", "4"],
        ["dog", "4"],
        ["traffic light", "2"],
    ]
    chips.nth(1).click()
    assert page.evaluate("document.activeElement.dataset.label") == "2"  # where the reader was
    assert chips.nth(1).get_attribute("aria-pressed") == "false"
    assert labels(page) == labels(page, 1) == ["cat 0.95", "traffic light 0.30", "cat 0.07"]
    page.locator("#none").click()
    assert labels(page) == [] and page.locator("#sum").inner_text() == "0 objects in 2 pictures"
    chips.nth(2).press("Enter")
    assert labels(page) == ["traffic light 0.30"]
    page.locator("#all").click()
    assert len(labels(page)) == 5


def test_one_object_stands_out(page):
    send(page, encoded())
    rows = page.locator(".found li:visible button")
    assert [text.split("\n")[0] for text in rows.all_inner_texts()] == ["cat", "dog"]
    rows.nth(1).hover()
    assert page.locator(".label.on").inner_text() == "dog 0.80"
    page.mouse.move(0, 0)
    assert page.locator(".on").count() == 0
    rows.nth(0).press("Enter")
    assert page.locator(".label.on").inner_text() == "cat 0.95"
    assert rows.nth(0).get_attribute("aria-pressed") == "true"
    slide(page, 0.99)
    slide(page, 0.5)
    assert page.locator(".on").count() == 0


def test_labels_do_not_hide_each_other(page):
    send(page, encoded(900, 200))  # flat: the labels of two boxes would overlap
    slide(page, 0)
    boxes = [label.bounding_box() for label in page.locator(".label:visible").all()]
    view = page.locator(".view").bounding_box()
    for number, one in enumerate(boxes):
        assert one["x"] >= view["x"] - 1 and one["y"] >= view["y"] - 1
        assert one["x"] + one["width"] <= view["x"] + view["width"] + 1
        for other in boxes[:number]:
            apart_x = one["x"] >= other["x"] + other["width"] - 1 or other["x"] >= one["x"] + one["width"] - 1
            apart_y = one["y"] >= other["y"] + other["height"] - 1 or other["y"] >= one["y"] + one["height"] - 1
            assert apart_x or apart_y


def test_what_is_wrong_is_said_at_the_picture(browser, port):
    with visit(browser, port, **DESK) as (page, messages):
        send(page, b"hello", encoded(), b"\xff\xd8\xff" + bytes(LIMITS.max_bytes), names=["<b>.jpg", "good", "large"])
        said = page.locator(".result").all_inner_texts()
        assert "<b>.jpg" in said[0] and "no JPEG, PNG" in said[0] and "cat" in said[1]
        assert "larger than 0.3 megabytes" in said[2]
        assert page.locator("#sum").inner_text() == "2 objects in 1 picture; 2 files could not be used"
        page.get_by_role("button", name="Remove <b>.jpg").click()
        assert page.evaluate("document.activeElement.title") == "Remove"  # of the next one
        assert page.locator(".result").count() == 2
        page.locator("#clear").click()
        assert page.locator(".result").count() == 0 and not page.locator("#controls").is_visible()
        # The refusal by the server is all that the browser has to say; the third was not even sent.
        assert len(messages) == 1 and "415" in messages[0]


def test_a_folder_and_an_empty_file_are_no_fault_of_the_server(browser, port, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    files = [str(tmp_path / "folder"), str(tmp_path / "empty.png")]
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    with visit(browser, port, **DESK) as (page, _):
        devtools = page.context.new_cdp_session(page)  # a script may not drop a folder
        for kind in ("dragEnter", "dragOver", "drop"):
            devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 200, "data": data})
        page.locator(".callout.bad").nth(1).wait_for()
        said = dict(zip(*(page.locator(what).all_inner_texts() for what in (".side h2", ".callout.bad")), strict=True))
    assert said["folder"].startswith("This file cannot be read: it is a folder, ")
    assert said["empty.png"] == "This file is empty."


def test_a_busy_server_is_asked_again(browser):
    detector = StandIn()
    with running(detector, limits=LIMITS._replace(places=1)) as port, visit(browser, port, **DESK) as (page, _):
        detector.go.clear()
        with visit(browser, port, **DESK) as (other, _):
            statuses = []
            for one in (page, other):
                one.on("response", lambda answer: statuses.append(answer.status) if "/api/" in answer.url else None)
            other.set_input_files("#files", [{"name": "a", "mimeType": "image/png", "buffer": encoded()}])
            page.set_input_files("#files", [{"name": "b", "mimeType": "image/png", "buffer": encoded()}])
            page.wait_for_timeout(300)
            detector.go.set()
            for one in (page, other):
                one.locator(".timings:visible").wait_for()
                assert labels(one) == ["cat 0.95", "dog 0.80"]
            assert 503 in statuses and statuses.count(200) == 2


def test_a_server_that_has_ended_is_told(browser):
    with running() as port:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
    page.set_input_files("#files", [{"name": "a", "mimeType": "image/png", "buffer": encoded()}])
    assert "does not answer" in page.locator(".callout.bad").inner_text()
    context.close()


def test_examples_and_pasted_and_dropped_pictures(page):
    assert page.locator(".examples button").count() == 8
    page.locator(".examples button").nth(2).click()
    page.locator(".timings:visible").wait_for()
    assert page.locator(".result h2").inner_text() == "shapes 3"
    for kind in ("paste", "drop"):
        page.evaluate(
            """async ([kind, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([Uint8Array.from(bytes)], kind + ".png"));
                const name = kind === "paste" ? "clipboardData" : "dataTransfer";
                const type = kind === "paste" ? ClipboardEvent : DragEvent;
                document.body.dispatchEvent(new type(kind, {[name]: data, bubbles: true, cancelable: true}));
            }""",
            [kind, list(encoded())],
        )
        page.locator(".result h2", has_text=f"{kind}.png").wait_for()
    page.locator(".timings:visible").nth(2).wait_for()
    assert page.locator(".result h2").all_inner_texts() == ["drop.png", "paste.png", "shapes 3"]  # the newest first


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wrong_at_any_size_and_color(browser, port, window, dark):
    with visit(browser, port, dark=dark, **window) as (page, messages):
        assert axe_violations(page) == [] and not scrolls_sideways(page)
        long = "a long name of a file " * 5
        send(page, encoded(640, 480), encoded(1, 1), encoded(5000, 20), encoded(20, 900), names=[long, "1", "2", "3"])
        slide(page, 0)
        page.locator(".chip").first.click()
        page.locator(".found li:visible button").first.click()
        page.locator("summary").first.click()
        assert axe_violations(page) == [] and not scrolls_sideways(page)
        assert f"127.0.0.1:{port}/api/detect" in page.locator("pre").first.inner_text()
        assert not messages


def test_the_keyboard_alone_does_it_all(page):
    def tab_to(predicate, most=40):
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate(f"(e => {predicate})(document.activeElement)"):
                return
        raise AssertionError(f"{predicate} cannot be reached")

    tab_to("e.id === 'files'")
    outline = "getComputedStyle(document.querySelector('.drop')).outlineStyle"
    assert page.evaluate(outline) != "none", "the focus is not seen"
    tab_to("e.title === 'shapes 1'")
    page.keyboard.press("Enter")
    page.locator(".timings:visible").wait_for()
    tab_to("e.id === 'threshold'")
    page.keyboard.press("Home")
    page.locator("#least", has_text="0.00").wait_for()
    assert len(labels(page)) == 5
    tab_to("e.dataset.label === '1'")
    page.keyboard.press("Space")
    assert len(labels(page)) == 3
    tab_to("e.className === 'remove'")
    page.keyboard.press("Enter")
    assert page.locator(".result").count() == 0 and page.evaluate("document.activeElement.id") == "files"
