"""NMS and detection: hand-made scenes, slow reference in crowds and on ties, invalid rows, memory."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssd_jax import postprocess

N = 16  # one shape for all examples of NMS
NMS = {value: jax.jit(functools.partial(postprocess.nms, iou_threshold=value)) for value in (0.45, 0.5)}
NAN, INFINITY = float("nan"), float("inf")


def crowd(random, count, span):
    """Boxes on a grid of 1/16 whose areas are exact, so that IoU = threshold is exact too."""
    low = random.integers(0, span, (count, 2))
    return (np.concatenate([low, low + random.integers(0, 9, (count, 2))], -1) / 16).astype(np.float32)


def as_mask(kept, count):
    return np.isin(np.arange(count), kept)


@pytest.mark.parametrize("threshold", NMS)
@given(
    arrays(np.int32, (N, 2), elements=st.integers(0, 5)),
    arrays(np.int32, (N, 2), elements=st.integers(0, 9)),
    arrays(np.int32, N, elements=st.integers(-2, 9)),  # many equal scores
    arrays(bool, N, elements=st.sampled_from([True, True, True, False])),
)
def test_nms_equals_reference(threshold, low, size, scores, valid):
    boxes, scores = (np.concatenate([low, low + size], -1) / 16).astype(np.float32), scores.astype(np.float32)
    expected = as_mask(reference.nms(boxes, scores, threshold, valid), N)
    np.testing.assert_array_equal(NMS[threshold](boxes, scores, valid=valid), expected)


@pytest.mark.parametrize("count", [0, 1, 2, 511, 512, 513, 1100])
def test_nms_of_any_number_of_boxes(count):
    # The implementation may work in blocks of 512; suppression must reach across their borders.
    random = np.random.default_rng(count)
    boxes = crowd(random, count, span=40)
    scores = (random.integers(0, 300, count) / 300).astype(np.float32)
    kept = reference.nms(boxes, scores, 0.45)
    assert count < 511 or 100 < len(kept) < 0.9 * count  # else nothing would be tested
    np.testing.assert_array_equal(NMS[0.45](boxes, scores), as_mask(kept, count))


def test_nms_suppresses_only_above_the_threshold():
    # IoU of the halves with the whole is exactly 0.5, 0.5 is not > 0.5.
    boxes = jnp.array([[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.53125]])
    np.testing.assert_array_equal(NMS[0.5](boxes, jnp.array([0.9, 0.8, 0.7])), [True, True, False])
    np.testing.assert_array_equal(NMS[0.45](boxes, jnp.array([0.9, 0.8, 0.7])), [True, False, False])


def test_a_suppressed_box_suppresses_nothing():
    # A chain: 0 removes 1 (IoU 3/5), 1 would remove 2 (3/5) but is gone, 2 stays (IoU of 0 and 2 is 1/3).
    boxes = jnp.array([[0, 0, 0.5, 1], [0.125, 0, 0.625, 1], [0.25, 0, 0.75, 1]])
    np.testing.assert_array_equal(NMS[0.5](boxes, jnp.array([0.9, 0.8, 0.7])), [True, False, True])


def test_a_chain_longer_than_a_block():
    # Each box overlaps its neighbor by 3/5 and the next but one by 1/3: every other box stays.
    count = 1100
    left = jnp.arange(count) * 0.125
    boxes = jnp.stack([left, jnp.zeros(count), left + 0.5, jnp.ones(count)], axis=-1)
    keep = NMS[0.5](boxes, jnp.linspace(1, 0, count))
    np.testing.assert_array_equal(keep, np.arange(count) % 2 == 0)


def test_keep_is_in_the_order_of_the_input_and_ties_go_to_the_lowest_index():
    box = jnp.array([[0, 0, 0.5, 0.5]])
    boxes = jnp.concatenate([box, box, box, box + 0.5])
    np.testing.assert_array_equal(NMS[0.5](boxes, jnp.array([0.1, 0.9, 0.9, 0.5])), [False, True, False, True])


@pytest.mark.parametrize("broken", [NAN, INFINITY, -INFINITY])
def test_non_finite_rows_are_never_kept_and_suppress_nothing(broken):
    boxes = np.tile(np.float32([[0, 0, 0.5, 0.5]]), (6, 1))
    scores = np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    boxes[0, 2], boxes[1, 0], scores[2] = broken, broken, broken
    np.testing.assert_array_equal(NMS[0.5](boxes, scores), [False, False, False, True, False, False])


def test_negative_scores_are_scores():
    boxes = jnp.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    np.testing.assert_array_equal(NMS[0.5](boxes, jnp.array([-5.0, -1e30])), [True, True])


# Detection. P * (C - 1) = 48 candidates; the options make each of the limits bind.
P, C = 16, 4
SMALL = {"score_threshold": 0.2, "pre_nms_top_k": 5, "max_detections": 6}
OPTIONS = {"default": {}, "tight": SMALL}
DETECT = {name: jax.jit(functools.partial(postprocess.detect, **options)) for name, options in OPTIONS.items()}


def predictions(random, *, moved):
    """Crowded priors and confident logits, with two pairs of equal rows; offsets zero unless moved."""
    low = random.integers(0, 6, (P, 2))
    priors = (np.concatenate([low, low + random.integers(1, 9, (P, 2))], -1) / 16).astype(np.float32)
    logits = random.normal(0, 2, (P, C)).astype(np.float32)
    offsets = (random.normal(0, 1, (P, 4)) * moved).astype(np.float32)
    for array in (priors, logits, offsets):
        array[[7, 12]] = array[[2, 3]]
    array = logits[9]
    logits[10] = array  # equal scores, different boxes
    return offsets, logits, priors


def has_margins(offsets, logits, priors, score_threshold, iou_threshold=0.45):
    """No decision is closer than 1e-5 unless it is a tie of equal rows: float32 must decide as the reference does."""
    scores = np.sort(reference.softmax(logits)[:, 1:], axis=None)
    gaps = np.diff(scores)
    boxes = reference.decode(offsets, priors)
    overlap = reference.pairwise_iou(boxes, boxes)
    distinct = gaps[gaps > 0].min() > 1e-5 and np.abs(scores - score_threshold).min() > 1e-5
    return distinct and (not offsets.any() or np.abs(overlap - iou_threshold).min() > 1e-5)


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_detect_equals_reference(options, moved, seed):
    arguments = predictions(np.random.default_rng(seed), moved=moved)
    assume(has_margins(*arguments, OPTIONS[options].get("score_threshold", 0.01)))
    boxes, scores, labels = reference.detect(*arguments, **OPTIONS[options])
    result = DETECT[options](*arguments)
    np.testing.assert_array_equal(result.labels, labels)
    # A softmax of float32: a few roundings of 6e-8, and as many of boxes up to 2.
    np.testing.assert_allclose(result.scores, scores, atol=1e-6)
    np.testing.assert_allclose(result.boxes, boxes, atol=2e-6)


def one_of(batch, image):
    return jax.tree.map(lambda leaf: leaf[image], batch)


def logits_of(*probabilities):
    return jnp.log(jnp.array(probabilities))


@functools.cache
def compiled_with(**options):
    return jax.jit(functools.partial(postprocess.detect, **options))


def detect(offsets, logits, priors, **options):
    return compiled_with(**options)(offsets, logits, priors)


APART = jnp.array([[0.0, 0.0, 0.25, 0.25], [0.5, 0.0, 0.75, 0.25], [0.0, 0.5, 0.25, 0.75]])


def test_detect_by_hand():
    logits = logits_of((0.2, 0.7, 0.1), (0.5, 0.05, 0.45), (0.985, 0.0075, 0.0075))
    result = detect(jnp.zeros((3, 4)), logits, APART, max_detections=6)
    # The third prior's scores do not exceed 0.01; the others are found as both classes; best first.
    np.testing.assert_array_equal(result.labels, [1, 2, 2, 1, 0, 0])
    np.testing.assert_allclose(result.scores, [0.7, 0.45, 0.1, 0.05, 0, 0], atol=1e-6)
    np.testing.assert_allclose(result.boxes, [*APART[jnp.array([0, 1, 0, 1])], [0] * 4, [0] * 4], atol=1e-6)
    assert (result.boxes.dtype, result.scores.dtype, result.labels.dtype) == (jnp.float32, jnp.float32, jnp.int32)


def test_suppression_is_within_a_class():
    same = jnp.tile(APART[:1], (3, 1))
    result = detect(
        jnp.zeros((3, 4)), logits_of((0.1, 0.6, 0.3), (0.2, 0.5, 0.3), (0.3, 0.0001, 0.6999)), same, max_detections=3
    )
    np.testing.assert_array_equal(result.labels, [2, 1, 0])  # class 1 by prior 0, class 2 by prior 2
    np.testing.assert_allclose(result.scores, [0.6999, 0.6, 0], atol=1e-6)


def test_ties_go_to_the_lowest_class_then_the_lowest_prior():
    logits = jnp.tile(jnp.array([0.0, 1.0, 1.0]), (3, 1))
    result = detect(jnp.zeros((3, 4)), logits, APART, max_detections=4)
    np.testing.assert_array_equal(result.labels, [1, 1, 1, 2])
    np.testing.assert_allclose(result.boxes, APART[jnp.array([0, 1, 2, 0])], atol=1e-7)


def test_top_k_comes_before_suppression():
    # The two best of class 1 are one box twice: one is suppressed, and the third was never let in.
    boxes = jnp.concatenate([APART[:1], APART[:2]])
    logits = logits_of((0.1, 0.9), (0.2, 0.8), (0.3, 0.7))
    result = detect(jnp.zeros((3, 4)), logits, boxes, pre_nms_top_k=2, max_detections=3)
    np.testing.assert_array_equal(result.labels, [1, 0, 0])


def test_the_limit_is_over_all_classes():
    logits = logits_of((0.1, 0.6, 0.3), (0.1, 0.5, 0.4), (0.1, 0.7, 0.2))
    result = detect(jnp.zeros((3, 4)), logits, APART, max_detections=4)
    np.testing.assert_allclose(result.scores, [0.7, 0.6, 0.5, 0.4], atol=1e-6)
    np.testing.assert_array_equal(result.labels, [1, 1, 1, 2])


def test_boxes_are_clipped_after_suppression():
    # Clipped to the image the two are equal; unclipped their IoU is 1/3 and both stay.
    outside = jnp.array([[-0.5, 0.0, 0.5, 1.0], [-1.5, 0.0, 0.5, 1.0]]).at[1, 0].set(-2.5)
    result = detect(jnp.zeros((2, 4)), logits_of((0.1, 0.9), (0.2, 0.8)), outside, max_detections=2)
    np.testing.assert_array_equal(result.labels, [1, 1])
    np.testing.assert_allclose(result.boxes, [[0, 0, 0.5, 1]] * 2, atol=1e-6)


# As above; the other way round, overlap beyond the border counts if boxes are not clipped first.
@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        # [-0.5, 0.5] and [-2.5, 0.5]: IoU 1/3 as they are, 1 within the image.
        ([(-0.5, 0, 0.5, 1), (-2.5, 0, 0.5, 1)], {False: 2, True: 1}),
        # [-1, 0.2] and [-1, 0.5]: IoU 1.2 / 1.5 = 0.8 as they are, 0.2 / 0.5 = 0.4 within the image.
        ([(-1, 0, 0.2, 1), (-1, 0, 0.5, 1)], {False: 1, True: 2}),
        # Beyond the image nothing is left of either, and boxes without area do not overlap.
        ([(1.1, 0, 1.5, 1), (1.1, 0, 1.5, 1)], {False: 1, True: 2}),
    ],
)
def test_boxes_are_clipped_before_suppression_if_wanted(boxes, kept):
    boxes, logits = jnp.float32(boxes), logits_of((0.1, 0.9), (0.2, 0.8))
    for clip_first, count in kept.items():
        result = detect(jnp.zeros((2, 4)), logits, boxes, max_detections=2, clip_first=clip_first)
        np.testing.assert_array_equal(result.labels, [1] * count + [0] * (2 - count))
        np.testing.assert_allclose(result.boxes[:count], np.clip(boxes[:count], 0, 1), atol=1e-6)


def test_variances_reach_the_decoding():
    offsets, logits = jnp.zeros((1, 4)).at[0, 0].set(1.0), logits_of((0.1, 0.9))
    prior = jnp.array([[0.25, 0.25, 0.5, 0.5]])
    moved = detect(offsets, logits, prior, max_detections=1, variances=(1.0, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(moved.boxes, [[0.5, 0.25, 0.75, 0.5]], atol=1e-6)  # by one width of 1/4


@pytest.mark.parametrize("broken", [NAN, INFINITY, 1e30])
def test_non_finite_predictions_are_left_out(broken):
    offsets = jnp.zeros((3, 4)).at[0, 2].set(broken)  # 1e30 overflows in exp
    logits = logits_of((0.1, 0.9), (0.2, 0.8), (0.3, 0.7)).at[1, 1].set(NAN)
    result = detect(offsets, logits, APART, max_detections=3)
    np.testing.assert_array_equal(result.labels, [1, 0, 0])
    np.testing.assert_allclose(result.boxes, [APART[2], [0] * 4, [0] * 4], atol=1e-6)
    np.testing.assert_allclose(result.scores, [0.7, 0, 0], atol=1e-6)


def test_nothing_found_is_all_zeros():
    result = DETECT["default"](
        np.zeros((P, 4), np.float32), np.tile(np.float32([30, 0, 0, 0]), (P, 1)), np.zeros((P, 4), np.float32)
    )
    assert result.boxes.shape == (200, 4)  # K does not depend on P: 16 priors and 3 classes could not fill it
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), result)


def test_batch_mates_and_padding_change_nothing_and_jit_vmap_and_eager_agree():
    images = [predictions(np.random.default_rng(seed), moved=True) for seed in (0, 1, 2)]
    offsets, logits, _ = (np.stack(part) for part in zip(*images, strict=True))
    offsets[1, :3] = NAN  # a broken image must not spread
    priors = images[0][2]
    batched = jax.jit(jax.vmap(functools.partial(postprocess.detect, **SMALL), in_axes=(0, 0, None)))
    together, reversed_ = batched(offsets, logits, priors), batched(offsets[::-1], logits[::-1], priors)
    same = functools.partial(reference.assert_same_numbers, magnitude=1.0)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[::-1]), together, reversed_)
    for image in range(3):
        single = DETECT["tight"](offsets[image], logits[image], priors)
        jax.tree.map(same, one_of(together, image), single)
    eager = postprocess.detect(offsets[0], logits[0], priors, **SMALL)
    jax.tree.map(same, one_of(together, 0), eager)

    # Priors that are surely background, appended.
    none = np.tile(np.float32([50, 0, 0, 0]), (4, 1))
    longer = DETECT["tight"](
        np.concatenate([offsets[0], np.zeros((4, 4), np.float32)]),
        np.concatenate([logits[0], none]),
        np.concatenate([priors, priors[:4]]),
    )
    jax.tree.map(np.testing.assert_array_equal, longer, DETECT["tight"](offsets[0], logits[0], priors))


def test_scores_are_float32_for_bfloat16_networks():
    offsets, logits, priors = predictions(np.random.default_rng(5), moved=True)
    half = jnp.asarray(offsets, jnp.bfloat16), jnp.asarray(logits, jnp.bfloat16)
    result = DETECT["tight"](*half, priors)
    assert result.boxes.dtype == result.scores.dtype == jnp.float32
    single = DETECT["tight"](*(array.astype(jnp.float32) for array in half), priors)
    jax.tree.map(np.testing.assert_array_equal, result, single)


@pytest.mark.parametrize(
    "options",
    [dict(score_threshold=2.0), dict(score_threshold=-0.1), dict(iou_threshold=1.5), dict(iou_threshold=NAN)],
)
def test_thresholds_out_of_range_are_refused(options):
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=rf"{name}: expected a number in \[0, 1\], got {value}"):
        postprocess.detect(*predictions(np.random.default_rng(0), moved=False), **options)


@pytest.mark.parametrize("value", ["False", 1, None])
def test_clipping_first_is_true_or_false(value):
    with pytest.raises(ValueError, match=f"clip_first: expected True or False, got {value!r}"):
        postprocess.detect(*predictions(np.random.default_rng(0), moved=False), clip_first=value)


def test_memory_is_bounded_for_many_classes():
    # All overlaps at once would be 32 images x 200 classes x 400^2 = 1.0e9: 4 GB of float32.
    batch, priors, classes = 32, 8732, 201
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((batch, priors, 4), (batch, priors, classes), (priors, 4))
    ]
    lowered = jax.jit(jax.vmap(postprocess.detect, in_axes=(0, 0, None))).lower(*shapes)
    memory = lowered.compile().memory_analysis()
    if memory is None:
        pytest.skip("this backend does not tell the memory of a compiled function")
    assert 0 < memory.temp_size_in_bytes < 1.5e9
    assert memory.output_size_in_bytes < math.prod((batch, 200, 6, 4)) * 1.1
