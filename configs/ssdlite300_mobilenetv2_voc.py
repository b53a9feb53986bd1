"""SSDLite with MobileNetV2 on VOC 07+12, after qfgaohao/pytorch-ssd's mb2-ssd-lite: 68.6 mAP on VOC2007 test there.

    python train.py --config=configs/ssdlite300_mobilenetv2_voc.py --workdir=runs/ssdlite \
        --config.data.root=/path/to/VOCdevkit --config.init.weights=/path/to/mobilenet_v2.pth

Measured here: not yet. No figure of the paper: it uses VGG alone.

Layers, default boxes (3000: six on each cell of 19x19, 10x10, 5x5, 3x3, 2x2, 1x1), mean and rate are that repository's:
mobilenet_v2_ssd_lite.py, mobilenetv1_ssd_config.py, and the README's command: cosine decay from 0.01 over 200 epochs,
of 518 steps at batch 32. What differs: the augmentation is the original SSD's, difficult objects are trained on, biases
are not decayed, batch statistics are over all devices. Centers and sides of default boxes are not cut to the image, as
its generate_ssd_priors does: of ours 39 are wider or higher than the image, and the centers of 114 lie at 304 pixels.
"""

from ml_collections import ConfigDict

from configs import ssd300_voc

SIDES = (60.0, 105.0, 150.0, 195.0, 240.0, 285.0, 330.0)


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ssd300_voc.get_config()
    config.model.update(
        backbone="mobilenet_v2",
        batch_norm=True,
        extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1), (64, 64, 3, 2, 1)),
        extra_blocks="inverted_residual",
        heads="separable",
        min_sizes=SIDES[:-1],
        max_sizes=SIDES[1:],
        aspect_ratios=((2, 3),) * 6,
        steps=(16, 32, 64, 100, 150, 300),
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    )
    config.optimizer.update(algorithm="sgd", learning_rate=0.01, schedule="cosine", boundaries=(), bias_multiplier=1.0)
    config.train.num_steps = 200 * 518
    return config
