"""Pictures on the local page are seen as the detector has seen them: upright, and the first of an animation."""

import io

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs Starlette: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install -e .[serve]")

from browser import DESK, running_browser
from PIL import Image
from serve_stand_in import LIMITS, running
from serve_visitor import send, slide, visit

pytestmark = pytest.mark.slow  # starts a browser

QUADRANTS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 200, 200))  # upper left, upper right, lower left, lower right


@pytest.fixture(scope="module")
def browser():
    with running_browser() as started:
        yield started


@pytest.fixture(scope="module")
def port():
    with running(limits=LIMITS._replace(seconds=10)) as started:
        yield started


@pytest.fixture
def page(browser, port):
    with visit(browser, port, **DESK) as (opened, messages):
        yield opened
        assert not messages


def stored(kind, orientation):
    """An upright picture of 120 x 80 pixels with QUADRANTS, stored so that EXIF says how to turn it."""
    pixels = np.zeros((80, 120, 3), np.uint8)
    rows, columns = (slice(0, 40), slice(40, 80)), (slice(0, 60), slice(60, 120))
    for number, color in enumerate(QUADRANTS):
        pixels[rows[number // 2], columns[number % 2]] = color
    # The array operations that undo what the EXIF standard (CIPA DC-008, 4.6.4.A) says of each orientation.
    undone = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, 1),  # counterclockwise; the viewer turns it clockwise
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(undone(pixels))).save(file, kind, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_rotated_pictures_are_seen_upright(page, kind):
    send(page, *(stored(kind, orientation) for orientation in range(1, 9)))
    slide(page, 1)  # no boxes over it
    for number in range(8):
        view = page.locator(".view").nth(number)
        view.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        seen = Image.open(io.BytesIO(view.screenshot())).convert("RGB")
        assert seen.width / seen.height == pytest.approx(1.5, rel=0.02)
        for place, color in enumerate(QUADRANTS):
            at = (seen.width * (1 + 2 * (place % 2)) // 4, seen.height * (1 + 2 * (place // 2)) // 4)
            assert np.abs(np.subtract(seen.getpixel(at), color)).max() < 40, (kind, number + 1, place)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_stand_still_at_their_first_picture(page, kind):
    file = io.BytesIO()
    frames = [Image.new("RGB", (90, 60), color) for color in ("red", "blue")]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=40, loop=0)
    send(page, file.getvalue())
    assert "an animation, of which the first picture counts" in page.locator(".side > p").inner_text()
    slide(page, 1)
    for _ in range(4):
        page.wait_for_timeout(55)
        seen = Image.open(io.BytesIO(page.locator(".view").screenshot())).convert("RGB")
        assert np.abs(np.subtract(seen.getpixel((seen.width // 2, seen.height // 2)), (255, 0, 0))).max() < 40
