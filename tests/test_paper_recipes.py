"""The recipes of the paper, and those with other backbones, against the table of facts."""

import functools
import importlib
import itertools
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import recipe_facts as facts

from ssd_jax import recipe
from ssd_jax.commands import setup

ROOT = Path(__file__).parent.parent
VOC_MAPS = facts.TABLE_3_MAPS["6"].split()
NUM_CLASSES = {"coco": 81, "ilsvrc": 201}  # with the background; of the others 21


def variants(name: str) -> tuple[str, ...]:
    return getattr(importlib.import_module(f"configs.{name}"), "VARIANTS", ("",))


NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
ALL = [(name, variant) for name in NAMES for variant in variants(name)]


def load(name: str, variant: str = "") -> dict:
    get_config = importlib.import_module(f"configs.{name}").get_config
    return recipe.plain(get_config(variant) if variant else get_config())


class Built(NamedTuple):
    options: dict
    levels: tuple
    maps: list[str]
    boxes: int
    parameters: int


@functools.cache
def built(name: str, variant: str = "") -> Built:
    options = load(name, variant)
    model, default_boxes = recipe.build_network(options, NUM_CLASSES.get(options["data"]["kind"], 21))
    params = jax.eval_shape(model.init, jax.random.key(0))["params"]
    return Built(options, model.levels, list(model.level_names), len(default_boxes), setup.parameter_count(params))


def check_tiling(levels, tiling: facts.Tiling):
    assert tuple(level.grid for level in levels) == tuple((cells, cells) for cells in tiling.cells)
    assert tuple(len(level.shapes) for level in levels) == tiling.boxes
    assert tuple(level.shapes[0] for level in levels) == tuple((size, size) for size in tiling.sizes)
    squares = [level.shapes[1] for level in levels]
    np.testing.assert_allclose(squares, np.stack([tiling.squares] * 2, axis=1), atol=0.005)  # as the facts are rounded


def check_schedule(options, schedule: facts.Schedule):
    rate = recipe.build_optimizer(options).schedule
    for drops, (start, end) in enumerate(itertools.pairwise((0, *schedule.boundaries, schedule.num_steps))):
        assert [float(rate(start)), float(rate(end - 1))] == pytest.approx([1e-3 * 0.1**drops] * 2)
    assert options["train"]["num_steps"] == schedule.num_steps
    assert options["train"]["batch_size"] == 32
    solver = {key: options["optimizer"][key] for key in ("algorithm", "momentum", "weight_decay", "warmup_steps")}
    assert solver == {"algorithm": "caffe_sgd", "momentum": 0.9, "weight_decay": 5e-4, "warmup_steps": 0}


def test_the_sums_of_parameters_agree_with_the_published_ones():
    for count, millions in facts.PUBLISHED_MILLIONS.items():
        assert count / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("variant", variants("paper_voc"))
def test_the_recipes_of_the_voc_tables(variant):
    size, data, *expand = variant.split("-")
    union = data.removesuffix("+coco")
    network = built("paper_voc", variant)
    options = network.options
    tilings = {"300": (facts.VOC_300, facts.COCO_300), "512": (facts.VOC_512, facts.COCO_512)}
    check_tiling(network.levels, tilings[size][data != union])
    assert network.boxes == {"300": 8732, "512": 24564}[size]
    assert network.parameters == {"300": facts.ssd300(21), "512": facts.ssd512(21)}[size]
    assert network.maps == (VOC_MAPS if size == "300" else [*VOC_MAPS, "conv10_2"])
    check_schedule(options, facts.SCHEDULES[union][len(expand)])
    assert (options["data"]["train_split"], options["data"]["eval_split"]) == (union, "VOC2007/test")
    assert options["augment"]["expand_probability"] == (0.5 if expand else 0.0)
    assert options["augment"]["crop_probability"] == 1.0
    assert options["loader"]["difficult"] == "train"
    # With 07++12 the images evaluated on have been trained on: no step may be chosen by them.
    chosen = ("area", options["train"]["num_steps"]) if union == "07++12" else ("11point", 10_000)
    assert (options["evaluate"]["metric"], options["train"]["evaluate_every"]) == chosen


