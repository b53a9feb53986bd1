"""lufficc/SSD: its SSD300 and SSD512 on VGG-16 (ssd/modeling/backbone/vgg.py, box_head/box_predictor.py).

It trains on RGB images minus (123, 117, 104), as we do. Its default boxes are clamped as those of ssd.pytorch
(ssd/modeling/anchors/prior_box.py).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ssd_jax.weights.mappings import ssd_pytorch
from ssd_jax.weights.mappings.collect import find_prefix
from ssd_jax.weights.mappings.types import Converted, Family, Options

SPELLING = ssd_pytorch.Spelling(
    base="backbone.vgg.{}",
    extras="backbone.extras.{}",
    location="box_head.predictor.reg_headers.{}",
    confidence="box_head.predictor.cls_headers.{}",
    scale="backbone.l2_norm.weight",
)
# It suppresses among all boxes above the threshold, so many at most (of SSD512).
ALL_BOXES = 24564
# The largest square of SSD512 for VOC has another size than by the rule of the original, which gives 537.6
# (configs/vgg_ssd512_voc0712.yaml, MIN_SIZES and MAX_SIZES).
SMALLEST, LARGEST_SQUARE = 35.84, math.sqrt(460.8 * 537.65)


def find(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a detector."""
    return find_prefix(tensors, ssd_pytorch.signature(SPELLING))


def convert(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads a detector of lufficc/SSD; its checkpoints keep it under "model.", beside the optimizer."""
    detect = {"detect.pre_nms_top_k": ALL_BOXES, "detect.max_detections": 100}
    converted = ssd_pytorch.convert_detector(
        tensors, prefix, options, spelling=SPELLING, family="lufficc_ssd", detect=detect
    )
    return converted._replace(config=_with_largest_square(converted.config))


def _with_largest_square(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the configuration with the sizes of SSD512 for VOC; others are as they are."""
    shapes = config.get("model.shapes")
    if not shapes or not math.isclose(shapes[0][0][0], SMALLEST):
        return config
    smaller, _, *others = shapes[-1]
    return {**config, "model.shapes": (*shapes[:-1], (smaller, (LARGEST_SQUARE, LARGEST_SQUARE), *others))}


SSD = Family("lufficc_ssd", "SSD300 and SSD512 of lufficc/SSD", find, convert)
