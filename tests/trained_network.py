"""A small network with random weights that finds objects everywhere: for tests of what is done with a trained one."""

import functools

import jax
import numpy as np

from configs import ssd_demo
from ssd_jax import recipe as recipes
from ssd_jax.weights import TrainedNetwork

NAMES = ("background", "disk", "square", "triangle")
SIZE = (64, 64)
CANVAS = (96, 128)


def recipe(**settings) -> dict:
    """Returns the recipe of the demo, smaller; settings by section__key."""
    config = ssd_demo.get_config()
    config.loader.canvas = CANVAS
    config.model.update(image_size=SIZE, width_multiplier=0.125)
    config.detect.max_detections = 20
    for name, value in settings.items():
        section, key = name.split("__")
        config[section][key] = value
    return recipes.plain(config)


@functools.cache
def trained(seed: int = 0) -> TrainedNetwork:
    """Returns the network. Its scores are far apart, so that their order does not hang on the last digit."""
    settings = recipe()
    model, default_boxes = recipes.build_network(settings, len(NAMES))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(seed)

    def value(path, leaf):
        *_, layer, kind = (str(key.key) for key in path)
        if kind != "kernel":
            return np.full(leaf.shape, kind in ("scale", "var"), np.float32)
        deviation = 0.001 if "_mbox" in layer else np.sqrt(2 / np.prod(leaf.shape[:3]))
        return random.normal(0, deviation, leaf.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(value, shapes)
    origin = {"file": "/home/me/vgg.pth", "sha256": "0" * 64}
    return TrainedNetwork("tiny", NAMES, variables, default_boxes, settings, origin, {"step": 7}, 7)


def pictures(count: int, *, seed: int = 0) -> list[np.ndarray]:
    """Returns pictures of different sizes, all but the first of which fit the canvas: blobs, not noise."""
    random = np.random.default_rng(seed)
    sizes = [(150, 100), (96, 128), (40, 30), (64, 64), (17, 90)]
    found = []
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        coarse = random.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), dtype=np.uint8)
        rows, columns = (
            np.arange(side) * len_ // side for side, len_ in zip((height, width), coarse.shape, strict=False)
        )
        found.append(np.ascontiguousarray(coarse[rows][:, columns]))
    return found
