"""Where the shapes of a rendered image lie: outlines, boxes, and how much of each can be seen."""

from typing import NamedTuple

import numpy as np

NAMES = ("circle", "ring", "square", "diamond", "triangle", "star", "cross")
MAX_OBJECTS = 8
SIDES = (0.08, 0.80)  # of the shorter side of the image
VISIBLE = 0.8  # share of each object that is not covered
TILT = np.pi / 20  # 9 degrees to either side: a square never turns into a diamond
HOLE = 0.55  # radius of a ring's hole, of its own radius
_PROBES = 14  # visibility is judged at this many points along each side of a box
_ATTEMPTS = 12


class PlacedShape(NamedTuple):
    """One object of an image. Pixels, the origin in the upper left corner of the image."""

    label: int  # index into NAMES, plus 1
    box: tuple[float, float, float, float]  # tight, (xmin, ymin, xmax, ymax)
    outline: np.ndarray  # [N, 2] (x, y) vertices
    hole: np.ndarray | None  # [N, 2], of a ring


def place_objects(random: np.random.Generator, size: tuple[int, int]) -> list[PlacedShape]:
    """Places 1 to 8 shapes, later ones in front, within an image of (height, width) pixels."""
    placed: list[PlacedShape] = []
    seen: list[np.ndarray] = []  # for each object, the points of it that are not covered
    full: list[int] = []  # how many there were at first
    for _ in range(int(random.integers(1, MAX_OBJECTS + 1))):
        for _ in range(_ATTEMPTS):  # a place that hides too much is given up
            shape = _draw_shape(random, size)
            uncovered = [points[~_covers(shape, points)] for points in seen]
            if all(len(points) >= VISIBLE * count for points, count in zip(uncovered, full, strict=True)):
                points = _probe(shape)
                placed, seen, full = [*placed, shape], [*uncovered, points], [*full, len(points)]
                break
    return placed


def _draw_shape(random: np.random.Generator, size: tuple[int, int]) -> PlacedShape:
    kind = int(random.integers(len(NAMES)))
    side = float(random.uniform(*SIDES)) * min(size)
    aspect = float(random.uniform(0.8, 1.25))
    tilt = float(random.uniform(-TILT, TILT))
    outline = unit_outline(NAMES[kind], tilt)
    outline = (outline - outline.min(0)) / (outline.max(0) - outline.min(0))  # fills the unit square
    # The longer side of the box is `side`.
    extent = side * np.array([min(aspect, 1.0), min(1 / aspect, 1.0)])
    corner = random.uniform(0, 1, 2) * (np.array(size[::-1]) - extent)
    hole = (0.5 + (outline - 0.5) * HOLE) * extent + corner if NAMES[kind] == "ring" else None
    (x1, y1), (x2, y2) = corner.tolist(), (corner + extent).tolist()
    return PlacedShape(kind + 1, (x1, y1, x2, y2), outline * extent + corner, hole)


def unit_outline(name: str, tilt: float) -> np.ndarray:  # [N, 2] around the origin
    """Returns the vertices of a shape, turned by ``tilt`` radians."""
    if name in ("circle", "ring"):
        return _polar(np.ones(48), 0.0)  # has no direction
    if name == "square":
        return _polar(np.ones(4), tilt + np.pi / 4)
    if name == "diamond":
        return _polar(np.ones(4), tilt)
    if name == "triangle":
        return _polar(np.ones(3), tilt - np.pi / 2)
    if name == "star":
        return _polar(np.tile([1.0, 0.45], 5), tilt - np.pi / 2)
    arm = 0.34  # half the width of a bar of the cross
    corner = np.array([[1, -arm], [1, arm], [arm, arm]])
    quarter = np.array([[0, 1], [-1, 0]])  # row vectors times this: a quarter turn
    cross = np.concatenate([corner @ np.linalg.matrix_power(quarter, turn) for turn in range(4)])
    c, s = np.cos(tilt), np.sin(tilt)
    return cross @ np.array([[c, s], [-s, c]])


def _polar(radii: np.ndarray, start: float) -> np.ndarray:  # [N] -> [N, 2]
    angles = start + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _probe(shape: PlacedShape) -> np.ndarray:  # [K, 2]
    """Returns points spread evenly over the shape itself."""
    x1, y1, x2, y2 = shape.box
    steps = (np.arange(_PROBES) + 0.5) / _PROBES
    x, y = np.meshgrid(x1 + (x2 - x1) * steps, y1 + (y2 - y1) * steps)
    points = np.stack([x.ravel(), y.ravel()], axis=-1)
    return points[_covers(shape, points)]


def _covers(shape: PlacedShape, points: np.ndarray) -> np.ndarray:  # [K, 2] -> [K] bool
    x1, y1, x2, y2 = shape.box
    covered = (points[:, 0] > x1) & (points[:, 0] < x2) & (points[:, 1] > y1) & (points[:, 1] < y2)
    if covered.any():
        covered &= _inside(shape.outline, points)
        if shape.hole is not None:
            covered &= ~_inside(shape.hole, points)
    return covered


def _inside(outline: np.ndarray, points: np.ndarray) -> np.ndarray:  # [N, 2], [K, 2] -> [K] bool
    """Even-odd rule: a point is inside if a ray to the right crosses the outline an odd number of times."""
    (ax, ay), (bx, by) = outline.T, np.roll(outline, -1, axis=0).T
    x, y = points[:, 0, None], points[:, 1, None]
    spans = (ay <= y) != (by <= y)  # [K, N]
    rise = np.where(by == ay, 1.0, by - ay)
    return (spans & (x < ax + (y - ay) / rise * (bx - ax))).sum(axis=1) % 2 == 1
