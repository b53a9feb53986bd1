"""What a person sees of a training: a progress bar or plain lines, and ``metrics.jsonl``."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from ssd_jax.data.loader import Stream
from ssd_jax.errors import InputError
from ssd_jax.training import StepMetrics
from ssd_jax.types import Batch


class Progress:
    """Logs a training loop.

    Values are fetched from the device only on log steps; whether the loss is finite is looked at one
    step late, so that the device never waits for the host.
    """

    def __init__(
        self, workdir: str | Path, *, start: int, total: int, every: int, batch_size: int, name_of: Callable[[int], str]
    ) -> None:
        """Opens the log.

        Args:
          workdir: folder that receives ``metrics.jsonl``.
          start, total: step to begin after and step to end with.
          every: steps between lines.
          batch_size: images a step, for the rate.
          name_of: index -> id of a training image, to name those of a bad step.
        """
        self._file = (Path(workdir) / "metrics.jsonl").open("a", encoding="utf-8")
        self._bar = tqdm.tqdm(
            total=total, initial=start, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True, smoothing=0.1
        )
        self._every, self._batch_size, self._name_of, self._total = every, batch_size, name_of, total
        self._pending: tuple[int, Batch, StepMetrics] | None = None
        self._waited, self._since, self._last, self._first = 0.0, time.perf_counter(), start, True

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        self._file.close()

    def timed(self, batches: Stream) -> Batch:
        """Returns the next batch, counting the time waited for it."""
        begin = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - begin
        return batch

    def step(self, step: int, batch: Batch, metrics: StepMetrics) -> None:
        """Notes that a step was dispatched; on log steps writes its metrics.

        Raises:
          InputError: if the loss of the previous step (on log steps: of this one) is not finite.
        """
        self._bar.update(1)
        self.check()
        self._pending = (step, batch, metrics)
        if self._first:  # compilation is not part of the rate
            jax.block_until_ready(metrics)
            self._first, self._last = False, step
            self.restart_clock()
        if step % self._every == 0 or step == self._total:
            self.check()
            self._log(step, metrics)

    def check(self) -> None:
        """Looks at the last step's loss.

        Raises:
          InputError: if it is not finite, naming the step and the images.
        """
        if self._pending is not None:
            (step, batch, metrics), self._pending = self._pending, None
            if not bool(metrics.finite):
                raise InputError(non_finite_message(step, batch, metrics, self._name_of))

    def say(self, line: str) -> None:
        """Prints a line without breaking the bar."""
        self._bar.write(line, file=sys.stdout)
        sys.stdout.flush()

    def record(self, values: Mapping[str, Any]) -> None:
        """Appends a line to ``metrics.jsonl``; numbers that JSON lacks become null."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()

    def restart_clock(self) -> None:
        """Leaves out of the rate what has just been done (evaluation, saving, compilation)."""
        self._waited, self._since = 0.0, time.perf_counter()

    def _log(self, step: int, metrics: StepMetrics) -> None:
        values = {k: np.asarray(v).item() for k, v in metrics._asdict().items() if k not in ("finite", "image_loss")}
        seconds = max(time.perf_counter() - self._since, 1e-9)
        steps = step - self._last
        rate = steps * self._batch_size / seconds if steps else None  # None: this step compiled
        waiting = self._waited / seconds if steps else None
        self.record({"step": step, **values, "images_per_second": rate, "data_wait": waiting})
        self.say(
            f"step {step}/{self._total}  loss {values['loss']:.3f} (location {values['location_loss']:.3f}, "
            f"confidence {values['confidence_loss']:.3f})  rate {values['learning_rate']:.2e}  "
            + (f"{rate:.1f} images/s  waiting for data {waiting:.0%}" if steps else "compiled")
        )
        self._last = step
        self.restart_clock()


def non_finite_message(step: int, batch: Batch, metrics: StepMetrics, name_of: Callable[[int], str]) -> str:
    """Returns the sentence on a step whose loss or gradient is not finite."""
    losses = np.concatenate([np.asarray(part.data) for part in _shards(metrics.image_loss)])
    bad = [name_of(int(i)) for i in np.asarray(batch.index)[~np.isfinite(losses)]]
    if not bad:
        what = "in no single image, but in the gradient or the update"
    elif len(bad) == len(losses):
        what = f"in every image of the batch ({', '.join(bad[:4])} ...), so the parameters are the likely cause"
    else:
        what = f"in the images {', '.join(bad)}"
    return (
        f"step {step}: the loss, gradient or update is not finite (loss {float(metrics.loss)}), {what}; "
        "this update was not made. A lower config.optimizer.learning_rate, a warm-up or config.optimizer.clip_norm "
        "usually helps"
    )


def _shards(array: jax.Array) -> Sequence[Any]:
    """This process's shares of a split array, in the order of its batch."""
    return sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
