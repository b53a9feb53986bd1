"""The SSD network: a backbone, extra feature layers, and one small head for each feature map.

To add a backbone, write a Flax module in its own file and add one line to ``BACKBONES``. It has

* fields ``sources: tuple[str, ...]``, ``width_multiplier: float`` and ``options: layers.LayerOptions``;
* ``feature_names``, a class attribute: the names of all maps it can return, fine to coarse, after
  which heads are named;
* ``__call__(images, train)``, [B, H, W, 3] normalized -> the feature maps named by ``sources``, in
  their order; what none of them needs has no parameters. The extras continue the last of
  ``feature_names``. What a map needs before the heads read it (VGG's L2 normalization of conv4_3)
  the backbone does itself.

Parameters lie flat under names from which those of the network's published weights can be told;
batch normalizations end in ``layers.BATCH_NORM_SUFFIX``. A backbone that needs batch normalization
has it whatever ``options.batch_norm`` says. Everything else, the heads, the priors' grids and the
summary, follows from what the backbone returns.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssd_jax import priors
from ssd_jax.models import layers, mobilenet, resnet, ssdlite, tilings, vgg
from ssd_jax.models.heads import Extras, Heads, Stage
from ssd_jax.types import Predictions


class Backbone(Protocol):
    """What the network asks of a backbone."""

    feature_names: ClassVar[tuple[str, ...]]
    sources: tuple[str, ...]

    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]: ...


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "vgg16": vgg.Vgg16,
    "vgg16_full": vgg.Vgg16Full,
    "resnet34": resnet.ResNet34,
    "resnet50": resnet.ResNet50,
    "mobilenet_v2": mobilenet.MobileNetV2,
}
EXTRA_BLOCKS: dict[str, Callable[..., nn.Module]] = {"conv": Extras, "inverted_residual": ssdlite.InvertedResiduals}
HEADS: dict[str, Callable[..., nn.Module]] = {"conv": Heads, "separable": ssdlite.SeparableHeads}

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
    level_names: tuple[str, ...] = ()  # of the feature maps
    # Of the variables, as jax.eval_shape(init, key) finds them, which takes longer.
    shapes: Mapping[str, Any] = MappingProxyType({})


class SSD(nn.Module):
    """The whole network, from RGB images to raw predictions."""

    backbone: Backbone
    extras: nn.Module
    heads: nn.Module
    sources: tuple[str, ...]  # names of the feature maps that the heads read
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def features(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Returns the feature maps of the heads: images [B, H, W, 3] RGB in 0..255 -> [B, h, w, C] each."""
        # The normalization is part of the network, so that training, evaluation and export agree.
        images = (images.astype(jnp.float32) - jnp.float32(self.mean)) / jnp.float32(self.std)
        maps = self.backbone(images, train)
        named = dict(zip(self.backbone.sources, maps, strict=True))
        named |= {f"{Extras.name_of(k)}_2": x for k, x in enumerate(self.extras(maps[-1], train))}
        return tuple(named[name] for name in self.sources)

    def __call__(self, images: jax.Array, train: bool = False) -> Predictions:
        return self.heads(self.features(images, train), train)

    def everything(self, images: jax.Array) -> tuple[tuple[jax.Array, ...], Predictions]:
        """Returns the feature maps, too."""
        maps = self.features(images)
        return maps, self.heads(maps, False)


