"""Matching of ground truth to priors: hand-made scenes, slow reference on crowds and ties, padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssd_jax import matching

M, P = 5, 12  # one shape for all examples, so that each variant compiles once

# name -> options; the second pair leaves room for "neither" between the thresholds
THRESHOLDS = {"paper": {}, "gap": {"iou_threshold": 0.625, "negative_overlap": 0.25}}
MATCH = {name: jax.jit(functools.partial(matching.match, **options)) for name, options in THRESHOLDS.items()}


def crowd(count, smallest):
    """Boxes around one spot on a grid of 1/16: areas are exact, so ties and IoU = 0.5 are exact too."""
    low = arrays(np.int32, (count, 2), elements=st.integers(0, 5))
    size = arrays(np.int32, (count, 2), elements=st.integers(smallest, 8))
    return st.tuples(low, size).map(
        lambda pair: (np.concatenate([pair[0], pair[0] + pair[1]], -1) / 16).astype(np.float32)
    )


def assert_matches(result, expected):
    offsets, labels, ignore = expected
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_array_equal(result.ignore, ignore)
    # Grid boxes have exact centers and sizes; what is left are divisions by sides and variances, and a logarithm.
    np.testing.assert_allclose(result.offsets, offsets, rtol=2e-6, atol=2e-6)


ONE = (0.0, 0.0, 0.5, 0.5)


FAR = (2.0, 2.0, 3.0, 3.0)


@functools.cache
def compiled_with(**options):
    return jax.jit(functools.partial(matching.match, **options))


def run(boxes, labels, priors, ignored=(), prior_mask=(), **options):
    """Matches a small scene, filled up to one shape with padding boxes and with priors far from all boxes."""
    count, missing = len(priors), P - len(priors)
    boxes, labels = [*boxes, *[ONE] * (M - len(boxes))], [*labels, *[0] * (M - len(labels))]
    targets = compiled_with(**options)(
        np.array(boxes, np.float32),
        np.array(labels, np.int32),
        np.array([*priors, *[FAR] * missing], np.float32),
        ignored=np.array([*ignored, *[False] * (M - len(ignored))]),
        prior_mask=np.array([*prior_mask, *[True] * (P - len(prior_mask))]),
    )
    return jax.tree.map(lambda array: np.asarray(array)[:count], targets)


def test_types_and_shapes():
    targets = matching.match(jnp.array([ONE]), jnp.array([3]), jnp.array([ONE, FAR]))
    assert (targets.offsets.shape, targets.labels.shape, targets.ignore.shape) == ((2, 4), (2,), (2,))
    assert (targets.offsets.dtype, targets.labels.dtype, targets.ignore.dtype) == (jnp.float32, jnp.int32, jnp.bool_)


def test_offsets_are_the_encoded_box():
    targets = run([(0.1, 0.2, 0.5, 0.6)], [3], [(0.5, 0.5, 1, 1), (0.1, 0.1, 0.5, 0.5)])
    np.testing.assert_array_equal(targets.labels, [0, 3])
    # center 0.1 lower than the prior's, of side 0.4: 0.25 / 0.1
    np.testing.assert_allclose(targets.offsets, [[0, 0, 0, 0], [0, 2.5, 0, 0]], atol=5e-6)


def test_variances_reach_the_encoding():
    targets = run([(0.1, 0.2, 0.5, 0.6)], [3], [(0.1, 0.1, 0.5, 0.5)], variances=(1.0, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(targets.offsets, [[0, 0.25, 0, 0]], atol=1e-6)


def test_every_box_gets_a_prior_however_small_the_overlap():
    # IoU = (1/4 * 1/4) / (1/4) = 1/4
    targets = run([(0.0, 0.0, 0.25, 0.25)], [1], [(0.5, 0.5, 1, 1), ONE])
    np.testing.assert_array_equal(targets.labels, [0, 1])


def test_a_free_prior_at_exactly_the_threshold_is_positive():
    half = (0.0, 0.0, 0.5, 0.25)  # IoU with ONE is exactly 1/2
    below = (0.0, 0.0, 0.5, 0.2421875)  # 31/64
    np.testing.assert_array_equal(run([ONE], [1], [ONE, half, below]).labels, [1, 1, 0])


def test_two_boxes_with_the_same_best_prior_both_get_one():
    # Both prefer prior 0; box 1 overlaps it more (7/8 against 3/4), so box 0 is given its second best, prior 1,
    # although that is an IoU of 3/16 / (1/4 + 3/8 - 3/16) = 3/7 only. A per-box argmax would lose one of the two.
    boxes = [(0.0, 0.0, 0.5, 0.75), (0.0, 0.0, 0.5, 0.875)]
    priors = [(0.0, 0.0, 0.5, 1.0), (0.0, 0.375, 0.5, 0.875)]
    np.testing.assert_array_equal(run(boxes, [1, 2], priors).labels, [2, 1])


def test_the_pair_won_first_is_not_taken_back():
    # Box 1 is left with prior 1 (IoU 1/2), and prior 1 stays its own although box 0 fits better (IoU 1).
    boxes = [ONE, (0.0, 0.0, 0.5, 1.0)]
    np.testing.assert_array_equal(run(boxes, [1, 2], [ONE, ONE]).labels, [1, 2])


def test_ties_go_to_the_lowest_prior_then_the_lowest_box():
    far = (0.5, 0.5, 1.0, 1.0)
    # Two equal boxes, three equal priors: pairs (0, 0), (1, 1), and prior 2 takes the lowest of equal boxes.
    np.testing.assert_array_equal(run([ONE, ONE], [1, 2], [ONE, ONE, ONE, far]).labels, [1, 2, 1, 0])
    np.testing.assert_array_equal(run([ONE, ONE], [2, 1], [far, ONE, ONE]).labels, [0, 2, 1])


def test_more_boxes_than_priors():
    np.testing.assert_array_equal(run([ONE, ONE, ONE], [3, 2, 1], [ONE]).labels, [3])


@pytest.mark.parametrize(("side", "label"), [(0.0005, 0), (0.002, 1)])
def test_overlaps_up_to_one_millionth_do_not_match(side, label):
    # IoU with the whole image is the box's area: 2.5e-7 and 4e-6; the original keeps what exceeds 1e-6.
    assert run([(0.25, 0.25, 0.25 + side, 0.25 + side)], [1], [(0.0, 0.0, 1.0, 1.0)]).labels == label


def test_no_overlap_no_match():
    assert run([(0.75, 0.75, 1, 1)], [1], [ONE]).labels == 0


def test_between_the_thresholds_is_neither():
    # IoU with ONE: 1, 3/4, 1/2, 1/4; a free prior is positive from 3/5 and negative below 2/5
    priors = [ONE, (0, 0, 0.5, 0.375), (0, 0, 0.5, 0.25), (0, 0, 0.5, 0.125)]
    targets = run([ONE], [1], priors, iou_threshold=0.6, negative_overlap=0.4)
    np.testing.assert_array_equal(targets.labels, [1, 1, 0, 0])
    np.testing.assert_array_equal(targets.ignore, [False, False, True, False])
    np.testing.assert_array_equal(targets.offsets[2], 0)


def test_ignored_boxes_shield_the_priors_they_cover():
    region = (0.0, 0.0, 0.5, 1.0)
    # shared area over the prior's own: 1 (IoU only 1/32), exactly 1/2, less than 1/2, 0
    priors = [(0.125, 0.125, 0.25, 0.25), (0.25, 0, 0.75, 0.5), (0.3125, 0, 0.8125, 0.5), (0.75, 0, 1, 1)]
    targets = run([region], [1], priors, ignored=[True])
    np.testing.assert_array_equal(targets.labels, 0)
    np.testing.assert_array_equal(targets.offsets, 0)
    np.testing.assert_array_equal(targets.ignore, [True, True, False, False])


def test_positives_inside_an_ignored_region_stay_positive():
    inside = (0.125, 0.125, 0.375, 0.375)
    targets = run([(0.0, 0.0, 1.0, 1.0), inside], [1, 2], [inside, ONE], ignored=[True, False])
    np.testing.assert_array_equal(targets.labels, [2, 0])
    np.testing.assert_array_equal(targets.ignore, [False, True])


def test_masked_priors_are_neither():
    # The best prior is masked away, so the box is given the next one.
    targets = run([ONE], [1], [ONE, (0, 0, 0.5, 0.25), (0.5, 0.5, 1, 1)], prior_mask=[False, True, True])
    np.testing.assert_array_equal(targets.labels, [0, 1, 0])
    np.testing.assert_array_equal(targets.ignore, [True, False, False])
    np.testing.assert_array_equal(targets.offsets[0], 0)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "broken",
    [
        (0.25, 0, 0.25, 0.5),
        (0.5, 0.5, 0, 0),
        (0, 0.5, 0.5, 0),
        (NAN, 0, 0.5, 0.5),
        (0, 0, INFINITY, 0.5),
        (-INFINITY, 0, 1, 1),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_broken_boxes_match_nothing_and_harm_nothing(broken, ignored):
    priors = [ONE, (0, 0, 0.5, 0.25), (0.5, 0.5, 1, 1)]
    alone = run([ONE], [1], priors)
    together = run([broken, ONE], [2, 1], priors, ignored=[ignored, False])
    jax.tree.map(np.testing.assert_array_equal, together, alone)


def test_an_image_without_boxes():
    targets = run([(NAN,) * 4] * M, [0] * M, [ONE, ONE])
    np.testing.assert_array_equal(targets.offsets, 0)
    assert not targets.labels.any()
    assert not targets.ignore.any()


@pytest.mark.parametrize("thresholds", THRESHOLDS)
@given(
    boxes=crowd(M, 0),  # empty boxes included
    labels=arrays(np.int32, M, elements=st.integers(0, 3)),
    priors=crowd(P, 1),
    ignored=arrays(bool, M),
    prior_mask=arrays(bool, P, elements=st.integers(0, 4).map(bool)),
)
@example(  # all tied: equal boxes, equal priors
    boxes=np.tile(np.float32([[0, 0, 0.5, 0.5]]), (M, 1)),
    labels=np.arange(1, M + 1, dtype=np.int32),
    priors=np.tile(np.float32([[0, 0, 0.5, 0.5]]), (P, 1)),
    ignored=np.zeros(M, bool),
    prior_mask=np.ones(P, bool),
)
def test_match_equals_reference_in_crowds(thresholds, boxes, labels, priors, ignored, prior_mask):
    result = MATCH[thresholds](boxes, labels, priors, ignored=ignored, prior_mask=prior_mask)
    expected = reference.match(boxes, labels, priors, ignored, prior_mask, **THRESHOLDS[thresholds])
    assert_matches(result, expected)


@given(boxes=crowd(M, 1), priors=crowd(P, 1))
def test_match_equals_reference_without_masks(boxes, priors):
    labels = np.arange(1, M + 1, dtype=np.int32)  # distinct, so that a swap of equal boxes shows
    assert_matches(MATCH["paper"](boxes, labels, priors), reference.match(boxes, labels, priors))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.02, 0.003]))
def test_match_equals_reference_on_near_duplicates(seed, jitter):
    random = np.random.default_rng(seed)
    near = np.array([0.2, 0.3, 0.6, 0.8]) + random.normal(0, jitter, (M + P, 4))
    boxes, priors = np.split(near.astype(np.float32), [M])
    labels = np.arange(1, M + 1, dtype=np.int32)
    overlap = np.sort(reference.pairwise_iou(priors, boxes), axis=None)
    # Float32 may order two overlaps differently only where they are closer than this.
    assume(np.diff(overlap).min() > 1e-6 and np.abs(overlap - 0.5).min() > 1e-5)
    offsets, expected_labels, ignore = reference.match(boxes, labels, priors)
    result = MATCH["paper"](boxes, labels, priors)
    np.testing.assert_array_equal(result.labels, expected_labels)
    np.testing.assert_array_equal(result.ignore, ignore)
    # A center is good to 6e-8; over sides of 0.3 and a variance of 0.1 that is 2e-6 a rounding.
    np.testing.assert_allclose(result.offsets, offsets, rtol=1e-5, atol=1e-5)


def one_of(batch, image):
    return jax.tree.map(lambda leaf: leaf[image], batch)


def scene(seed, boxes=M, priors=P):
    random = np.random.default_rng(seed)
    low = random.uniform(0, 0.5, (boxes + priors, 2))
    both = np.concatenate([low, low + random.uniform(0.1, 0.5, low.shape)], -1).astype(np.float32)
    return both[:boxes], random.integers(1, 4, boxes).astype(np.int32), both[boxes:]


@pytest.mark.parametrize("content", [0.0, NAN, 0.4])
def test_padding_boxes_change_nothing(content):
    boxes, labels, priors = scene(1)
    padded = np.concatenate([boxes, np.full((3, 4), content, np.float32), boxes[:1]])  # the last would match
    padded_labels = np.concatenate([labels, np.zeros(4, np.int32)])
    for ignored in (np.zeros(M + 4, bool), np.arange(M + 4) >= M):
        result = MATCH["paper"](padded, padded_labels, priors, ignored=ignored)
        jax.tree.map(np.testing.assert_array_equal, result, MATCH["paper"](boxes, labels, priors))


def test_masked_priors_change_nothing():
    boxes, labels, priors = scene(2)
    padded = np.concatenate([priors, np.zeros((2, 4), np.float32), boxes])  # the best imaginable priors among them
    mask = np.arange(len(padded)) < P
    result = MATCH["paper"](boxes, labels, padded, prior_mask=mask)
    alone = MATCH["paper"](boxes, labels, priors)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:P], b), result, alone)
    assert not result.labels[P:].any()
    assert result.ignore[P:].all()
    np.testing.assert_array_equal(result.offsets[P:], 0)


def test_batch_mates_change_nothing_and_jit_vmap_and_eager_agree():
    scenes = [scene(seed) for seed in (3, 4, 5)]
    boxes, labels, _ = (np.stack(part) for part in zip(*scenes, strict=True))
    priors = scenes[0][2]
    compiled = jax.jit(jax.vmap(matching.match, in_axes=(0, 0, None)))
    together = compiled(boxes, labels, priors)
    shuffled = compiled(boxes[[2, 1, 0]], labels[[2, 1, 0]], priors)
    # |offset| <= 10: shifts up to 1 over the variance 0.1, from centers that cancel.
    same = functools.partial(reference.assert_same_numbers, magnitude=10.0)
    for image in range(3):
        eager = matching.match(boxes[image], labels[image], priors)
        single = MATCH["paper"](boxes[image], labels[image], priors)
        jax.tree.map(same, single, eager)
        jax.tree.map(same, one_of(together, image), eager)
        jax.tree.map(np.testing.assert_array_equal, one_of(together, image), one_of(shuffled, 2 - image))


def test_targets_carry_no_gradient_trouble():
    # Targets are constants of the loss; were they differentiated, an empty box must not bring a NaN.
    def total(boxes):
        return matching.match(boxes, jnp.array([1, 0]), jnp.array([ONE])).offsets.sum()

    assert np.isfinite(jax.jit(jax.grad(total))(jnp.array([(0.0, 0.0, 0.5, 0.375), (0.0, 0.0, 0.0, 0.0)]))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(iou_threshold=0), r"iou_threshold: expected an IoU in \(0, 1\], got 0"),
        (dict(iou_threshold=2.0), "iou_threshold: .*got 2.0"),
        (dict(negative_overlap=float("nan")), "negative_overlap: .*got nan"),
        (dict(variances=(0.1, 0.1, 0.2, 0)), r"variances: expected 4 positive numbers.*got \(0.1, 0.1, 0.2, 0\)"),
        (dict(variances=(0.1, 0.1)), "variances: expected 4"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(matching.match, **options), *scene(6))


def test_thresholds_may_be_traced():
    boxes, labels, priors = map(jnp.asarray, scene(6))
    traced = jax.jit(lambda least: matching.match(boxes, labels, priors, iou_threshold=least))(0.5)
    expected = MATCH["paper"](boxes, labels, priors)
    np.testing.assert_array_equal(traced.labels, expected.labels)
    np.testing.assert_array_equal(traced.ignore, expected.ignore)


def test_paper_variances_are_the_default():
    boxes, labels, priors = scene(6)
    explicit = compiled_with(variances=(0.1, 0.1, 0.2, 0.2))(boxes, labels, priors)
    jax.tree.map(np.testing.assert_array_equal, MATCH["paper"](boxes, labels, priors), explicit)


def test_an_image_without_rows_is_an_image_without_objects():
    priors_ = jnp.asarray([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], jnp.float32)
    targets = matching.match(jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32), priors_, ignored=jnp.zeros(0, bool))
    assert not targets.labels.any() and not targets.ignore.any() and not targets.offsets.any()


def test_what_is_not_stated_is_as_if_nothing_were_ignored_and_no_prior_masked():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.6, (60, 2))
    priors = np.concatenate([low, low + rng.uniform(0.1, 0.4, (60, 2))], axis=1).astype(np.float32)
    boxes, labels = priors[:9] + np.float32(0.03), np.arange(9, dtype=np.int32)
    stated = functools.partial(matching.match, ignored=jnp.zeros(9, bool), prior_mask=jnp.ones(60, bool))
    for one, other in zip(stated(boxes, labels, priors), matching.match(boxes, labels, priors), strict=True):
        np.testing.assert_array_equal(one, other)
    # What is covered is then not asked: constants of priors x objects would be folded by XLA for up to a minute.
    questions = [str(jax.make_jaxpr(f)(boxes, labels, priors)).count("reduce_or") for f in (stated, matching.match)]
    assert questions[1] == questions[0] - 1