def test_the_expanded_07_12_variants_are_the_recipes_of_their_own_files():
    for size in ("300", "512"):
        own, variant = load(f"ssd{size}_voc"), load("paper_voc", f"{size}-07+12-expand")
        assert own["data"].pop("train_split") == "VOC2007/trainval+VOC2012/trainval"
        assert variant["data"].pop("train_split") == "07+12"  # the reader's name of the same union
        assert own == variant


@pytest.mark.parametrize("variant", ["", "plain"])
@pytest.mark.parametrize(
    ("name", "tiling", "boxes", "parameters", "expanded"),
    [
        ("ssd300_coco", facts.COCO_300, 8732, facts.ssd300(81), facts.EXPANDED_COCO_300),
        ("ssd512_coco", facts.COCO_512, 24564, facts.ssd512(81), facts.EXPANDED_COCO_512),
    ],
)
def test_the_recipes_for_coco(name, variant, tiling, boxes, parameters, expanded):
    network = built(name, variant)
    options = network.options
    check_tiling(network.levels, tiling)
    assert (network.boxes, network.parameters) == (boxes, parameters)
    check_schedule(options, facts.PLAIN_COCO if variant else expanded)
    assert options["augment"]["expand_probability"] == (0.0 if variant else 0.5)
    assert options["data"]["kind"] == "coco"
    assert (options["data"]["train_split"], options["data"]["eval_split"]) == ("train2017", "val2017")
    assert options["loader"]["canvas"] == (640, 640)
    assert options["loader"]["crowd"] == "drop"


@pytest.mark.parametrize(("variant", "tiling"), [("", facts.VOC_300), ("coco_boxes", facts.COCO_300)])
def test_the_recipe_for_ilsvrc(variant, tiling):
    network = built("ssd300_ilsvrc", variant)
    check_tiling(network.levels, tiling)
    assert (network.boxes, network.parameters) == (8732, facts.ssd300(201))
    check_schedule(network.options, facts.ILSVRC)
    assert network.options["data"]["kind"] == "ilsvrc"
    assert network.options["loader"]["difficult"] == "drop"
    assert network.options["evaluate"]["metric"] == "area"


@pytest.mark.parametrize("column", facts.TABLE_2)
def test_the_columns_of_table_2(column):
    network = built("paper_table2", column)
    assert (network.boxes, network.parameters) == (facts.TABLE_2[column], facts.TABLE_2_PARAMETERS[column])
    check_schedule(network.options, facts.PLAIN_VOC)
    ratios = {round(width / height, 3) for level in network.levels for width, height in level.shapes}
    thirds, halves = {3.0, 0.333}, {2.0, 0.5}
    assert ratios == {1.0} | (halves if column != "squares" else set()) | (
        thirds if column not in ("squares", "no_thirds") else set()
    )
    augment = network.options["augment"]
    drawn = [augment[f"{name}_probability"] for name in ("flip", "distort", "crop", "expand")]
    assert drawn == ([0.5, 0, 0, 0] if column == "flip_only" else [0.5, 0.5, 1, 0])
    backbone = "vgg16_full" if column == "no_atrous" else "vgg16"
    assert network.options["model"]["backbone"] == backbone
    if column == "no_atrous":
        assert network.maps == ["conv4_3_norm", "conv5_3", "fc7", "conv6_2", "conv7_2", "conv8_2"]
        check_tiling(network.levels, facts.VOC_300)  # the same cells and boxes, from other maps


@pytest.mark.parametrize("variant", variants("paper_table3"))
def test_the_rows_of_table_3(variant):
    row, *inside = variant.split("-")
    network = built("paper_table3", variant)
    assert (network.boxes, network.parameters) == (facts.TABLE_3[row], facts.TABLE_3_PARAMETERS[row])
    assert " ".join(network.maps) == facts.TABLE_3_MAPS[row]
    assert network.options["loss"]["ignore_cross_boundary"] == bool(inside)
    check_schedule(network.options, facts.PLAIN_VOC)
    sizes = [min(width, height) for level in network.levels for width, height in level.shapes if width == height]
    # From the finest to the coarsest scale of the full network, whatever maps are left.
    assert min(sizes) == 30 and max(sizes) >= 264


