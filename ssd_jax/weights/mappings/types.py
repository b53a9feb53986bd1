"""What the mappings of foreign weights say: arrays under our names, where they come from, what they expect."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Normalization(NamedTuple):
    """What a network is fed: (image - mean) / std, of RGB images in 0..255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


# The mean of the original SSD, (104, 117, 123) in the order BGR there (ssd_pascal.py, mean_value).
CAFFE = Normalization((123.0, 117.0, 104.0))
# That of torchvision's classifiers, stated for images in 0..1 (ImageClassification in transforms/_presets.py).
IMAGENET = Normalization((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))


class Use(NamedTuple):
    """An array of a file and what became of it."""

    source: str  # its name in the file
    target: str  # its path in our variables
    how: tuple[str, ...] = ()  # what was done to it, in order; () = nothing


class Options(NamedTuple):
    """What the contents of some files do not tell."""

    channels: str = ""  # "rgb" or "bgr": in which order the first convolution expects colors; "" = the family's
    tiling: str = ""  # "voc" or "coco": sizes of a detector's default boxes; "" = by its number of classes
    normalization: Normalization | None = None  # what a file of ours says of the images it was trained for


class Converted(NamedTuple):
    """What a file means, in our terms; whether it fits a network is not asked yet."""

    family: str
    arrays: Mapping[str, np.ndarray]  # by path as train.py --summary lists it; "batch_stats/..." of running statistics
    uses: tuple[Use, ...]  # one for each of arrays, in their order
    left: tuple[str, ...]  # names in the file that no array comes from
    normalization: Normalization | None  # of the images that the first convolution expects, in RGB; None: not known
    first: str  # path of the first convolution; where the normalization is not known, of any array
    config: Mapping[str, Any]  # overrides ("model.image_size": ...) under which the network is the same as there
    num_classes: int | None = None  # of a detector, with the background
    notes: tuple[str, ...] = ()  # sentences for the person who converts


class Family(NamedTuple):
    """A kind of file that is known."""

    name: str
    description: str
    find: Callable[[Mapping[str, np.ndarray]], str | None]  # what stands before its names ("" = nothing); None: another
    convert: Callable[[Mapping[str, np.ndarray], str, Options], Converted]  # tensors, the prefix, options


class Report(NamedTuple):
    """What became of the arrays of a file in a network of ours."""

    family: str
    uses: tuple[Use, ...]
    numbers: int  # of all arrays of the network that come from the file
    left: tuple[tuple[str, str], ...]  # (name in the file, reason) of what was not used
    random: tuple[str, ...]  # paths in our variables that the file did not fill
    notes: tuple[str, ...]
