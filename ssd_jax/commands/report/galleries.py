"""Pictures of what is wrong and of what is right, as many and as good as the page has room for."""

import html
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax import page as pages
from ssd_jax.analysis.types import FALSE
from ssd_jax.commands.report import scenes, selection, thumbnails
from ssd_jax.commands.report.run import EVERYTHING, KINDS
from ssd_jax.commands.report.scenes import Atlas, Scene
from ssd_jax.page import Content, Markup, Section, Thumb

Pictures = Callable[[str], np.ndarray | None]  # id of an image -> uint8 RGB, in the frame of the boxes; None: no file
_LEAST_BYTES = 12_000  # of the page for a picture; with less room, there are fewer pictures
_MARKUP_BYTES = 700  # of the page for what stands around a picture, besides its texts
_TRIES = 4  # of so many times as many pictures as are wanted, files are looked for


class Album(NamedTuple):
    """Pictures of one kind, of which the first that have a file are shown."""

    title: str
    explanation: str
    atlas: Atlas  # of the detector whose boxes are drawn
    rows: np.ndarray  # [N] int64: what is shown, in order
    make_scene: Callable[[Atlas, int], Scene]
    thumbs: tuple[Thumb, ...] = ()


def plan(atlases: Sequence[Atlas], names: Sequence[str]) -> list[Album]:
    """Returns all galleries, without pictures yet.

    Args:
      atlases: of the detectors; the first is shown, the second compared with it.
      names: of the detectors.
    """
    atlas = atlases[0]
    analysis = atlas.analysis
    albums = [
        Album(
            f"False positives: {KINDS[kind][0]}",
            f"Detections {KINDS[kind][1]}; the best scores first.",
            atlas,
            selection.highest_false(analysis, kind),
            scenes.false_positive,
        )
        for kind in FALSE
    ]
    largest = selection.largest_first(analysis, analysis.missed)
    explanation = "Objects that no detection hits, whatever its score"
    albums.append(Album("Missed: the largest", f"{explanation}; the largest first.", atlas, largest, scenes.missed))
    if len(largest) > selection.LIMIT:
        by_lot = selection.missed_by_lot(analysis, atlas.ids)
        albums.append(Album("Missed: drawn by lot", f"{explanation}; drawn by lot.", atlas, by_lot, scenes.missed))
    albums += _changes(atlases[:2], names)
    shown = "Boxes are drawn from the score on that has the best F1 for their class."
    best = f"The images with the best F1, of equals those with the most objects. {shown}"
    by_lot = f"What to expect: no choice was made but by lot. {shown}"
    return [
        *albums,
        Album("Best images", best, atlas, selection.best_images(analysis), scenes.whole_image),
        Album("Images drawn by lot", by_lot, atlas, selection.images_by_lot(atlas.ids), scenes.whole_image),
    ]


def _changes(atlases: Sequence[Atlas], names: Sequence[str]) -> list[Album]:
    """Returns the objects that one of two detectors finds and the other misses."""
    albums = []
    for finder, misser in ((0, 1), (1, 0)) if len(atlases) == 2 else ():
        atlas = atlases[misser]
        rows = np.setdiff1d(atlas.analysis.missed, atlases[finder].analysis.missed)
        title = f"Found by {names[finder]}, missed by {names[misser]}"
        explanation = f"Drawn as {names[misser]} sees them; the largest first."
        albums.append(Album(title, explanation, atlas, selection.largest_first(atlas.analysis, rows), scenes.missed))
    return albums


