"""A step that compiles in seconds: two convolutions for a network, the real augmentation, matching, loss and optimizer.

Shared by tests/test_distributed.py and by the processes that it starts (tests/distributed_worker.py).
"""

import functools
from collections.abc import Callable

import compiling
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from listed_source import NAMES, Listed, example

from ssd_jax import (
    augment,
    data,
    inference,
    losses,
    matching,
    models,
    objective,
    optim,
    parallel,
    postprocess,
    priors,
    training,
)
from ssd_jax.models import layers
from ssd_jax.types import Batch, Predictions

SIZE = (32, 32)
CHANNELS = (8, 16)
LEVEL = priors.PriorLevel(grid=(4, 4), step=(8, 8), shapes=((10, 10), (20, 20), (24, 12)))
DEFAULT_BOXES = priors.default_boxes((LEVEL,), SIZE)
OPTIMIZER = optim.make_optimizer(learning_rate=1e-2, schedule="steps", boundaries=(2,))
STEPS = 5


class Toy(nn.Module):
    """Strides of 4 and 2, each with batch normalization if asked for; then one head."""

    options: layers.LayerOptions

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Predictions:
        common = dict(options=self.options, train=train, kernel_init=layers.HE_NORMAL)
        x = layers.conv_relu(images / 64 - 2, "first", CHANNELS[0], 4, stride=4, **common)
        x = layers.conv_relu(x, "second", CHANNELS[1], 2, stride=2, **common)
        shapes = len(LEVEL.shapes)
        raw = nn.Conv(shapes * (4 + len(NAMES)), (1, 1), name="head")(x).reshape(len(x), -1, 4 + len(NAMES))
        return Predictions(raw[..., :4], raw[..., 4:])


def network(axis_name: str | None, batch_norm: bool) -> models.Model:
    module = Toy(layers.LayerOptions(batch_norm, axis_name))
    images = jnp.zeros((1, *SIZE, 3))

    def apply_train(variables, images):
        predictions, state = module.apply(variables, images, train=True, mutable=["batch_stats"])
        return predictions, dict(state)

    return models.Model(lambda key: dict(module.init(key, images)), module.apply, apply_train, (LEVEL,))


def train_step(axis_name: str | None, batch_norm: bool) -> Callable:
    """The un-compiled step, with the whole augmentation."""
    return training.make_train_step(
        network(axis_name, batch_norm),
        DEFAULT_BOXES,
        OPTIMIZER,
        seed=0,
        output_size=SIZE,
        augment_options={},
        match_options={},
        axis_name=axis_name,
    )


@functools.cache
def start(batch_norm: bool) -> training.TrainState:
    """The same state in every process, made without compiling anything: noise of He et al.'s size."""
    init = functools.partial(training.init_state, model=network(None, batch_norm), optimizer=OPTIMIZER)
    shapes = jax.eval_shape(init, jax.random.key(0))
    rng = np.random.default_rng(0)

    def noise(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = np.prod(leaf.shape[:-1])
        return rng.normal(0, (2 / fan_in) ** 0.5 if leaf.ndim > 1 else 0.1, leaf.shape).astype(leaf.dtype)

    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    ones = jax.tree.map(np.ones_like, zeros.model_state)
    return zeros._replace(params=jax.tree.map(noise, shapes.params), model_state=ones)


def compile_step(mesh: jax.sharding.Mesh, batch_norm: bool, shard: tuple[int, int] = (0, 1)):
    """Returns the step for a mesh, compiled in a fraction of the usual time, and the state before it."""
    state = parallel.replicate(start(batch_norm), mesh)
    step = training.compile_train_step(train_step(parallel.AXIS, batch_norm), mesh)
    lowered = step.lower(state, parallel.split(batches(shard)[0], mesh))
    return lowered.compile(compiler_options=compiling.FAST), state


def source(length: int = 21) -> Listed:
    """Noise with up to three objects each; the second cannot be read, the third has a difficult object."""
    rng, examples = np.random.default_rng(0), []
    for number in range(length):
        low = rng.uniform(0, 0.5, (number % 4, 2))
        corners = np.concatenate([low, low + rng.uniform(0.2, 0.5, (number % 4, 2))], axis=-1)
        labels = rng.integers(1, len(NAMES), number % 4)
        difficult = [number == 2] * (number % 4)
        image = b"no image" if number == 1 else None
        made = example(f"image {number}", corners, labels, size=(30, 32), difficult=difficult, image=image)
        examples.append(made)
    return Listed(examples)


def batches(shard: tuple[int, int] = (0, 1)) -> list[Batch]:
    """The batches of five steps of 16 images, or a process's rows of them."""
    stream = data.make_loader(source(), batch_size=16, seed=0, canvas=SIZE, shard=shard, num_threads=0)
    found = [next(stream) for _ in range(STEPS)]
    stream.close()
    return found


def train(step: Callable, state: training.TrainState, mesh: jax.sharding.Mesh | None, shard=(0, 1)):
    """Makes the five steps; returns the parameters after the first and the last, and counts and losses of all."""
    snapshots, counts, loss = [], [], []
    for number, batch in enumerate(batches(shard)):
        state, metrics = step(state, parallel.split(batch, mesh) if mesh else batch)
        if number in (0, STEPS - 1):
            snapshots.append(jax.device_get(state.params))
        counts.append((int(metrics.positives), int(metrics.negatives)))
        loss.append(float(metrics.loss))
    return snapshots, counts, loss


def evaluation_steps(axis_name: str | None) -> inference.EvaluationSteps:
    return inference.make_evaluation_steps(
        network(axis_name, False),
        functools.partial(postprocess.detect, priors=jnp.asarray(DEFAULT_BOXES), max_detections=20),
        objective.make_target_fn(DEFAULT_BOXES, match_options={}),
        output_size=SIZE,
    )


@functools.cache
def compiled_evaluation_steps(mesh: jax.sharding.Mesh) -> inference.EvaluationSteps:
    return inference.compile_evaluation_steps(evaluation_steps(parallel.AXIS), mesh)


def evaluate(mesh: jax.sharding.Mesh, shard=(0, 1), **options):
    """Evaluates the untrained network on the source: 21 images in batches of 8, so that the last is not full."""
    variables = parallel.replicate(training.evaluated_variables(start(False)), mesh)
    stream = data.make_eval_loader(source(), batch_size=8, canvas=SIZE, shard=shard, num_threads=0)
    try:
        return inference.evaluate_source(compiled_evaluation_steps(mesh), variables, stream, source(), mesh, **options)
    finally:
        stream.close()


def reference_losses() -> list[tuple[float, float, int, int]]:
    """The loss of each image, one at a time and not mapped over devices."""
    model, variables = network(None, False), training.evaluated_variables(start(False))

    @jax.jit
    def loss(batch: Batch):
        image = augment.resize(batch.canvas[0], batch.size[0], output_size=SIZE, interpolation="linear")
        offsets, logits = model.apply(variables, image[None])
        targets = matching.match(batch.boxes[0], batch.labels[0], DEFAULT_BOXES, ignored=batch.ignored[0])
        return losses.multibox_loss(Predictions(offsets[0], logits[0]), targets)

    stream = data.make_eval_loader(source(), batch_size=1, canvas=SIZE, num_threads=0)
    readable = (batch for batch, _ in stream if batch.valid[0])
    return [tuple(part.item() for part in loss(batch)) for batch in readable]
