"""The parts of a page, and the page itself."""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ssd_jax.page.markup import Content, Markup, element, join
from ssd_jax.page.script import needs_script, policy, script
from ssd_jax.page.style import style_sheet
from ssd_jax.page.tables import Mood


class Section(NamedTuple):
    """A part of a page with a heading."""

    title: str
    body: Markup


def text(*content: Content, faint: bool = False) -> Markup:
    """Returns a paragraph."""
    return element("p", *content, class_="faint" if faint else None)


def code(*content: Content) -> Markup:
    """Returns words of a program within a line."""
    return element("code", *content)


def code_block(lines: Sequence[str], *, label: str) -> Markup:
    """Returns lines to be copied; they scroll sideways rather than break. ``label`` is read by screen readers."""
    return element("pre", code("\n".join(lines)), tabindex=0, role="region", aria_label=label)


def callout(mood: Mood, title: str, *content: Content) -> Markup:
    """Returns a box that stands out. The mood shows in its color only, so the title has to say it too."""
    return element("div", element("p", title, class_="title"), *content, class_=f"callout {mood}")


def bullets(items: Iterable[Content]) -> Markup:
    """Returns a list."""
    return element("ul", [element("li", item) for item in items])


def facts(items: Iterable[tuple[str, str] | tuple[str, str, str]]) -> Markup:
    """Returns tiles of (what, how much[, remark])."""
    tiles = []
    for what, value, *remark in items:
        tiles.append(
            element("div", element("dt", what), element("dd", value, [element("small", item) for item in remark]))
        )
    return element("dl", tiles, class_="facts")


def tag(mood: Mood, words: str) -> Markup:
    """Returns a word or two, set apart from the line they stand in."""
    return element("span", words, class_=f"tag {mood}")


def with_swatch(color: tuple[int, int, int], name: str) -> Markup:
    """Returns a name behind a small square of its color (RGB, 0 to 255)."""
    red, green, blue = color
    square = element("span", class_="swatch", style=f"background:rgb({red},{green},{blue})", aria_hidden="true")
    return element("span", square, element("span", name), class_="named")


def details(summary: Content, *content: Content, open_: bool = False) -> Markup:
    """Returns something that unfolds."""
    inner = element("div", *content, class_="inner")
    return element("details", element("summary", summary), inner, open=open_)


def figure(
    image: bytes,
    *,
    size: tuple[int, int],
    alt: str,
    caption: Content,
    media_type: str = "image/jpeg",
    least_width: int = 0,
) -> Markup:
    """Returns a picture, held by the page itself.

    Args:
      image: an encoded file.
      size: (height, width) in pixels, so that the page does not jump while it is read.
      alt: what is to be seen, for those who cannot see it.
      caption: below the picture.
      media_type: of the file.
      least_width: pixels below which the picture scrolls sideways instead of shrinking further.
    """
    source = f"data:{media_type};base64,{base64.b64encode(image).decode('ascii')}"
    picture = element("img", src=source, alt=alt, width=size[1], height=size[0])
    if least_width:
        style = f"--least:{least_width}px"
        picture = element("div", picture, class_="scroll", style=style, tabindex=0, role="region", aria_label=alt)
    return element("figure", picture, element("figcaption", caption))


def drawing(svg: Markup, *, caption: Content) -> Markup:
    """Returns an SVG drawing with a caption."""
    return element("figure", svg, element("figcaption", caption))


def side_by_side(*content: Content) -> Markup:
    """Returns contents beside each other where the screen is wide enough."""
    return element("div", [element("div", piece) for piece in content if piece is not None], class_="pair")


def section(title: str, *content: Content) -> Section:
    """Returns a part of a page, with an entry in its table of contents."""
    return Section(title, join(content))


def subsection(title: str, *content: Content) -> Markup:
    """Returns a part of a section."""
    return element("section", element("h3", title), *content)


def page(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: Content = None,
    lead: Content = None,
    footer: Content = None,
    language: str = "en",
) -> str:
    """Returns a complete HTML document.

    Args:
      title: of the window and of the page.
      sections: in order; with three or more, a table of contents leads to them.
      subtitle: below the title.
      lead: before the sections; what the reader must not miss.
      footer: where the page comes from.
      language: of the text, such as "en".
    """
    anchors = _anchors([part.title for part in sections])
    bodies = [_section(part, anchor) for part, anchor in zip(sections, anchors, strict=True)]
    contents = _contents(anchors, sections) if len(sections) > 2 else None
    main = element("main", lead, bodies, id="content")
    scripted = needs_script(main)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        # Should anything slip through the escaping, the browser still neither runs nor fetches it.
        element("meta", http_equiv="Content-Security-Policy", content=policy(scripted)),
        element("title", title),
        element("style", Markup(style_sheet())),
    )
    top = element("header", element("h1", title), element("p", subtitle, class_="subtitle") if subtitle else None)
    columns = element("div", contents, main, class_="columns with-nav" if contents else "columns")
    bottom = element("footer", footer) if footer else None
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("div", top, columns, bottom, class_="frame"),
        script() if scripted else None,
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang=language)}\n"


def _section(part: Section, anchor: str) -> Markup:
    heading = element("h2", part.title, id=f"{anchor}-title")
    return element("section", heading, part.body, id=anchor, aria_labelledby=f"{anchor}-title")


def _contents(anchors: Iterable[str], sections: Sequence[Section]) -> Markup:
    links = [
        element("li", element("a", part.title, href=f"#{anchor}"))
        for anchor, part in zip(anchors, sections, strict=True)
    ]
    return element("nav", element("h2", "Contents", id="contents"), element("ul", links), aria_labelledby="contents")


def _anchors(titles: Sequence[str]) -> list[str]:
    """Returns a distinct id for each title."""
    anchors: list[str] = []
    for position, title in enumerate(titles):
        plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchors.append(f"{plain}-{position}" if plain in anchors else plain)
    return anchors