def build(
    *,
    num_classes: int,
    axis_name: str | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    backbone: str = "vgg16",
    width_multiplier: float = 1.0,
    batch_norm: bool = False,
    dtype: str = "float32",
    remat: bool = False,
    extras: Sequence[Sequence[int]] = SSD300_EXTRAS,
    extra_blocks: str = "conv",
    sources: Sequence[str] = (),
    heads: str = "conv",
    min_sizes: Sequence[float | Sequence[float]] = (30, 60, 111, 162, 213, 264),
    max_sizes: Sequence[float | Sequence[float]] = (60, 111, 162, 213, 264, 315),
    aspect_ratios: Sequence[Sequence[float]] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    truncate_sizes: bool = True,
    shapes: Sequence[Sequence[Sequence[float]]] = (),
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
      batch_norm: whether batch normalization follows each convolution of extras and of the VGG
        backbones. The other backbones, inverted residuals and separable heads have it either way.
      dtype: in which the convolutions compute, "float32" or "bfloat16". Parameters, norms and
        outputs are float32 either way.
      remat: whether ``apply_train`` keeps only the inputs of the blocks of backbone and extras for its
        gradient and computes the rest a second time. Values and names of parameters are the same.
      extras: (bottleneck channels, output channels, kernel, stride, padding) of each extra stage.
      extra_blocks: what an extra stage is made of, one of ``EXTRA_BLOCKS``.
      sources: names of the feature maps that the heads read, fine to coarse: of the backbone's
        ``feature_names`` and "conv6_2", "conv7_2", ... of the extras; () = all. Layers that lead to none
        of them are not built.
      heads: one of ``HEADS``.
      min_sizes, max_sizes, aspect_ratios: for each source, see ``priors.caffe_shapes``; sizes in
        pixels. Instead of one min size and one max size a source may have several, or () max sizes.
      truncate_sizes: whether sizes are cut to whole pixels as in Caffe.
      shapes: for each source the (width, height) in pixels of the boxes of a cell, in place of
        min_sizes, max_sizes and aspect_ratios, which then have to be ().
      steps: for each source the distance of box centers in pixels, one number or (y, x);
        empty: image size / map size.
      mean, std: of the RGB channels, on the scale 0..255: the network sees (image - mean) / std.

    Raises:
      ValueError: for an unknown name, a number of sizes, ratios, shapes or steps that is not the
        number of sources, a number out of range, or an extra stage that no feature map is left for.
    """
    _check_choice("backbone", backbone, BACKBONES)
    _check_choice("extra_blocks", extra_blocks, EXTRA_BLOCKS)
    _check_choice("heads", heads, HEADS)
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype: expected 'float32' or 'bfloat16', got {dtype!r}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size: expected (height, width) in pixels, got {image_size}")
    if not 0 < width_multiplier < math.inf:
        raise ValueError(f"width_multiplier: expected a positive factor, got {width_multiplier}")
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, background and one class, got {num_classes}")
    names, from_backbone, stages = _select(backbone, tuple(map(_stage, extras)), sources)
    rule = priors.caffe_shapes if truncate_sizes else priors.box_shapes
    sizes = {"min_sizes": min_sizes, "max_sizes": max_sizes, "aspect_ratios": aspect_ratios}
    boxes = tilings.stated_shapes(names, shapes, **sizes) if shapes else tilings.ruled_shapes(rule, names, **sizes)
    options = layers.LayerOptions(batch_norm, axis_name, jnp.dtype(dtype), remat)
    module = SSD(
        backbone=BACKBONES[backbone](sources=from_backbone, width_multiplier=width_multiplier, options=options),
        extras=EXTRA_BLOCKS[extra_blocks](stages, width_multiplier, options),
        heads=HEADS[heads](names, tuple(map(len, boxes)), num_classes, options),
        sources=names,
        mean=_channels("mean", mean, above=-math.inf),
        std=_channels("std", std, above=0),
    )
    grids, variables = _traced(module, tuple(image_size))  # pyright: ignore[reportArgumentType]
    levels = tilings.levels(grids, image_size, boxes, tilings.per_map("steps", steps, names) if steps else ())
    functions = _functions(module, tuple(image_size))  # pyright: ignore[reportArgumentType]
    own = jax.tree.map(lambda shape: shape, variables)  # a copy of what is remembered
    return Model(*functions, levels, names, own)


# Both are remembered because JAX traces a network in 0.3 s, and what it has traced once it knows by the function.
# Programs that build the same network in several places (to read a checkpoint, to detect) trace it once.
@functools.lru_cache(maxsize=8)
def _functions(module: SSD, image_size: tuple[int, int]) -> tuple[Callable, Callable, Callable]:
    """Returns init, apply and apply_train of a network."""
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

    return init, apply, apply_train


@functools.lru_cache(maxsize=8)
def _traced(module: SSD, image_size: tuple[int, int]) -> tuple[tuple[tuple[int, int], ...], dict[str, Any]]:
    """Returns rows and columns of the feature maps, and the shapes of the variables."""
    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    run = functools.partial(module.init_with_output, jax.random.key(0), method=SSD.everything)
    (maps, _), variables = jax.eval_shape(run, images)
    return tuple((x.shape[1], x.shape[2]) for x in maps), dict(variables)


def feature_names(backbone: str, num_extras: int) -> tuple[str, ...]:
    """Returns the names of all feature maps that heads can read, fine to coarse."""
    _check_choice("backbone", backbone, BACKBONES)
    extras = (f"{Extras.name_of(k)}_2" for k in range(num_extras))
    return (*BACKBONES[backbone].feature_names, *extras)  # pyright: ignore[reportFunctionMemberAccess]


def _select(
    backbone: str, stages: tuple[Stage, ...], sources: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Stage, ...]]:
    """Returns the names of the sources, those that the backbone has to return, and the extra stages needed."""
    known = feature_names(backbone, len(stages))
    names = tuple(sources) or known
    if names != tuple(name for name in known if name in names):
        raise ValueError(f"sources: expected some of {', '.join(known)} in this order, got {', '.join(names)}")
    own = known[: len(known) - len(stages)]
    stages = stages[: max(0, known.index(names[-1]) + 1 - len(own))]
    return names, tuple(name for name in own if name in names or (stages and name == own[-1])), stages


def _check_choice(argument: str, value: str, choices: Mapping[str, Any]) -> None:
    if value not in choices:
        raise ValueError(f"{argument}: expected one of {sorted(choices)}, got {value!r}")


def _stage(stage: Sequence[int]) -> Stage:
    if len(stage) != 5:
        raise ValueError(
            f"extras: expected (bottleneck channels, output channels, kernel, stride, padding), got {stage}"
        )
    bottleneck, channels, kernel, stride, padding = stage
    if not all(isinstance(number, int) for number in stage) or min(stage[:4]) < 1 or padding < 0:
        raise ValueError(f"extras: expected whole numbers, positive but for the padding, got {stage}")
    return bottleneck, channels, kernel, stride, padding


def _channels(argument: str, values: Sequence[float], *, above: float) -> tuple[float, ...]:
    if len(values) != 3 or not all(above < value < math.inf for value in values):
        kind = "positive" if above == 0 else "finite"
        raise ValueError(f"{argument}: expected 3 {kind} values, of red, green and blue, got {values}")
    return tuple(float(v) for v in values)
