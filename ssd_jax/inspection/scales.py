"""Sizes and aspect ratios of default boxes suggested by the boxes of a dataset, and checked against the recipe's own.

The shapes of the objects are clustered (:mod:`ssd_jax.inspection.clusters`). SSD cannot use clusters as
they are: a level has one size with boxes of all its ratios, upright and lying, on a grid of its own. So
there is one cluster a level, and the clusters' sizes are fitted to the grids. From there, and from the
recipe's own sizes, single sizes are changed for as long as that helps. What helps is measured with the
real default boxes; where nothing clearly does, the suggestion is to keep the recipe.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import priors
from ssd_jax import recipe as recipes
from ssd_jax.inspection import recall
from ssd_jax.inspection.clusters import cluster_shapes

MIN_GAIN = 0.005  # of the recall; a smaller one is not worth leaving published numbers for
COST = 0.03  # recall that as many default boxes again must bring: they take time, and more boxes always overlap more
GROWTH = 1.15  # least ratio of neighboring sizes: closer ones would cover the same objects twice
LARGEST, REACH = 0.9, 1.05  # last min and max size over the input's side: SSD512 has 460 and 537 pixels of 512
CELLS = 1.0  # a size spans at least so many steps of its grid: smaller boxes would leave gaps between them
SMALLEST = 1e-3  # pixels; a side below it counts as this long
FEW = 0.05  # share of a level's objects that is worth boxes of another aspect ratio
SEARCHED = 2_000  # boxes that candidates are compared on
FACTORS = (0.7, 0.85, 1.18, 1.4)  # tried on one size at a time


class Suggestion(NamedTuple):
    """Settings for ``config.model``, and what they are worth on the boxes they were made for."""

    keep: bool  # the recipe's own are as good; the three settings below are then the recipe's
    reason: str  # one sentence
    min_sizes: tuple[float, ...]  # pixels of the input, whole, increasing
    max_sizes: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    recall_before: float  # share of objects with a default box of at least the matching's IoU
    recall_after: float
    mean_iou_before: float
    mean_iou_after: float
    num_priors_before: int
    num_priors_after: int
    clusters: np.ndarray  # [k, 2] float64 (long side, short side), pixels of the input, small to large
    num_boxes: int  # judged

    def config_lines(self) -> list[str]:
        """Returns options for the command line, quoted for a shell; none where the recipe is to be kept."""
        if self.keep:
            return []
        settings = (
            ("min_sizes", self.min_sizes),
            ("max_sizes", self.max_sizes),
            ("aspect_ratios", self.aspect_ratios),
        )
        return [f"--config.model.{name}='{_literal(value)}'" for name, value in settings]


class Sizing(NamedTuple):
    """The settings that decide the shapes of default boxes, one of each a level."""

    min_sizes: tuple[float, ...]
    max_sizes: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]


class Score(NamedTuple):
    """What a sizing is worth."""

    recall: float  # share of the objects that some default box reaches
    mean_iou: float  # of each object's best default box
    num_priors: int

    def worth(self, before: "Score") -> float:
        """Returns the recall, less what it costs in more default boxes than ``before``."""
        return self.recall - COST * max(0.0, self.num_priors / before.num_priors - 1)


class Ruler(NamedTuple):
    """Measures sizings on the grids of a recipe's network."""

    levels: tuple[priors.PriorLevel, ...]
    image_size: tuple[int, int]
    options: Mapping[str, Any]  # of priors.default_boxes
    iou_threshold: float

    def default_boxes(self, sizing: Sizing) -> np.ndarray:  # [P, 4]
        """Computes the default boxes as the network would, without building it again."""
        shapes = [priors.caffe_shapes([low], [high], ratios) for low, high, ratios in zip(*sizing, strict=True)]
        levels = [level._replace(shapes=boxes) for level, boxes in zip(self.levels, shapes, strict=True)]
        return priors.default_boxes(levels, self.image_size, **self.options)

    def measure(self, sizing: Sizing, boxes: np.ndarray) -> Score:  # boxes: [G, 4], at least one
        """Scores a sizing on the boxes of a dataset."""
        default_boxes = self.default_boxes(sizing)
        best = recall.best_iou(boxes, default_boxes)
        return Score(float((best >= self.iou_threshold).mean()), float(best.mean()), len(default_boxes))


