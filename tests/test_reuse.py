"""Matching and loss alone, around a network that knows nothing of this project: the README's example."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

# What stands between the markers is quoted by README.md.
# isort: split
# [reuse]
import jax

from ssd_jax import losses, matching, priors
from ssd_jax.types import Predictions

LEVELS = [
    priors.PriorLevel(grid=(4, 4), step=(16, 16), shapes=priors.caffe_shapes([20], [32], [2])),
    priors.PriorLevel(grid=(2, 2), step=(32, 32), shapes=priors.caffe_shapes([32], [56], [2])),
]
DEFAULT_BOXES = priors.default_boxes(LEVELS, image_size=(64, 64))  # [P, 4], a constant


def loss(params, images, boxes, labels):  # boxes [B, M, 4] in [0, 1], labels [B, M], 0 = padding
    predictions = Predictions(*network(params, images))  # yours: offsets [B, P, 4], logits [B, P, C]
    targets = jax.vmap(lambda b, c: matching.match(b, c, DEFAULT_BOXES))(boxes, labels)
    return losses.normalize(losses.multibox_loss(predictions, targets))


# [/reuse]
NUM_CLASSES = 3  # background and two more


def network(params, images):
    """A network can hardly be more foreign: one matrix."""
    outputs = images.reshape(len(images), -1) @ params
    outputs = outputs.reshape(len(images), len(DEFAULT_BOXES), 4 + NUM_CLASSES)
    return outputs[..., :4], outputs[..., 4:]


def snippet() -> str:
    source = Path(__file__).read_text(encoding="utf-8")
    return source.split("\n# [reuse]\n")[1].split("\n# [/reuse]\n")[0].strip()


def test_gradient_steps_lower_the_loss():
    random = np.random.default_rng(0)
    images = random.normal(0, 0.1, (2, 16, 16, 3)).astype(np.float32)
    boxes = np.float32([[[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.7]], [[0.3, 0.2, 0.5, 0.8], [0, 0, 0, 0]]])
    labels = np.int32([[1, 2], [2, 0]])
    params = jnp.zeros((16 * 16 * 3, len(DEFAULT_BOXES) * (4 + NUM_CLASSES)))
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    history = []
    for _ in range(5):
        value, gradient = value_and_gradient(params, images, boxes, labels)
        params -= 0.01 * gradient
        history.append(float(value))
    # At first each of the positives and three times as many negatives costs ln 3; the location loss comes on top.
    assert history[0] > 4 * np.log(3)
    assert history == sorted(history, reverse=True)
    assert history[-1] < history[0]


def test_snippet_is_short():
    assert len(snippet().splitlines()) < 30


def test_readme_quotes_the_snippet():
    readme = Path(__file__).resolve().parents[1] / "README.md"
    if not readme.is_file():
        pytest.skip("no README.md: this is not a checkout of the repository")
    assert snippet() in readme.read_text(encoding="utf-8")
