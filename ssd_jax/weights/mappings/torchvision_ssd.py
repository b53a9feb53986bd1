"""torchvision's ssd300_vgg16 (models/detection/ssd.py).

Its default boxes have COCO's sizes, with sides cut to the image's (models/detection/anchor_utils.py); the weights of
its box coder (10, 10, 5, 5) are our variances. Thresholds and limits of detections are those of the original.
"""

from collections.abc import Mapping

import numpy as np

from ssd_jax.weights.mappings import detectors, vgg
from ssd_jax.weights.mappings.collect import Pair, collect, find_prefix
from ssd_jax.weights.mappings.torchvision_vgg import SCALED
from ssd_jax.weights.mappings.types import Converted, Family, Options

SIGNATURE = (
    "head.classification_head.module_list.0.weight",
    "head.regression_head.module_list.0.weight",
    "backbone.scale_weight",
    "backbone.extra.0.1.weight",
    "backbone.features.0.weight",
)
NOTES = (
    "there images are resized in floating point, here to whole levels as OpenCV does",
    "there a box grows by at most log(1000 / 16) in the exponent, here without a limit",
)


def find(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a detector."""
    return find_prefix(tensors, SIGNATURE)


def convert(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads an ssd300_vgg16."""
    # extra.0 holds conv5 and the classifier; the extra stages follow.
    stages = vgg.count_stages(tensors, lambda stage: f"{prefix}backbone.extra.{stage + 1}.0.weight")
    reverse = vgg.FIRST if options.channels == "bgr" else ""
    pairs = detector_pairs(stages)
    arrays, uses, left = collect(tensors, prefix, pairs, family="torchvision's ssd300_vgg16", reverse=reverse)
    structure = detectors.structure_of(stages, arrays, uses)
    classes, boxes = detectors.count_classes(arrays, uses)
    tiling = options.tiling or "coco"  # it has no other
    config, unknown = detectors.config_of(structure, classes, boxes, tiling=tiling, cut_sides=True)
    config |= {
        "model.mean": SCALED.mean,
        "model.std": SCALED.std,
        "priors.clip": False,
        "match.variances": (0.1, 0.1, 0.2, 0.2),
        "detect.score_threshold": 0.01,
        "detect.iou_threshold": 0.45,
        "detect.pre_nms_top_k": 400,
        "detect.max_detections": 200,
        "detect.clip_first": True,
    }
    notes = (*unknown, *NOTES)
    return Converted("torchvision_ssd300", arrays, uses, left, SCALED, vgg.FIRST, config, classes, notes)


def detector_pairs(stages: int) -> list[Pair]:
    """Returns which array goes where."""
    base = {}
    for name, index in vgg.sequential_indices().items():
        # pool4, at 23, begins the first of the extra modules.
        base[name] = f"backbone.features.{index}" if index < 23 else f"backbone.extra.0.{index - 23}"
    base |= {"fc6": "backbone.extra.0.7.1", "fc7": "backbone.extra.0.7.3"}
    extras = {
        name: f"backbone.extra.{1 + place // 2}.{2 * (place % 2)}" for place, name in enumerate(vgg.extra_names(stages))
    }
    heads = {}
    for index, name in enumerate(vgg.map_names(stages)):
        heads[f"{name}_mbox_loc"] = f"head.regression_head.module_list.{index}"
        heads[f"{name}_mbox_conf"] = f"head.classification_head.module_list.{index}"
    pairs = [("backbone.scale_weight", vgg.L2_SCALE)]
    for group, layers in (("backbone", base), ("extras", extras), ("heads", heads)):
        pairs += vgg.layer_pairs(group, layers, vgg.torch_name)
    return pairs


SSD = Family("torchvision_ssd300", "torchvision's ssd300_vgg16", find, convert)
