"""Default boxes: golden rows worked out by hand from the original scripts, slow reference, equation 4."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_jax import priors

TWO, THREE = (2,), (2, 3)
GRIDS_300, STEPS_300, RATIOS_300 = (
    (38, 19, 10, 5, 3, 1),
    (8, 16, 32, 64, 100, 300),
    (TWO, THREE, THREE, THREE, TWO, TWO),
)
GRIDS_512, STEPS_512 = (64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, 512)
RATIOS_512 = (TWO, THREE, THREE, THREE, THREE, TWO, TWO)

# Arguments of caffe_sizes, and the lists of ssd_pascal.py, ssd_coco.py and the paper's footnotes 3 and 5.
SIZES = {
    "voc300": (
        {"image_size": 300, "num_levels": 6, "ratios": (20, 90), "first": (10, 20)},
        (30, 60, 111, 162, 213, 264),
        (60, 111, 162, 213, 264, 315),
    ),
    "coco300": (
        {"image_size": 300, "num_levels": 6, "ratios": (15, 90), "first": (7, 15)},
        (21, 45, 99, 153, 207, 261),
        (45, 99, 153, 207, 261, 315),
    ),
    "voc512": (
        {"image_size": 512, "num_levels": 7, "ratios": (15, 90), "first": (7, 15)},
        (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8),
        (76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    ),
    "coco512": (
        {"image_size": 512, "num_levels": 7, "ratios": (10, 90), "first": (4, 10)},
        (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8),
        (51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
    ),
}

# First, a middle and the last box of each level: index -> xyxy. In the comments: (row, column, shape) at the
# center ((column + 1/2) * step, (row + 1/2) * step) and the size, in pixels. The sizes of 512 are truncated to
# whole pixels, as the C++ layer does; a corner is (center -+ size / 2) / image size.
# fmt: off
GOLDEN = {
    "voc300": [
        (0, (-0.0366667, -0.0366667, 0.0633333, 0.0633333)),  # (0, 0, 0) at 4, 4; 30 x 30
        (2961, (0.4226227, 0.4492893, 0.5640440, 0.5907107)),  # (19, 18, 1) at 148, 156; sqrt(30 * 60)
        (5775, (0.9646447, 0.9292893, 1.0353553, 1.0707107)),  # (37, 37, 3) at 300, 300; 30 / sqrt 2, 30 * sqrt 2
        (5776, (-0.0733333, -0.0733333, 0.1266667, 0.1266667)),  # (0, 0, 0) at 8, 8; 60 x 60
        (6854, (0.2801283, 0.4489316, 0.6265384, 0.5644017)),  # (9, 8, 4) at 136, 152; 60 * sqrt 3, 60 / sqrt 3
        (7941, (0.9289316, 0.8134616, 1.0444017, 1.1598717)),  # (18, 18, 5) at 296, 296; 60 / sqrt 3, 60 * sqrt 3
        (7942, (-0.1316667, -0.1316667, 0.2383333, 0.2383333)),  # (0, 0, 0) at 16, 16; 111 x 111
        (8268, (0.2183705, 0.4558519, 0.7416295, 0.7174814)),  # (5, 4, 2) at 144, 176; 111 * sqrt 2, 111 / sqrt 2
        (8541, (0.9065235, 0.6929039, 1.1201431, 1.3337627)),  # (9, 9, 5) at 304, 304; 111 / sqrt 3, 111 * sqrt 3
        (8542, (-0.1633333, -0.1633333, 0.3766667, 0.3766667)),  # (0, 0, 0) at 32, 32; 162 x 162
        (8609, (0.0104035, 0.2237368, 0.6295965, 0.8429298)),  # (2, 1, 1) at 96, 160; sqrt(162 * 213)
        (8691, (0.8041154, 0.4923463, 1.1158846, 1.4276537)),  # (4, 4, 5) at 288, 288; 162 / sqrt 3, 162 * sqrt 3
        (8692, (-0.1883333, -0.1883333, 0.5216667, 0.5216667)),  # (0, 0, 0) at 50, 50; 213 x 213
        (8706, (-0.3353791, 0.2489771, 0.6687125, 0.7510229)),  # (1, 0, 2) at 50, 150; 213 * sqrt 2, 213 / sqrt 2
        (8727, (0.5823104, 0.3312875, 1.0843562, 1.3353791)),  # (2, 2, 3) at 250, 250; 213 / sqrt 2, 213 * sqrt 2
        (8728, (0.0600000, 0.0600000, 0.9400000, 0.9400000)),  # (0, 0, 0) at 150, 150; 264 x 264
        (8729, (0.0193754, 0.0193754, 0.9806246, 0.9806246)),  # (0, 0, 1) at 150, 150; sqrt(264 * 315)
        (8731, (0.1888730, -0.1222540, 0.8111270, 1.1222540)),  # (0, 0, 3) at 150, 150; 264 / sqrt 2, 264 * sqrt 2
    ],
    "coco300": [
        (0, (-0.0216667, -0.0216667, 0.0483333, 0.0483333)),  # (0, 0, 0) at 4, 4; 21 x 21
        (2961, (0.4420986, 0.4687652, 0.5445681, 0.5712348)),  # (19, 18, 1) at 148, 156; sqrt(21 * 45)
        (5775, (0.9752513, 0.9505025, 1.0247487, 1.0494975)),  # (37, 37, 3) at 300, 300; 21 / sqrt 2, 21 * sqrt 2
        (5776, (-0.0483333, -0.0483333, 0.1016667, 0.1016667)),  # (0, 0, 0) at 8, 8; 45 x 45
        (6854, (0.3234295, 0.4633654, 0.5832371, 0.5499679)),  # (9, 8, 4) at 136, 152; 45 * sqrt 3, 45 / sqrt 3
        (7941, (0.9433654, 0.8567629, 1.0299679, 1.1165705)),  # (18, 18, 5) at 296, 296; 45 / sqrt 3, 45 * sqrt 3
        (7942, (-0.1116667, -0.1116667, 0.2183333, 0.2183333)),  # (0, 0, 0) at 16, 16; 99 x 99
        (8268, (0.2466548, 0.4699940, 0.7133452, 0.7033393)),  # (5, 4, 2) at 144, 176; 99 * sqrt 2, 99 / sqrt 2
        (8541, (0.9180705, 0.7275450, 1.1085961, 1.2991217)),  # (9, 9, 5) at 304, 304; 99 / sqrt 3, 99 * sqrt 3
        (8542, (-0.1483333, -0.1483333, 0.3616667, 0.3616667)),  # (0, 0, 0) at 32, 32; 153 x 153
        (8609, (0.0233942, 0.2367275, 0.6166058, 0.8299391)),  # (2, 1, 1) at 96, 160; sqrt(153 * 207)
        (8691, (0.8127757, 0.5183270, 1.1072243, 1.4016730)),  # (4, 4, 5) at 288, 288; 153 / sqrt 3, 153 * sqrt 3
        (8692, (-0.1783333, -0.1783333, 0.5116667, 0.5116667)),  # (0, 0, 0) at 50, 50; 207 x 207
        (8706, (-0.3212370, 0.2560482, 0.6545703, 0.7439518)),  # (1, 0, 2) at 50, 150; 207 * sqrt 2, 207 / sqrt 2
        (8727, (0.5893815, 0.3454297, 1.0772852, 1.3212370)),  # (2, 2, 3) at 250, 250; 207 / sqrt 2, 207 * sqrt 2
        (8728, (0.0650000, 0.0650000, 0.9350000, 0.9350000)),  # (0, 0, 0) at 150, 150; 261 x 261
        (8729, (0.0221140, 0.0221140, 0.9778860, 0.9778860)),  # (0, 0, 1) at 150, 150; sqrt(261 * 315)
        (8731, (0.1924086, -0.1151829, 0.8075914, 1.1151829)),  # (0, 0, 3) at 150, 150; 261 / sqrt 2, 261 * sqrt 2
    ],
    "voc512": [
        (0, (-0.0263672, -0.0263672, 0.0419922, 0.0419922)),  # (0, 0, 0) at 4, 4; 35 x 35
        (8317, (0.4418211, 0.4574461, 0.5425539, 0.5581789)),  # (32, 31, 1) at 252, 260; sqrt(35 * 76)
        (16383, (0.9680188, 0.9438501, 1.0163562, 1.0405249)),  # (63, 63, 3) at 508, 508; 35 / sqrt 2, 35 * sqrt 2
        (16384, (-0.0585938, -0.0585938, 0.0898438, 0.0898438)),  # (0, 0, 0) at 8, 8; 76 x 76
        (19550, (0.3558244, 0.4727748, 0.6129256, 0.5584752)),  # (16, 15, 4) at 248, 264; 76 * sqrt 3, 76 / sqrt 3
        (22527, (0.9415248, 0.8558244, 1.0272252, 1.1129256)),  # (31, 31, 5) at 504, 504; 76 / sqrt 3, 76 * sqrt 3
        (22528, (-0.1181641, -0.1181641, 0.1806641, 0.1806641)),  # (0, 0, 0) at 16, 16; 153 x 153
        (23340, (0.2574466, 0.4255983, 0.6800534, 0.6369017)),  # (8, 7, 2) at 240, 272; 153 * sqrt 2, 153 / sqrt 2
        (24063, (0.8824858, 0.7099573, 1.0550142, 1.2275427)),  # (15, 15, 5) at 496, 496; 153 / sqrt 3, 153 * sqrt 3
        (24064, (-0.1621094, -0.1621094, 0.2871094, 0.2871094)),  # (0, 0, 0) at 32, 32; 230 x 230
        (24275, (0.1780025, 0.3030025, 0.6969975, 0.8219975)),  # (4, 3, 1) at 224, 288; sqrt(230 * 307)
        (24447, (0.8078217, 0.5484652, 1.0671783, 1.3265348)),  # (7, 7, 5) at 480, 480; 230 / sqrt 3, 230 * sqrt 3
        (24448, (-0.1748047, -0.1748047, 0.4248047, 0.4248047)),  # (0, 0, 0) at 64, 64; 307 x 307
        (24506, (-0.1442770, 0.4519077, 0.8942770, 0.7980923)),  # (2, 1, 4) at 192, 320; 307 * sqrt 3, 307 / sqrt 3
        (24543, (0.7019077, 0.3557230, 1.0480923, 1.3942770)),  # (3, 3, 5) at 448, 448; 307 / sqrt 3, 307 * sqrt 3
        (24544, (-0.1250000, -0.1250000, 0.6250000, 0.6250000)),  # (0, 0, 0) at 128, 128; 384 x 384
        (24553, (-0.1604352, 0.3395648, 0.6604352, 1.1604352)),  # (1, 0, 1) at 128, 384; sqrt(384 * 460)
        (24559, (0.4848350, 0.2196699, 1.0151650, 1.2803301)),  # (1, 1, 3) at 384, 384; 384 / sqrt 2, 384 * sqrt 2
        (24560, (0.0507812, 0.0507812, 0.9492188, 0.9492188)),  # (0, 0, 0) at 256, 256; 460 x 460
        (24562, (-0.1352912, 0.1823544, 1.1352912, 0.8176456)),  # (0, 0, 2) at 256, 256; 460 * sqrt 2, 460 / sqrt 2
        (24563, (0.1823544, -0.1352912, 0.8176456, 1.1352912)),  # (0, 0, 3) at 256, 256; 460 / sqrt 2, 460 * sqrt 2
    ],
    "coco512": [
        (0, (-0.0117188, -0.0117188, 0.0273438, 0.0273438)),  # (0, 0, 0) at 4, 4; 20 x 20
        (8317, (0.4609986, 0.4766236, 0.5233764, 0.5390014)),  # (32, 31, 1) at 252, 260; sqrt(20 * 51)
        (16383, (0.9783768, 0.9645661, 1.0059982, 1.0198089)),  # (63, 63, 3) at 508, 508; 20 / sqrt 2, 20 * sqrt 2
        (16384, (-0.0341797, -0.0341797, 0.0654297, 0.0654297)),  # (0, 0, 0) at 8, 8; 51 x 51
        (19550, (0.3981108, 0.4868703, 0.5706392, 0.5443797)),  # (16, 15, 4) at 248, 264; 51 * sqrt 3, 51 / sqrt 3
        (22527, (0.9556203, 0.8981108, 1.0131297, 1.0706392)),  # (31, 31, 5) at 504, 504; 51 / sqrt 3, 51 * sqrt 3
        (22528, (-0.0986328, -0.0986328, 0.1611328, 0.1611328)),  # (0, 0, 0) at 16, 16; 133 x 133
        (23340, (0.2850680, 0.4394090, 0.6524320, 0.6230910)),  # (8, 7, 2) at 240, 272; 133 * sqrt 2, 133 / sqrt 2
        (24063, (0.8937621, 0.7437864, 1.0437379, 1.1937136)),  # (15, 15, 5) at 496, 496; 133 / sqrt 3, 133 * sqrt 3
        (24064, (-0.1474609, -0.1474609, 0.2724609, 0.2724609)),  # (0, 0, 0) at 32, 32; 215 x 215
        (24275, (0.1911429, 0.3161429, 0.6838571, 0.8088571)),  # (4, 3, 1) at 224, 288; sqrt(215 * 296)
        (24447, (0.8162790, 0.5738370, 1.0587210, 1.3011630)),  # (7, 7, 5) at 480, 480; 215 / sqrt 3, 215 * sqrt 3
        (24448, (-0.1640625, -0.1640625, 0.4140625, 0.4140625)),  # (0, 0, 0) at 64, 64; 296 x 296
        (24506, (-0.1256709, 0.4581097, 0.8756709, 0.7918903)),  # (2, 1, 4) at 192, 320; 296 * sqrt 3, 296 / sqrt 3
        (24543, (0.7081097, 0.3743291, 1.0418903, 1.3756709)),  # (3, 3, 5) at 448, 448; 296 / sqrt 3, 296 * sqrt 3
        (24544, (-0.1191406, -0.1191406, 0.6191406, 0.6191406)),  # (0, 0, 0) at 128, 128; 378 x 378
        (24553, (-0.1572160, 0.3427840, 0.6572160, 1.1572160)),  # (1, 0, 1) at 128, 384; sqrt(378 * 460)
        (24559, (0.4889782, 0.2279563, 1.0110218, 1.2720437)),  # (1, 1, 3) at 384, 384; 378 / sqrt 2, 378 * sqrt 2
        (24560, (0.0507812, 0.0507812, 0.9492188, 0.9492188)),  # (0, 0, 0) at 256, 256; 460 x 460
        (24562, (-0.1352912, 0.1823544, 1.1352912, 0.8176456)),  # (0, 0, 2) at 256, 256; 460 * sqrt 2, 460 / sqrt 2
        (24563, (0.1823544, -0.1352912, 0.8176456, 1.1352912)),  # (0, 0, 3) at 256, 256; 460 / sqrt 2, 460 * sqrt 2
    ],
}
# fmt: on


def paper_levels(name):
    """The tiling of the original scripts, from the integer-percent rule to the levels."""
    arguments = dict(SIZES[name][0])
    image_size = arguments.pop("image_size")
    min_sizes, max_sizes = priors.caffe_sizes(image_size, **arguments)
    grids, steps, ratios = (
        (GRIDS_300, STEPS_300, RATIOS_300) if image_size == 300 else (GRIDS_512, STEPS_512, RATIOS_512)
    )
    levels = [
        priors.PriorLevel(grid=(grid, grid), step=(step, step), shapes=priors.caffe_shapes([low], [high], ratio))
        for grid, step, low, high, ratio in zip(grids, steps, min_sizes, max_sizes, ratios, strict=True)
    ]
    return tuple(levels), (image_size, image_size)


@pytest.mark.parametrize("name", SIZES)
def test_caffe_sizes(name):
    arguments, min_sizes, max_sizes = SIZES[name]
    arguments = dict(arguments)
    result = priors.caffe_sizes(arguments.pop("image_size"), **arguments)
    np.testing.assert_allclose(result[0], min_sizes, rtol=1e-12)
    np.testing.assert_allclose(result[1], max_sizes, rtol=1e-12)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_rows(name):
    levels, image_size = paper_levels(name)
    result = priors.default_boxes(levels, image_size)
    for index, expected in GOLDEN[name]:
        # The literals have seven decimals; float32 near 1 has a spacing of 1.2e-7.
        np.testing.assert_allclose(result[index], expected, atol=2e-7, err_msg=f"{name}[{index}]")


@pytest.mark.parametrize(
    ("name", "total"), [("voc300", 8732), ("coco300", 8732), ("voc512", 24564), ("coco512", 24564)]
)
def test_totals_and_whole_tiling(name, total):
    levels, image_size = paper_levels(name)
    result = priors.default_boxes(levels, image_size)
    assert result.shape == (total, 4)
    assert result.dtype == np.float32
    _, min_sizes, max_sizes = SIZES[name]
    ratios = RATIOS_300 if image_size[0] == 300 else RATIOS_512
    layers = [
        (level.grid, level.step, [low], [high], ratio)
        for level, low, high, ratio in zip(levels, min_sizes, max_sizes, ratios, strict=True)
    ]
    # One rounding to float32 of coordinates up to 1.5.
    np.testing.assert_allclose(result, reference.prior_boxes(image_size, layers), atol=2e-7)


def test_shapes_of_one_level_by_hand():
    root = 2**0.5
    expected = [(30, 30), (1800**0.5, 1800**0.5), (30 * root, 30 / root), (30 / root, 30 * root)]
    np.testing.assert_allclose(priors.caffe_shapes([30], [60], [2]), expected, rtol=1e-12)


def test_shapes_without_max_sizes():
    np.testing.assert_allclose(priors.caffe_shapes([16], [], [4]), [(16, 16), (32, 8), (8, 32)], rtol=1e-12)


def test_shapes_of_several_min_sizes_come_in_turn():
    first, second = priors.caffe_shapes([10], [20], [2, 3]), priors.caffe_shapes([40], [90], [2, 3])
    assert tuple(priors.caffe_shapes([10, 40], [20, 90], [2, 3])) == tuple(first) + tuple(second)


def test_shapes_truncate_as_the_original_layer_does():
    # 35.84 -> 35, 76.8 -> 76: not 36 and 77, and not the script's fractions
    np.testing.assert_allclose(
        priors.caffe_shapes([35.84], [76.8], []), [(35, 35), ((35 * 76) ** 0.5,) * 2], rtol=1e-12
    )


def test_linear_scales_of_equation_4():
    # s_k = 0.2 + (0.9 - 0.2) / (6 - 1) * (k - 1) = 0.2 + 0.14 (k - 1)
    scales = priors.linear_scales(0.2, 0.9, 6)
    assert len(scales) == 6
    np.testing.assert_allclose(scales, (0.2, 0.34, 0.48, 0.62, 0.76, 0.9), rtol=1e-12)


def test_levels_are_hashable():
    levels, _ = paper_levels("voc300")
    assert hash(levels) == hash(paper_levels("voc300")[0])


def test_rectangular_image_by_hand():
    # 4 x 10 px cells in an image 20 px high and 40 px wide; shapes are (width, height)
    level = priors.PriorLevel(grid=(2, 3), step=(4, 10), shapes=((8, 2), (2, 8)))
    result = priors.default_boxes([level], (20, 40))
    assert result.shape == (12, 4)
    # first cell: center x 5, y 2; 8 wide, 2 high
    np.testing.assert_allclose(result[0], (1 / 40, 1 / 20, 9 / 40, 3 / 20), atol=1e-7)
    np.testing.assert_allclose(result[1], (4 / 40, -2 / 20, 6 / 40, 6 / 20), atol=1e-7)
    # columns run before rows: row 0, column 1 has center x 15, y 2
    np.testing.assert_allclose(result[2], (11 / 40, 1 / 20, 19 / 40, 3 / 20), atol=1e-7)
    # the last cell, row 1, column 2: center x 25, y 6
    np.testing.assert_allclose(result[11], (24 / 40, 2 / 20, 26 / 40, 10 / 20), atol=1e-7)


def test_offset_moves_the_center():
    level = priors.PriorLevel(grid=(1, 1), step=(10, 20), shapes=((4, 2),))
    # center x 0.25 * 20 = 5, y 0.25 * 10 = 2.5
    result = priors.default_boxes([level], (10, 20), offset=0.25)
    np.testing.assert_allclose(result, [(3 / 20, 1.5 / 10, 7 / 20, 3.5 / 10)], atol=1e-7)


def test_clip_is_off_by_default():
    level = priors.PriorLevel(grid=(1, 1), step=(10, 10), shapes=((20, 4),))
    np.testing.assert_allclose(priors.default_boxes([level], (10, 10)), [(-0.5, 0.3, 1.5, 0.7)], atol=1e-7)
    np.testing.assert_allclose(priors.default_boxes([level], (10, 10), clip=True), [(0, 0.3, 1, 0.7)], atol=1e-7)


def test_centers_beyond_the_image_are_moved_to_its_border_if_wanted():
    # Steps of 8 and 12 px in an image 20 px high and 30 wide: centers at y 4, 12, 20, 28 and x 6, 18, 30, 42. Those of
    # 28 and 42 px are moved to 20 and 30; the boxes, 6 wide and 4 high, stay so, half beyond the border.
    level = priors.PriorLevel(grid=(4, 4), step=(8, 12), shapes=((6, 4),))
    expected = [(x - 3, y - 2, x + 3, y + 2) for y in (4, 12, 20, 20) for x in (6, 18, 30, 30)]
    result = priors.default_boxes([level], (20, 30), clip_centers=True)
    np.testing.assert_allclose(result, np.divide(expected, (30, 20, 30, 20)), atol=1e-7)
    plain = priors.default_boxes([level], (20, 30))
    np.testing.assert_allclose(plain[15], (39 / 30, 26 / 20, 45 / 30, 30 / 20), atol=1e-7)
    # Both: moved, then cut.
    both = priors.default_boxes([level], (20, 30), clip=True, clip_centers=True)
    np.testing.assert_allclose(both[15], (27 / 30, 18 / 20, 1, 1), atol=1e-7)


def test_a_negative_offset_is_moved_to_the_border_too():
    level = priors.PriorLevel(grid=(1, 1), step=(10, 10), shapes=((4, 4),))
    result = priors.default_boxes([level], (10, 10), offset=-0.5, clip_centers=True)
    np.testing.assert_allclose(result, [(-0.2, -0.2, 0.2, 0.2)], atol=1e-7)


@pytest.mark.parametrize("option", ["clip", "clip_centers"])
def test_what_is_not_true_or_false_is_refused(option):
    level = priors.PriorLevel(grid=(1, 1), step=(10, 10), shapes=((4, 4),))
    with pytest.raises(ValueError, match=f"^{option}: expected True or False, got 'False'"):
        priors.default_boxes([level], (10, 10), **{option: "False"})


def test_a_shape_that_there_is_already_is_not_made_again():
    # prior_box_layer.cpp: its list of ratios starts with 1, and a ratio within 1e-6 of a listed one is not added.
    expected = [(16, 16), (32, 8), (8, 32), (48, 16 / 3), (16 / 3, 48)]
    for ratios in ([4, 9], [1, 4, 9], [4, 0.25, 9], [4, 4, 9, 1 / 9], [4, 9 + 1e-7, 9]):
        np.testing.assert_allclose(priors.box_shapes([16], [], ratios), expected, rtol=1e-7)
    np.testing.assert_allclose(priors.box_shapes([16], [], [0.25]), [(16, 16), (8, 32), (32, 8)], rtol=1e-12)


sizes = st.lists(st.floats(4, 60), min_size=1, max_size=3)


@settings(max_examples=30)
@given(
    image_size=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    grids=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
    step=st.tuples(st.floats(1, 30), st.floats(1, 30)),
    min_sizes=sizes,
    with_max=st.booleans(),
    ratios=st.lists(st.sampled_from([2, 3, 1.5]), max_size=3, unique=True),
    offset=st.floats(0, 1),
)
def test_default_boxes_equal_reference(image_size, grids, step, min_sizes, with_max, ratios, offset):
    max_sizes = [size * 1.7 for size in min_sizes] if with_max else []
    shapes = priors.caffe_shapes(min_sizes, max_sizes, ratios)
    levels = [priors.PriorLevel(grid=grid, step=step, shapes=shapes) for grid in grids]
    layers = [(grid, step, min_sizes, max_sizes, ratios) for grid in grids]
    result = priors.default_boxes(levels, image_size, offset=offset)
    # Coordinates reach 15 (sizes of 100 and centers of 120 px in images of 20): spacing 1e-6.
    np.testing.assert_allclose(result, reference.prior_boxes(image_size, layers, offset), rtol=2e-7, atol=1e-6)
