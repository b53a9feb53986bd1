"""Which detections, objects and images the galleries show; the same ones whatever the order of the input files."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.analysis.types import Analysis, Kind

LIMIT = 40  # pictures of a kind, at most
PLAIN_THRESHOLD = 0.5  # score from which detections of a class are drawn that has no best threshold
_LOT = "ssd_jax report"  # seed of what is drawn by lot


class Rows(NamedTuple):
    """Which rows of the flat arrays belong to each image."""

    order: np.ndarray  # [N] int64: rows, sorted by image
    starts: np.ndarray  # [I + 1] int64: places in ``order`` where each image begins

    def of(self, image: int) -> np.ndarray:  # [n] int64
        """Returns the rows of one image."""
        return self.order[self.starts[image] : self.starts[image + 1]]


def rows_by_image(images: np.ndarray, num_images: int) -> Rows:
    """Sorts rows by the image that they belong to.

    Args:
      images: image of each row, [N] int.
      num_images: I.
    """
    order = np.argsort(images, kind="stable")
    return Rows(order, np.searchsorted(images[order], np.arange(num_images + 1)))


def thresholds(analysis: Analysis) -> np.ndarray:  # [C + 1] float64
    """Returns the score from which detections of each label are drawn: the one with the best F1."""
    found = np.full(len(analysis.class_names), PLAIN_THRESHOLD)
    for findings in analysis.classes:
        if findings.best is not None and np.isfinite(findings.best.threshold) and findings.best.f1 > 0:
            found[findings.labels[0]] = findings.best.threshold
    return found


def highest_false(analysis: Analysis, kind: Kind) -> np.ndarray:  # [N] int64
    """Returns the detections of a kind, best score first; of equal scores the one given first."""
    rows = np.flatnonzero(analysis.typed.kind == kind)
    return rows[np.argsort(-analysis.detections.scores[rows], kind="stable")]


def largest_first(analysis: Analysis, rows: np.ndarray) -> np.ndarray:  # [N] int64
    """Returns objects (rows of the flat ground truth), the largest (in pixels) first."""
    boxes = analysis.truth.boxes[rows]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return rows[np.argsort(-areas, kind="stable")]


def missed_by_lot(analysis: Analysis, ids: Sequence[str]) -> np.ndarray:  # [M] int64
    """Returns the missed objects in an order drawn by lot, which depends on their images' names alone."""
    first = np.searchsorted(analysis.truth.image, analysis.truth.image[analysis.missed])
    images = analysis.truth.image[analysis.missed].tolist()
    places = (analysis.missed - first).tolist()
    names = [f"{ids[image]} {place}" for image, place in zip(images, places, strict=True)]
    return analysis.missed[_lots(names)]


def images_by_lot(ids: Sequence[str]) -> np.ndarray:  # [I] int64
    """Returns all images in an order drawn by lot, which depends on their names alone."""
    return _lots(ids)


def best_images(analysis: Analysis) -> np.ndarray:  # [N] int64
    """Returns the images with objects of which anything was found, best F1 first; of equals, those with more objects.

    F1 is that of the detections with at least the score of :func:`thresholds`.
    """
    f1, objects = image_f1(analysis)
    candidates = np.flatnonzero(f1 > 0)
    return candidates[np.lexsort((candidates, -objects[candidates], -f1[candidates]))]


def image_f1(analysis: Analysis) -> tuple[np.ndarray, np.ndarray]:  # [I] float64, [I] int64
    """Returns F1 of each image (nan without objects and detections), and how many of its objects count."""
    count, found = analysis.num_images, analysis.detections
    shown = found.scores >= thresholds(analysis)[found.labels]
    is_right = shown & (analysis.typed.kind == Kind.CORRECT)
    is_wrong = shown & ~np.isin(analysis.typed.kind, (Kind.CORRECT, Kind.IGNORED))
    right = np.bincount(found.image[is_right], minlength=count)
    wrong = np.bincount(found.image[is_wrong], minlength=count)
    objects = np.bincount(analysis.truth.image[~analysis.truth.ignored], minlength=count)
    with np.errstate(invalid="ignore"):
        return 2 * right / (right + wrong + objects), objects  # 2 TP / (2 TP + FP + FN), with FN = objects - TP


def _lots(names: Iterable[str]) -> np.ndarray:  # [N] int64
    """Returns the places of names, in an order that looks random and never changes."""
    drawn = [hashlib.sha256(f"{_LOT} {name}".encode(errors="surrogatepass")).digest() for name in names]
    return np.array(sorted(range(len(drawn)), key=drawn.__getitem__), np.int64)
