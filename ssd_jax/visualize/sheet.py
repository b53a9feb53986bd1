"""Contact sheets: many pictures with boxes on one page, above all detections beside ground truth."""

import functools
import io
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ssd_jax import files
from ssd_jax.types import ImageDetections, ImageGroundTruth
from ssd_jax.visualize import palette
from ssd_jax.visualize.draw import draw_boxes
from ssd_jax.visualize.text import Font, class_title, line_height, load_font, shorten, to_ascii

_PAPER, _INK, _FAINT = (255, 255, 255), (24, 28, 34), (110, 118, 128)
_MAX_LEGEND = 40  # classes named in the legend
_CROWDED = 8  # boxes in a picture from which on the legend alone names the classes
_SMALLEST_WIDTH = 480  # pixels; below this nothing can be read


class Panel(NamedTuple):
    """One picture of a sheet."""

    image: np.ndarray  # [h, w, 3] uint8
    boxes: np.ndarray  # [N, 4] xyxy, pixels of the image
    labels: np.ndarray  # [N] int, 0 = padding
    scores: np.ndarray | None = None  # [N]
    ignored: np.ndarray | None = None  # [N] bool
    caption: str = ""


class _Style(NamedTuple):
    """What all parts of a sheet share; lengths in pixels follow from its width."""

    gap: int  # between the panels of a group
    margin: int  # around the sheet and between groups
    text: Font
    title: Font
    font_file: str | PathLike[str] | None

    def letters(self, text: str) -> str:
        """Returns the text in letters that the font has."""
        return to_ascii(text) if self.font_file is None else text


def detection_panels(
    image: np.ndarray,  # [h, w, 3] uint8
    detections: ImageDetections,
    ground_truth: ImageGroundTruth,
    *,
    score_threshold: float = 0.5,
) -> tuple[Panel, Panel]:
    """Returns what was detected (with at least the given score) and what is annotated, to stand side by side."""
    shown = np.asarray(detections.scores) >= score_threshold
    boxes, labels = np.reshape(detections.boxes, (-1, 4))[shown], np.asarray(detections.labels)[shown]
    found = Panel(
        image,
        boxes,
        labels,
        scores=np.asarray(detections.scores)[shown],
        caption=f"{detections.id}: {len(labels)} detected, score >= {score_threshold:g}",
    )
    truth = Panel(
        image,
        ground_truth.boxes,
        ground_truth.labels,
        ignored=ground_truth.ignored,
        caption=f"{len(ground_truth.labels)} annotated",
    )
    return found, truth


