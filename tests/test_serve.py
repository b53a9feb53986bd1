"""The server of the local page: what it answers, what its page holds, and where it listens."""

import base64
import hashlib
import importlib.util
import io
import json
import re
import socket

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs Starlette: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install -e .[serve]")

from PIL import Image
from serve_stand_in import CLASS_NAMES, LIMITS, LOWEST, StandIn, ask, detect, encoded, running
from test_page import NASTY, Reader

from ssd_jax.commands.serve import examples, listening, pictures
from ssd_jax.commands.serve.__main__ import check_libraries
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND
from ssd_jax.visualize import palette


@pytest.fixture(scope="module")
def port():
    with running(limits=LIMITS) as started:
        yield started


# Good requests


def test_detections_are_in_pixels_of_the_picture(port):
    status, headers, body = detect(port, encoded(400, 200, "JPEG"), "?score_threshold=0.3")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert body["model"] == StandIn.name and body["score_threshold"] == 0.3
    assert body["image"] == {"width": 400, "height": 200, "format": "JPEG", "orientation": 1, "animated": False}
    assert [found["name"] for found in body["detections"]] == ["cat", "dog", "dog", "traffic light"]
    # Its first object lies at (0.1, 0.2) to (0.5, 0.8) of the picture, which the detector sees as 100 x 50 pixels.
    assert body["detections"][0] == {"name": "cat", "label": 1, "score": 0.95, "box": [40.0, 40.0, 200.0, 160.0]}
    times = body["milliseconds"]
    assert set(times) == {"waiting", "decode", "network", "whole"} and min(times.values()) >= 0
    assert times["whole"] == pytest.approx(times["waiting"] + times["decode"] + times["network"], abs=0.02)


def test_the_threshold_is_the_sliders_unless_asked_for(port):
    assert len(detect(port, encoded())[2]["detections"]) == 2  # 0.6
    assert len(detect(port, encoded(), "?score_threshold=0")[2]["detections"]) == 5  # as low as the detector finds
    assert detect(port, encoded(), "?score_threshold=1")[2]["detections"] == []


