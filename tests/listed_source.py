"""A source made of a plain list of examples, for the tests of ssd_jax.inspection."""

import numpy as np

from ssd_jax.types import Example

NAMES = ("background", "cat", "dog", "owl")


class Listed(list):
    """Examples in a list, with the attributes that sources have."""

    def __init__(self, examples, class_names=NAMES):
        super().__init__(examples)
        self.class_names, self.name = class_names, "a list"
        self.max_boxes = max((len(example.labels) for example in examples), default=0)


def example(name, boxes=(), labels=(), *, image=None, size=(80, 100), difficult=None, crowd=None):
    """Returns an example; an image that is not given is noise, another one for each name."""
    if image is None:
        image = np.random.default_rng(sum(map(ord, name))).integers(0, 256, (*size, 3), dtype=np.uint8)
    count = len(labels)
    return Example(
        image,
        size,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        np.zeros(count, bool) if difficult is None else np.array(difficult, bool),
        np.zeros(count, bool) if crowd is None else np.array(crowd, bool),
        name,
    )
