"""Training augmentation on the device: distort, expand, crop, resize and flip ONE image and its boxes.

The draws follow the distributions of the original code; the four geometric steps compose into one
resampling. `docs/augmentation.md` states the rules, the measured tolerances and the known differences.
"""

from ssd_jax.augment.pipeline import Draws, augment, draw, resize, transform_boxes, transform_image
from ssd_jax.augment.resample import INTERPOLATIONS

__all__ = ["INTERPOLATIONS", "Draws", "augment", "draw", "resize", "transform_boxes", "transform_image"]
