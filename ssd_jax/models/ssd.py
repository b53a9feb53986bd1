"""The SSD network: a backbone, extra feature layers, and one small head for each feature map.

To add a backbone, write a Flax module in its own file and add one line to ``BACKBONES``. It has

* fields ``width_multiplier: float`` and ``options: layers.LayerOptions``;
* ``feature_names``, a class attribute: the names of the maps it returns, after which heads are named;
* ``__call__(images, train)``, [B, H, W, 3] mean-subtracted -> a tuple of feature maps, fine to
  coarse. The extras continue the last one. What a map needs before the heads read it (VGG's L2
  normalization of conv4_3) the backbone does itself.

Everything else, the heads, the priors' grids and the summary, follows from what it returns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssd_jax import priors
from ssd_jax.models import layers, vgg
from ssd_jax.models.heads import Extras, Heads
from ssd_jax.types import Predictions


class Backbone(Protocol):
    """What the network asks of a backbone."""

    feature_names: ClassVar[tuple[str, ...]]

    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]: ...


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "vgg16": vgg.Vgg16,
}

IMAGE_SIZE = (300, 300)
# (bottleneck channels, output channels, kernel, stride, padding) of conv6_2, conv7_2, ... of SSD300.
SSD300_EXTRAS = ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0))

Variables = Mapping[str, Any]  # {"params": ...} and, with batch normalization, "batch_stats"


class Model(NamedTuple):
    """A network as pure functions; its module system stays inside this package."""

    init: Callable[[jax.Array], dict[str, Any]]  # key -> variables
    apply: Callable[[Variables, jax.Array], Predictions]  # variables, images [B, H, W, 3]
    # As apply, but with the statistics of the batch. Also returns the variables other than "params"
    # after the step: {"batch_stats": ...} with batch normalization, else {}.
    apply_train: Callable[[Variables, jax.Array], tuple[Predictions, dict[str, Any]]]
    levels: tuple[priors.PriorLevel, ...]  # of the feature maps, fine to coarse


class SSD(nn.Module):
    """The whole network, from RGB images to raw predictions."""

    backbone: Backbone
    extras: Extras
    heads: Heads
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def features(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Returns the feature maps of the heads: images [B, H, W, 3] RGB in 0..255 -> [B, h, w, C] each."""
        # The normalization is part of the network, so that training, evaluation and export agree.
        images = (images.astype(jnp.float32) - jnp.float32(self.mean)) / jnp.float32(self.std)
        maps = self.backbone(images, train)
        return (*maps, *self.extras(maps[-1], train))

    def __call__(self, images: jax.Array, train: bool = False) -> Predictions:
        return self.heads(self.features(images, train))


