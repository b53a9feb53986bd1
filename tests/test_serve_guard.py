"""Requests that are refused before their body counts: of other sites, by other names, to other places."""

import pytest

pytest.importorskip("starlette", reason="needs Starlette: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install -e .[serve]")

from serve_stand_in import LIMITS, ask, detect, encoded, one_sentence, running


@pytest.fixture(scope="module")
def port():
    with running(limits=LIMITS) as started:
        yield started


BAD_REQUESTS = {
    "a form": (dict(Content_Type="multipart/form-data; boundary=x"), "", 415, "form"),
    "compressed": (dict(Content_Encoding="gzip"), "", 415, "gzip"),
    "a threshold that is none": ({}, "?score_threshold=high", 400, "'high'"),
    "a threshold of no value": ({}, "?score_threshold=nan", 400, "between 0 and 1"),
    "a threshold beyond": ({}, "?score_threshold=1.5", 400, "between 0 and 1"),
    "another parameter": ({}, "?score_treshold=0.5", 400, "score_treshold"),
    "a page of another site": (dict(Origin="http://evil.example"), "", 403, "another site"),
    "a page of no site": (dict(Origin="null"), "", 403, "another site"),
    "what a browser says": (dict(Sec_Fetch_Site="cross-site"), "", 403, "another site"),
    "another port of this computer": (dict(Sec_Fetch_Site="same-site"), "", 403, "another site"),
    "another name": (dict(Host="evil.example:8000"), "", 421, "'evil.example'"),
    "another address": (dict(Host="192.168.0.7"), "", 421, "'192.168.0.7'"),
    "a name that is none": (dict(Host="[::1"), "", 421, "does not answer"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_get_one_sentence(port, name):
    headers, query, expected, words = BAD_REQUESTS[name]
    status, _, body = detect(port, encoded(), query, **headers)
    assert (status, one_sentence(body)) == (expected, True), body
    assert words in body["error"]


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/examples/../app.py", "/examples/0", "/examples/x", "/%00", "/a"]
)
def test_there_are_no_other_places(port, path):
    status, headers, body = ask(port, path=path)
    assert status == 404 and one_sentence(body) and "root:" not in str(body)
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_methods_are_checked(port):
    status, headers, body = ask(port, path="/api/detect")
    assert status == 405 and one_sentence(body) and headers["Allow"] == "POST"
    assert ask(port, "DELETE", "/")[0] == 405
    status, headers, _ = ask(port, "OPTIONS", "/api/detect", Origin="http://evil.example")
    assert status == 403 and not any(name.lower().startswith("access-control") for name in headers)


def test_names_of_this_computer_are_answered(port):
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000", "localhost."):
        assert ask(port, path="/healthz", Host=host)[0] == 200, host
    assert ask(port, path="/healthz", Host="localhost:7", Origin="http://localhost:7")[0] == 200
    assert ask(port, path="/healthz", Host="localhost:7", Origin="http://localhost:8")[0] == 403
    assert ask(port, path="/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200  # a link
    assert ask(port, path="/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403


def test_the_network_may_use_addresses_and_known_names_only():
    with running(loopback=False, names=frozenset({"workstation"})) as port:
        for host, expected in (("192.168.0.7:1", 200), ("workstation", 200), ("localhost", 200), ("evil.example", 421)):
            assert ask(port, path="/healthz", Host=host)[0] == expected, host
