"""How well default boxes suit a dataset: the IoU of each ground truth with its best default box.

Matching gives every ground truth at least one default box, however bad (paper section 2.2: "we begin
by matching each ground truth box to the default box with the best jaccard overlap"). That first,
bipartite step is left out here: with it every dataset would look perfectly covered. What is asked is how many
objects have a default box that overlaps them by the threshold, and so train with good company.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssd_jax import boxes as box_ops
from ssd_jax import parallel

SIZE_EDGES = (16.0, 32.0, 64.0, 128.0, 256.0)  # pixels of the network's input, of the root of the area
ASPECT_EDGES = (1 / 3, 1 / 2, 1 / 1.25, 1.25, 2.0, 3.0)  # width / height
CHUNK = 1024  # ground truths at a time: 100 MB at SSD512's 24,564 default boxes, should XLA not fuse


class Share(NamedTuple):
    """The boxes of one bin."""

    label: str
    count: int
    share: float  # of them reached, in [0, 1]


class PriorRecall(NamedTuple):
    """The best default box of each of S judged ground truths."""

    best_iou: np.ndarray  # [S] float32 in [0, 1]
    reached: np.ndarray  # [S] bool: best_iou >= threshold
    chosen: np.ndarray  # [S] int64: which rows were judged; all of them unless there were more than the limit
    num_boxes: int  # given
    share: float  # reached, of all judged; nan where there is no box
    by_size: tuple[Share, ...]  # small to large; bins that occur
    by_aspect: tuple[Share, ...]  # tall to wide; bins that occur

    @property
    def mean_iou(self) -> float:
        """Returns the mean of the best IoUs; nan where there is no box."""
        return float(self.best_iou.mean()) if len(self.best_iou) else math.nan


def prior_recall(
    boxes: np.ndarray,  # [G, 4] normalized xyxy
    priors: np.ndarray,  # [P, 4]
    *,
    image_size: tuple[int, int],
    iou_threshold: float = 0.5,
    limit: int = 50_000,
    seed: int = 0,
    size_edges: Sequence[float] = SIZE_EDGES,
    aspect_edges: Sequence[float] = ASPECT_EDGES,
) -> PriorRecall:
    """Finds the share of ground truth that some default box overlaps by the threshold.

    Boxes are judged as they lie in the network's input: the whole image warped to ``image_size``,
    as in evaluation. Augmentation would spread sizes further, to smaller and larger ones.

    Args:
      boxes: ground truth.
      priors: of ``priors.default_boxes``.
      image_size: (height, width) of the network's input, the pixels of ``size_edges``.
      iou_threshold: of matching.
      limit: so many boxes, drawn at random, are judged where there are more (50,000 bring the share
        to within half a percentage point).
      seed: of that draw.
      size_edges: between bins of sqrt(width * height), in pixels, increasing.
      aspect_edges: between bins of width / height, increasing.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    chosen = choose(len(boxes), limit, seed)
    judged = boxes[chosen]
    best = best_iou(judged, priors)
    reached = best >= iou_threshold
    # To a thousandth: float32 would put boxes of whole pixels to either side of the bins' edges.
    sides = ((judged[:, 2:] - judged[:, :2]).astype(np.float64) * [image_size[1], image_size[0]]).round(3)
    aspects = sides[:, 0] / np.maximum(sides[:, 1], 1e-9)
    return PriorRecall(
        best_iou=best,
        reached=reached,
        chosen=chosen,
        num_boxes=len(boxes),
        share=float(reached.mean()) if len(reached) else math.nan,
        by_size=_shares(np.sqrt(sides.prod(axis=1)), reached, size_edges, _size_labels(size_edges)),
        by_aspect=_shares(aspects, reached, aspect_edges, _aspect_labels(aspect_edges)),
    )


def choose(count: int, limit: int, seed: int) -> np.ndarray:  # [min(count, limit)] int64
    """Returns positions drawn without replacement, in order; all of them if they are not too many."""
    if limit < 1:
        raise ValueError(f"limit must be positive, got {limit}")
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def best_iou(boxes: np.ndarray, priors: np.ndarray) -> np.ndarray:  # [G, 4], [P, 4] -> [G] float32
    """Returns the IoU of each box with its best default box, computed in chunks on the default device."""
    boxes, device_priors = np.asarray(boxes, np.float32).reshape(-1, 4), jnp.asarray(priors)
    # Few boxes get a small program, many get full chunks; the last is padded with boxes that overlap nothing.
    chunk = min(CHUNK, 1 << max(0, len(boxes) - 1).bit_length())
    parts = []
    for start in range(0, len(boxes), chunk):
        part = boxes[start : start + chunk]
        padded = np.pad(part, ((0, chunk - len(part)), (0, 0)))
        parts.append(np.asarray(_best_of_chunk(padded, device_priors))[: len(part)])
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _best(boxes: jax.Array, priors: jax.Array) -> jax.Array:  # [N, 4], [P, 4] -> [N]
    return box_ops.pairwise_iou(boxes, priors).max(axis=1)


_best_of_chunk = parallel.compile(_best)


def _shares(
    values: np.ndarray, reached: np.ndarray, edges: Sequence[float], labels: Sequence[str]
) -> tuple[Share, ...]:  # [S], [S]
    """Sorts values into bins [edge, next edge) and returns those that are not empty."""
    bins = np.searchsorted(edges, values, side="right")
    counts = np.bincount(bins, minlength=len(labels))
    hits = np.bincount(bins[reached], minlength=len(labels))
    return tuple(Share(label, int(n), float(hit / n)) for label, n, hit in zip(labels, counts, hits, strict=True) if n)


def _size_labels(edges: Sequence[float]) -> list[str]:
    between = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(edges)]
    return [f"<{edges[0]:g}", *between, f">{edges[-1]:g}"]


def _aspect_labels(edges: Sequence[float]) -> list[str]:
    between = [
        "about 1" if low < 1 < high else f"{_ratio(low)} to {_ratio(high)}" for low, high in itertools.pairwise(edges)
    ]
    return [f"<{_ratio(edges[0])}", *between, f">{_ratio(edges[-1])}"]


def _ratio(value: float) -> str:  # width : height, such as 1:3 and 2:1
    return f"{value:g}:1" if value >= 1 else f"1:{1 / value:g}"
