"""MultiBox loss: hand-computed sums, exact mining, gradients; test_normalize.py has the normalizers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssd_jax import losses
from ssd_jax.types import Predictions, Targets

P, C = 10, 3  # one shape for all examples
RATIO = 1.5  # times an odd count is not whole: floor matters
LOSS = {ratio: jax.jit(functools.partial(losses.multibox_loss, negative_ratio=ratio)) for ratio in (3.0, RATIO)}


@jax.jit
def confidence_gradient(predictions, targets):
    """Non-zero exactly in the rows of the positives and of the mined negatives (softmax is never 0 or 1 here)."""

    def confidence(logits):
        return losses.multibox_loss(predictions._replace(logits=logits), targets).confidence.sum()

    return jax.grad(confidence)(predictions.logits)


def example(seed, positives=3, ignored=2):
    """Random predictions and targets of one image; the first rows are positives, the next ones ignored."""
    random = np.random.default_rng(seed)
    labels = np.zeros(P, np.int32)
    labels[:positives] = random.integers(1, C, positives)
    ignore = (np.arange(P) >= positives) & (np.arange(P) < positives + ignored)
    targets = Targets(random.normal(0, 2, (P, 4)).astype(np.float32) * (labels > 0)[:, None], labels, ignore)
    predictions = random.normal(0, 2, (P, 4)), random.normal(0, 2, (P, C))
    return Predictions(*(array.astype(np.float32) for array in predictions)), targets


def one_of(batch, image):
    return jax.tree.map(lambda leaf: leaf[image], batch)


def stack(*trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def test_loss_by_hand():
    # One positive (class 1), six negatives of which the ratio 3 takes three.
    offsets = np.zeros((7, 4), np.float32)
    offsets[0] = (0.5, -2.0, 1.0, 0.0)  # 0.5^2 / 2 + (2 - 0.5) + 0.5 + 0 = 2.125
    offsets[1] = 9.0  # not a positive: does not count
    logits = np.zeros((7, 2), np.float32)
    logits[0] = (0.0, math.log(3))  # p(1) = 3/4: -ln 0.75
    for row, odds in enumerate((1, 4, 2, 5, 3, 0.5), start=1):
        logits[row, 1] = math.log(odds)  # -ln p(0) = ln(1 + odds)
    targets = Targets(np.zeros((7, 4), np.float32), np.int32([1, 0, 0, 0, 0, 0, 0]), np.zeros(7, bool))
    parts = LOSS[3.0](Predictions(offsets, logits), targets)
    np.testing.assert_allclose(parts.location, 2.125, rtol=1e-6)
    np.testing.assert_allclose(parts.confidence, math.log(4 / 3) + math.log(5 * 6 * 4), rtol=1e-6)  # odds 4, 5, 3
    assert (parts.positives, parts.negatives) == (1, 3)
    assert parts.positives.dtype == parts.negatives.dtype == jnp.int32
    assert parts.location.dtype == parts.confidence.dtype == jnp.float32


def test_location_targets_are_subtracted():
    targets = Targets(jnp.array([[1.0, 2.0, 3.0, 4.0]]), jnp.array([1]), jnp.array([False]))
    predictions = Predictions(jnp.array([[1.5, 2.0, 1.0, 4.0]]), jnp.zeros((1, 2)))
    # 0.5^2 / 2 + (2 - 0.5)
    np.testing.assert_allclose(LOSS[3.0](predictions, targets).location, 1.625, rtol=1e-6)


def test_ignored_priors_are_neither_learned_nor_mined():
    predictions, targets = example(0)
    loud = predictions.logits.copy()
    loud[targets.ignore, 1] = 50.0  # by far the hardest, were they candidates
    before = LOSS[3.0](predictions, targets)
    after = LOSS[3.0](predictions._replace(logits=loud), targets)
    jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.parametrize(
    ("positives", "ignored", "ratio", "mined"),
    [
        (1, 0, 3.0, 3),
        (3, 0, 3.0, 7),
        (2, 5, 3.0, 3),
        (1, 0, RATIO, 1),
        (3, 0, RATIO, 4),
        (0, 0, 3.0, 0),
        (10, 0, 3.0, 0),
    ],
)
def test_exact_count_of_negatives(positives, ignored, ratio, mined):
    # min(floor(ratio * positives), 10 - positives - ignored)
    assert LOSS[ratio](*example(1, positives, ignored)).negatives == mined


def test_equal_losses_are_mined_by_lowest_index():
    labels = np.int32([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    targets = Targets(np.zeros((P, 4), np.float32), labels, np.arange(P) == 1)
    gradient = confidence_gradient(Predictions(np.zeros((P, 4), np.float32), np.ones((P, C), np.float32)), targets)
    np.testing.assert_array_equal(np.flatnonzero(np.any(gradient != 0, axis=-1)), [0, 2, 3, 4])


# Rows far apart in loss: whoever draws the same row is exactly tied, all others differ by at least 0.1.
ROWS = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-2, 0, 2], [4, 0, 0], [-30, 10, 0]])


@given(
    arrays(np.int32, P, elements=st.integers(0, len(ROWS) - 1)),
    arrays(np.int32, P, elements=st.sampled_from([0, 0, 0, 1, 2])),
    arrays(bool, P, elements=st.sampled_from([False, False, True])),
)
def test_mining_equals_reference_with_ties(choice, labels, ignore):
    ignore &= labels == 0
    logits = ROWS[choice]
    targets = Targets(np.zeros((P, 4), np.float32), labels, ignore)
    gradient = confidence_gradient(Predictions(np.zeros((P, 4), np.float32), logits), targets)
    background = [round(reference.cross_entropy(row, 0), 6) for row in reference.rows(logits)]
    expected = set(reference.mine(background, labels, ignore)) | set(np.flatnonzero(labels))
    # exp(-40) is below float32's resolution of 1: a gradient may be exactly zero in a row that is almost sure.
    assert set(np.flatnonzero(np.any(gradient != 0, axis=-1))) == expected


finite = st.floats(-20, 20, width=32)


@pytest.mark.parametrize("ratio", LOSS)
@given(
    arrays(np.float32, (P, 4), elements=finite),
    arrays(np.float32, (P, C), elements=finite),
    arrays(np.float32, (P, 4), elements=finite),
    arrays(np.int32, P, elements=st.integers(0, C - 1)),
    arrays(bool, P),
)
def test_loss_equals_reference(ratio, offsets, logits, wanted, labels, ignore):
    ignore &= labels == 0
    parts = LOSS[ratio](Predictions(offsets, logits), Targets(wanted, labels, ignore))
    expected = reference.multibox_loss(offsets, logits, wanted, labels, ignore, ratio)
    # Sums of up to 40 terms of up to 40: float32 keeps 1e-6 of the largest. Which of almost equal losses is mined
    # does not show in the sum.
    np.testing.assert_allclose(parts.location, expected[0], rtol=2e-6, atol=2e-5)
    np.testing.assert_allclose(parts.confidence, expected[1], rtol=2e-6, atol=2e-5)
    assert (parts.positives, parts.negatives) == expected[2:]


def test_gradient_equals_numeric_gradient_of_the_reference():
    predictions, targets = example(2)

    def scalar(predictions):
        parts = losses.multibox_loss(predictions, targets)
        return parts.location + parts.confidence

    def reference_scalar(offsets, logits):
        return sum(reference.multibox_loss(offsets, logits, *targets)[:2])

    gradient = jax.jit(jax.grad(scalar))(predictions)
    step = 1e-4  # error of central differences in double precision about 1e-8, far from kinks and swaps of rank
    for position, array in enumerate(predictions):
        for index in np.ndindex(array.shape):
            both = []
            for sign in (1, -1):
                moved = [np.array(part, np.float64) for part in predictions]
                moved[position][index] += sign * step
                both.append(reference_scalar(*moved))
            slope = (both[0] - both[1]) / (2 * step)
            np.testing.assert_allclose(gradient[position][index], slope, atol=2e-6)


def test_no_positives_no_loss_and_zero_gradients():
    predictions, targets = example(3, positives=0)
    batch_targets = stack(targets)

    def scalar(predictions):
        return losses.normalize(losses.multibox_loss(predictions, batch_targets), per="global")

    value, gradient = jax.jit(jax.value_and_grad(scalar))(jax.tree.map(jnp.asarray, stack(predictions)))
    assert value == 0
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), gradient)


@pytest.mark.parametrize(
    ("positives", "ignored", "wanted", "mined"), [(0, 0, 4, 4), (0, 8, 4, 2), (0, 0, 99, 10), (2, 0, 4, 6)]
)
def test_an_image_without_positives_gives_its_hardest_negatives_if_asked(positives, ignored, wanted, mined):
    # min(wanted, 10 - ignored) without positives; with them the ratio of 3 alone counts.
    predictions, targets = example(1, positives, ignored)
    parts = losses.multibox_loss(predictions, targets, empty_negatives=wanted)
    assert parts.negatives == mined
    if not positives:
        candidates = [reference.cross_entropy(row, 0) for row in predictions.logits[~np.asarray(targets.ignore)]]
        # float32 sums of up to ten terms
        np.testing.assert_allclose(parts.confidence, sum(sorted(candidates)[::-1][:mined]), rtol=1e-6)


def test_a_negative_number_of_negatives_is_refused():
    with pytest.raises(ValueError, match="empty_negatives must not be negative, got -1"):
        losses.multibox_loss(*example(1, 1), empty_negatives=-1)
    with pytest.raises(ValueError, match="negative_ratio: expected a finite number of at least 0, got -1"):
        losses.multibox_loss(*example(1, 1), negative_ratio=-1)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_of_the_location_that_is_none_is_refused(weight):
    parts = stack(losses.multibox_loss(*example(1, 1)))
    with pytest.raises(ValueError, match=f"location_weight: expected a finite number of at least 0, got {weight}"):
        losses.fraction(parts, location_weight=weight)


def test_factors_may_be_traced():
    predictions, targets = example(1)
    parts = jax.jit(lambda ratio: losses.multibox_loss(predictions, targets, negative_ratio=ratio))(3.0)
    jax.tree.map(np.testing.assert_array_equal, parts, LOSS[3.0](predictions, targets))


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_extreme_logits_stay_finite(logit):
    predictions, targets = example(4)
    logits = np.zeros((P, C), np.float32)
    logits[:, 0] = logit
    logits[1] = (0, logit, -logit)
    parts = LOSS[3.0](predictions._replace(logits=logits), targets)
    expected = reference.multibox_loss(predictions.offsets, logits, *targets)
    np.testing.assert_allclose(parts.confidence, expected[1], rtol=1e-6)
    assert np.isfinite(confidence_gradient(predictions._replace(logits=logits), targets)).all()


def test_loss_is_float32_for_bfloat16_networks():
    predictions, targets = example(5)
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), predictions)
    parts = LOSS[3.0](half, targets)
    assert parts.location.dtype == parts.confidence.dtype == jnp.float32
    # The same rounded numbers in float32 give the same loss: nothing is computed in bfloat16 on the way.
    jax.tree.map(
        np.testing.assert_array_equal, parts, LOSS[3.0](jax.tree.map(lambda x: x.astype(jnp.float32), half), targets)
    )


def test_batch_mates_change_nothing_and_jit_vmap_and_eager_agree():
    images = [example(seed, positives=seed) for seed in (0, 1, 3)]
    predictions, targets = stack(*images)
    batched, mapped = LOSS[3.0](predictions, targets), jax.jit(jax.vmap(losses.multibox_loss))(predictions, targets)
    shuffled = LOSS[3.0](*jax.tree.map(lambda leaf: leaf[::-1], (predictions, targets)))
    assert batched.location.shape == batched.negatives.shape == (3,)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[::-1]), batched, shuffled)
    jax.tree.map(reference.assert_same_numbers, mapped, batched)
    for image, single in enumerate(images):
        jax.tree.map(reference.assert_same_numbers, one_of(batched, image), losses.multibox_loss(*single))


def test_ignored_priors_appended_change_nothing():
    # What a prior mask makes of padding priors: label 0 and ignore.
    predictions, targets = example(6)
    more = Predictions(np.full((6, 4), 7.0, np.float32), np.full((6, C), 7.0, np.float32))
    none = Targets(np.zeros((6, 4), np.float32), np.zeros(6, np.int32), np.ones(6, bool))
    join = functools.partial(jax.tree.map, lambda a, b: np.concatenate([a, b]))
    padded, alone = LOSS[3.0](join(predictions, more), join(targets, none)), LOSS[3.0](predictions, targets)
    # A longer sum may be added up in another order: the last bits, no more.
    jax.tree.map(reference.assert_same_numbers, padded, alone)