def build(
    *,
    num_classes: int,
    axis_name: str | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    backbone: str = "vgg16",
    width_multiplier: float = 1.0,
    batch_norm: bool = False,
    dtype: str = "float32",
    extras: Sequence[Sequence[int]] = SSD300_EXTRAS,
    min_sizes: Sequence[float] = (30, 60, 111, 162, 213, 264),
    max_sizes: Sequence[float] = (60, 111, 162, 213, 264, 315),
    aspect_ratios: Sequence[Sequence[float]] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    steps: Sequence[float | tuple[float, float]] = (8, 16, 32, 64, 100, 300),
    mean: Sequence[float] = (123.0, 117.0, 104.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Model:
    """Builds a network and the levels of its default boxes. The defaults are SSD300 on VOC.

    Args:
      num_classes: with the background.
      axis_name: mapped axis over which batch normalization averages its statistics in
        ``apply_train``; None outside of a map.
      image_size: (height, width) in pixels.
      backbone: one of ``BACKBONES``.
      width_multiplier: factor on the channels of backbone and extras, rounded to multiples of 8.
      batch_norm: whether batch normalization follows each convolution of backbone and extras.
      dtype: in which the convolutions compute, "float32" or "bfloat16". Parameters, norms and
        outputs are float32 either way.
      extras: (bottleneck channels, output channels, kernel, stride, padding) of each extra stage.
      min_sizes, max_sizes, aspect_ratios: for each feature map, see ``priors.caffe_shapes``;
        sizes in pixels.
      steps: for each feature map the distance of box centers in pixels, one number or (y, x);
        empty: image size / map size.
      mean, std: of the RGB channels, on the scale 0..255: the network sees (image - mean) / std.

    Raises:
      ValueError: for an unknown backbone or dtype, a number of sizes, ratios or steps that is not
        the number of feature maps, or an extra stage that no feature map is left for.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone: expected one of {sorted(BACKBONES)}, got {backbone!r}")
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype: expected 'float32' or 'bfloat16', got {dtype!r}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size: expected (height, width) in pixels, got {image_size}")
    if not width_multiplier > 0:
        raise ValueError(f"width_multiplier: expected a positive factor, got {width_multiplier}")
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, background and one class, got {num_classes}")
    options = layers.LayerOptions(batch_norm, axis_name, jnp.dtype(dtype))
    base = BACKBONES[backbone](width_multiplier=width_multiplier, options=options)
    stages = tuple(_stage(stage) for stage in extras)
    names = (*base.feature_names, *(f"{Extras.name_of(k)}_2" for k in range(len(stages))))
    shapes = _box_shapes(names, min_sizes, max_sizes, aspect_ratios)
    module = SSD(
        backbone=base,
        extras=Extras(stages, width_multiplier, options),
        heads=Heads(names, tuple(map(len, shapes)), num_classes, options.dtype),
        mean=_channels("mean", mean),
        std=_channels("std", std),
    )
    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)

    def init(key: jax.Array) -> dict[str, Any]:
        # XLA's own generator: JAX's default one takes the CPU 0.2 s to compile for each of the 36 kernels (7 s
        # against 2 s in all). In return, another kind of device may draw other numbers from the same key.
        key = jax.random.wrap_key_data(jax.random.bits(key, (4,), jnp.uint32), impl="rbg")
        # Runs the initializers only: the shapes come from an abstract forward pass.
        return dict(module.lazy_init(key, images))

    def apply(variables: Variables, images: jax.Array) -> Predictions:
        return module.apply(variables, images)  # pyright: ignore[reportReturnType]

    def apply_train(variables: Variables, images: jax.Array) -> tuple[Predictions, dict[str, Any]]:
        predictions, state = module.apply(variables, images, train=True, mutable=["batch_stats"])
        return predictions, dict(state)  # pyright: ignore[reportReturnType]

    maps = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, method=SSD.features)[0], images)
    levels = _levels(maps, image_size, shapes, _per_map("steps", steps, names) if steps else ())
    return Model(init, apply, apply_train, levels)


def _per_map(argument: str, values: Sequence[Any], names: Sequence[str]) -> Sequence[Any]:
    """Returns ``values``, or raises if there is not one for each feature map."""
    if len(values) != len(names):
        raise ValueError(
            f"{argument}: expected {len(names)} values, one for each feature map ({', '.join(names)}), "
            f"got {len(values)}: {values}"
        )
    return values


def _stage(stage: Sequence[int]) -> tuple[int, int, int, int, int]:
    if len(stage) != 5:
        raise ValueError(
            f"extras: expected (bottleneck channels, output channels, kernel, stride, padding), got {stage}"
        )
    bottleneck, channels, kernel, stride, padding = stage
    return bottleneck, channels, kernel, stride, padding


def _channels(argument: str, values: Sequence[float]) -> tuple[float, ...]:
    if len(values) != 3:
        raise ValueError(f"{argument}: expected 3 values, of red, green and blue, got {values}")
    return tuple(float(v) for v in values)


def _box_shapes(
    names: Sequence[str], min_sizes: Sequence[float], max_sizes: Sequence[float], aspect_ratios: Sequence[Any]
) -> list[tuple[tuple[float, float], ...]]:
    """Returns the shapes of the boxes of a cell of each feature map."""
    low = _per_map("min_sizes", min_sizes, names)
    high = _per_map("max_sizes", max_sizes, names)
    ratios = _per_map("aspect_ratios", aspect_ratios, names)
    return [priors.caffe_shapes([a], [b], r) for a, b, r in zip(low, high, ratios, strict=True)]


def _levels(
    maps: Sequence[jax.ShapeDtypeStruct],
    image_size: tuple[int, int],
    shapes: Sequence[tuple[tuple[float, float], ...]],
    steps: Sequence[Any],
) -> tuple[priors.PriorLevel, ...]:
    """Joins the grids of the feature maps with the steps (none: image size / grid) and box shapes."""
    grids = [(x.shape[1], x.shape[2]) for x in maps]
    if not steps:
        steps = [(image_size[0] / rows, image_size[1] / columns) for rows, columns in grids]
    pairs = [step if isinstance(step, Sequence) else (step, step) for step in steps]
    for grid, pair in zip(grids, pairs, strict=True):
        for cells, step, side in zip(grid, pair, image_size, strict=True):
            if (cells - 0.5) * step > side + step / 2:  # the original's own reach that far, not farther
                raise ValueError(
                    f"steps: {step:g} pixels carry the {cells} cells of a map beyond an image of {side} pixels; "
                    "give the steps of this image size, or () for image size / map size"
                )
    return tuple(
        priors.PriorLevel(grid, (float(y), float(x)), boxes)
        for grid, (y, x), boxes in zip(grids, pairs, shapes, strict=True)
    )
