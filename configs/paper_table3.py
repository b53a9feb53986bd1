"""The six rows of the paper's Table 3: SSD300 that predicts from fewer and fewer feature maps.

    python train.py --config=configs/paper_table3.py:5 --workdir=runs/table3_5 \
        --config.data.root=/path/to/VOCdevkit --config.init.weights=/path/to/vgg16_reducedfc.pth

| variant  | maps                  | boxes | scales a map     | boxes a cell     | mAP, all boxes | mAP, "-inside" |
|----------|-----------------------|-------|------------------|------------------|----------------|----------------|
| 6        | conv4_3 to conv9_2    | 8732  | 1, 1, 1, 1, 1, 1 | 4, 6, 6, 6, 4, 4 | 74.3           | 63.4           |
| 5        | conv4_3 to conv8_2    | 8764  | 1, 1, 1, 1, 2    | 4, 6, 6, 6, 8    | 74.6           | 63.1           |
| 4        | conv4_3 to conv7_2    | 8942  | 1, 1, 2, 2       | 4, 6, 8, 8       | 73.8           | 68.4           |
| 3        | conv4_3, fc7, conv6_2 | 9864  | 1, 2, 3          | 4, 8, 12         | 70.7           | 69.2           |
| 2        | conv4_3, fc7          | 9025  | 1, 3             | 4, 9             | 64.2           | 64.4           |
| 1        | fc7                   | 8664  | 6                | 24               | 62.4           | 64.0           |

Variant N-inside, as 5-inside, is the column "use boundary boxes? No": default boxes that cross the image's edge are
neither positive nor negative in training. The mAP are the paper's, on VOC2007 test; its conv7, conv8_2, ... are fc7,
conv6_2, ... here. Measured here: not yet.

The paper prints the maps and the numbers of boxes, not the tilings: these are our reconstruction, by one rule.
The six scales of SSD300 stay, in their order; the maps that are left carry them, later maps never fewer than earlier
ones. A map of one scale keeps its boxes; a map of several has four for each: the two squares and the ratios 2 and 1/2.
With the printed count, that leaves exactly one tiling for each row but that of two maps, for which it leaves none:
9025 = 38 x 38 x 4 + 19 x 19 x 9. The nine are three scales of three ratios (1, 2, 1/2; no second square), as many as
Faster R-CNN has, over the same range: first, middle and last of the five scales left for fc7.
"""

from ml_collections import ConfigDict

from configs import paper_voc

MAPS = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
# Variant -> the number of scales of each map that is left.
SCALES = {"6": (1,) * 6, "5": (1, 1, 1, 1, 2), "4": (1, 1, 2, 2), "3": (1, 2, 3), "1": (6,)}
VARIANTS = tuple(f"{count}{suffix}" for count in (6, 5, 4, 3, 2, 1) for suffix in ("", "-inside"))


def get_config(variant: str = "6") -> ConfigDict:
    """Returns the recipe of a row and a column."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    config = paper_voc.get_config("300-07+12")
    count, *inside = variant.split("-")
    if count == "2":
        keep(config, MAPS[:2])
        config.model.min_sizes = (30.0, (60.0, 162.0, 264.0))
        config.model.max_sizes = (60.0, ())  # no second square on fc7
        config.model.aspect_ratios = ((2,), (2,))
    else:
        keep(config, ("fc7",) if count == "1" else MAPS[: int(count)])
        stack(config, SCALES[count])
    if inside:
        config.loss.ignore_cross_boundary = True
    return config


def keep(config: ConfigDict, maps: tuple[str, ...]) -> None:
    """Leaves the network only these maps to predict from."""
    config.model.sources = maps
    config.model.steps = tuple(config.model.steps[MAPS.index(name)] for name in maps)


def stack(config: ConfigDict, scales: tuple[int, ...]) -> None:
    """Gives the maps the recipe's scales in their order, to each as many as it is to carry."""
    model = config.model
    ends = [sum(scales[: k + 1]) for k in range(len(scales))]
    spans = [slice(end - count, end) for end, count in zip(ends, scales, strict=True)]
    model.min_sizes, model.max_sizes = (tuple(sizes[s] for s in spans) for sizes in (model.min_sizes, model.max_sizes))
    model.aspect_ratios = tuple(
        model.aspect_ratios[place] if count == 1 else (2,) for place, count in enumerate(scales)
    )
