"""The values that pass between the rooms of the library, and the conventions they obey.

Conventions, stated once here and converted only at the border:

* Boxes are ``xyxy`` = (xmin, ymin, xmax, ymax), float32, normalized to [0, 1] by the image's
  width and height, everywhere on the device. Pixels appear only in :class:`ImageDetections` and
  :class:`ImageGroundTruth`, which are what metrics and drawings read.
* Label 0 is background *and* padding; foreground classes start at 1, so ``labels > 0`` is the mask
  of real boxes and ``class_names[0] == "background"``.
* Images are uint8 NHWC RGB on a fixed canvas until they are on the device.
* Axis letters: b(atch) p(riors) m(ax boxes) k(ept) c(lasses) h w.
* Sizes are (height, width).

Arrays are annotated ``jax.Array`` with their shape in a comment: jaxtyping would say it more
formally, but the box functions are meant to be imported with nothing but JAX installed.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

BACKGROUND = "background"
HostOrDevice = Any  # a NumPy array as the loader makes it, a jax.Array within a step


class Targets(NamedTuple):
    """What each prior is to learn (the result of ``matching.match``)."""

    offsets: jax.Array  # [..., P, 4] float32: encoded ground truth; zeros where labels == 0
    labels: jax.Array  # [..., P] int32: class of the matched ground truth, 0 = background
    ignore: jax.Array  # [..., P] bool: neither positive nor negative


class Predictions(NamedTuple):
    """Raw output of a detector, in the order of the default boxes."""

    offsets: jax.Array  # [..., P, 4] float32
    logits: jax.Array  # [..., P, C] float32, class 0 = background


class LossParts(NamedTuple):
    """Un-normalized loss of each image and the counts it is normalized by."""

    location: jax.Array  # [...] float32: smooth L1, summed over positives
    confidence: jax.Array  # [...] float32: cross-entropy, summed over positives and mined negatives
    positives: jax.Array  # [...] int32: matched priors
    negatives: jax.Array  # [...] int32: mined negatives


class Detections(NamedTuple):
    """Detections of one image (batched by vmap), best first."""

    boxes: jax.Array  # [..., K, 4] float32, clipped to [0, 1]
    scores: jax.Array  # [..., K] float32 in [0, 1]; 0 in empty slots
    labels: jax.Array  # [..., K] int32; 0 = empty slot


class Example(NamedTuple):
    """One annotated image of a source, on the host."""

    image: bytes | Path | np.ndarray  # encoded bytes, a file, or uint8 [h, w, 3] RGB
    size: tuple[int, int]  # (height, width) of the frame in which the boxes are stated
    boxes: np.ndarray  # [G, 4] float32, normalized xyxy
    labels: np.ndarray  # [G] int32, >= 1
    difficult: np.ndarray  # [G] bool: VOC's "difficult"
    crowd: np.ndarray  # [G] bool: COCO's "iscrowd"
    id: str  # stable name of the image within its source


class Batch(NamedTuple):
    """What travels to the device at each step: arrays only, fixed shapes."""

    canvas: HostOrDevice  # [B, Hc, Wc, 3] uint8; the image lies in the upper left corner, zeros elsewhere
    size: HostOrDevice  # [B, 2] int32: (height, width) of the image within the canvas; (1, 1) where there is none
    boxes: HostOrDevice  # [B, M, 4] float32
    labels: HostOrDevice  # [B, M] int32; 0 = padding
    ignored: HostOrDevice  # [B, M] bool: neither learned nor punished
    index: HostOrDevice  # [B] uint32: position in the source's documented order
    epoch: HostOrDevice  # [B] uint32: how often the source had been read through before this example
    valid: HostOrDevice  # [B] bool; False: the row holds no image (unreadable, or none was left) and weighs nothing


class ImageDetections(NamedTuple):
    """Detections of one image on the host, in pixels of the original image, best first."""

    id: str
    boxes: np.ndarray  # [K, 4] float32 xyxy, pixels; float64 where a file states more digits
    scores: np.ndarray  # [K] float32, float64
    labels: np.ndarray  # [K] int32, >= 1


class ImageGroundTruth(NamedTuple):
    """Annotation of one image on the host, in pixels of the original image."""

    id: str
    boxes: np.ndarray  # [G, 4] float64 xyxy, pixels as annotated
    labels: np.ndarray  # [G] int32, >= 1
    ignored: np.ndarray  # [G] bool: VOC's difficult, COCO's crowd: neither hit nor miss
    areas: np.ndarray | None = None  # [G] float64, pixels^2, of the objects' masks; None: those of the boxes
