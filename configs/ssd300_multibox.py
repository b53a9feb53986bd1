"""SSD with the default boxes of MultiBox, 1420 of them: they may be anything, not only the paper's.

    python train.py --config=configs/ssd300_multibox.py --workdir=runs/multibox \
        --config.data.root=/path/to/VOCdevkit --config.init.weights=/path/to/vgg16_reducedfc.pth

It reproduces no figure of the SSD paper, which compares itself with MultiBox in words. Measured here: not yet.

From MultiBox (arXiv 1412.1441): eleven boxes on each cell of maps of 8x8, 6x6, 4x4, 3x3 and 2x2 cells and one on a map
of 1x1. Neither the shapes of those boxes nor the network are taken from there: each level has the ratios 1, 2, 1/2, 3,
1/3 at its scale (equation 4 of the SSD paper) and at the geometric mean with the next, and the square of the next; the
last box is the whole image. The maps are extra stages behind VGG's fc7, with which they share nothing but its features.
"""

import math

from ml_collections import ConfigDict

from configs import paper_voc
from ssd_jax.priors import box_shapes, linear_scales


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = paper_voc.get_config("300-07+12")
    sizes = [300 * scale for scale in linear_scales(0.2, 0.9, 6)]
    levels = [shapes(size, after) for size, after in zip(sizes, sizes[1:], strict=False)]
    config.model.update(
        # From 19x19: to 8x8 with stride 2, then 6x6, 4x4, 3x3, 2x2 and 1x1 by kernels without padding.
        extras=(
            (256, 512, 5, 2, 0),
            (128, 256, 3, 1, 0),
            (128, 256, 3, 1, 0),
            (128, 256, 2, 1, 0),
            (128, 256, 2, 1, 0),
            (128, 256, 2, 1, 0),
        ),
        sources=("conv6_2", "conv7_2", "conv8_2", "conv9_2", "conv10_2", "conv11_2"),
        shapes=(*levels, ((300.0, 300.0),)),
        min_sizes=(),
        max_sizes=(),
        aspect_ratios=(),
        steps=(),
    )
    return config


def shapes(size: float, after: float) -> tuple[tuple[float, float], ...]:
    """Returns the (width, height) of the eleven boxes of a cell, of a scale and the one after it."""
    ratios = (2.0, 3.0)
    return (*box_shapes([size], [], ratios), *box_shapes([math.sqrt(size * after)], [], ratios), (after, after))
