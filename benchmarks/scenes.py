"""Made-up outputs of a network for postprocess.py: what suppression costs depends on them."""

import numpy as np

from benchmarks import plain

SCENES = ("easy", "crowded")
OBJECTS = 8  # of an easy scene


def make(scene: str, priors: np.ndarray, classes: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets [B, P, 4] and logits [B, P, 1 + classes], float32, always the same ones.

    "easy" is what a trained detector says: background almost everywhere, and a cluster of high scores around each of
    a few objects. "crowded" is what an untrained one says: every class has more candidates than are looked at, in
    clusters that overlap.
    """
    random = np.random.default_rng(SCENES.index(scene))
    maker = {"easy": _easy, "crowded": _crowded}[scene]
    images = [maker(random, priors, classes) for _ in range(batch)]
    offsets, logits = (np.stack(part).astype(np.float32) for part in zip(*images, strict=True))
    return offsets, logits


def _easy(random: np.random.Generator, priors: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    offsets = random.normal(0, 0.5, priors.shape)
    logits = random.normal(0, 1, (len(priors), 1 + classes))
    logits[:, 0] += 12  # exp(-12) x 200 classes stays below the score threshold
    low = random.uniform(0, 0.5, (OBJECTS, 2))
    for corner in low:
        box = np.concatenate([corner, corner + random.uniform(0.15, 0.5, 2)])
        iou = _iou(box, priors)
        near = iou >= min(0.5, iou.max())
        offsets[near] = plain.encode(np.tile(box, (near.sum(), 1)), priors[near]) + random.normal(
            0, 0.3, (near.sum(), 4)
        )
        logits[near, random.integers(1, 1 + classes)] += 6 + 10 * iou[near]
    return offsets, logits


def _crowded(random: np.random.Generator, priors: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    center = (priors[:, :2] + priors[:, 2:]) / 2
    # Waves of two to four periods across the image: neighbors score alike, and every class has its crests.
    direction, phase = random.uniform(0, 2 * np.pi, (2, 1 + classes))
    waves = 2 * np.pi * random.uniform(2, 4, 1 + classes) * np.stack([np.cos(direction), np.sin(direction)])
    logits = 2 * np.sin(center @ waves + phase)
    return random.normal(0, 0.5, priors.shape), logits + random.normal(0, 0.5, logits.shape)


def _iou(box: np.ndarray, priors: np.ndarray) -> np.ndarray:  # [4], [P, 4] -> [P]
    low, high = np.maximum(box[:2], priors[:, :2]), np.minimum(box[2:], priors[:, 2:])
    shared = plain.area(np.concatenate([low, high], axis=1))
    return shared / (plain.area(box) + plain.area(priors) - shared)
