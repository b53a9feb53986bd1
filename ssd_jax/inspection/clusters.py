"""Clusters of box shapes: k-means with the distance 1 - IoU.

Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger", CVPR 2017, section 2, "Dimension Clusters": by
Euclidean distance the large boxes alone would decide.
"""

import numpy as np


def cluster_shapes(sides: np.ndarray, k: int, *, seed: int = 0, rounds: int = 100) -> np.ndarray:  # [G, 2] -> [<=k, 2]
    """Clusters (width, height) pairs, whichever is longer first, by k-means with the distance 1 - IoU.

    The start is k-means++ (Arthur and Vassilvitskii, SODA 2007): each further center is drawn with a
    probability that grows with the squared distance from those before it.

    Args:
      sides: positive, at least one pair.
      k: how many clusters; there are fewer where there are fewer different pairs.
      seed: of the start.
      rounds: at most.

    Returns:
      The means of clusters, none of which is empty, as (long, short), by increasing area.
    """
    sides = np.sort(np.asarray(sides, np.float64), axis=1)[:, ::-1]
    centers = _spread_start(sides, k, np.random.default_rng(seed))
    nearest = _distance(sides, centers).argmin(axis=1)
    for _ in range(rounds):
        # A cluster that lost its members to others is given up.
        centers = np.stack([sides[nearest == cluster].mean(axis=0) for cluster in np.unique(nearest)])
        updated = _distance(sides, centers).argmin(axis=1)
        if np.array_equal(updated, nearest):
            break
        nearest = updated
    centers = centers[np.unique(_distance(sides, centers).argmin(axis=1))]
    return centers[np.argsort(centers.prod(axis=1), kind="stable")]


def _spread_start(sides: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:  # [G, 2] -> [<=k, 2]
    centers = sides[[generator.integers(len(sides))]]
    while len(centers) < k:
        weight = _distance(sides, centers).min(axis=1) ** 2
        if weight.sum() < 1e-12:  # every pair is a center already
            break
        centers = np.concatenate([centers, sides[[generator.choice(len(sides), p=weight / weight.sum())]]])
    return centers


def _distance(sides: np.ndarray, centers: np.ndarray) -> np.ndarray:  # [G, 2], [k, 2] -> [G, k]
    """Returns 1 - IoU of boxes with the same center."""
    shared = np.minimum(sides[:, None], centers[None]).prod(axis=-1)
    union = sides.prod(axis=-1)[:, None] + centers.prod(axis=-1)[None] - shared
    return 1 - shared / np.maximum(union, 1e-12)
