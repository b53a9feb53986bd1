"""What a picture of a gallery shows and says: of a detection, of a missed object, of a whole image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.analysis.types import FALSE, Analysis, Kind
from ssd_jax.commands.report import selection
from ssd_jax.commands.report import thumbnails as looks
from ssd_jax.commands.report.thumbnails import Look, Mark
from ssd_jax.visualize.text import class_title

_DRAWN = 60  # detections of an image drawn, at most: the best
_SECOND_FROM = 0.5  # IoU beyond which a wrong detection of the right class is a second one of its object


class Atlas(NamedTuple):
    """What all scenes of a detector are made from."""

    analysis: Analysis
    ids: Sequence[str]  # of the images
    thresholds: np.ndarray  # [C + 1]: score from which a detection of each label is drawn
    found: selection.Rows  # detections of each image
    annotated: selection.Rows  # objects of each image


class Scene(NamedTuple):
    """A picture to be made."""

    image: int  # position in the ground truth
    marks: tuple[Mark, ...]  # the last lies on top
    around: np.ndarray | None  # [N, 4]: what the picture is about; None: all of the image
    headline: str
    remark: str
    classes: frozenset[str]  # names of the classes that it is about


def make_atlas(analysis: Analysis, ids: Sequence[str]) -> Atlas:
    """Prepares the scenes of a detector.

    Args:
      analysis: of its detections.
      ids: of all images of the ground truth.
    """
    return Atlas(
        analysis,
        ids,
        selection.thresholds(analysis),
        selection.rows_by_image(analysis.detections.image, analysis.num_images),
        selection.rows_by_image(analysis.truth.image, analysis.num_images),
    )


def false_positive(atlas: Atlas, row: int) -> Scene:
    """Returns the scene of a wrong detection (row of the flat detections)."""
    found, typed = atlas.analysis.detections, atlas.analysis.typed
    image, target = int(found.image[row]), int(typed.target[row])
    name = _name(atlas, found.labels[row])
    subject = Mark(found.boxes[row], looks.WRONG, f"{_title(atlas, found.labels[row])} {found.scores[row]:.2f}")
    boxes, classes = [found.boxes[row]], {name}
    if target >= 0:
        boxes.append(atlas.analysis.truth.boxes[target])
        classes.add(_name(atlas, atlas.analysis.truth.labels[target]))
    return Scene(
        image,
        (*_beside(atlas, image, leave_out=row), *_truths(atlas, image, named=target), subject),
        np.stack(boxes),
        f"{name} {found.scores[row]:.2f}",
        _mistake(atlas, row),
        frozenset(classes),
    )


def missed(atlas: Atlas, row: int) -> Scene:
    """Returns the scene of an object that was not found (row of the flat ground truth)."""
    truth = atlas.analysis.truth
    image, name = int(truth.image[row]), _name(atlas, truth.labels[row])
    width, height = truth.boxes[row, 2:] - truth.boxes[row, :2]
    subject = Mark(truth.boxes[row], looks.MISSED, _title(atlas, truth.labels[row]))
    taken_for = _taken_for(atlas, row)
    marks = [*_beside(atlas, image), *_truths(atlas, image, leave_out=row)]
    remark = "no detection on it"
    if taken_for is not None:
        found, overlap = atlas.analysis.detections, atlas.analysis.typed.overlap[taken_for]
        label, score = found.labels[taken_for], found.scores[taken_for]
        marks.append(Mark(found.boxes[taken_for], looks.WRONG, f"{_title(atlas, label)} {score:.2f}"))
        what = "misplaced detection" if label == truth.labels[row] else f"taken for {_name(atlas, label)}"
        remark = f"{what}, score {score:.2f}, IoU {overlap:.2f}"
    return Scene(
        image,
        (*marks, subject),
        truth.boxes[row][None],
        f"{name}, {width:.0f} \u00d7 {height:.0f} pixels",
        remark,
        frozenset((name,)),
    )


def whole_image(atlas: Atlas, image: int) -> Scene:
    """Returns the scene of an image with everything that was detected there, and what was not."""
    found, truth, typed = atlas.analysis.detections, atlas.analysis.truth, atlas.analysis.typed
    shown = _shown(atlas, image)
    is_right = typed.kind[shown] == Kind.CORRECT
    num_wrong = int(np.isin(typed.kind[shown], FALSE).sum())
    objects = atlas.annotated.of(image)
    hit = set(typed.target[shown][is_right].tolist())
    counting = objects[~truth.ignored[objects]]
    marks = []
    annotated: list[int] = objects.tolist()
    for row in annotated:
        look = looks.IGNORED if truth.ignored[row] else looks.TRUTH if row in hit else looks.MISSED
        marks.append(Mark(truth.boxes[row], look, _title(atlas, truth.labels[row]) if look is looks.MISSED else ""))
    detected: list[int] = shown[::-1].tolist()  # the best on top
    for row in detected:
        look = {Kind.CORRECT: looks.RIGHT, Kind.IGNORED: looks.BESIDE}.get(Kind(int(typed.kind[row])), looks.WRONG)
        marks.append(Mark(found.boxes[row], look, f"{_title(atlas, found.labels[row])} {found.scores[row]:.2f}"))
    labels = np.concatenate([truth.labels[objects], found.labels[shown]])
    return Scene(
        image,
        tuple(marks),
        None,
        f"{len(hit)} of {len(counting)} objects found",
        f"{num_wrong} wrong detection{'' if num_wrong == 1 else 's'}",
        frozenset(_name(atlas, label) for label in np.unique(labels)),
    )


def _mistake(atlas: Atlas, row: int) -> str:
    typed = atlas.analysis.typed
    kind, target, overlap = Kind(int(typed.kind[row])), int(typed.target[row]), typed.overlap[row]
    if target < 0:
        return "nothing annotated here"
    annotated = _name(atlas, atlas.analysis.truth.labels[target])
    if kind is Kind.LOCALIZATION:
        return f"{'second detection' if overlap > _SECOND_FROM else 'misplaced'}, IoU {overlap:.2f}"
    return f"annotated as {annotated}, IoU {overlap:.2f}"


def _taken_for(atlas: Atlas, row: int) -> int | None:
    """Returns the best-scored detection that was mistaken for an object or misplaced on it."""
    rows = atlas.found.of(int(atlas.analysis.truth.image[row]))
    rows = rows[atlas.analysis.typed.target[rows] == row]
    return int(rows[np.argmax(atlas.analysis.detections.scores[rows])]) if len(rows) else None


def _shown(atlas: Atlas, image: int) -> np.ndarray:  # [n] int64
    """Returns the detections of an image that are worth drawing, best first."""
    found = atlas.analysis.detections
    rows = atlas.found.of(image)
    rows = rows[found.scores[rows] >= atlas.thresholds[found.labels[rows]]]
    return rows[np.argsort(-found.scores[rows], kind="stable")][:_DRAWN]


def _beside(atlas: Atlas, image: int, leave_out: int = -1) -> list[Mark]:
    boxes = atlas.analysis.detections.boxes
    return [Mark(boxes[row], looks.BESIDE) for row in _shown(atlas, image)[::-1].tolist() if row != leave_out]


def _truths(atlas: Atlas, image: int, *, named: int = -1, leave_out: int = -1) -> list[Mark]:
    """Returns the annotated objects of an image; the one to be named last, that is on top."""
    truth = atlas.analysis.truth
    rows: list[int] = [row for row in atlas.annotated.of(image).tolist() if row not in (leave_out, named)]
    if named >= 0:
        rows.append(named)
    return [
        Mark(truth.boxes[row], _truth_look(truth.ignored[row]), _title(atlas, truth.labels[row]) * (row == named))
        for row in rows
    ]


def _truth_look(is_ignored: bool) -> Look:
    return looks.IGNORED if is_ignored else looks.TRUTH


def _name(atlas: Atlas, label: np.integer) -> str:
    return atlas.analysis.class_names[label]


def _title(atlas: Atlas, label: np.integer) -> str:
    """Returns the name of a class in letters that can be drawn."""
    return class_title(_name(atlas, label), int(label))
