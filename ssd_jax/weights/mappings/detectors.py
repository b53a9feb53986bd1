"""SSD300 and SSD512 by the structure of their weights: number of classes, and the configuration that they mean.

Figures: ssd_pascal.py and ssd_coco.py of the original; SSD512 after the paper's footnote 5 and its published
copies. Strides and padding leave no trace in weights; four extra stages are SSD300, five SSD512.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd_jax import priors
from ssd_jax.errors import InputError
from ssd_jax.weights.mappings.types import Use


class Structure(NamedTuple):
    """What distinguishes the two networks."""

    image_size: int
    extras: tuple[tuple[int, int, int, int, int], ...]
    aspect_ratios: tuple[tuple[int, ...], ...]
    steps: tuple[int, ...]


SSD300 = Structure(
    300,
    ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
    ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    (8, 16, 32, 64, 100, 300),
)
SSD512 = Structure(
    512,
    ((256, 512, 3, 2, 1), *((128, 256, 3, 2, 1),) * 3, (128, 256, 4, 1, 1)),
    ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    (8, 16, 32, 64, 128, 256, 512),
)
STRUCTURES = {len(structure.extras): structure for structure in (SSD300, SSD512)}

# (ratios, first) of priors.caffe_sizes, by tiling and size of the image.
PERCENTAGES = {
    ("voc", 300): ((20, 90), (10, 20)),
    ("coco", 300): ((15, 90), (7, 15)),
    ("voc", 512): ((15, 90), (7, 15)),
    ("coco", 512): ((10, 90), (4, 10)),
}
COCO_CLASSES = (81, 91)  # with the background; torchvision counts the gaps in COCO's ids as classes
TILING_NOTE = (
    "the sizes of default boxes leave no trace in weights: {tiling}'s are taken for {classes} classes; "
    "detectors for VOC that began as ones for COCO keep COCO's (tiling='coco')"
)
BOXES_NOTE = (
    "default boxes a cell: {found}, where the published networks have {expected}; the configuration leaves their sizes "
    "open, so set model.min_sizes, max_sizes, aspect_ratios and steps, or model.shapes"
)


def structure_of(stages: int, arrays: Mapping[str, np.ndarray], uses: Sequence[Use]) -> Structure:
    """Returns the network of so many extra stages.

    Raises:
      InputError: if there is none, or the kernels of the stages are not its.
    """
    if stages not in STRUCTURES:
        raise InputError(f"expected 4 extra stages (SSD300) or 5 (SSD512) in the weights, found {stages}")
    structure = STRUCTURES[stages]
    for use in uses:
        group, layer, leaf = use.target.split("/")[-3:]
        if group != "extras" or leaf != "kernel":
            continue
        stage, part = layer.removeprefix("conv").split("_")
        side = 1 if part == "1" else structure.extras[int(stage) - 6][2]
        found = arrays[use.target].shape[:2]
        if found != (side, side):
            raise InputError(
                f"{use.source}: expected a {side}x{side} kernel for {layer} of SSD{structure.image_size}, "
                f"got {found[0]}x{found[1]}"
            )
    return structure


def count_classes(arrays: Mapping[str, np.ndarray], uses: Sequence[Use]) -> tuple[int, tuple[int, ...]]:
    """Returns the number of classes with the background, and of each map the default boxes a cell.

    Raises:
      InputError: if the heads do not agree.
    """
    sources = {use.target: use.source for use in uses}
    names = [path.removesuffix("_mbox_loc/kernel") for path in arrays if path.endswith("_mbox_loc/kernel")]
    classes, boxes = 0, []
    for name in names:
        location, confidence = (f"{name}_mbox_{part}/kernel" for part in ("loc", "conf"))
        values, scores = arrays[location].shape[-1], arrays[confidence].shape[-1]
        if values == 0 or values % 4:
            raise InputError(f"{sources[location]}: expected 4 outputs for each default box, got {values}")
        boxes.append(values // 4)
        classes = classes or scores // boxes[-1]
        if scores != classes * boxes[-1] or classes < 2:
            raise InputError(
                f"{sources[confidence]}: expected {boxes[-1]} x {max(classes, 2)} outputs, boxes a cell x classes, "
                f"got {scores}"
            )
    return classes, tuple(boxes)


def config_of(
    structure: Structure,
    num_classes: int,
    boxes: tuple[int, ...],
    *,
    tiling: str = "",
    cut_sides: bool,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the overrides of ``model`` for a network, and sentences about what could not be known.

    Args:
      structure: of :func:`structure_of`.
      num_classes, boxes: of :func:`count_classes`.
      tiling: "voc" or "coco"; "" = COCO's for 81 or 91 classes, else VOC's.
      cut_sides: whether no default box is wider or higher than the image, as in all PyTorch versions, which do not
        truncate sizes to whole pixels either. The original does the latter and not the former.
    """
    size = structure.image_size
    config: dict[str, Any] = {
        "model.backbone": "vgg16",
        "model.image_size": (size, size),
        "model.extras": structure.extras,
        "model.sources": (),
    }
    expected = tuple(2 + 2 * len(ratios) for ratios in structure.aspect_ratios)
    if boxes != expected:
        return config, (BOXES_NOTE.format(found=boxes, expected=expected),)
    taken = tiling or ("coco" if num_classes in COCO_CLASSES else "voc")
    notes = () if tiling else (TILING_NOTE.format(tiling=taken.upper(), classes=num_classes),)
    ratios, first = PERCENTAGES[taken, size]
    low, high = priors.caffe_sizes(size, num_levels=len(boxes), ratios=ratios, first=first)
    if cut_sides:
        shapes = tuple(
            tuple((min(width, size), min(height, size)) for width, height in priors.box_shapes([a], [b], ratios))
            for a, b, ratios in zip(low, high, structure.aspect_ratios, strict=True)
        )
        stated = {"min_sizes": (), "max_sizes": (), "aspect_ratios": (), "shapes": shapes}
    else:
        stated = {"min_sizes": low, "max_sizes": high, "aspect_ratios": structure.aspect_ratios, "shapes": ()}
        stated["truncate_sizes"] = True
    stated["steps"] = structure.steps
    return config | {f"model.{key}": value for key, value in stated.items()}, notes