@pytest.mark.parametrize("kind", pictures.MEDIA_TYPES)
def test_every_format_whatever_it_is_called(port, kind):
    status, _, body = detect(port, encoded(60, 40, kind), Content_Type="text/plain")
    assert status == 200 and body["image"]["format"] == kind and (body["image"]["width"] == 60)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_rotated_picture_is_described_upright(port, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    _, _, body = detect(port, encoded(60, 40, kind, exif=exif.tobytes()))
    assert (body["image"]["width"], body["image"]["height"], body["image"]["orientation"]) == (40, 60, 6)
    assert body["detections"][0]["box"] == [4.0, 12.0, 20.0, 48.0]  # (0.1, 0.2) to (0.5, 0.8) of 40 x 60


def test_an_animation_says_so(port):
    file = io.BytesIO()
    frames = [Image.new("RGB", (9, 6), color) for color in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert detect(port, file.getvalue())[2]["image"]["animated"] is True


def test_a_body_in_pieces_is_read(port):
    content = encoded()
    pieces = iter([content[:100], content[100:]])
    assert detect(port, pieces)[0] == 200  # http.client sends it in chunks, without its length


def test_model_and_health(port):
    assert ask(port, path="/healthz")[2] == {"status": "ready"}
    model = ask(port, path="/api/model")[2]
    assert [kind["name"] for kind in model["classes"]] == list(CLASS_NAMES[1:])
    assert model["classes"][1]["color"] == "#{:02x}{:02x}{:02x}".format(*palette.class_color(2))
    assert model["score_threshold"] == {"lowest": LOWEST, "default": 0.6}
    assert model["input"] == {"width": 300, "height": 300}
    assert model["limits"] == {"bytes": 300_000, "pixels": 1_000_000}


# The page


def test_the_page_allows_its_own_script_and_style_alone(port):
    status, headers, content = ask(port)
    text = content.decode("utf-8")
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert status == 200 and headers["Content-Type"].startswith("text/html")

    def digest(tag):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        return f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"

    assert policy.pop("script-src") == digest("script") and policy.pop("style-src") == digest("style")
    assert policy.pop("img-src") == "blob: data:" and policy.pop("connect-src") == "'self'"
    assert policy == dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    found = Reader(text)
    assert not found.attributes("style") and [tag for tag, _ in found.tags].count("script") == 1
    assert all(source.startswith("data:") for source in found.attributes("src"))
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_names_cannot_become_code():
    class Nasty(StandIn):
        name, class_names = NASTY, (BACKGROUND, NASTY, "b", "c")

    plain, nasty = StandIn(), Nasty()
    pages = []
    for detector in (plain, nasty):
        with running(detector) as port:
            pages.append(Reader(ask(port)[2].decode("utf-8")))
    assert [tag for tag, _ in pages[0].tags] == [tag for tag, _ in pages[1].tags]
    model = json.loads(pages[1].attributes("data-model")[0])
    assert model["classes"][0]["name"] == NASTY


# Examples


def test_examples_of_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "b.jpg").write_bytes(encoded(500, 300, "JPEG"))
    (tmp_path / "a <b>.png").write_bytes(encoded(20, 30, "PNG", mode="RGBA"))
    (tmp_path / "c.jpg").write_bytes(b"text")
    (tmp_path / "d.jpg").write_bytes(encoded(200, 200, "JPEG", quality=100)[:3000])
    (tmp_path / "e.png").write_bytes(encoded(3000, 3000))
    found = examples.of_folder(tmp_path, max_bytes=10**6, max_pixels=10**6)
    assert [(one.name, one.media_type) for one in found] == [("a <b>.png", "image/png"), ("b.jpg", "image/jpeg")]
    assert found[1].thumb_size[0] <= 192 and Image.open(io.BytesIO(found[1].thumb)).size[0] <= 288
    with running(examples=found) as port:
        status, headers, content = ask(port, path="/examples/1")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg") and content == found[1].content
        assert ask(port, path="/examples/2")[0] == ask(port, path="/examples/-1")[0] == 404
        assert Reader(ask(port)[2].decode()).attributes("alt") == ["a <b>.png", "b.jpg"]
    with pytest.raises(InputError, match="has none"):
        examples.of_folder(tmp_path / "folder", max_bytes=1, max_pixels=1)
    with pytest.raises(InputError, match="no such folder"):
        examples.of_folder(tmp_path / "none", max_bytes=1, max_pixels=1)


def test_shapes_are_offered_to_those_who_know_them():
    names = (BACKGROUND, "circle", "ring", "square", "diamond", "triangle", "star", "cross")
    found = examples.of_shapes(names)
    assert len(found) == 8 and np.asarray(Image.open(io.BytesIO(found[0].content))).shape == (320, 320, 3)
    assert examples.of_shapes(CLASS_NAMES) == []


# The command


def test_a_port_that_is_taken_is_one_sentence():
    with listening.bind("127.0.0.1", 0) as first:
        taken = first.socket.getsockname()[1]
        assert first.loopback and first.address == f"http://127.0.0.1:{taken}/"
        with pytest.raises(InputError, match=f"--port: {taken} is taken"), listening.bind("127.0.0.1", taken):
            pass


def test_other_addresses_are_warned_of(capsys):
    with listening.bind("0.0.0.0", 0) as place:
        assert not place.loopback and socket.gethostname().lower() in place.names
    assert capsys.readouterr().err.startswith("warning: --host=0.0.0.0: everyone")
    for host in ("no such name.invalid", "203.0.113.7"):  # of the block kept for documentation
        with pytest.raises(InputError, match="--host"), listening.bind(host, 0):
            pass


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(InputError, match=r"the page needs uvicorn, .* -e \"\.\[serve\]\"$"):
        check_libraries()