def fill(albums: Sequence[Album], pictures: Pictures, *, max_bytes: int) -> list[Album]:
    """Makes the pictures of all galleries.

    Each gets an equal share of the room, so that the result depends on nothing but the input; what one
    does not need is left to those after it.

    Args:
      albums: of :func:`plan`.
      pictures: images by id.
      max_bytes: of the page, for all pictures together.
    """
    busy = sum(len(album.rows) > 0 for album in albums)
    limit = min(selection.LIMIT, max(max_bytes, 0) // (_LEAST_BYTES * max(busy, 1)))
    wanted = [min(limit, len(album.rows)) for album in albums]
    room, left, filled = max_bytes, sum(wanted), []
    for album, count in zip(albums, wanted, strict=True):
        thumbs = []
        for scene, frame in _frames(album, pictures, count):
            thumb = _make_thumb(album.atlas.ids[scene.image], scene, frame, room // max(left, 1))
            room -= _cost(thumb)
            left -= 1
            thumbs.append(thumb)
        left -= count - len(thumbs)  # without a file
        filled.append(album._replace(thumbs=tuple(thumbs)))
    return filled


def shorten(albums: Sequence[Album], share: float) -> list[Album]:
    """Leaves out the last pictures of each gallery, so that about a share of them remains."""
    return [album._replace(thumbs=album.thumbs[: int(share * len(album.thumbs))]) for album in albums]


def _frames(album: Album, pictures: Pictures, count: int) -> Iterator[tuple[Scene, np.ndarray]]:
    """Yields the first scenes of which there is an image, at most ``count``."""
    found = 0
    for row in album.rows[: _TRIES * count].tolist():
        if found == count:
            return
        scene = album.make_scene(album.atlas, row)
        frame = pictures(album.atlas.ids[scene.image])
        if frame is not None:
            found += 1
            yield scene, frame


def _make_thumb(name: str, scene: Scene, frame: np.ndarray, max_bytes: int) -> Thumb:
    size = frame.shape[0], frame.shape[1]
    region = (0, 0, size[1], size[0]) if scene.around is None else thumbnails.region_around(scene.around, size)
    picture = thumbnails.draw(frame, region, scene.marks)
    alt = f"{scene.headline}: {scene.remark} (image {name})"
    around = _MARKUP_BYTES + 3 * len(html.escape(alt).encode(errors="replace"))
    jpeg, size = thumbnails.encode(picture, max((max_bytes - around) * 3 // 4, 0))
    caption = pages.join(
        pages.element("b", scene.headline), pages.element("br"), scene.remark, pages.element("br"), pages.code(name)
    )
    return Thumb(jpeg, size, alt, caption, scene.classes)


def _cost(thumb: Thumb) -> int:
    """Returns about how many bytes a picture takes within the page."""
    return _MARKUP_BYTES + len(thumb.image) * 4 // 3 + 3 * len(html.escape(thumb.alt).encode(errors="replace"))


def section(albums: Sequence[Album], *, title: str) -> Section:
    """Returns the galleries as a part of the page, or one sentence where there is no picture.

    Args:
      albums: of :func:`fill`.
      title: of the part.
    """
    if not any(album.thumbs for album in albums):
        sentence = "There are no pictures here, because none of the images could be read or there was no room for them."
        return pages.section(title, pages.text(sentence))
    intro = pages.text(
        "A click on a picture shows it larger. Of a small object, the part of the image around it is enlarged. Solid "
        "lines are detections, dashed ones are annotated objects:"
    )
    options = [(_heading(album), _album(album)) for album in albums]
    return pages.section(title, intro, _legend(), pages.choice("Galleries", options, label="Kind", group="pictures"))


def _heading(album: Album) -> str:
    shown, total = len(album.thumbs), len(album.rows)
    return f"{album.title} ({f'{shown:,} of {total:,}' if shown < total else f'{total:,}'})"


def _legend() -> Markup:
    items = []
    for look in thumbnails.LOOKS:
        red, green, blue = look.color
        line = f"{max(look.width, 2)}px {'dashed' if look.is_dashed else 'solid'} rgb({red},{green},{blue})"
        # On dark ground, as in the pictures: the colors are made for them, not for the page.
        style = f"flex:none;width:2.4rem;height:1.3rem;padding:.25rem;background:rgb(60,66,76);outline:{line};"
        style += "outline-offset:-.3rem;border-radius:.2rem"
        box = pages.element("span", style=style, aria_hidden="true")
        items.append(pages.element("li", pages.element("span", box, pages.element("span", look.words), class_="keyed")))
    return pages.element("ul", items, class_="legend")


def _album(album: Album) -> Content:
    shown, total = len(album.thumbs), len(album.rows)
    if total == 0:
        return pages.text("There is none.", faint=True)
    if shown == 0:
        return pages.text(f"None of {total:,} is shown: there is no image to be read, or no room for it.", faint=True)
    pictures = pages.gallery(album.thumbs, caption=album.title, group="class", everything=EVERYTHING)
    return pages.join(pages.text(f"{album.explanation} Shown: {shown:,} of {total:,}."), pictures)
