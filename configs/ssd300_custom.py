"""SSD on a VOC-layout folder of your own, from scratch: batch normalization, warm-up, no weights needed.

    python train.py --config=configs/ssd300_custom.py --workdir=runs/custom --config.data.root=/path/to/folder

The folder holds JPEGImages/, Annotations/ and ImageSets/Main/{train,val}.txt; classes are found in
the annotations. Measured here: see docs/data.md.
"""

from ml_collections import ConfigDict

from configs import ssd300_voc


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ssd300_voc.get_config()
    config.data.train_split = "train"
    config.data.eval_split = "val"
    config.loader.canvas = (640, 640)
    config.model.batch_norm = True
    config.init.required = False
    config.optimizer.update(learning_rate=5e-3, schedule="cosine", boundaries=(), warmup_steps=500, clip_norm=10.0)
    config.train.update(num_steps=20_000, evaluate_every=1_000, checkpoint_every=500)
    return config