def suggest(boxes: np.ndarray, recipe: recipes.Recipe, *, seed: int = 0, limit: int = 20_000) -> Suggestion:
    """Suggests sizes and aspect ratios for a dataset; number and grids of the levels stay the recipe's.

    Args:
      boxes: ground truth that training learns, [G, 4] normalized xyxy.
      recipe: sections ``model``, ``priors`` and ``match`` are read.
      seed: of the draw of boxes and of k-means.
      limit: so many boxes, drawn at random, are used where there are more.

    Raises:
      InputError: if the recipe's network cannot be built.
    """
    section = recipe["model"]
    model, _ = recipes.build_network(recipe, num_classes=2)
    ruler = Ruler(model.levels, section["image_size"], recipe["priors"], recipe["match"]["iou_threshold"])
    own = Sizing(tuple(section["min_sizes"]), tuple(section["max_sizes"]), tuple(section["aspect_ratios"]))
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    boxes = boxes[recall.choose(len(boxes), limit, seed)]
    if not len(boxes):
        nothing = Score(np.nan, np.nan, len(ruler.default_boxes(own)))
        reason = "keep the recipe's sizes: there are no objects to measure them on"
        return _suggestion(own, reason, nothing, nothing, np.zeros((0, 2)), 0)
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) * ruler.image_size[::-1]
    sides = np.maximum(sides, SMALLEST)  # float32 may round a side of a millionth to 0, which has no logarithm
    clusters = cluster_shapes(sides, len(ruler.levels), seed=seed)
    found = _search(own, clusters, sides, boxes[recall.choose(len(boxes), SEARCHED, seed)], ruler)
    before, after = ruler.measure(own, boxes), ruler.measure(found, boxes)
    if after.worth(before) < before.worth(before) + MIN_GAIN:
        reason = (
            f"keep the recipe's sizes: they reach {before.recall:.1%} of the objects; no others found do clearly better"
        )
        return _suggestion(own, reason, before, before, clusters, len(boxes))
    reason = (
        f"with these sizes {after.recall:.1%} of the objects are reached by one of {after.num_priors:,} default boxes, "
        f"with the recipe's {before.recall:.1%} by one of {before.num_priors:,}"
    )
    return _suggestion(found, reason, before, after, clusters, len(boxes), keep=False)


def _search(own: Sizing, clusters: np.ndarray, sides: np.ndarray, boxes: np.ndarray, ruler: Ruler) -> Sizing:
    """Returns the best of the recipe's sizing and those that the clusters lead to."""
    side = min(ruler.image_size)
    floors = [
        min(CELLS * max(level.step), low) for level, low in zip(ruler.levels, own.min_sizes, strict=True)
    ]  # never above the recipe's own size: a level with a single cell has a step as large as the image
    scales = np.log(np.sqrt(clusters.prod(axis=1)))
    places = np.linspace(0, len(scales) - 1, len(floors))  # fewer clusters than levels: sizes between them
    sizes = fit_sizes(np.exp(np.interp(places, np.arange(len(scales)), scales)), floors, side=side)

    reference = ruler.measure(own, boxes)

    def rate(sizing: Sizing) -> tuple[float, float]:
        score = ruler.measure(sizing, boxes)
        return round(score.worth(reference), 3), score.mean_iou  # below a thousandth is chance: the mean IoU decides

    candidates = [own]
    for low, high in ((own.min_sizes, own.max_sizes), (sizes, _max_sizes(sizes, side))):
        candidates += [
            Sizing(low, high, own.aspect_ratios),
            Sizing(low, high, needed_ratios(sides, low, own.aspect_ratios)),
        ]
    return _polish(max(dict.fromkeys(candidates), key=rate), floors, side, rate)


