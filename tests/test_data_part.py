"""Parts of a collection by hash of the ids, "all[:80%]": disjoint, complete, stable, fair."""

import math
import os

import pytest
from voc_folder import add_image, annotation, one_object

from ssd_jax import data
from ssd_jax.data.part import EVERYTHING, Part, hash_fraction, parse_part
from ssd_jax.errors import InputError

NAMES = [f"{2000 + number // 100}_{number:06d}" for number in range(60)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Sixty small images; "rare" is on a single one of them."""
    root = tmp_path_factory.mktemp("part")
    for name in NAMES:
        add_image(root, name, annotation(one_object("rare" if name == NAMES[7] else "cat")))
    return root


def read(root, split, **options):
    return data.make_source(kind="voc", root=str(root), split=split, **options)


@pytest.mark.parametrize(
    "cuts", [("[:80%]", "[80%:]"), ("[:10%]", "[10%:55.5%]", "[55.5%:100%]"), ("[0%:50%]", "[50%:]")]
)
def test_parts_are_disjoint_and_complete_and_keep_the_order(root, cuts):
    parts = [read(root, f"all{cut}").ids() for cut in cuts]
    assert sorted(sum(parts, [])) == sorted(NAMES)
    for ids in parts:
        assert ids and ids == [name for name in NAMES if name in ids]


def test_classes_are_those_of_the_whole(root):
    """So that training and evaluation number them alike, although "rare" is in one part only."""
    low, high = read(root, "all[:50%]"), read(root, "all[50%:]")
    assert low.class_names == high.class_names == ("background", "cat", "rare")
    assert (NAMES[7] in low.ids()) != (NAMES[7] in high.ids())


def test_examples_and_ground_truth_are_those_of_the_part(root):
    source = read(root, "all[:30%]")
    assert len(source) == len(source.ids()) == len(data.ground_truth(source)) == len(source.sizes)
    assert [source[index].id for index in range(len(source))] == source.ids()
    assert source.name.endswith("all[0%:30%]")


def test_adding_images_moves_none(root, tmp_path):
    before = read(root, "all[:80%]").ids()
    for name in [*NAMES, *(f"new_{number}" for number in range(20))]:
        add_image(tmp_path, name)
    after = read(tmp_path, "all[:80%]").ids()
    assert [name for name in after if not name.startswith("new")] == before
    assert 0 < len(after) - len(before) < 20


@pytest.mark.parametrize("pattern", ["{}", "{:06d}", "VOC2012/2008_{:06d}", "photo ({}).jpg", "猫{}"])
@pytest.mark.parametrize("part", [Part(0, 0.8), Part(0.8, 1), Part(0.25, 0.35)], ids=str)
def test_proportions_are_those_of_chance(pattern, part):
    """A part of p of n ids is binomial: 5 standard deviations are passed once in 1.7 million draws."""
    n, p = 4000, part.high - part.low
    share = sum(part.holds(pattern.format(number)) for number in range(n)) / n
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_hashes_do_not_depend_on_the_process():
    assert hash_fraction("a") == int("433911c6eb0d", 16) / 2**48  # printf a | b2sum -l 48
    assert 0 <= hash_fraction("") < 1


def test_the_lower_bound_belongs_to_a_part_and_the_upper_does_not():
    here = hash_fraction("a")
    assert Part(here, 1).holds("a") and not Part(0, here).holds("a")


def test_parsing():
    assert parse_part("train") == ("train", EVERYTHING)
    assert parse_part("VOC2007/train+VOC2012/val[:80%]") == ("VOC2007/train+VOC2012/val", Part(0, 0.8))
    assert parse_part(" all[ 12.5% : 80 % ] ") == ("all", Part(0.125, 0.8))
    assert parse_part("all[:]") == ("all", EVERYTHING) and str(EVERYTHING) == ""
    assert parse_part("files[a-z]/x") == ("files[a-z]/x", EVERYTHING)  # no colon: part of a name
    assert str(Part(0.125, 0.8)) == "[12.5%:80%]"


@pytest.mark.parametrize(
    "part", ["[80%:20%]", "[50%:50%]", "[:101%]", "[-5%:]", "[80:]", "[:0.8]", "[a%:b%]", "[:nan%]", "[:0%]", "[100%:]"]
)
def test_wrong_bounds_are_refused_in_one_sentence(root, part):
    with pytest.raises(InputError, match=r"data split: expected a part such as \[:80%\] or \[80%:\], got 'all\[") as e:
        read(root, f"all{part}")
    assert "\n" not in str(e.value)


def test_an_empty_part_is_refused(tmp_path):
    add_image(tmp_path, "a")
    side = "[50%:]" if hash_fraction("a") < 0.5 else "[:50%]"
    with pytest.raises(InputError, match=r"data split: the part \[.*\] of the 1 images of .* all holds none"):
        read(tmp_path, f"all{side}")


def test_a_file_name_that_is_no_utf8_has_a_place_too():
    assert 0 <= hash_fraction(os.fsdecode(b"caf\xe9")) < 1


@pytest.mark.parametrize("split", ["all[:80%]+all", "all[:80%][20%:]", "a[:50%]b", "all[:80%", "all[50%]"])
def test_a_part_stands_at_the_very_end(split):
    with pytest.raises(InputError, match="at the very end"):
        parse_part(split)
    assert parse_part("list[1]") == ("list[1]", EVERYTHING)
