"""amdegroot/ssd.pytorch: its VGG base, its SSD300, and SSD512 in the same names.

Colors. The repository trains on RGB (data/voc0712.py turns OpenCV's images around), so that is what its own detectors
expect; who trained them says so in issues 31 and 44. Two published files were converted from Caffe.
ssd_300_VOC0712.pth expects BGR: issue 31 reports 0.7718 mAP with BGR, 0.7247 with RGB; issue 128 found the numbers of
VGG_VOC0712_SSD_300x300_iter_120000.caffemodel in it. vgg16_reducedfc.pth is taken for BGR, too: data/scripts/
caffe_to_t7.lua reads VGG_ILSVRC_16_layers_fc_reduced.caffemodel, and neither it nor t7_to_state_dict.py turns
anything around; HiKapok/SSD.TensorFlow made its base from it (issue 40 there) and feeds it BGR (net/ssd_net.py). The
file's author does not state it, though asked in issues 44, 146 and 170. That ssd.pytorch and lufficc/SSD feed RGB
to a network that starts from it does not speak against that: all layers are trained. Hence a base is for BGR and a
detector for RGB, unless ``channels`` says otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssd_jax.weights.mappings import detectors, vgg
from ssd_jax.weights.mappings.collect import Pair, collect, find_prefix
from ssd_jax.weights.mappings.types import CAFFE, Converted, Family, Options


class Spelling(NamedTuple):
    """What the modules of a detector are called, with {} for their number."""

    base: str
    extras: str
    location: str
    confidence: str
    scale: str


OWN = Spelling("vgg.{}", "extras.{}", "loc.{}", "conf.{}", "L2Norm.weight")
CLIP_NOTE = "there boxes that leave the image are left as they are, here they are clipped to it"


def find_base(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of the base network."""
    return find_prefix(tensors, [f"{index}.weight" for index in reversed(vgg.REDUCED_INDICES.values())])


def convert_base(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads vgg16_reducedfc.pth."""
    layers = {name: str(index) for name, index in vgg.REDUCED_INDICES.items()}
    pairs = vgg.layer_pairs("backbone", layers, vgg.torch_name)
    reverse = "" if options.channels == "rgb" else vgg.FIRST
    arrays, uses, left = collect(tensors, prefix, pairs, family="ssd.pytorch's VGG-16", reverse=reverse)
    config = {"model.backbone": "vgg16", "model.mean": CAFFE.mean, "model.std": CAFFE.std}
    notes = () if options.channels else ("its colors are taken for BGR, as in Caffe (channels='rgb': they are not)",)
    return Converted("ssd_pytorch_vgg16", arrays, uses, left, CAFFE, vgg.FIRST, config, notes=notes)


def find_ssd(tensors: Mapping[str, np.ndarray]) -> str | None:
    """Returns the prefix of a detector."""
    return find_prefix(tensors, signature(OWN))


def signature(spelling: Spelling) -> list[str]:
    """Returns names that every detector in this spelling has."""
    modules = (spelling.confidence, spelling.location, spelling.extras, spelling.base)
    return [spelling.scale, *(module.format(0) + ".weight" for module in modules)]


def convert_ssd(tensors: Mapping[str, np.ndarray], prefix: str, options: Options) -> Converted:
    """Reads a detector of ssd.pytorch."""
    notes: tuple[str, ...] = (
        "there every class gives up to 200 detections of an image; here 200 are the best of all classes",
    )
    if not options.channels:
        notes += ("its colors are taken for RGB; ssd_300_VOC0712.pth, converted from Caffe, needs channels='bgr'",)
    detect = {"detect.pre_nms_top_k": 200, "detect.max_detections": 200}
    return convert_detector(
        tensors, prefix, options, spelling=OWN, family="ssd_pytorch_ssd", detect=detect, notes=notes
    )


def convert_detector(
    tensors: Mapping[str, np.ndarray],
    prefix: str,
    options: Options,
    *,
    spelling: Spelling,
    family: str,
    detect: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> Converted:
    """Reads a detector whose layers are those of ssd.pytorch, under whatever names.

    Args:
      tensors, prefix, options: of a family's ``convert``.
      spelling: of its names.
      family: its name.
      detect: overrides of the section ``detect`` that differ from thresholds 0.01 and 0.45.
      notes: what else to say.
    """
    stages = vgg.count_stages(tensors, lambda stage: f"{prefix}{spelling.extras.format(2 * stage)}.weight")
    pairs = detector_pairs(stages, spelling)
    reverse = vgg.FIRST if options.channels == "bgr" else ""
    arrays, uses, left = collect(tensors, prefix, pairs, family=family, reverse=reverse)
    structure = detectors.structure_of(stages, arrays, uses)
    classes, boxes = detectors.count_classes(arrays, uses)
    config, unknown = detectors.config_of(structure, classes, boxes, tiling=options.tiling, cut_sides=True)
    config |= {
        "model.mean": CAFFE.mean,
        "model.std": CAFFE.std,
        "priors.clip": False,
        # layers/functions/prior_box.py clamps center and sides to 0..1; the sides are cut in model.shapes.
        "priors.clip_centers": True,
        "match.variances": (0.1, 0.1, 0.2, 0.2),
        "detect.score_threshold": 0.01,
        "detect.iou_threshold": 0.45,
        **detect,
    }
    return Converted(family, arrays, uses, left, CAFFE, vgg.FIRST, config, classes, (*unknown, *notes, CLIP_NOTE))


def detector_pairs(stages: int, spelling: Spelling, spell: Callable[[str, str], str] = vgg.torch_name) -> list[Pair]:
    """Returns which array of a detector with so many extra stages goes where."""
    maps = vgg.map_names(stages)
    base = {name: spelling.base.format(index) for name, index in vgg.REDUCED_INDICES.items()}
    extras = {name: spelling.extras.format(index) for index, name in enumerate(vgg.extra_names(stages))}
    heads = {f"{name}_mbox_loc": spelling.location.format(index) for index, name in enumerate(maps)}
    heads |= {f"{name}_mbox_conf": spelling.confidence.format(index) for index, name in enumerate(maps)}
    pairs = [(spelling.scale, vgg.L2_SCALE)]
    for group, layers in (("backbone", base), ("extras", extras), ("heads", heads)):
        pairs += vgg.layer_pairs(group, layers, spell)
    return pairs


BASE = Family("ssd_pytorch_vgg16", "the fc-reduced VGG-16 of ssd.pytorch", find_base, convert_base)
SSD = Family("ssd_pytorch_ssd", "SSD300 of ssd.pytorch", find_ssd, convert_ssd)
