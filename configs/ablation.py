"""A small ablation after Tables 2 and 3, on images of your own: what augmentation, shapes, sources and edges are worth.

    python -m ssd_jax.commands.seeds --config=configs/ablation.py:full --workdir=runs/ablation/full --num_seeds=3 \
        --config.data.root=/path/to/folder --config.data.train_split=trainval --config.data.eval_split=test

It takes some seven to thirteen minutes a run on one CPU core, because everything is small: a quarter of the width,
128x128 pixels, 600 steps from random weights. Its figures tell the columns apart on that scale and are none of the
paper's.
Measured: docs/reproduce.md, "A small ablation".

| variant       | what is changed                                                                                |
|---------------|------------------------------------------------------------------------------------------------|
| full          | nothing                                                                                        |
| flip_only     | no distortion, no expansion, no crop                                                           |
| squares       | default boxes without aspect ratios                                                            |
| two_sources   | the two finest maps alone; the second carries the scales of the others, stacked as in Table 3   |
| inside        | default boxes that cross the edge of the image are not trained (Table 3, "use boundary boxes? No") |
"""

from ml_collections import ConfigDict

from configs import ssd_demo

VARIANTS = ("full", "flip_only", "squares", "two_sources", "inside")
MIN_SIZES, MAX_SIZES = (8.0, 16.0, 36.0, 72.0), (16.0, 36.0, 72.0, 110.0)


def get_config(variant: str = "full") -> ConfigDict:
    """Returns the recipe of a variant."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    config = ssd_demo.get_config()
    config.data.update(kind="voc", train_split="train", eval_split="val")
    config.loader.canvas = (320, 320)
    config.model.update(min_sizes=MIN_SIZES, max_sizes=MAX_SIZES, aspect_ratios=((2,), (2, 3), (2, 3), (2,)))
    config.augment.update(crop_probability=0.25, hue=18.0)
    config.optimizer.update(learning_rate=1e-3, warmup_steps=50)
    # After 200 steps the seeds still differ by more than any variant could.
    config.train.update(num_steps=600, evaluate_every=600, checkpoint_every=300)
    if variant == "flip_only":
        config.augment.update(distort_probability=0.0, expand_probability=0.0, crop_probability=0.0)
    elif variant == "squares":
        config.model.aspect_ratios = ((),) * 4
    elif variant == "two_sources":
        config.model.update(
            sources=("conv4_3_norm", "fc7"),
            min_sizes=(MIN_SIZES[0], MIN_SIZES[1:]),
            max_sizes=(MAX_SIZES[0], MAX_SIZES[1:]),
            aspect_ratios=((2,), (2,)),  # 4 shapes a scale, as in Table 3's stacked maps
        )
    elif variant == "inside":
        config.loss.ignore_cross_boundary = True
    return config
