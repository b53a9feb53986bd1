"""SSD300 with ResNet-50 on COCO, after NVIDIA's DeepLearningExamples (SSD300 v1.1), which reports 0.27 AP on val2017.

    python train.py --config=configs/ssd300_resnet50_coco.py --workdir=runs/ssd300_resnet50_coco \
        --config.data.root=/path/to/coco --config.init.weights=/path/to/resnet50.pth

Measured here: not yet. No figure of the paper: it uses VGG alone.

Of its main.py and README: ResNet-50 up to conv4_x, there without stride, so that it gives the 38x38 map; five
extra stages with batch normalization; COCO's default boxes; 65 epochs at 2.6e-3, dropping before epochs 43 and 54, a
linear warm-up of 300 steps; no decay and no other rate for biases and normalizations; a loss that is averaged over
images; suppression at 0.5. Epochs are of the 117,266 images with objects at batch 32.

What differs here: boxes of scores from 0.01 on are kept, not 0.05. Colors are distorted in the order and the ranges of
the original SSD (hue excepted), with a brightness that is added; there it is a factor. Of the crop samplers each tries
once, and one of the successful is taken; there one is chosen first. Images without objects are read and contribute
nothing; there they are left out. Centers and sides of default boxes are not cut to the image: 2 of ours are wider or
higher than it, and the centers of 114 lie at 304 pixels. New layers start from Caffe's initialization, not from
Xavier's of both fans. Batch statistics are over all devices, there over each.
"""

from ml_collections import ConfigDict

from configs import ssd300_coco

STEPS_PER_EPOCH = 117_266 / 32


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ssd300_coco.get_config()
    config.model.update(
        backbone="resnet50",
        batch_norm=True,
        extras=(
            (256, 512, 3, 2, 1),
            (256, 512, 3, 2, 1),
            (128, 256, 3, 2, 1),
            (128, 256, 3, 1, 0),
            (128, 256, 3, 1, 0),
        ),
        # ImageNet's, as torchvision's weights expect them.
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    )
    config.augment.update(expand_probability=0.0, crop_trials=1, hue=9.0, interpolation="linear")
    config.loss.per = "image"
    config.optimizer.update(algorithm="sgd", bias_multiplier=1.0, warmup_steps=300, warmup_factor=0.0)
    set_schedule(config, learning_rate=2.6e-3, epochs=65, boundaries=(43, 54))
    config.detect.iou_threshold = 0.5
    return config


def set_schedule(config: ConfigDict, *, learning_rate: float, epochs: int, boundaries: tuple[int, ...]) -> None:
    """Sets a schedule that is stated in epochs."""
    config.optimizer.learning_rate = learning_rate
    config.optimizer.boundaries = tuple(round(epoch * STEPS_PER_EPOCH) for epoch in boundaries)
    config.train.num_steps = round(epochs * STEPS_PER_EPOCH)
