"""Reading one PASCAL VOC annotation file."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple


class AnnotationError(Exception):
    """An annotation file cannot be read."""


class VocObject(NamedTuple):
    """One <object>, as it stands in the file."""

    name: str
    box: tuple[float, float, float, float]  # pixels
    difficult: bool


class VocAnnotation(NamedTuple):
    """What one annotation file says; nothing is judged yet."""

    size: tuple[int, int] | None  # (height, width); None if absent or not positive
    objects: tuple[VocObject, ...]
    unreadable: int  # objects without a name or without a box of four numbers


class _Builder(ElementTree.TreeBuilder):
    """Refuses document types, and with them entities that expand without end or read other files."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        raise AnnotationError("has a DOCTYPE, which annotations do not need")


def read_annotation(path: Path) -> VocAnnotation:
    """Reads an annotation file. Coordinates may be fractions.

    Raises:
      AnnotationError: the file cannot be opened, is not well-formed XML or has a DOCTYPE.
    """
    try:
        parser = ElementTree.XMLParser(target=_Builder())
        parser.feed(path.read_bytes())
        root = parser.close()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise AnnotationError(str(error)) from error
    elements = root.findall("object")  # direct children only: a person's parts are objects of their own kind
    objects = [read for element in elements if (read := _read_object(element)) is not None]
    return VocAnnotation(_read_size(root), tuple(objects), len(elements) - len(objects))


def _read_object(element: ElementTree.Element) -> VocObject | None:
    name = (element.findtext("name") or "").strip()
    box = element.find("bndbox")
    if not name or box is None:
        return None
    try:
        x1, y1, x2, y2 = (float(box.findtext(tag) or "") for tag in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return VocObject(name, (x1, y1, x2, y2), (element.findtext("difficult") or "").strip() in ("1", "true", "True"))


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        height, width = (int(float(root.findtext(f"size/{tag}") or "")) for tag in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None
