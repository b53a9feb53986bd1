"""Uploads that mean no good: each is answered by one sentence in JSON, and the server lives on."""

import io
import re
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
import zlib

import pytest

pytest.importorskip("starlette", reason="needs Starlette: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install -e .[serve]")

from PIL import Image
from serve_stand_in import LIMITS, StandIn, ask, detect, encoded, one_sentence, running


@pytest.fixture(scope="module")
def port():
    with running(limits=LIMITS) as started:
        yield started


def png(width, height, data=b""):
    """A PNG with the header of a gray picture and compressed rows that need not fit it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def jpeg_of_another_size():
    """A JPEG whose header says 60,000 x 60,000 pixels."""
    content = bytearray(encoded(60, 40, "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(content)


def webp_of_another_size():
    """A WebP of the extended form whose canvas is 16,383 x 16,383 pixels."""
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + 2 * (16_382).to_bytes(3, "little")
    rest = encoded(60, 40, "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunk) + len(rest)) + b"WEBP" + chunk + rest


def gif_of_another_size():
    content = bytearray(encoded(60, 40, "GIF"))
    content[6:10] = struct.pack("<HH", 65_535, 65_535)
    return bytes(content)


def saved(picture, kind):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


HOSTILE = {
    "empty": (lambda: b"", 400, "no body"),
    "bomb: 25 megapixels of zeros": (lambda: png(5000, 5000, bytes(25_005_000)), 413, "5,000 x 5,000 pixels"),
    "bomb: 3.6 gigapixels by the header": (jpeg_of_another_size, 413, "pixels; at most 1 megapixels"),
    "bomb: a WebP canvas": (webp_of_another_size, 413, "pixels"),
    "bomb: a GIF screen": (gif_of_another_size, 413, "pixels"),
    "bomb: one row of 2^31 - 1": (lambda: png(2**31 - 1, 1), 413, "pixels"),
    "too many bytes": (lambda: b"\xff\xd8\xff" + bytes(300_000), 413, "larger than 0.3 megabytes"),
    "far too many bytes": (lambda: bytes(8_000_000), 413, "larger than 0.3 megabytes"),
    "text": (lambda: b"hello, I am a.jpg", 415, "no JPEG, PNG, WebP, GIF or BMP"),
    "a path": (lambda: b"../../../../etc/passwd", 415, "no JPEG"),
    "an address": (lambda: b"file:///etc/passwd", 415, "no JPEG"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415, "no JPEG"),
    "EPS, which Pillow would give to Ghostscript": (lambda: saved(Image.new("RGB", (9, 9)), "EPS"), 415, "no JPEG"),
    "TIFF": (lambda: saved(Image.new("RGB", (9, 9)), "TIFF"), 415, "no JPEG"),
    "a zip archive": (lambda: b"PK\x03\x04" + bytes(100), 415, "no JPEG"),
    "zeros": (lambda: bytes(1000), 415, "no JPEG"),
    "only a beginning": (lambda: b"\x89PNG\r\n\x1a\n", 422, "begins like PNG but cannot be decoded"),
    "a JPEG cut in half": (lambda: encoded(200, 200, "JPEG", quality=100)[:3000], 422, "truncated"),
    "a PNG cut in half": (lambda: encoded(200, 200, "PNG", compress_level=0)[:9000], 422, "cannot be decoded"),
    "a WebP cut in half": (lambda: (whole := encoded(200, 200, "WEBP"))[: len(whole) // 2], 422, "cannot be decoded"),
    "a GIF cut in half": (lambda: encoded(200, 200, "GIF")[:900], 422, "cannot be decoded"),
    "a bitmap of nonsense": (lambda: b"BM" + bytes(range(256)), 422, "cannot be decoded"),
    "no pixels": (lambda: png(0, 0), 422, "cannot be decoded"),
    "a broken checksum": (lambda: encoded(200, 200, "PNG").replace(b"IDAT", b"IDAX"), 422, "cannot be decoded"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_get_one_sentence(port, name):
    make, expected, words = HOSTILE[name]
    status, _, body = detect(port, make())
    assert (status, one_sentence(body)) == (expected, True), body
    assert words in body["error"]
    assert ask(port, path="/healthz")[0] == 200 and detect(port, encoded())[0] == 200


def raw(port, *pieces, pause=0.0):
    """Sends bytes as they are; returns what comes back until the server closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        answer = b""
        try:
            while not re.search(rb"\r\n\r\n.+", answer, re.DOTALL):
                received = connection.recv(65536)
                if not received:
                    break
                answer += received
        except TimeoutError:
            pass
        return answer


def test_slow_and_broken_connections(port):
    begin = b"POST /api/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    assert b" 408 " in raw(port, begin)  # the rest never comes
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(begin)  # and hangs up
    assert b" 400 " in raw(port, b"POST /api/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n")
    assert b" 400 " in raw(port, b"nonsense\r\n\r\n")
    assert b" 400 " in raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + bytes(100_000))
    endless = [b"POST /api/detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"]
    endless += [b"10000\r\n" + bytes(0x10000) + b"\r\n"] * 6  # 393,216 bytes, and no end
    assert b" 413 " in raw(port, *endless)
    assert detect(port, encoded())[0] == 200


@pytest.mark.parametrize("query", ["", "?score_threshold=high"])
def test_who_goes_on_sending_gets_to_read_the_answer(query):
    limits = LIMITS._replace(max_bytes=1_000_000, seconds=5)
    with running(limits=limits) as port:  # more than the buffers of a connection hold
        status, _, body = detect(port, bytes(9_000_000), query, Connection="close")
        assert status == (400 if query else 413) and one_sentence(body)
        answer = raw(
            port,
            b"POST /api/detect HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 413 ")  # and not 100


def test_places_are_bounded_and_come_free_again():
    detector = StandIn()
    with running(detector, limits=LIMITS) as port:
        detector.go.clear()
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(detect(port, encoded())[0])) for _ in range(LIMITS.places)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 5
        while (refused := detect(port, b""))[0] != 503:  # an empty body needs a place, too
            assert time.monotonic() < deadline
        assert one_sentence(refused[2]) and refused[1]["Retry-After"] == "1"
        assert ask(port, path="/healthz")[0] == 200  # is answered meanwhile
        detector.go.set()
        for thread in threads:
            thread.join()
        assert answers == [200] * LIMITS.places
        for make, _, _ in HOSTILE.values():  # no refusal keeps its place
            assert detect(port, make())[0] != 503
        assert detect(port, encoded())[0] == 200


def test_a_mistake_of_ours_is_told_and_logged(caplog):
    detector = StandIn()
    detector.fault = RuntimeError("secret")
    with running(detector) as port:
        status, headers, body = detect(port, encoded())
        assert status == 500 and one_sentence(body) and "secret" not in str(body)
        detector.fault = None
        assert detect(port, encoded())[0] == 200
    assert "RuntimeError: secret" in caplog.text


def test_nothing_is_written_and_little_is_held(port, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    opened = []
    watching = True

    def watch(event, arguments):
        writing = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if watching and writing:
            opened.append(arguments[0])

    sys.addaudithook(watch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for make, _, _ in HOSTILE.values():
        detect(port, make())
    detect(port, encoded(900, 900, "PNG"))
    watching = False
    assert not opened
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; the bombs would be gigabytes
