"""Steps whose loss, gradient or update is not finite: which images are to blame, and the sentence that says so."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.training import StepMetrics
from ssd_jax.types import Batch

Policy = Literal["stop", "skip"]
POLICIES = ("stop", "skip")
MOST_IN_A_ROW = 100  # skipped steps after which even the policy "skip" gives up

_NAMED = 8  # images that a sentence names
ADVICE = (
    "A lower config.optimizer.learning_rate, a warm-up or config.optimizer.clip_norm usually helps"  # what to try first
)


class NonFiniteStep(InputError):
    """A step that ends the run. The state is the one before it, since its update was not made.

    Attributes:
      step: its number.
      batch: this process's rows of what it was given, on the host.
      metrics: what it told.
    """

    def __init__(self, message: str, step: int, batch: Batch, metrics: StepMetrics) -> None:
        super().__init__(message)
        self.step, self.batch, self.metrics = step, batch, metrics


def culprits(batch: Batch, metrics: StepMetrics, name_of: Callable[[int], str]) -> list[str]:
    """Returns the ids of those images, among this process's rows of the batch, whose loss is not finite."""
    return [name_of(int(index)) for index in np.asarray(batch.index)[~np.isfinite(_own(metrics.image_loss))]]


def non_finite_message(step: int, batch: Batch, metrics: StepMetrics, name_of: Callable[[int], str]) -> str:
    """Returns the sentence on a step that ends the run."""
    where = describe_culprits(culprits(batch, metrics, name_of), batch, metrics)
    return (
        f"step {step}: the loss, gradient or update is not finite (loss {float(metrics.loss)}), {where}; "
        f"this update was not made. {ADVICE}"
    )


def describe_culprits(names: list[str], batch: Batch, metrics: StepMetrics) -> str:
    """Returns where a step is not finite, for the middle of a sentence; ``names`` is of :func:`culprits`."""
    if not names:
        if metrics.image_loss.is_fully_addressable or np.isfinite(float(metrics.loss)):
            return "in no single image, but in the gradient or the update"
        return "but in none of this process's images"
    if len(names) == len(batch.index):
        return (
            f"in every image of the batch ({', '.join(names[:4])} ...), so the parameters are the likely cause "
            "(or, with batch normalization, any one of the images)"
        )
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"in the images {', '.join(names[:_NAMED])}{more}"


def _own(image_loss: jax.Array) -> np.ndarray:
    """Returns this process's part of an array that is split over devices, in the order of its batch."""
    shards: list[Any] = sorted(image_loss.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
