"""Default boxes of others: what their configurations say, in a literal loop, beside those of a conversion."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from golden import make_foreign_arrays as foreign
from golden import make_torchvision_arrays as published

from configs import ssd300_voc
from ssd_jax import recipe
from ssd_jax.weights import mappings


class Stated(NamedTuple):
    """What a configuration of others says of its default boxes."""

    side: int
    cells: tuple[int, ...]
    steps: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    ratios: tuple[tuple[int, ...], ...]


MAPS300 = ((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300))
MAPS512 = ((64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, 512))
RATIOS300 = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
RATIOS512 = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))
# data/config.py of ssd.pytorch, "voc" and "coco"; ssd/config/defaults.py and configs/vgg_ssd300_coco_trainval35k.yaml
# of lufficc/SSD say the same.
VOC300 = Stated(300, *MAPS300, (30, 60, 111, 162, 213, 264), (60, 111, 162, 213, 264, 315), RATIOS300)
COCO300 = Stated(300, *MAPS300, (21, 45, 99, 153, 207, 261), (45, 99, 153, 207, 261, 315), RATIOS300)
# configs/vgg_ssd512_voc0712.yaml and vgg_ssd512_coco_trainval35k.yaml of lufficc/SSD.
VOC512 = Stated(
    512, *MAPS512, (35.84, 76.8, 153.6, 230.4, 307.2, 384, 460.8),
    (76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.65), RATIOS512,
)  # fmt: skip
COCO512 = Stated(
    512, *MAPS512, (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8),
    (51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72), RATIOS512,
)  # fmt: skip


def center_form(stated):
    """(cx, cy, w, h) of every box, in images."""
    boxes = []
    for cells, step, low, high, ratios in zip(*stated[1:], strict=True):
        for row in range(cells):
            for column in range(cells):
                center = ((column + 0.5) * step / stated.side, (row + 0.5) * step / stated.side)
                small, large = low / stated.side, math.sqrt(low * high) / stated.side
                boxes += [(*center, small, small), (*center, large, large)]
                for ratio in ratios:
                    longer, shorter = small * math.sqrt(ratio), small / math.sqrt(ratio)
                    boxes += [(*center, longer, shorter), (*center, shorter, longer)]
    return np.array(boxes)


def corners(boxes):
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def converted_boxes(tensors, **options):
    """The default boxes under a conversion's configuration."""
    converted = mappings.convert(tensors, **options)
    ours = recipe.plain(ssd300_voc.get_config())
    for key, value in converted.config.items():
        section, option = key.split(".")
        ours[section][option] = value
    return recipe.build_network(ours, converted.num_classes)[1]


def lufficc(classes, side):
    more = dict(extras=foreign.EXTRAS512, maps=foreign.MAPS512) if side == 512 else {}
    return foreign.torch_detector(classes, lufficc=True, **more)


# layers/functions/prior_box.py of ssd.pytorch and modeling/anchors/prior_box.py of lufficc/SSD clamp all four numbers
# of the center form to 0..1: centers beyond the image lie at its border, no side is longer than it.
@pytest.mark.parametrize(
    ("tensors", "stated", "beyond", "longer"),
    [
        # Of the 10x10 map the last row and column lie at 9.5 x 32 = 304 pixels: 19 cells of 6 boxes. Longer than the
        # image are two boxes a cell of the 3x3 and of the last map, 213 and 264 x sqrt(2).
        (lambda: foreign.torch_detector(21), VOC300, 19 * 6, 9 * 2 + 2),
        (lambda: lufficc(21, 300), VOC300, 19 * 6, 9 * 2 + 2),
        # 207 x sqrt(2) is 293: only the two of the last map.
        (lambda: foreign.torch_detector(81), COCO300, 19 * 6, 2),
        (lambda: lufficc(81, 300), COCO300, 19 * 6, 2),
        # Steps divide the image. Longer are two boxes a cell of the last three maps: 307.2 x sqrt(3) = 532, 384 and
        # 460.8 x sqrt(2); so are 296.96 x sqrt(3) = 514 and 378.88 x sqrt(2).
        (lambda: lufficc(21, 512), VOC512, 0, (16 + 4 + 1) * 2),
        (lambda: lufficc(81, 512), COCO512, 0, (16 + 4 + 1) * 2),
    ],
    ids=["ssd.pytorch VOC", "lufficc VOC", "ssd.pytorch COCO", "lufficc COCO", "lufficc VOC 512", "lufficc COCO 512"],
)
def test_default_boxes_are_clamped_as_there(tensors, stated, beyond, longer):
    theirs = center_form(stated)
    assert ((theirs[:, :2] > 1).any(axis=1).sum(), (theirs[:, 2:] > 1).any(axis=1).sum()) == (beyond, longer)
    # Rounding of float32 below 2: 1e-7; the smallest thing that could be wrong, the 537.65, moves a corner by 2e-5.
    np.testing.assert_allclose(converted_boxes(tensors()), corners(theirs.clip(0, 1)), rtol=0, atol=3e-7)


# anchor_utils.py: sides are clamped, centers are not; scales 0.07, 0.15 ... 1.05, for any number of classes.
@pytest.mark.parametrize("classes", [91, 4])
def test_default_boxes_of_torchvision_are_cut_by_their_sides_alone(classes):
    tensors = published.arrays("ssd300_vgg16")
    for name in [name for name in tensors if "classification_head" in name]:
        tensors[name] = tensors[name][: len(tensors[name]) // 91 * classes]
    theirs = center_form(COCO300)
    theirs[:, 2:] = theirs[:, 2:].clip(0, 1)
    np.testing.assert_allclose(converted_boxes(tensors), corners(theirs), rtol=0, atol=3e-7)


# prior_box_layer.cpp cuts nothing, and keeps sizes as whole pixels.
@pytest.mark.parametrize(("tensors", "stated"), [(foreign.SSD300, VOC300), (foreign.SSD512, VOC512)])
def test_default_boxes_of_the_authors_are_not_cut(tensors, stated):
    whole = stated._replace(low=tuple(map(int, stated.low)), high=tuple(map(int, stated.high)))
    np.testing.assert_allclose(converted_boxes(tensors(classes=21)), corners(center_form(whole)), rtol=0, atol=3e-7)