def test_the_rule_leaves_one_tiling_for_each_row_of_table_3():
    from configs import paper_table3

    def total(scales):
        places = range(len(scales)) if len(scales) > 1 else [1]
        own = [facts.BOXES_300[place] for place in places]
        boxes = [own[k] if count == 1 else 4 * count for k, count in enumerate(scales)]
        return sum(facts.CELLS_300[place] ** 2 * count for place, count in zip(places, boxes, strict=True))

    def stackings(num_maps):
        every = itertools.product(range(1, 7), repeat=num_maps)
        return [counts for counts in every if sum(counts) == 6 and list(counts) == sorted(counts)]

    for row, boxes in facts.TABLE_3.items():
        found = [scales for scales in stackings(int(row)) if total(scales) == boxes]
        assert found == ([paper_table3.SCALES[row]] if row != "2" else [])


def test_the_default_boxes_of_multibox():
    network = built("ssd300_multibox")
    assert (network.boxes, network.parameters) == (facts.MULTIBOX, facts.MULTIBOX_PARAMETERS)
    assert [(level.grid, len(level.shapes)) for level in network.levels] == [
        ((side, side), 11 if side > 1 else 1) for side in (8, 6, 4, 3, 2, 1)
    ]
    assert all(len(set(level.shapes)) == len(level.shapes) for level in network.levels)


@pytest.mark.parametrize(
    ("name", "tiling", "parameters"),
    [
        ("ssd300_resnet50_coco", facts.COCO_300, facts.RESNET_50_PARAMETERS),
        ("ssd300_resnet34_coco", facts.COCO_300, facts.RESNET_34_PARAMETERS),
        ("ssdlite300_mobilenetv2_voc", facts.LITE_300, facts.LITE_PARAMETERS),
    ],
)
def test_the_recipes_with_other_backbones(name, tiling, parameters):
    network = built(name)
    check_tiling(network.levels, tiling)
    assert (network.boxes, network.parameters) == (tiling.total, parameters)


def test_the_schedules_stated_in_epochs():
    # 117,266 / 32 = 3664.6 steps an epoch; the warm-up starts at 0, the rates are NVIDIA's and MLPerf's at batch 32.
    for name, peak, drops, steps in (
        ("ssd300_resnet50_coco", 2.6e-3, (157_576, 197_886), 238_197),  # 43, 54 and 65 epochs
        ("ssd300_resnet34_coco", 2.5e-3, (146_582, 183_228), 256_519),  # 40, 50 and 70
    ):
        options = load(name)
        rate = recipe.build_optimizer(options).schedule
        points = (0, 150, 300, drops[0] - 1, drops[0], drops[1])
        expected = [0, peak / 2, peak, peak, peak / 10, peak / 100]
        assert [float(rate(step)) for step in points] == pytest.approx(expected)
        assert options["train"]["num_steps"] == steps


@pytest.mark.parametrize("name", [name for name in NAMES if variants(name) != ("",)])
def test_an_unknown_variant_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"variant: expected .*'nonsense'"):
        load(name, "nonsense")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_its_command_and_what_was_measured(name):
    text = importlib.import_module(f"configs.{name}").__doc__ or ""
    commands = re.findall(r"--config=configs/(\w+)\.py(?::([\w+-]+))?", text)
    assert name in [command for command, _ in commands]
    assert all(variant in variants(command) for command, variant in commands)
    assert re.search(r"[Mm]easured", text)


def test_the_page_of_figures_names_every_recipe_and_no_other():
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    named = set(re.findall(r"configs/(\w+)\.py(?::([\w+-]+))?", page))
    assert named <= {(name, variant) for name, variant in ALL} | {(name, "") for name in NAMES}
    assert {case for case in ALL if case[0] != "ssd300_custom"} <= named
    stated = re.findall(r"configs/(\w+)\.py(?::(\w+))?` \|(?: [^|]+ \| [^|]+ \|)? (\d+) \| ([\d,]+) \|", page)
    assert len(stated) == 5 + 4  # Table 2, and what is not in the paper
    for name, variant, boxes, parameters in stated:
        network = built(name, variant)
        assert (network.boxes, network.parameters) == (int(boxes), int(parameters.replace(",", "")))
