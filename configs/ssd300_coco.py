"""SSD300 on COCO trainval35k: the paper's 25.1 AP on test-dev2015 (43.1 at IoU 0.5, 25.8 at 0.75; Table 6).

    python train.py --config=configs/ssd300_coco.py --workdir=runs/ssd300_coco \
        --config.data.root=/path/to/coco --config.init.weights=/path/to/vgg16_reducedfc.pth

``--config=configs/ssd300_coco.py:plain`` is the recipe without expansion: 23.2 AP (41.2, 23.4; Table 5).
Measured here: not yet, neither.

The default boxes are smaller than VOC's (section 3.4). With expansion the schedule is that of the original's
ssd_coco.py, 400,000 steps; without, the paper's 240,000. train2017 and val2017 hold the images of trainval35k and
minival (docs/data.md); the paper's figures are of test-dev, which only the challenge's server evaluates.
"""

from ml_collections import ConfigDict

from configs import ssd300_voc
from ssd_jax.priors import caffe_sizes

VARIANTS = ("", "plain")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe with expansion, or without ("plain")."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected nothing or 'plain', got {variant!r}")
    config = ssd300_voc.get_config()
    use_coco(config)
    config.model.min_sizes, config.model.max_sizes = caffe_sizes(300, num_levels=6, ratios=(15, 90), first=(7, 15))
    config.optimizer.boundaries = (280_000, 360_000)
    config.train.num_steps = 400_000
    if variant == "plain":
        without_expansion(config)
    return config


def use_coco(config: ConfigDict) -> None:
    """Turns the data of a recipe into COCO's; its classes come from the annotations."""
    config.data.update(kind="coco", train_split="train2017", eval_split="val2017")
    config.loader.canvas = (640, 640)
    config.evaluate.metric = "coco"


def without_expansion(config: ConfigDict) -> None:
    """Turns a recipe for COCO into that of section 3.4."""
    config.augment.expand_probability = 0.0
    config.optimizer.boundaries = (160_000, 200_000)
    config.train.num_steps = 240_000
