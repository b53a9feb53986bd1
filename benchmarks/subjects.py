"""What is timed: our networks at the sizes of the paper, with random weights and random photographs."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from ssd_jax import models, parallel, priors
from ssd_jax.models import layers, summary, vgg
from ssd_jax.types import Batch

CLASSES = 21  # VOC and background
SPARSE = 20  # detections an image
OBJECTS, SLOTS = 8, 16  # an image; what is left over is padding

# Options of models.build. SSD300's are its defaults; SSD512's are those of configs/ssd512_voc.py, which is not read
# here because recipes need ml_collections (tests/test_benchmarks.py compares).
_SIZES_512 = priors.caffe_sizes(512, num_levels=7, ratios=(15, 90), first=(7, 15))
NETWORKS: dict[str, dict[str, Any]] = {
    "SSD300": dict(image_size=(300, 300)),
    "SSD512": dict(
        image_size=(512, 512),
        extras=((256, 512, 3, 2, 1), *[(128, 256, 3, 2, 1)] * 3, (128, 256, 4, 1, 1)),
        min_sizes=_SIZES_512[0],
        max_sizes=_SIZES_512[1],
        aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        steps=(8, 16, 32, 64, 128, 256, 512),
    ),
    "SSD300, no atrous": dict(  # as configs/paper_table2.py:no_atrous
        image_size=(300, 300),
        backbone="vgg16_full",
        sources=("conv4_3_norm", "conv5_3", "fc7", "conv6_2", "conv7_2", "conv8_2"),
        extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0)),
    ),
    "tiny": dict(  # shows that a script works; its figures mean nothing
        image_size=(48, 48),
        width_multiplier=0.125,
        extras=(),
        min_sizes=(10, 24),
        max_sizes=(24, 40),
        aspect_ratios=((2,), (2,)),
        steps=(),
    ),
}


class Case(NamedTuple):
    """One row of a table."""

    question: str  # "forward", "train step", "detect"
    network: str  # of NETWORKS
    batch: int
    precision: str  # "float32" (TF32 on a GPU that has it) or "bfloat16"
    scene: str = ""  # what the detector sees, see detect.py; which part of the network, see forward.py


class Subject(NamedTuple):
    """Something ready to be timed."""

    call: Callable[[], Any]  # starts the work once
    wait: Callable[[Any], Any]  # until its result is there
    values: Callable[[Any], list[np.ndarray]]  # the result on the host, to be looked at before anything is timed
    compile_seconds: float | None = None
    flops: float = 0.0  # of one call, from the layer table: two a multiply-accumulate; 0 = not counted
    details: dict[str, Any] = {}  # more for the JSON


def image_size(name: str) -> tuple[int, int]:
    """Returns (height, width) of the input of a network."""
    return NETWORKS[name]["image_size"]


@functools.cache
def build(
    name: str, precision: str, axis_name: str | None = None, *, remat: bool = False
) -> tuple[models.Model, np.ndarray]:
    """Builds a network and its default boxes."""
    model = models.build(num_classes=CLASSES, axis_name=axis_name, dtype=precision, remat=remat, **NETWORKS[name])
    return model, priors.default_boxes(model.levels, image_size(name))


@functools.cache
def variables(name: str) -> Any:
    """Returns random variables of a network, on the host; they are float32 whatever it computes in."""
    model, _ = build(name, "float32")
    return jax.device_get(parallel.compile(model.init)(jax.random.key(0)))


def build_base(name: str, precision: str) -> Callable[[Any, jax.Array], Any]:
    """Returns base(variables of the network, images [B, H, W, 3] of zero mean) -> the maps of VGG-16."""
    options = layers.LayerOptions(dtype=jnp.dtype(precision))
    module = vgg.Vgg16(width_multiplier=NETWORKS[name].get("width_multiplier", 1.0), options=options)
    return lambda variables, images: module.apply({"params": variables["params"]["backbone"]}, images, False)


@functools.cache
def forward_flops(name: str, part: str = "") -> float:
    """Returns the operations of one image's forward pass: two for each multiply-accumulate of a convolution.

    Args:
      name: of NETWORKS.
      part: what the names of the layers begin with, "backbone" say; "" = all.
    """
    # A network of its own: JAX does not trace a function again that it has traced, and the layers are seen in tracing.
    model = models.build(num_classes=CLASSES, **NETWORKS[name])
    found = summary.layers(model, image_size(name))
    return 2.0 * sum(layer.macs for layer in found if layer.name.startswith(part))


def random_batch(case: Case) -> Batch:
    """Returns noisy photographs of VOC's usual size, with objects of 20 to 60 % of the side."""
    rng = np.random.default_rng(0)
    canvas, size = ((64, 64), (48, 64)) if case.network == "tiny" else ((500, 500), (375, 500))
    photographs = np.zeros((case.batch, *canvas, 3), np.uint8)
    photographs[:, : size[0], : size[1]] = rng.integers(0, 256, (case.batch, *size, 3))
    low = rng.uniform(0, 0.4, (case.batch, SLOTS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.2, 0.6, low.shape)], axis=-1)
    labels = rng.integers(1, CLASSES, (case.batch, SLOTS))
    labels[:, OBJECTS:] = 0
    return Batch(
        canvas=photographs,
        size=np.tile(np.array(size, np.int32), (case.batch, 1)),
        boxes=np.where(labels[..., None] > 0, boxes, 0).astype(np.float32),
        labels=labels.astype(np.int32),
        ignored=np.zeros(labels.shape, bool),
        index=np.arange(case.batch, dtype=np.uint32),
        epoch=np.zeros(case.batch, np.uint32),
        valid=np.ones(case.batch, bool),
    )


def compile_apart(function: Any, *arguments: Any) -> tuple[Any, float]:  # compiled, seconds
    """Compiles a jitted function for these arguments before it is run."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def on_host(result: Any) -> list[np.ndarray]:
    """Returns the arrays of a result of JAX."""
    return jax.tree.leaves(jax.device_get(result))


def matrix_tflops(precision: str, *, quick: bool) -> float:
    """Measures the rate of a large square matrix product, the ceiling that a network is held against."""
    side = 256 if quick else 2048 if jax.default_backend() == "cpu" else 8192
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (side, side), jnp.dtype(precision)) for key in keys)  # zeros would run faster
    product = parallel.compile(jnp.matmul)
    effort = timing.QUICK if quick else timing.FULL._replace(seconds=0.5)
    result = timing.measure(lambda: product(a, b), jax.block_until_ready, effort=effort)
    return 2 * side**3 / result.median / 1e12


def background_bias(detections: Callable[[float], float]) -> float:
    """Returns the bias on the background's logits that leaves at most SPARSE detections an image.

    Args:
      detections: of an image, on average, as a falling function of the bias.
    """
    low, high = 0.0, 1e4  # logits of random weights reach some hundreds
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if detections(middle) > SPARSE else (low, middle)
    return high
