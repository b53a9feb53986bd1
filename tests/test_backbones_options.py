"""Which feature maps the heads read, and which shapes their boxes have."""

import math

import jax
import numpy as np
import pytest
from test_model_numerics import plain_variables
from test_models import SMALL

from ssd_jax import models, priors
from ssd_jax.models import ssd, vgg


# Shapes of SMALL for each choice of sources of its maps conv4_3_norm, fc7, conv6_2, conv7_2.
def small_with(*sources):
    order = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2")
    chosen = [order.index(source) for source in sources]
    per_map = {key: tuple(SMALL[key][k] for k in chosen) for key in ("min_sizes", "max_sizes", "aspect_ratios")}
    return models.build(**{**SMALL, **per_map, "sources": sources})


@pytest.mark.parametrize(
    ("sources", "backbone", "extras"),
    [
        (("conv4_3_norm", "conv6_2"), {"conv4_3_norm", "fc7"}, {"conv6_1", "conv6_2"}),
        (("fc7",), {"fc7"}, None),
        (("conv7_2",), {"fc7"}, {"conv6_1", "conv6_2", "conv7_1", "conv7_2"}),
        (("conv4_3_norm",), {"conv4_3_norm"}, None),
    ],
)
def test_only_what_leads_to_the_sources_is_built(sources, backbone, extras):
    params = jax.eval_shape(small_with(*sources).init, jax.random.key(0))["params"]
    assert {"conv4_3_norm", "fc7"} & set(params["backbone"]) == backbone
    assert ("conv5_1" in params["backbone"]) == ("fc7" in backbone)
    assert (set(params["extras"]) if "extras" in params else None) == extras
    assert set(params["heads"]) == {f"{source}_mbox_{part}" for source in sources for part in ("loc", "conf")}


def test_a_source_is_predicted_from_as_in_the_whole_network():
    whole, part = models.build(**SMALL), small_with("conv4_3_norm", "conv6_2")
    images = np.random.default_rng(0).uniform(0, 255, (2, *SMALL["image_size"], 3)).astype(np.float32)
    variables = plain_variables(whole)
    expected = jax.jit(whole.apply)(variables, images)
    needed = jax.eval_shape(part.init, jax.random.key(0))["params"]
    params = {group: {m: variables["params"][group][m] for m in modules} for group, modules in needed.items()}
    found = jax.jit(part.apply)({"params": params}, images)
    ends = np.cumsum([level.num_boxes for level in whole.levels])
    rows = np.r_[: ends[0], ends[1] : ends[2]]
    # The same sums, which XLA may order in another way: 20 roundings of 2^-24.
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b[:, rows], rtol=0, atol=1e-5 * np.abs(b).max())


def test_backbones_return_the_maps_asked_for():
    first = ssd.BACKBONES["mobilenet_v2"](sources=("block14_expand",))
    variables = jax.eval_shape(lambda: first.init(jax.random.key(0), np.zeros((1, 64, 64, 3)), False))
    assert "block14_expand" in variables["params"]
    assert not {"block14_depthwise", "block15_expand", "conv_last"} & set(variables["params"])
    middle = vgg.Vgg16Full(sources=("conv5_3",), width_multiplier=0.125)
    shapes = jax.eval_shape(lambda: middle.init_with_output(jax.random.key(0), np.zeros((1, 64, 64, 3)), False))
    assert [x.shape for x in shapes[0]] == [(1, 4, 4, 64)]
    assert not {"fc6", "fc7", "conv4_3_norm"} & set(shapes[1]["params"])


def test_stacked_sizes_come_in_turn():
    model = models.build(**{**SMALL, "min_sizes": ((6, 10), 12, 24, (36,)), "max_sizes": ((10, 12), (), 36, (48,))})
    assert model.levels[0].shapes == priors.caffe_shapes([6], [10], [2]) + priors.caffe_shapes([10], [12], [2])
    assert model.levels[1].shapes == priors.caffe_shapes([12], [], [2])
    assert model.levels[3].shapes == priors.caffe_shapes([36], [48], [2])


def test_sizes_need_not_be_truncated():
    sizes = {**SMALL, "min_sizes": (6.4, 12.8, 24, 36), "max_sizes": (12.8, 24, 36, 48)}
    assert models.build(**sizes).levels[0].shapes[:2] == ((6, 6), (72**0.5, 72**0.5))
    # The paper's equation 4 for four maps of an image of 64 pixels, s_k = 0.2, ..., 0.8.
    linear = [64 * s for s in priors.linear_scales(0.2, 0.8, 4)]
    levels = models.build(**{**SMALL, "min_sizes": linear, "truncate_sizes": False}).levels
    np.testing.assert_allclose([level.shapes[0][0] for level in levels], (12.8, 25.6, 38.4, 51.2), rtol=1e-12)


def test_stated_shapes():
    none = dict(min_sizes=(), max_sizes=(), aspect_ratios=())
    shapes = [[[6, 6], [9.5, 4.25]], [[12, 12]], [[24, 24]] * 3, [[36, 40]]]
    model = models.build(**{**SMALL, **none, "shapes": shapes})
    assert model.levels[0].shapes == ((6.0, 6.0), (9.5, 4.25))
    assert [len(level.shapes) for level in model.levels] == [2, 1, 3, 1]
    assert isinstance(hash(model.levels), int)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(sources=("fc8",)),
            "sources: expected some of conv4_3_norm, fc7, .* in this order, got fc8",
        ),
        (dict(sources=("fc7", "conv4_3_norm")), "sources: .*got fc7, conv4_3_norm"),
        (dict(sources=("fc7", "fc7")), "sources: .*got fc7, fc7"),
        (dict(sources=("fc7",)), r"min_sizes: expected 1 values.*\(fc7\), got 4"),
        (dict(heads="dense"), r"heads: expected one of \['conv', 'separable'\], got 'dense'"),
        (dict(extra_blocks="dense"), "extra_blocks: expected one of .*got 'dense'"),
        (dict(min_sizes=((6, 10), 12, 24, 36)), "max_sizes: expected none or 2 as min_sizes has, got 1"),
        (dict(shapes=(((6, 6),),) * 4), r"min_sizes: expected \(\) beside shapes"),
        (dict(shapes=(((6, 6),),) * 3, min_sizes=(), max_sizes=(), aspect_ratios=()), "shapes: expected 4 values"),
        (dict(shapes=((),) * 4, min_sizes=(), max_sizes=(), aspect_ratios=()), "shapes: expected .*of conv4_3_norm"),
        (dict(shapes=(((6, 0),),) * 4, min_sizes=(), max_sizes=(), aspect_ratios=()), r"shapes: .*\(\(6, 0\),\)"),
        (dict(shapes=(((6, math.inf),),) * 4, min_sizes=(), max_sizes=(), aspect_ratios=()), "shapes: .*inf"),
        (dict(shapes=(((math.nan, 6),),) * 4, min_sizes=(), max_sizes=(), aspect_ratios=()), "shapes: .*nan"),
    ],
)
def test_misuse_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        models.build(**{**SMALL, **changes})
