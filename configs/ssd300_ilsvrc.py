"""SSD300 on ILSVRC DET, 200 classes: the paper's 43.4 mAP on val2 (section 3.5).

    python train.py --config=configs/ssd300_ilsvrc.py --workdir=runs/ssd300_ilsvrc \
        --config.data.root=/path/to/ILSVRC --config.init.weights=/path/to/vgg16_reducedfc.pth

Measured here: not yet. The division of val into val1 and val2 is R-CNN's and not in the archive: put its lists at
ILSVRC/lists/val1.txt and ILSVRC/lists/val2.txt, or name others with --config.data.train_split (docs/data.md).

The paper says "the same network architecture we used for COCO"; the original's ssd_ilsvrc.py has VOC's default boxes,
which is what this recipe takes. ``--config=configs/ssd300_ilsvrc.py:coco_boxes`` takes COCO's. The schedule is the same
in paper and script. Not verified: whether the 43.4 was trained with expansion; the script has it, and section 3.5 comes
before the section that introduces it. ``--config.augment.expand_probability=0`` leaves it out.

What differs from the paper, which trains on "train and val1 as used in" R-CNN: R-CNN takes at most 1000 images a class
of train, the recipe takes all. Images larger than 500x500 are reduced to fit before they are augmented;
``--config.loader.canvas=(HEIGHT,WIDTH)`` keeps larger ones as they are.
"""

from ml_collections import ConfigDict

from configs import ssd300_coco, ssd300_voc

VARIANTS = ("", "coco_boxes")


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe with the script's default boxes, or the paper's ("coco_boxes")."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected nothing or 'coco_boxes', got {variant!r}")
    config = ssd300_voc.get_config()
    config.data.update(kind="ilsvrc", train_split="train+lists/val1.txt", eval_split="lists/val2.txt")
    config.loader.difficult = "drop"  # train_on_diff_gt = False in ssd_ilsvrc.py
    config.optimizer.boundaries = (320_000, 400_000)
    config.train.num_steps = 440_000
    config.evaluate.metric = "area"  # MaxIntegral
    if variant == "coco_boxes":
        config.model = ssd300_coco.get_config().model
    return config
