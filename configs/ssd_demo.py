"""A small SSD on the built-in shapes: trains on a laptop in minutes, nothing to download.

    make demo
    python train.py --config=configs/ssd_demo.py --workdir=runs/demo

Measured: README.md, "Demo".
"""

from ml_collections import ConfigDict

from configs import ssd300_voc


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ssd300_voc.get_config()
    config.data.update(kind="shapes", train_split="train", eval_split="test")
    config.loader.canvas = (128, 128)
    config.loader.num_threads = 2
    config.model.update(
        image_size=(128, 128),
        width_multiplier=0.25,
        batch_norm=True,
        extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1)),
        min_sizes=(12.0, 28.0, 52.0, 84.0),
        max_sizes=(28.0, 52.0, 84.0, 116.0),
        aspect_ratios=((), (), (), ()),  # the shapes are about as wide as high
        steps=(),
    )
    config.init.required = False
    # A short training cannot afford the full strength.
    config.augment.update(expand_probability=0.05, expand_max=2.0, crop_probability=0.1, hue=6.0)
    config.optimizer.update(
        algorithm="adamw",
        learning_rate=2e-3,
        schedule="cosine",
        boundaries=(),
        warmup_steps=30,
        bias_multiplier=1.0,
        clip_norm=10.0,
    )
    config.train.update(batch_size=16, num_steps=850, evaluate_every=850, checkpoint_every=250, log_every=50)
    return config
