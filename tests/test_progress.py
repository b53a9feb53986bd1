"""What the log says of a step that is not finite: the step, and the images that are to blame."""

import jax.numpy as jnp
import numpy as np
import pytest

from ssd_jax.commands.progress import Progress, non_finite_message
from ssd_jax.errors import InputError
from ssd_jax.training import StepMetrics
from ssd_jax.types import Batch

NAMES = {7: "seven", 8: "eight", 9: "nine"}


def step_of(image_loss: list[float]) -> tuple[Batch, StepMetrics]:
    batch = Batch._make([None] * 5 + [np.uint32([7, 8, 9]), np.zeros(3, np.uint32)])
    loss = jnp.asarray(image_loss)
    scalars = dict.fromkeys(StepMetrics._fields, jnp.float32(1))
    finite = jnp.isfinite(loss).all()
    return batch, StepMetrics(**{**scalars, "loss": loss.sum(), "finite": finite, "image_loss": loss})


@pytest.mark.parametrize(
    ("losses", "named", "not_named"),
    [
        ([1.0, np.nan, 1.0], ["in the images eight"], ["seven", "nine"]),
        ([np.inf, np.nan, 1.0], ["in the images seven, eight"], ["nine"]),
        ([np.nan] * 3, ["every image", "the parameters are the likely cause"], []),
        ([1.0, 1.0, 1.0], ["no single image"], ["seven", "eight", "nine"]),
    ],
)
def test_the_message_names_the_step_and_the_images(losses, named, not_named):
    message = non_finite_message(41, *step_of(losses), NAMES.__getitem__)
    assert message.startswith("step 41:")
    assert all(text in message for text in named) and not any(text in message for text in not_named)


def test_a_bad_step_is_noticed_one_step_later_at_the_latest(tmp_path):
    options = dict(start=0, total=10, every=5, batch_size=3, name_of=NAMES.__getitem__)
    with Progress(tmp_path, **options) as progress:
        progress.step(1, *step_of([1.0, 1.0, 1.0]))
        progress.step(2, *step_of([1.0, np.nan, 1.0]))
        with pytest.raises(InputError, match="step 2: .* eight"):
            progress.step(3, *step_of([1.0, 1.0, 1.0]))
