"""The five columns of the paper's Table 2: what augmentation, box shapes and atrous convolution bring SSD300.

    python train.py --config=configs/paper_table2.py:flip_only --workdir=runs/table2_flip_only \
        --config.data.root=/path/to/VOCdevkit --config.init.weights=/path/to/vgg16_reducedfc.pth

| variant    | augmentation | {1/2, 2} | {1/3, 3} | atrous | VOC2007 test mAP in the paper | default boxes |
|------------|--------------|----------|----------|--------|-------------------------------|---------------|
| flip_only  |              | yes      | yes      | yes    | 65.5                          | 8732          |
| squares    | yes          |          |          | yes    | 71.6                          | 3880          |
| no_thirds  | yes          | yes      |          | yes    | 73.7                          | 7760          |
| no_atrous  | yes          | yes      | yes      |        | 74.2                          | 8732          |
| full       | yes          | yes      | yes      | yes    | 74.3                          | 8732          |

Measured here: not yet. All start from configs/paper_voc.py:300-07+12, whose 74.3 is the last column; the table itself
does not name its training data. The paper prints no counts but 8732: the others follow from the shapes.

flip_only: "the original image and the horizontal flip"; so no distortion, no crop, and one interpolation, linear.

no_atrous: "keeping pool5 with 2x2-s2 and not subsampling parameters from fc6 and fc7, and add conv5_3 for prediction".
Our reconstruction: fc6 and fc7 have 4096 channels, and fc7 has the 10x10 cells of conv6_2 in the full network. So
conv5_3, with its 19x19, gives the boxes of fc7 there, each later map those of the one of its size, and the last extra
stage (1x1 to 1x1) falls away: as many sources, cells and boxes as before. Its initial weights are the whole VGG-16:
fc6 of 7x7x512x4096, fc7 of 4096x4096.
"""

from ml_collections import ConfigDict

from configs import paper_voc

VARIANTS = ("full", "flip_only", "squares", "no_thirds", "no_atrous")


def get_config(variant: str = "full") -> ConfigDict:
    """Returns the recipe of a column."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    config = paper_voc.get_config("300-07+12")
    if variant == "flip_only":
        config.augment.update(distort_probability=0.0, crop_probability=0.0, interpolation="linear")
    elif variant == "squares":
        config.model.aspect_ratios = ((),) * 6
    elif variant == "no_thirds":
        config.model.aspect_ratios = ((2,),) * 6
    elif variant == "no_atrous":
        config.model.update(
            backbone="vgg16_full",
            sources=("conv4_3_norm", "conv5_3", "fc7", "conv6_2", "conv7_2", "conv8_2"),
            extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0)),
        )
    return config
