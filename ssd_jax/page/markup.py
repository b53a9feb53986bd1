"""HTML that is escaped by its type: what is not :class:`Markup` is text, and becomes code nowhere."""

import html
import unicodedata
from collections.abc import Iterable

_VOID = ("meta", "img", "br", "input")  # elements without an end


class Markup(str):
    """HTML that may stand in a page as it is."""

    __slots__ = ()


Content = str | Iterable["Content"] | None  # str: escaped unless it is Markup; None: nothing


def escape(text: str) -> Markup:
    """Returns the text as HTML; what no page can hold (control characters, lone surrogates) becomes U+FFFD."""
    if text.isascii() and text.isprintable():  # nearly all, and pages have very many
        return Markup(html.escape(text))
    sound = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in text)
    return Markup(html.escape(sound))


def join(*content: Content) -> Markup:
    """Returns pieces of content as one."""
    return Markup("".join(_pieces(content)))


def _pieces(content: Content) -> Iterable[str]:
    if content is None:
        return
    if isinstance(content, str):
        yield content if isinstance(content, Markup) else escape(content)
    else:
        for piece in content:
            yield from _pieces(piece)


def element(tag: str, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """Returns ``<tag ...>content</tag>``.

    Args:
      tag: name of the element.
      *content: escaped unless it is Markup; iterables are joined.
      **attributes: ``class_`` is written "class", other underscores become hyphens. True writes the
        name alone; None and False leave the attribute out.
    """
    written = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            written.append(name)
        elif value is not None and value is not False:
            written.append(f'{name}="{escape(str(value))}"')
    start = f"<{' '.join(written)}>"
    return Markup(start if tag in _VOID else f"{start}{join(content)}</{tag}>")