def _polish(best: Sizing, floors: Sequence[float], side: int, rate: Callable[[Sizing], tuple[float, float]]) -> Sizing:
    """Changes one size at a time for as long as that helps, at most two rounds."""
    score = rate(best)
    for _, level, factor in itertools.product(range(2), range(len(floors)), FACTORS):
        sizes = np.array(best.min_sizes)
        sizes[level] *= factor
        low = fit_sizes(sizes, floors, side=side)
        changed = Sizing(low, _max_sizes(low, side), best.aspect_ratios)
        if changed != best and (other := rate(changed)) > score:
            best, score = changed, other
    return best


def fit_sizes(sizes: np.ndarray, floors: Sequence[float], *, side: int) -> tuple[float, ...]:
    """Turns wished sizes into min sizes: whole pixels, increasing by ``GROWTH``, from ``floors`` to ``LARGEST``.

    Args:
      sizes: one a level, pixels.
      floors: least size of each level; not kept where the levels above leave no room.
      side: of the network's input, pixels.

    Returns:
      Strictly increasing sizes of at least 1; the largest is at most ``LARGEST * side`` if whole pixels allow.
    """
    fitted: list[int] = []
    for size, floor in zip(np.sort(sizes), floors, strict=True):
        least = np.ceil(max(floor, GROWTH * fitted[-1], fitted[-1] + 1)) if fitted else np.ceil(max(floor, 1))
        fitted.append(int(max(least, round(size))))
    # Top down: what stands too high makes room, as far as whole pixels allow.
    ceiling = LARGEST * side
    for level in reversed(range(len(fitted))):
        fitted[level] = max(level + 1, min(fitted[level], int(ceiling)))
        ceiling = min(fitted[level] / GROWTH, fitted[level] - 1)
    return tuple(float(size) for size in fitted)


def needed_ratios(
    sides: np.ndarray, min_sizes: Sequence[float], own: Sequence[tuple[float, ...]]
) -> tuple[tuple[float, ...], ...]:
    """Returns the aspect ratios of each level: (), (2,) or (2, 3), by how long the objects of its size are.

    A ratio is taken if at least ``FEW`` of the level's objects are nearer to it than to the ratio
    before it (geometrically: longer than sqrt(1 * 2), than sqrt(2 * 3)).

    Args:
      sides: [G, 2] (width, height), pixels.
      min_sizes: of the levels, increasing; an object belongs to the nearest one by ratio.
      own: kept for a level without objects.
    """
    borders = [np.sqrt(low * high) for low, high in itertools.pairwise(min_sizes)]
    level_of = np.searchsorted(borders, np.sqrt(sides.prod(axis=1)))
    elongation = sides.max(axis=1) / np.maximum(sides.min(axis=1), 1e-9)
    members = [elongation[level_of == level] for level in range(len(own))]
    return tuple(_ratios(here) if len(here) else tuple(ratios) for here, ratios in zip(members, own, strict=True))


def _ratios(elongation: np.ndarray) -> tuple[float, ...]:  # [n], n >= 1
    for ratios in ((2, 3), (2,)):
        if (elongation > np.sqrt(ratios[-1] * (ratios[-1] - 1))).mean() >= FEW:
            return ratios
    return ()


def _max_sizes(min_sizes: Sequence[float], side: int) -> tuple[float, ...]:
    """Returns the max sizes as the original recipes have them: the next level's size, the last beyond the image."""
    return (*min_sizes[1:], float(round(REACH * side)))


def _suggestion(
    sizing: Sizing, reason: str, before: Score, after: Score, clusters: np.ndarray, num_boxes: int, *, keep: bool = True
) -> Suggestion:
    return Suggestion(
        keep,
        reason,
        *sizing,
        recall_before=before.recall,
        recall_after=after.recall,
        mean_iou_before=before.mean_iou,
        mean_iou_after=after.mean_iou,
        num_priors_before=before.num_priors,
        num_priors_after=after.num_priors,
        clusters=clusters,
        num_boxes=num_boxes,
    )


def _literal(value: Any) -> str:
    """Writes nested tuples as short as Python reads them back: whole numbers without a point."""
    if isinstance(value, tuple):
        return f"({','.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return f"{value:g}"
