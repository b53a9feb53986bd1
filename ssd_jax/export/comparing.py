"""Whether an exported program gives what the live model gives, in numbers.

Two programs that compute the same in another order differ in the last digits. Suppression turns a few of
these differences into whole detections: an overlap may fall on the other side of the threshold, and of two nearly equal
scores the other one may come first. So detections are paired, and a small share may stay without a partner.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """How far two programs may differ."""

    pixels: float  # of the picture, any corner of a box
    score: float
    unpaired: float  # share of the detections without a partner within the two


# The demo, trained, in ONNX Runtime against XLA (2 CPU cores): 4e-5 pixels, 8e-7. With random weights, whose
# activations are larger: SSD300 0.02 pixels and 4e-5, SSD300 on ResNet-50 0.08 and 1e-4.
FULL = Tolerance(pixels=0.1, score=1e-3, unpaired=0.005)
# TF32 on a GPU, bfloat16 on a TPU: two programs may take kernels of different precision.
REDUCED = Tolerance(pixels=1.0, score=2e-2, unpaired=0.05)


class Comparison(NamedTuple):
    """The figures of a comparison."""

    expected: int  # detections (or candidates) of the live model
    found: int
    pixels: float  # largest difference of a corner of paired boxes
    score: float  # largest difference of paired scores
    unpaired: int  # of both sides

    def within(self, tolerance: Tolerance) -> bool:
        """Whether the programs are equal up to a tolerance."""
        allowed = tolerance.unpaired * (self.expected + self.found)
        close = self.pixels <= tolerance.pixels and self.score <= tolerance.score
        return close and self.unpaired <= allowed

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.expected:,} boxes live and {self.found:,} exported; largest difference "
            f"{self.pixels:.2g} pixels, score {self.score:.2g}; {self.unpaired} without a partner"
        )


def compare_detections(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], size: np.ndarray, tolerance: Tolerance
) -> Comparison:
    """Pairs detections of the same class, best first, each with the nearest that is within the tolerance.

    Args:
      expected, found: boxes [B, K, 4] normalized, scores [B, K], labels [B, K]; 0 = empty.
      size: [B, 2] (height, width) of the pictures.
      tolerance: what may be a pair.
    """
    counts, pixels, score, paired = np.zeros(2, int), 0.0, 0.0, 0
    for row, (height, width) in enumerate(size):
        scale = np.array([width, height, width, height], np.float64)
        one, other = ({key: array[row] for key, array in side.items()} for side in (expected, found))
        counts += np.count_nonzero(one["labels"] > 0), np.count_nonzero(other["labels"] > 0)
        free = other["labels"] > 0
        for k in np.flatnonzero(one["labels"] > 0):
            apart = np.abs((other["boxes"].astype(np.float64) - one["boxes"][k]) * scale).max(axis=-1)
            differs = np.abs(other["scores"].astype(np.float64) - one["scores"][k])
            fits = free & (other["labels"] == one["labels"][k])
            fits &= (apart <= tolerance.pixels) & (differs <= tolerance.score)
            if fits.any():
                partner = np.flatnonzero(fits)[np.argmin(apart[fits])]
                free[partner] = False
                pixels, score = max(pixels, apart[partner]), max(score, differs[partner])
                paired += 1
    return Comparison(int(counts[0]), int(counts[1]), pixels, score, int(counts.sum()) - 2 * paired)


def compare_candidates(
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    size: np.ndarray,
    *,
    score_threshold: float,
) -> Comparison:
    """Compares boxes and probabilities one by one; of the boxes what lies within the picture.

    Args:
      expected, found: boxes [B, P, 4] normalized, scores [B, P, C].
      size: [B, 2] (height, width) of the pictures.
      score_threshold: boxes count whose best class scores above it; the others are never detections.
    """
    counts = [(side["scores"][..., 1:].max(axis=-1) > score_threshold) for side in (expected, found)]
    either = counts[0] | counts[1]  # [B, P]
    scale = np.concatenate([size, size], axis=-1)[:, None, [1, 0, 3, 2]]
    inside = [np.clip(side["boxes"].astype(np.float64), 0, 1) for side in (expected, found)]
    apart = np.abs((inside[0] - inside[1]) * scale).max(axis=-1)
    differs = np.abs(expected["scores"].astype(np.float64) - found["scores"])
    pixels = float(apart[either].max()) if either.any() else 0.0
    # NaN compares false: it would pass for a maximum.
    pixels, score = (float("inf") if np.isnan(value) else value for value in (pixels, float(differs.max())))
    return Comparison(int(counts[0].sum()), int(counts[1].sum()), pixels, score, 0)
