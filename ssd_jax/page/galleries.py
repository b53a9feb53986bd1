"""Many pictures: small beside each other, filtered by their tags, large one at a time."""

import base64
import json
from collections.abc import Sequence
from typing import NamedTuple

from ssd_jax.page.markup import Content, Markup, element

EVERYTHING = "all"


class Thumb(NamedTuple):
    """A picture of a gallery."""

    image: bytes  # an encoded file
    size: tuple[int, int]  # (height, width) in pixels
    alt: str  # what is to be seen, for those who cannot see it
    caption: Content
    tags: frozenset[str] = frozenset()  # such as the names of the classes it is an example of
    media_type: str = "image/jpeg"


def gallery(
    pictures: Sequence[Thumb], *, caption: str, group: str | None = None, label: str = "Class", everything: str = ""
) -> Markup:
    """Returns a grid of pictures. A click or Enter on one opens it large, from where arrow keys lead on.

    Args:
      pictures: in order.
      caption: what they have in common.
      group: with a name, a menu filters the pictures by their tags, together with the choices and galleries of the
        same group.
      label: of that menu.
      everything: name of the option that filters nothing, by default "all"; a choice of the group with an option
        of the same name is switched with it.
    """
    everything = everything or EVERYTHING
    heading = element("p", caption, class_="gallery-caption")
    if not pictures:
        return element("div", heading, element("p", "There is none.", class_="faint"), class_="gallery-box")
    tools = _tools(pictures, group, label, everything) if group is not None else None
    return element(
        "div",
        heading,
        tools,
        element("ul", [_item(picture) for picture in pictures], class_="gallery", aria_label=caption),
        element("p", class_="faint none", hidden=True),
        class_="gallery-box",
        data_widget="gallery",
        data_everything=everything,
    )


def _tools(pictures: Sequence[Thumb], group: str, label: str, everything: str) -> Markup:
    names = [everything, *sorted(frozenset().union(*(picture.tags for picture in pictures)) - {everything})]
    menu = element("select", [element("option", name, value=name) for name in names], data_group=group)
    status = element("p", class_="status", role="status")
    return element("div", element("label", element("span", label), menu), status, class_="tools", hidden=True)


def _item(picture: Thumb) -> Markup:
    height, width = picture.size
    image = element(
        "img",
        src=f"data:{picture.media_type};base64,{base64.b64encode(picture.image).decode('ascii')}",
        alt=picture.alt,
        width=width,
        height=height,
        decoding="async",
    )
    figure = element("figure", image, element("figcaption", picture.caption))
    return element("li", figure, data_tags=json.dumps(sorted(picture.tags)))