def contact_sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    class_names: Sequence[str],
    title: str = "",
    subtitle: str = "",
    width: int = 1600,
    groups_per_line: int | None = None,
    font_file: str | PathLike[str] | None = None,
) -> np.ndarray:  # [h, width, 3] uint8
    """Returns a page of pictures with captions, a title and a legend of the classes that occur.

    Pictures keep their aspect ratio; those of one line have the same height. Boxes and labels are
    drawn after scaling, so lines and letters stay sharp.

    Args:
        rows: groups of panels that belong together and stand side by side, such as :func:`detection_panels`.
        class_names: every class by label, background first.
        title: large, at the top.
        subtitle: small, below it.
        width: of the sheet, in pixels, at least 480.
        groups_per_line: by default as many as make four panels.
        font_file: a TrueType or OpenType font, for text that is not written in ASCII letters.

    Raises:
        ValueError: there is nothing to show, width is too small, or a panel does not fit together (see draw_boxes).
    """
    if not rows or not all(rows):
        raise ValueError(f"rows must hold at least one group, each of at least one panel, got {len(rows)} groups")
    if width < _SMALLEST_WIDTH:
        raise ValueError(f"width must be at least {_SMALLEST_WIDTH} pixels, got {width}")
    style = _style(width, font_file)
    widest = max(len(group) for group in rows)
    per_line = max(1, 4 // widest) if groups_per_line is None else groups_per_line
    groups = [rows[start : start + per_line] for start in range(0, len(rows), per_line)]
    bands = [
        *_title_bands(title, subtitle, width, style),
        _legend_band(_labels(rows), class_names, width, style),
        *(_line_band(line, class_names, width, style, panels_a_line=per_line * widest) for line in groups),
    ]
    return np.concatenate([*bands, _paper(style.margin - style.gap, width)])


def save_contact_sheet(
    path: str | PathLike[str],
    rows: Sequence[Sequence[Panel]],
    *,
    class_names: Sequence[str],
    title: str = "",
    subtitle: str = "",
    width: int = 1600,
    groups_per_line: int | None = None,
    font_file: str | PathLike[str] | None = None,
    max_bytes: int | None = None,
) -> None:
    """Writes :func:`contact_sheet` as a PNG file, at most ``max_bytes`` long if that is given.

    To fit, the sheet is first reduced to 256 colors and then drawn again at smaller widths.

    Raises:
        ValueError: as contact_sheet, or the smallest sheet (480 pixels wide) is longer than max_bytes.
        InputError: the file cannot be written.
    """
    make = functools.partial(
        contact_sheet,
        rows,
        class_names=class_names,
        title=title,
        subtitle=subtitle,
        groups_per_line=groups_per_line,
        font_file=font_file,
    )
    sheet = make(width=width)
    data = _encode_png(sheet)
    while max_bytes is not None and len(data) > max_bytes:
        data = _encode_png(sheet, colors=256)
        if len(data) > max_bytes:
            if width == _SMALLEST_WIDTH:
                raise ValueError(
                    f"max_bytes: the smallest sheet of these pictures has {len(data)} bytes, got {max_bytes}"
                )
            # Length grows a little slower than the area; 0.95 saves a round.
            width = max(_SMALLEST_WIDTH, int(width * min(0.95, 0.97 * (max_bytes / len(data)) ** 0.5)))
            sheet = make(width=width)
    files.write_bytes(path, data)


def _encode_png(image: np.ndarray, *, colors: int | None = None) -> bytes:
    picture = Image.fromarray(image)
    if colors is not None:
        # Without dithering: its noise would double the length.
        picture = picture.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _style(width: int, font_file: str | PathLike[str] | None) -> _Style:
    size = max(10.0, width / 105)
    return _Style(
        gap=max(3, round(width / 260)),
        margin=max(8, round(width / 70)),
        text=load_font(size, font_file),
        title=load_font(1.7 * size, font_file),
        font_file=font_file,
    )


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _title_bands(title: str, subtitle: str, width: int, style: _Style) -> list[np.ndarray]:
    bands = [_paper(style.margin, width)]
    for text, font, color in ((title, style.title, _INK), (subtitle, style.text, _FAINT)):
        if text:
            band = Image.fromarray(_paper(line_height(font) + style.gap, width))
            text = shorten(style.letters(text), font, width - 2 * style.margin)
            ImageDraw.Draw(band).text((style.margin, 0), text, fill=color, font=font)
            bands.append(np.asarray(band))
    return bands


def _labels(rows: Sequence[Sequence[Panel]]) -> list[int]:
    """Returns the classes that occur, in the order of their labels."""
    labels = np.concatenate([np.asarray(panel.labels, np.int64).ravel() for group in rows for panel in group])
    return np.unique(labels[labels > 0]).tolist()


def _legend_band(labels: Sequence[int], class_names: Sequence[str], width: int, style: _Style) -> np.ndarray:
    """Returns a colored square and the name of each class, in as many lines as needed."""
    line = line_height(style.text) + style.gap
    square = round(style.text.size)
    places: list[tuple[int, int, str, int]] = []
    x, y = style.margin, 0
    for label in labels[:_MAX_LEGEND]:
        name = class_names[label] if style.font_file else class_title(class_names[label], label)
        name = shorten(name, style.text, width / 3)
        needed = square + style.gap + int(style.text.getlength(name))
        if x + needed > width - style.margin and x > style.margin:
            x, y = style.margin, y + line
        places.append((x, y, name, label))
        x += needed + style.margin
    if not places:
        return _paper(0, width)
    band = Image.fromarray(_paper(y + line + style.gap, width))
    draw = ImageDraw.Draw(band)
    for x, y, name, label in places:
        top = y + (line_height(style.text) - square) // 2
        draw.rectangle((x, top, x + square - 1, top + square - 1), fill=palette.class_color(label))
        draw.text((x + square + style.gap, y), name, fill=_INK, font=style.text)
    if len(labels) > _MAX_LEGEND:
        more = f"and {len(labels) - _MAX_LEGEND} more classes"
        draw.text((width - style.margin, y), more, fill=_FAINT, font=style.text, anchor="ra")
    return np.asarray(band)


def _line_band(
    line: Sequence[Sequence[Panel]], class_names: Sequence[str], width: int, style: _Style, *, panels_a_line: int
) -> np.ndarray:
    """Returns one line of groups, as high as the width allows; few or narrow pictures do not grow beyond the others."""
    panels = [panel for group in line for panel in group]
    inner_gaps = sum(len(group) - 1 for group in line)
    room = width - style.margin * (len(line) + 1) - style.gap * inner_gaps
    ratios = [np.shape(panel.image)[1] / np.shape(panel.image)[0] for panel in panels]
    fair = (width - style.margin) / panels_a_line - style.margin
    is_full = len(panels) >= panels_a_line
    height = max(1, int(min(room / sum(ratios), fair if is_full else 0.75 * fair)))
    caption = line_height(style.text) + style.gap if any(panel.caption for panel in panels) else 0

    band = Image.fromarray(_paper(height + caption + style.margin, width))
    draw = ImageDraw.Draw(band)
    x = style.margin
    sizes = iter(max(1, int(height * ratio)) for ratio in ratios)
    for group in line:
        for panel in group:
            panel_width = next(sizes)
            band.paste(Image.fromarray(_render(panel, (panel_width, height), class_names, style)), (x, 0))
            text = shorten(style.letters(panel.caption), style.text, panel_width)
            draw.text((x, height + style.gap // 2), text, fill=_FAINT, font=style.text)
            x += panel_width + style.gap
        x += style.margin - style.gap
    return np.asarray(band)


def _render(panel: Panel, size: tuple[int, int], class_names: Sequence[str], style: _Style) -> np.ndarray:
    """Scales a picture to (width, height) and draws its boxes at that scale."""
    image = np.asarray(panel.image)
    scaled = Image.fromarray(image.squeeze(-1) if image.ndim == 3 and image.shape[2] == 1 else image)
    scale = np.array(size) / (image.shape[1], image.shape[0])
    return draw_boxes(
        np.asarray(scaled.resize(size, Image.Resampling.LANCZOS)),
        np.asarray(panel.boxes, np.float64).reshape(-1, 4) * np.tile(scale, 2),
        panel.labels,
        class_names=class_names,
        scores=panel.scores,
        ignored=panel.ignored,
        font_file=style.font_file,
        brief=bool(np.count_nonzero(panel.labels) >= _CROWDED),
    )
