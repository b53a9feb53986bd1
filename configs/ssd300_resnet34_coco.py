"""SSD300 with ResNet-34 on COCO, after MLPerf Training's ssd-v1, whose target is 0.23 AP on val2017.

    python train.py --config=configs/ssd300_resnet34_coco.py --workdir=runs/ssd300_resnet34_coco \
        --config.data.root=/path/to/coco --config.init.weights=/path/to/resnet34.pth

Measured here: not yet. No figure of the paper: it uses VGG alone.

Rate 2.5e-3 at batch 32, 70 epochs, dropping after 40 and 50 (the default of its train.py); extra stages with biases and
without batch normalization. All else, with what differs from the source, is configs/ssd300_resnet50_coco.py. Not
verified: the warm-up, which submissions chose for themselves.
"""

from ml_collections import ConfigDict

from configs import ssd300_resnet50_coco


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ssd300_resnet50_coco.get_config()
    config.model.update(backbone="resnet34", batch_norm=False)  # that of the backbone stays
    ssd300_resnet50_coco.set_schedule(config, learning_rate=2.5e-3, epochs=70, boundaries=(40, 50))
    return config
