"""What the recipes of configs/ have to be: counts, sizes and schedules, each with its origin.

Origins. [paper]: Liu et al., "SSD: Single Shot MultiBox Detector", arXiv 1512.02325. [script]: ssd_pascal.py,
ssd_coco.py, ssd_ilsvrc.py of weiliu89/caffe (branch ssd), examples/ssd. [512]: the same for 512, known from
MonsterPeng/caffe_ssd:ssd_pascal_512.py and lufficc/SSD:configs. [ours]: a choice of this repository that its recipe
states. Parameters are added up below from the layers that the sources list, not taken from the network under test.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Tiling(NamedTuple):
    """The default boxes of a network, one value a feature map."""

    cells: tuple[int, ...]  # of a side
    boxes: tuple[int, ...]  # of a cell
    sizes: tuple[int, ...]  # sides of the smallest square of a cell, in pixels
    squares: tuple[float, ...]  # sides of the second one, to 0.01 px

    @property
    def total(self) -> int:
        return sum(cells**2 * boxes for cells, boxes in zip(self.cells, self.boxes, strict=True))


# [script], [512]; sizes as prior_box_layer.cpp uses them, whole pixels. Footnotes 3 and 5 of [paper] say the same.
CELLS_300, CELLS_512 = (38, 19, 10, 5, 3, 1), (64, 32, 16, 8, 4, 2, 1)
BOXES_300, BOXES_512 = (4, 6, 6, 6, 4, 4), (4, 6, 6, 6, 6, 4, 4)
VOC_300 = Tiling(CELLS_300, BOXES_300, (30, 60, 111, 162, 213, 264), (42.43, 81.61, 134.10, 185.76, 237.13, 288.37))
COCO_300 = Tiling(CELLS_300, BOXES_300, (21, 45, 99, 153, 207, 261), (30.74, 66.75, 123.07, 177.96, 232.44, 286.73))
VOC_512 = Tiling(
    CELLS_512, BOXES_512, (35, 76, 153, 230, 307, 384, 460), (51.58, 107.83, 187.59, 265.73, 343.35, 420.29, 497.01)
)
COCO_512 = Tiling(
    CELLS_512, BOXES_512, (20, 51, 133, 215, 296, 378, 460), (31.94, 82.36, 169.10, 252.27, 334.50, 416.99, 499.32)
)
# mobilenetv1_ssd_config.py of qfgaohao/pytorch-ssd.
LITE_300 = Tiling(
    (19, 10, 5, 3, 2, 1), (6,) * 6, (60, 105, 150, 195, 240, 285), (79.37, 125.50, 171.03, 216.33, 261.53, 306.68)
)

# Boxes of Tables 2 and 3 [paper] and of MultiBox (arXiv 1412.1441: 11 on each cell, 1 on the last map). Those of the
# two columns without a printed count are multiplied out: 2 and 4 boxes on each of 1940 cells.
TABLE_2 = {"full": 8732, "flip_only": 8732, "squares": 3880, "no_thirds": 7760, "no_atrous": 8732}
TABLE_3 = {"6": 8732, "5": 8764, "4": 8942, "3": 9864, "2": 9025, "1": 8664}
TABLE_3_MAPS = {
    "6": "conv4_3_norm fc7 conv6_2 conv7_2 conv8_2 conv9_2",
    "5": "conv4_3_norm fc7 conv6_2 conv7_2 conv8_2",
    "4": "conv4_3_norm fc7 conv6_2 conv7_2",
    "3": "conv4_3_norm fc7 conv6_2",
    "2": "conv4_3_norm fc7",
    "1": "fc7",
}
MULTIBOX = 1420


def convolutions(*layers: tuple[int, int, int]) -> int:
    """Returns the parameters of convolutions (kernel, inputs, outputs) with biases."""
    return sum((kernel**2 * inputs + 1) * outputs for kernel, inputs, outputs in layers)


def normalized(*layers: tuple[int, int, int]) -> int:
    """Returns the parameters of convolutions without biases, each with a batch normalization."""
    return sum((kernel**2 * inputs + 2) * outputs for kernel, inputs, outputs in layers)


def heads(channels: Sequence[int], boxes: Sequence[int], num_classes: int) -> int:
    """Returns the parameters of the 3x3 heads for offsets and classes."""
    return convolutions(*((3, c, b * (4 + num_classes)) for c, b in zip(channels, boxes, strict=True)))


# VGG-16 to conv5_3 (Simonyan and Zisserman, configuration D); fc6 and fc7, reduced [paper, section 3] and full.
VGG_4_3 = convolutions(
    (3, 3, 64), (3, 64, 64), (3, 64, 128), (3, 128, 128), (3, 128, 256), (3, 256, 256), (3, 256, 256),
    (3, 256, 512), (3, 512, 512), (3, 512, 512),
)  # fmt: skip
VGG_5 = convolutions(*[(3, 512, 512)] * 3)
FC, FULL_FC = convolutions((3, 512, 1024), (1, 1024, 1024)), convolutions((7, 512, 4096), (1, 4096, 4096))
NORM = 512  # scales of conv4_3_norm
# Figure 2 of [paper] and AddExtraLayers of [script]; [512].
EXTRAS = [
    convolutions((1, 1024, 256), (3, 256, 512)),
    convolutions((1, 512, 128), (3, 128, 256)),
    convolutions((1, 256, 128), (3, 128, 256)),
    convolutions((1, 256, 128), (3, 128, 256)),
]
EXTRAS_512 = [*EXTRAS, convolutions((1, 256, 128), (4, 128, 256))]
CHANNELS = (512, 1024, 512, 256, 256, 256)
BASE = VGG_4_3 + NORM + VGG_5 + FC


def ssd300(num_classes: int) -> int:
    """Returns the parameters of SSD300."""
    return BASE + sum(EXTRAS) + heads(CHANNELS, BOXES_300, num_classes)


def ssd512(num_classes: int) -> int:
    """Returns the parameters of SSD512."""
    return BASE + sum(EXTRAS_512) + heads((*CHANNELS, 256), BOXES_512, num_classes)


PUBLISHED_MILLIONS = {  # of openvino's ssd300 (26.285), and computed from the layer lists by others
    ssd300(21): 26.285,
    ssd300(81): 34.31,
    ssd512(21): 27.19,
    ssd512(81): 36.04,
}
TABLE_2_PARAMETERS = {
    "full": ssd300(21),
    "flip_only": ssd300(21),
    "squares": BASE + sum(EXTRAS) + heads(CHANNELS, (2,) * 6, 21),
    "no_thirds": BASE + sum(EXTRAS) + heads(CHANNELS, (4,) * 6, 21),
    # fc7 has 4096 channels, one extra stage fewer [ours].
    "no_atrous": VGG_4_3 + NORM + VGG_5 + FULL_FC + convolutions((1, 4096, 256), (3, 256, 512)) + sum(EXTRAS[1:3])
    + heads((512, 512, 4096, 512, 256, 256), BOXES_300, 21),
}  # fmt: skip
TABLE_3_PARAMETERS = {
    "6": ssd300(21),
    "5": BASE + sum(EXTRAS[:3]) + heads(CHANNELS[:5], (4, 6, 6, 6, 8), 21),
    "4": BASE + sum(EXTRAS[:2]) + heads(CHANNELS[:4], (4, 6, 8, 8), 21),
    "3": BASE + EXTRAS[0] + heads(CHANNELS[:3], (4, 8, 12), 21),
    "2": BASE + heads(CHANNELS[:2], (4, 9), 21),
    "1": BASE - NORM + heads(CHANNELS[1:2], (24,), 21),
}
MULTIBOX_PARAMETERS = (  # [ours]
    VGG_4_3 + VGG_5 + FC + convolutions(
        (1, 1024, 256), (5, 256, 512), (1, 512, 128), (3, 128, 256), (1, 256, 128), (3, 128, 256),
        *[(1, 256, 128), (2, 128, 256)] * 3,
    ) + heads((512, *[256] * 5), (*[11] * 5, 1), 21)
)  # fmt: skip

# torchvision's networks without their last stage and classifier: of 25,557,032 parameters of resnet50 layer4 has
# 14,964,736 and fc 2,049,000; of 21,797,672 of resnet34 13,114,368 and 513,000.
RESNET_50, RESNET_34 = 25_557_032 - 14_964_736 - 2_049_000, 21_797_672 - 13_114_368 - 513_000
# PyTorch/Detection/SSD/src/model.py of NVIDIA/DeepLearningExamples: SSD300, _build_additional_features.
RESNET_EXTRAS = (
    *((3, 256, 512), (1, 512, 256), (3, 256, 512), (1, 512, 128), (3, 128, 256)),
    *[(1, 256, 128), (3, 128, 256)] * 2,
)
RESNET_50_PARAMETERS = (
    RESNET_50 + normalized((1, 1024, 256), *RESNET_EXTRAS) + heads((1024, 512, 512, 256, 256, 256), BOXES_300, 81)
)
# MLPerf's ssd300.py: the same stages, with biases in place of the normalization.
RESNET_34_PARAMETERS = (
    RESNET_34 + convolutions((1, 256, 256), *RESNET_EXTRAS) + heads((256, 512, 512, 256, 256, 256), BOXES_300, 81)
)


def inverted_residual(inputs: int, hidden: int, outputs: int) -> int:
    """Returns the parameters of a 1x1, a depthwise 3x3 and a 1x1 convolution, all with batch normalization."""
    return normalized((1, inputs, hidden), (3, 1, hidden), (1, hidden, outputs))


def separable_head(channels: int, outputs: int) -> int:
    """Returns the parameters of a depthwise 3x3 convolution with bias and batch normalization, and of a 1x1."""
    return convolutions((3, 1, channels), (1, channels, outputs)) + 2 * channels


# torchvision's mobilenet_v2 of 3,504,872 parameters without its classifier of 1,281,000; mobilenet_v2_ssd_lite.py of
# qfgaohao/pytorch-ssd. The map of one cell has a 1x1 head.
LITE_PARAMETERS = (
    3_504_872
    - 1_281_000
    + inverted_residual(1280, 256, 512)
    + inverted_residual(512, 128, 256)
    + inverted_residual(256, 128, 256)
    + inverted_residual(256, 64, 64)
    + sum(separable_head(c, 6 * outputs) for c in (576, 1280, 512, 256, 256) for outputs in (4, 21))
    + convolutions((1, 64, 6 * 4), (1, 64, 6 * 21))
)


class Schedule(NamedTuple):
    """A rate that starts at 1e-3 and falls to a tenth at each boundary."""

    boundaries: tuple[int, ...]
    num_steps: int


PLAIN_VOC = Schedule((40_000, 50_000), 60_000)  # [paper, section 3.1]
EXPANDED_VOC = Schedule((80_000, 100_000), 120_000)  # [script]: 80000, 100000, 120000
SCHEDULES = {
    "07": (PLAIN_VOC, EXPANDED_VOC),
    "07+12": (PLAIN_VOC, EXPANDED_VOC),
    "07++12": (Schedule((60_000,), 80_000), Schedule((120_000,), 160_000)),  # [paper, sections 3.3 and 3.6]
}
PLAIN_COCO = Schedule((160_000, 200_000), 240_000)  # [paper, section 3.4]
EXPANDED_COCO_300 = Schedule((280_000, 360_000), 400_000)  # [script]
EXPANDED_COCO_512 = Schedule((280_000, 320_000), 360_000)  # length: name of the released file; boundaries [ours]
ILSVRC = Schedule((320_000, 400_000), 440_000)  # [paper, section 3.5] and [script]
