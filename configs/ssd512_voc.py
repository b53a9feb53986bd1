"""SSD512 on VOC2007 + VOC2012 trainval, tested on VOC2007 test: the paper's 79.8 mAP (Table 1, with expansion).

    python train.py --config=configs/ssd512_voc.py --workdir=runs/ssd512_voc \
        --config.data.root=/path/to/VOCdevkit --config.init.weights=/path/to/vgg16_reducedfc.pth

Measured here: not yet. Seven levels and 24564 default boxes; the sizes are those of the original's
script, which its layer truncates to whole pixels.
"""

from ml_collections import ConfigDict

from configs import ssd300_voc
from ssd_jax.priors import caffe_sizes


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ssd300_voc.get_config()
    config.model.image_size = (512, 512)
    config.model.extras = (
        (256, 512, 3, 2, 1),
        (128, 256, 3, 2, 1),
        (128, 256, 3, 2, 1),
        (128, 256, 3, 2, 1),
        (128, 256, 4, 1, 1),
    )
    config.model.min_sizes, config.model.max_sizes = caffe_sizes(512, num_levels=7, ratios=(15, 90), first=(7, 15))
    config.model.aspect_ratios = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))
    config.model.steps = (8, 16, 32, 64, 128, 256, 512)
    return config
