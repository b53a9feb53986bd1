"""SSD512 on COCO trainval35k: the paper's 28.8 AP on test-dev2015 (48.5 at IoU 0.5, 30.3 at 0.75; Table 6).

    python train.py --config=configs/ssd512_coco.py --workdir=runs/ssd512_coco \
        --config.data.root=/path/to/coco --config.init.weights=/path/to/vgg16_reducedfc.pth

``--config=configs/ssd512_coco.py:plain`` is the recipe without expansion: 26.8 AP (46.5, 27.8; Table 5).
Measured here: not yet, neither.

The default boxes are those of the paper's footnote 5: scale 0.04 on conv4_3, from 0.1 on after it. The released model
with expansion was trained for 360,000 steps, as its file name says; where its rate drops we could not verify. After
280,000 and 320,000 steps is our assumption: SSD300's first phase, then two equal ones as in section 3.4.
"""

from ml_collections import ConfigDict

from configs import ssd300_coco, ssd512_voc
from ssd_jax.priors import caffe_sizes

VARIANTS = ssd300_coco.VARIANTS


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe with expansion, or without ("plain")."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected nothing or 'plain', got {variant!r}")
    config = ssd512_voc.get_config()
    ssd300_coco.use_coco(config)
    config.model.min_sizes, config.model.max_sizes = caffe_sizes(512, num_levels=7, ratios=(10, 90), first=(4, 10))
    config.optimizer.boundaries = (280_000, 320_000)
    config.train.num_steps = 360_000
    if variant == "plain":
        ssd300_coco.without_expansion(config)
    return config
