"""What a person sees of a training: a progress bar or plain lines, ``metrics.jsonl`` and, if wanted, TensorBoard."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from ssd_jax.commands import metrics_log, nonfinite, tensorboard
from ssd_jax.commands.nonfinite import NonFiniteStep
from ssd_jax.data.loader import Stream
from ssd_jax.training import StepMetrics
from ssd_jax.types import Batch


class Progress:
    """Logs a training loop.

    Values are fetched from the device only on log steps; whether a step is finite is looked at one
    step late, so that the device never waits for the host. What is logged of a step, and in which
    order, does not depend on when the run was interrupted.

    Attributes:
      active: whether this process writes and prints.
      name_of: index -> id of a training image.
      skipped_steps: those that were not finite, since the start of this process.
      unreadable: indices of this process's images whose file could not be read.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        start: int,
        total: int,
        every: int,
        batch_size: int,
        name_of: Callable[[int], str],
        on_nonfinite: nonfinite.Policy = "stop",
        tensorboard: bool = False,
        active: bool = True,
    ) -> None:
        """Opens the logs; what they hold of steps after ``start`` is dropped, since it comes again.

        Args:
          workdir: folder that receives ``metrics.jsonl`` and ``tensorboard/``.
          start, total: step to begin after and step to end with.
          every: steps between lines.
          batch_size: images a step, for the rate.
          name_of: index -> id of a training image, to name those of a bad step.
          on_nonfinite: whether a step that is not finite ends the run, or is only named and counted.
          tensorboard: whether to write for TensorBoard too.
          active: False in all processes but one: nothing is written or printed, but bad steps are found.

        Raises:
          InputError: a log cannot be written, or tensorboardX is not installed.
          ValueError: on_nonfinite is neither "stop" nor "skip".
        """
        if on_nonfinite not in nonfinite.POLICIES:
            raise ValueError(f"on_nonfinite: expected one of {', '.join(nonfinite.POLICIES)}, got {on_nonfinite!r}")
        with contextlib.ExitStack() as stack:
            self._log, self._board = _open_logs(stack, Path(workdir), start, tensorboard) if active else (None, None)
            hidden = not (active and sys.stderr.isatty())
            bar = tqdm.tqdm(total=total, initial=start, unit="step", disable=hidden, dynamic_ncols=True, smoothing=0.1)
            self._bar = stack.enter_context(contextlib.closing(bar))
            self._opened = stack.pop_all()
        self._every, self._batch_size, self.name_of, self._total = every, batch_size, name_of, total
        self._on_nonfinite, self.active = on_nonfinite, active
        self.skipped_steps = self._skipped_in_a_row = 0
        self.unreadable: set[int] = set()
        self._pending: tuple[int, Batch, StepMetrics] | None = None
        self._step, self._first = start, True
        self.restart_clock()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        self._opened.__exit__(*exception)

    def timed(self, batches: Stream) -> Batch:
        """Returns the next batch, counting the time waited for it."""
        begin = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - begin
        return batch

    def step(self, step: int, batch: Batch, metrics: StepMetrics) -> None:
        """Notes that a step was dispatched; on log steps writes its metrics.

        Raises:
          NonFiniteStep: the previous step (on log steps: this one) is not finite; see :meth:`check`.
        """
        self._bar.update(1)
        self.check()
        self._step = step
        self._pending = (step, batch, metrics)
        self._note_missing_images(step, batch)
        if self._first:  # compilation is not part of the rate
            jax.block_until_ready(metrics)
            self._first = False
            self.restart_clock()
        if step % self._every == 0 or step == self._total:
            self.check()
            self._log_step(step, metrics)

    def check(self) -> None:
        """Looks at the last step; to be called before the state that it led to is evaluated or saved.

        Raises:
          NonFiniteStep: it is not finite and ``on_nonfinite`` is "stop", or is the hundredth in a row.
        """
        if self._pending is None:
            return
        (step, batch, metrics), self._pending = self._pending, None
        if bool(metrics.finite):
            self._skipped_in_a_row = 0
        elif self._on_nonfinite == "stop":
            raise NonFiniteStep(nonfinite.non_finite_message(step, batch, metrics, self.name_of), step, batch, metrics)
        else:
            self._skip(step, batch, metrics)

    def say(self, line: str) -> None:
        """Prints a line without breaking the bar."""
        if self.active:
            self._bar.write(line, file=sys.stdout)
            sys.stdout.flush()

    def record(self, values: Mapping[str, Any]) -> None:
        """Logs the figures of an evaluation; ``values`` holds its "step" too."""
        self._write(values, "evaluation")

    def show(self, step: int, evaluation: Any) -> None:
        """Gives TensorBoard, if it is on, pictures of what was found; ``evaluation`` is a ``scoring.Evaluation``."""
        if self._board is not None:
            self._board.pictures(step, evaluation)

    def sync(self) -> None:
        """Brings the logs to the disk: before a checkpoint, so that none is newer than what is logged."""
        if self._log is not None:
            self._log.sync()
        if self._board is not None:
            self._board.flush()

    def restart_clock(self) -> None:
        """Measures the rate from here: what was just done (evaluation, saving, compilation) is left out."""
        self._waited, self._since, self._last = 0.0, time.perf_counter(), self._step

    def _log_step(self, step: int, metrics: StepMetrics) -> None:
        values = {k: np.asarray(v).item() for k, v in metrics._asdict().items() if k not in ("finite", "image_loss")}
        seconds = max(time.perf_counter() - self._since, 1e-9)
        steps = step - self._last
        rate = steps * self._batch_size / seconds if steps else None  # None: this step compiled
        waiting = self._waited / seconds if steps else None
        timing = {"images_per_second": rate, "data_wait": waiting, **_device_memory()}
        self._write({"step": step, **values, **timing}, "train")
        self.say(
            f"step {step}/{self._total}  loss {values['loss']:.3f} (location {values['location_loss']:.3f}, "
            f"confidence {values['confidence_loss']:.3f})  rate {values['learning_rate']:.2e}  "
            + (f"{rate:.1f} images/s  data wait {waiting:.0%}" if steps else "compiled")
        )
        self.restart_clock()

    def _skip(self, step: int, batch: Batch, metrics: StepMetrics) -> None:
        """Names and counts a step that is not finite, and gives up after too many in a row."""
        names = nonfinite.culprits(batch, metrics, self.name_of)
        where = nonfinite.describe_culprits(names, batch, metrics)
        self.say(f"step {step}: skipped, its loss, gradient or update is not finite {where}")
        self._write({"step": step, "event": "skipped_step", "images": names}, "events")
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row == nonfinite.MOST_IN_A_ROW:
            message = (
                f"step {step}: not finite, like the {nonfinite.MOST_IN_A_ROW - 1} steps before it, so the parameters "
                f"are the cause, not the images. {nonfinite.ADVICE}, from an earlier checkpoint or from the start"
            )
            raise NonFiniteStep(message, step, batch, metrics)

    def _note_missing_images(self, step: int, batch: Batch) -> None:
        """Logs which rows of a batch are empty because their image could not be read."""
        missing = np.asarray(batch.index)[~np.asarray(batch.valid)]
        if len(missing):
            self.unreadable.update(missing.tolist())
            names = [self.name_of(int(index)) for index in missing]
            self._write({"step": step, "event": "skipped_images", "images": names}, "events")

    def _write(self, values: Mapping[str, Any], group: str) -> None:
        if self._log is not None:
            self._log.write(values)
        if self._board is not None:
            self._board.scalars(values, group)


def _open_logs(
    stack: contextlib.ExitStack, workdir: Path, start: int, with_board: bool
) -> tuple[metrics_log.MetricsLog, tensorboard.Writer | None]:
    log = stack.enter_context(metrics_log.MetricsLog(workdir / metrics_log.NAME, start=start))
    board = tensorboard.Writer(workdir / tensorboard.FOLDER, start=start) if with_board else None
    return log, board if board is None else stack.enter_context(board)


def _device_memory() -> dict[str, int | None]:
    """Returns the bytes of the first device that are in use, and were at most; None where it does not tell (CPU)."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {"device_memory": stats.get("bytes_in_use"), "device_memory_peak": stats.get("peak_bytes_in_use")}
