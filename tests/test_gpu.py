"""What only a GPU can show: it computes what the CPU computes, and trains. Skipped where JAX has no GPU.

    pytest -m gpu tests/test_gpu.py

Both devices get the same inputs in one process; float32 means float32 here (highest precision, no TF32).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax import augment, boxes, losses, matching, models, objective, optim, parallel, postprocess, priors, training
from ssd_jax.types import Batch, Predictions

pytestmark = pytest.mark.gpu

CLASSES = 21
SMALL = dict(
    image_size=(128, 128),
    width_multiplier=0.25,
    extras=((256, 512, 3, 2, 1),),
    min_sizes=(12, 40, 80),
    max_sizes=(40, 80, 115),
    aspect_ratios=((2,), (2,), (2,)),
    steps=(),
)
# Of the loss of random weights: far enough to see, not so far that the first step overshoots.
OPTIMIZER = optim.make_optimizer(learning_rate=1e-4)


class Devices(NamedTuple):
    cpu: jax.Device
    gpu: jax.Device


@pytest.fixture(scope="module")
def devices() -> Devices:
    try:
        return Devices(jax.devices("cpu")[0], jax.devices("gpu")[0])
    except RuntimeError as error:
        pytest.skip(f"needs a GPU that JAX can use, and the CPU beside it: {error}")


@pytest.fixture(autouse=True)
def exact_float32():
    with jax.default_matmul_precision("highest"):
        yield


def on_both(devices: Devices, function, *arguments):
    """Runs a function on the CPU and on the GPU; returns both results on the host."""
    return [jax.device_get(jax.jit(function)(*jax.device_put(arguments, device))) for device in devices]


def assert_close(actual, expected, *, of_largest: float):
    scale = np.abs(expected).max()
    assert scale > 0
    assert np.abs(actual - expected).max() <= of_largest * scale


@functools.cache
def ssd300() -> tuple[models.Model, np.ndarray]:
    model = models.build(num_classes=CLASSES)
    return model, priors.default_boxes(model.levels, (300, 300))


def random_batch(size: int = 4) -> Batch:
    rng = np.random.default_rng(1)
    canvas, slots = (160, 160), 6
    low = rng.uniform(0, 0.5, (size, slots, 2))
    corners = np.concatenate([low, low + rng.uniform(0.15, 0.5, low.shape)], axis=-1)
    return Batch(
        canvas=rng.integers(0, 256, (size, *canvas, 3), dtype=np.uint8),
        size=np.tile(np.int32([120, 160]), (size, 1)),
        boxes=corners.astype(np.float32),
        labels=rng.integers(1, CLASSES, (size, slots)).astype(np.int32),
        ignored=np.zeros((size, slots), bool),
        index=np.arange(size, dtype=np.uint32),
        epoch=np.zeros(size, np.uint32),
        valid=np.ones(size, bool),
    )


def test_forward_equals_the_cpu(devices):
    model, _ = ssd300()
    with jax.default_device(devices.cpu):
        variables = jax.device_get(jax.jit(model.init)(jax.random.key(0)))
    images = np.random.default_rng(0).uniform(0, 255, (2, 300, 300, 3)).astype(np.float32)
    cpu, gpu = on_both(devices, model.apply, variables, images)
    # Sums of up to 9216 float32 products in another order, 25 layers deep. TF32 (10 bits) would miss it by 10x.
    assert_close(gpu.offsets, cpu.offsets, of_largest=1e-4)
    assert_close(gpu.logits, cpu.logits, of_largest=1e-4)


def test_matching_and_loss_equal_the_cpu(devices):
    _, default_boxes = ssd300()
    batch, rng = random_batch(), np.random.default_rng(2)
    shape = (len(batch.labels), len(default_boxes))
    predictions = Predictions(
        rng.normal(size=(*shape, 4)).astype(np.float32), rng.normal(size=(*shape, CLASSES)).astype(np.float32)
    )

    def loss(predictions, corners, labels):
        targets = jax.vmap(lambda b, y: matching.match(b, y, jnp.asarray(default_boxes)))(corners, labels)
        return targets, losses.multibox_loss(predictions, targets)

    (cpu_targets, cpu), (gpu_targets, gpu) = on_both(devices, loss, predictions, batch.boxes, batch.labels)
    np.testing.assert_array_equal(gpu_targets.labels, cpu_targets.labels)
    np.testing.assert_array_equal(gpu_targets.ignore, cpu_targets.ignore)
    assert cpu.positives.min() > 0
    np.testing.assert_array_equal(gpu.positives, cpu.positives)
    np.testing.assert_array_equal(gpu.negatives, cpu.negatives)
    # Sums of some hundred terms, each within a few ulp (log and exp differ between the devices).
    np.testing.assert_allclose(gpu.location, cpu.location, rtol=1e-5)
    np.testing.assert_allclose(gpu.confidence, cpu.confidence, rtol=1e-5)


def separated_predictions(default_boxes: np.ndarray) -> Predictions:
    """240 objects in 60 crowds of 4 neighboring priors, whose scores are 0.02, ..., 0.98, never nearer than 4e-3."""
    rng = np.random.default_rng(3)
    chosen = (np.linspace(0, len(default_boxes) - 1500, 60).astype(int)[:, None] + 4 * np.arange(4)).ravel()
    scores = rng.permutation(np.linspace(0.02, 0.98, len(chosen)))
    logits = np.full((len(default_boxes), CLASSES), -20.0)
    logits[:, 0] = 0
    logits[chosen, np.repeat(rng.integers(1, CLASSES, 60), 4)] = np.log(scores / (1 - scores))
    offsets = np.zeros((len(default_boxes), 4))
    offsets[chosen] = rng.normal(size=(len(chosen), 4))
    return Predictions(offsets.astype(np.float32), logits.astype(np.float32))


def test_detect_equals_the_cpu(devices):
    _, default_boxes = ssd300()
    predictions = separated_predictions(default_boxes)
    detect = functools.partial(postprocess.detect, priors=jnp.asarray(default_boxes), iou_threshold=0.45)
    # Nothing hangs on rounding: scores are apart, and no pair of boxes of any class is at the threshold.
    with jax.default_device(devices.cpu):
        found = np.flatnonzero(predictions.logits[:, 1:].max(axis=1) > -19)
        decoded = boxes.decode(predictions.offsets[found], default_boxes[found])
        overlaps = np.asarray(boxes.pairwise_iou(decoded, decoded))
    assert np.abs(overlaps - 0.45).min() > 1e-5
    cpu, gpu = on_both(devices, lambda p: detect(*p), predictions)
    assert 60 < (cpu.labels > 0).sum() < 200  # some were suppressed, none was cut off
    np.testing.assert_array_equal(gpu.labels, cpu.labels)
    # exp and softmax differ by a few ulp between the devices.
    np.testing.assert_allclose(gpu.scores, cpu.scores, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gpu.boxes, cpu.boxes, rtol=1e-5, atol=1e-6)


def test_augmentation_equals_the_cpu(devices):
    batch = random_batch()

    def draw(canvas, size, corners, labels, ignored, index):
        keys = objective.image_keys(0, jnp.zeros_like(index), index)
        return jax.vmap(functools.partial(augment.augment, output_size=(128, 128)))(
            keys, canvas, size, corners, labels, ignored
        )[:3]

    arguments = (batch.canvas, batch.size, batch.boxes, batch.labels, batch.ignored, batch.index)
    (cpu_images, cpu_boxes, cpu_labels), (gpu_images, gpu_boxes, gpu_labels) = on_both(devices, draw, *arguments)
    np.testing.assert_array_equal(gpu_labels, cpu_labels)
    np.testing.assert_allclose(gpu_boxes, cpu_boxes, atol=1e-5)  # coordinates are at most 1, a few ulp apart
    # Pixels are whole numbers: where the last bit falls on the other side of a half, they differ by one.
    difference = np.abs(gpu_images - cpu_images)
    assert np.mean(difference > 0) < 1e-3
    assert np.mean(difference > 1) < 1e-4  # a hue at the border of a sector may turn by more


@functools.cache
def initial_state() -> training.TrainState:
    """On the host; parameters are float32 whatever the network computes in."""
    model = models.build(num_classes=CLASSES, **SMALL)
    init = functools.partial(training.init_state, model=model, optimizer=OPTIMIZER)
    with jax.default_device(jax.devices("cpu")[0]):
        return jax.device_get(jax.jit(init)(jax.random.key(0)))


@functools.cache
def compile_step(device: jax.Device, dtype: str):
    model = models.build(num_classes=CLASSES, axis_name=parallel.AXIS, dtype=dtype, **SMALL)
    step = training.make_train_step(
        model,
        priors.default_boxes(model.levels, SMALL["image_size"]),
        OPTIMIZER,
        seed=0,
        output_size=SMALL["image_size"],
        augment_options={},
        match_options={},
    )
    return training.compile_train_step(step, parallel.data_mesh([device]))


def run_steps(device: jax.Device, dtype: str, count: int) -> list[training.StepMetrics]:
    """Runs steps on the same batch, which is augmented alike each time; returns the metrics of each."""
    mesh, step, metrics = parallel.data_mesh([device]), compile_step(device, dtype), []
    state, batch = parallel.replicate(initial_state(), mesh), parallel.split(random_batch(), mesh)
    for _ in range(count):
        state, measured = step(state, batch)
        metrics.append(jax.device_get(measured))
    return metrics


def test_train_step_equals_the_cpu_and_lowers_the_loss(devices):
    (cpu,) = run_steps(devices.cpu, "float32", 1)
    metrics = run_steps(devices.gpu, "float32", 4)
    assert all(m.finite for m in metrics)
    assert cpu.positives > 0 and metrics[0].positives == cpu.positives
    assert metrics[0].negatives == cpu.negatives
    # A few pixels differ by one level (see above), which the network passes on.
    np.testing.assert_allclose(metrics[0].loss, cpu.loss, rtol=1e-3)
    np.testing.assert_allclose(metrics[0].gradient_norm, cpu.gradient_norm, rtol=1e-2)
    assert metrics[1].loss < metrics[0].loss
    assert metrics[3].loss < metrics[1].loss


def test_bfloat16_step_is_finite_and_near_float32(devices):
    (exact,), (rounded,) = run_steps(devices.gpu, "float32", 1), run_steps(devices.gpu, "bfloat16", 1)
    assert rounded.finite and np.isfinite(rounded.image_loss).all()
    assert rounded.positives == exact.positives
    assert rounded.loss != exact.loss  # it did compute in another type
    # 8 bits through 17 layers: about 2^-9 * sqrt(17) = 1 % of a logit, here of some units.
    np.testing.assert_allclose(rounded.loss, exact.loss, rtol=0.1)
