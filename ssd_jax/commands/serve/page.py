"""The page: one document with its style and its script, which nothing can be added to."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from ssd_jax import page as pages
from ssd_jax.commands.serve import pictures, uploads
from ssd_jax.commands.serve.examples import Example
from ssd_jax.commands.serve.looks import RULES
from ssd_jax.commands.serve.script import SCRIPT
from ssd_jax.data.decode import ORIENTATION
from ssd_jax.page import Markup, element
from ssd_jax.page.style import style_sheet

_ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect x='2' y='4' width='12' height='9' fill='none' "
    "stroke='#3585c8' stroke-width='2'/><path d='M1 3h8v3h-8z' fill='#3585c8'/></svg>"
)


class Document(NamedTuple):
    """The page and the policy it is sent with."""

    text: str  # HTML
    policy: str  # Content-Security-Policy


def document(model: Mapping[str, Any], *, device: str, examples: Sequence[Example]) -> Document:
    """Returns the page.

    Args:
      model: what /api/model tells.
      device: what the network runs on, in words.
      examples: pictures to begin with.
    """
    style, limits = style_sheet() + RULES.strip(), model["limits"]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Detect objects: {model['name']}"),
        Markup(f'<link rel="icon" href="data:image/svg+xml;base64,{_base64(_ICON.encode())}">'),
        element("style", Markup(style)),
    )
    content = element(
        "main",
        element("noscript", pages.callout("warning", "This page needs its script", "Your browser does not run it.")),
        _entry(model, examples),
        _controls(model),
        element("section", id="results", class_="results", aria_label="Pictures"),
        _programs(),
        _about(model),
        id="content",
        data_probes=json.dumps({kind: _probe(kind) for kind in ("PNG", "WEBP")}),
        data_model=json.dumps({**model, "limits": {**limits, "sentence": uploads.too_large(limits["bytes"])}}),
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("div", _top(model, device), content, class_="frame"),
        element("script", Markup(SCRIPT)),
    )
    rules = [
        "default-src 'none'",
        f"script-src '{_hash(SCRIPT)}'",
        f"style-src '{_hash(style)}'",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return Document(f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n", "; ".join(rules))


def _probe(kind: str) -> str:
    """Returns a picture of 2 x 1 pixels that EXIF turns upright to 1 x 2, as an address. JPEG is turned everywhere."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (2, 1)).save(file, kind, exif=exif.tobytes())
    return f"data:{pictures.MEDIA_TYPES[kind]};base64,{_base64(file.getvalue())}"


def _hash(text: str) -> str:
    return f"sha256-{_base64(hashlib.sha256(text.encode('utf-8')).digest())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _top(model: Mapping[str, Any], device: str) -> Markup:
    facts = f"{len(model['classes'])} classes, input {_size(model['input'])}, on {device}"
    subtitle = element("p", pages.code(model["name"]), f": {facts}", class_="subtitle")
    return element("header", element("h1", "Detect objects"), subtitle)


def _size(size: Mapping[str, int]) -> str:
    return f"{size['width']} \u00d7 {size['height']}"


def _entry(model: Mapping[str, Any], examples: Sequence[Example]) -> Markup:
    limits = model["limits"]
    field = element(
        "input",
        type="file",
        id="files",
        multiple=True,
        accept=",".join(pictures.MEDIA_TYPES.values()),
        aria_describedby="limits",
        class_="hidden",
    )
    words = element(
        "span", element("b", "Choose pictures"), element("span", "or drop or paste them anywhere on this page")
    )
    most = f"{limits['bytes'] / 1e6:,.4g} MB and {limits['pixels'] / 1e6:,.4g} megapixels"
    hint = f"{pictures.IN_WORDS}, up to {most} each. The server keeps none of them."
    strip = None
    if examples:
        items = element("ul", [_example(*one) for one in enumerate(examples)], class_="examples")
        strip = element("div", element("h2", "Or take an example"), items, class_="offered")
    return element(
        "section",
        element("div", element("label", field, words, class_="drop"), strip, class_="ways"),
        element("p", hint, class_="faint", id="limits"),
        element("p", class_="status", role="status", id="said"),
        class_="entry",
        aria_label="Choose pictures",
    )


def _example(number: int, example: Example) -> Markup:
    picture = element(
        "img",
        src=f"data:image/jpeg;base64,{_base64(example.thumb)}",
        alt=example.name,
        height=example.thumb_size[0],
        width=example.thumb_size[1],
    )
    return element("li", element("button", picture, type="button", data_example=number, title=example.name))


def _controls(model: Mapping[str, Any]) -> Markup:
    threshold = model["score_threshold"]
    slider = element(
        "input",
        type="range",
        id="threshold",
        min="0",
        max="1",
        step="0.01",
        value=f"{threshold['default']:g}",
    )
    label = element("label", element("span", "Least score"), slider, element("output", id="least", for_="threshold"))
    every, no, clear = (
        element("button", words, type="button", id=name)
        for words, name in (("All", "all"), ("None", "none"), ("Remove pictures", "clear"))
    )
    chips = element("div", id="chips", class_="chips", role="group", aria_label="Classes shown")
    return element(
        "section",
        label,
        element("div", element("p", class_="status", role="status", id="sum"), clear, class_="sum-row"),
        element("div", chips, element("div", every, no, class_="chips-all"), class_="chips-row"),
        class_="controls",
        aria_label="What is shown",
        id="controls",
        hidden=True,
    )


def _programs() -> Markup:
    curl = ["curl --data-binary @picture.jpg 'ADDRESS/api/detect?score_threshold=0.5'"]
    python = [
        "import json, urllib.request",
        "request = urllib.request.Request('ADDRESS/api/detect', data=open('picture.jpg', 'rb').read())",
        "answer = json.load(urllib.request.urlopen(request))",
        "print([(found['name'], found['score'], found['box']) for found in answer['detections']])",
    ]
    return pages.details(
        "From a program",
        element("p", "The body of the request is the picture itself; the answer is JSON, with boxes in pixels:"),
        pages.code_block(curl, label="With curl"),
        element("p", "Python:"),
        pages.code_block(python, label="With Python"),
    )


def _about(model: Mapping[str, Any]) -> Markup:
    names = ", ".join(kind["name"] for kind in model["classes"])
    return pages.details(f"The {len(model['classes'])} classes", element("p", names, class_="class-names"))
