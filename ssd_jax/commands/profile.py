"""``--profile=START:COUNT``: a trace of a few steps, of what host and devices do when."""

import re
import shlex
from pathlib import Path
from typing import Any

import jax

from ssd_jax.commands.progress import Progress
from ssd_jax.errors import InputError

FOLDER = "profile"
NONE = range(0)


def parse(text: str | None, *, num_steps: int) -> range:
    """Returns the steps that ``--profile`` names; none if it is not given.

    Args:
      text: START:COUNT; step START is the first.
      num_steps: of the run.

    Raises:
      InputError: it is no such pair, or reaches beyond the run.
    """
    if text is None:
        return NONE
    match = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", text)
    if not match:
        raise InputError(f"--profile: expected START:COUNT, the first step and how many, such as 20:5; got {text!r}")
    start, count = map(int, match.groups())
    if start + count - 1 > num_steps:
        raise InputError(f"--profile: expected steps up to {num_steps}, the last of the run; got {text!r}")
    return range(start, start + count)


class Trace:
    """Traces some of the steps of a loop, and says where the trace is; ends it too if the loop ends early.

    The last traced step is waited for, the others are dispatched ahead as ever. Python's own frames
    are left out: they would drown the rest and slow it down.
    """

    def __init__(self, steps: range, workdir: Path, progress: Progress, *, start: int) -> None:
        """Says so if all steps are past.

        Args:
          steps: of :func:`parse`.
          workdir: its folder ``profile`` receives the trace.
          progress: of the loop; of several processes, only the active one is traced.
          start: the step that the run goes on after.
        """
        self._steps = range(max(steps.start, start + 1), steps.stop) if progress.active else NONE
        self._folder, self._progress, self._running, self._annotation = workdir / FOLDER, progress, False, None
        self._last = start
        if steps and not self._steps:
            progress.say(f"--profile: steps {steps[0]} to {steps[-1]} are past; nothing is traced")

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """To be called before a step's batch is asked for."""
        if step not in self._steps:
            return
        if not self._running:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
            self._running = True
        self._annotation = jax.profiler.StepTraceAnnotation("train", step_num=step)
        self._annotation.__enter__()

    def after(self, step: int, result: Any) -> None:
        """To be called once a step was dispatched; ``result`` is what it returned, or a part of it."""
        if self._annotation is None:
            return
        self._last = step
        if step == self._steps[-1]:
            jax.block_until_ready(result)
        self._end_step()
        if step == self._steps[-1]:
            self._stop()

    def _end_step(self) -> None:
        if self._annotation is not None:
            self._annotation.__exit__(None, None, None)
            self._annotation = None

    def _stop(self) -> None:
        """Writes the trace, if one is running. A trace that cannot be written is no reason to end the training."""
        self._end_step()
        if not self._running:
            return
        self._running = False
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError, ValueError) as error:
            self._progress.say(f"--profile: the trace cannot be written to {self._folder}: {error}")
        else:
            self._progress.say(self._where())
        self._progress.restart_clock()  # writing takes seconds

    def _where(self) -> str:
        newest = max(self._folder.glob("plugins/profile/*"), key=lambda path: path.stat().st_mtime)
        return (
            f"trace of steps {self._steps[0]} to {self._last}: {newest}\n"
            f"  look at it by: python -m pip install xprof; xprof --logdir={shlex.quote(str(self._folder))}\n"
            "  or open its perfetto_trace.json.gz at https://ui.perfetto.dev"
        )
