"""SSD300 on images of your own, from scratch: batch normalization, warm-up, no weights needed.

    python -m ssd_jax.commands.inspect --config=configs/ssd300_custom.py --config.data.root=/path/to/folder
    python train.py --config=configs/ssd300_custom.py --workdir=runs/mine --config.data.root=/path/to/folder

The folder is in VOC layout, or in another that ``--config.data.kind`` names: csv, yolo, coco (docs/data.md,
"Your own images"); classes are found in the annotations. The default boxes are the smaller ones of COCO's SSD300, so
that small objects are reached. ``--config=configs/ssd300_custom.py:cpu`` is a quarter as wide and trains in half an
hour on two CPU cores. Measured: docs/data.md, "Measured on real photographs".
"""

from ml_collections import ConfigDict

from configs import ssd300_voc
from ssd_jax.priors import caffe_sizes

VARIANTS = ("", "cpu")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: the full one, or the one of reduced width and length ("cpu")."""
    config = ssd300_voc.get_config()
    config.data.train_split = "train"
    config.data.eval_split = "val"
    config.loader.canvas = (640, 640)
    config.model.batch_norm = True
    config.model.min_sizes, config.model.max_sizes = caffe_sizes(300, num_levels=6, ratios=(15, 90), first=(7, 15))
    config.init.required = False
    config.augment.expand_max = 2.0
    config.optimizer.update(
        algorithm="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        boundaries=(),
        warmup_steps=500,
        bias_multiplier=1.0,
        clip_norm=10.0,
    )
    config.train.update(num_steps=20_000, evaluate_every=1_000, checkpoint_every=500)
    if variant == "cpu":
        config.model.width_multiplier = 0.25
        # A short training cannot afford the full strength of augmentation.
        config.augment.update(expand_probability=0.0, crop_probability=0.25)
        config.optimizer.warmup_steps = 30
        config.train.update(batch_size=16, num_steps=600, evaluate_every=150, checkpoint_every=50, log_every=25)
    elif variant:
        raise ValueError(f"variant: expected nothing or 'cpu', got {variant!r}")
    return config
