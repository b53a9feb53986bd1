"""--profile: which steps are traced, and that a trace is written, also if the loop ends early."""

import gzip
import json
from pathlib import Path

import jax.numpy as jnp
import pytest

from ssd_jax.commands import profile
from ssd_jax.errors import InputError


def test_the_option_names_steps():
    assert profile.parse(None, num_steps=10) == range(0)
    assert profile.parse("3:2", num_steps=10) == range(3, 5)
    assert profile.parse("10:1", num_steps=10) == range(10, 11)


@pytest.mark.parametrize("text", ["", "5", "0:3", "3:0", "-1:2", "a:b", "1:2:3", " 1:2", "1.5:2"])
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=r"--profile: expected START:COUNT.*such as 20:5; got "):
        profile.parse(text, num_steps=10)


def test_steps_beyond_the_run_are_refused():
    with pytest.raises(InputError, match=r"--profile: expected steps up to 10, the last of the run; got '10:2'"):
        profile.parse("10:2", num_steps=10)


class Listener:
    """What a trace asks of Progress."""

    def __init__(self, active: bool = True) -> None:
        self.active, self.said, self.restarts = active, [], 0

    def say(self, line: str) -> None:
        self.said.append(line)

    def restart_clock(self) -> None:
        self.restarts += 1


def make_trace(steps: range, folder: Path, *, start: int = 0, active: bool = True) -> tuple[profile.Trace, Listener]:
    listener = Listener(active)
    return profile.Trace(steps, folder, listener, start=start), listener  # pyright: ignore[reportArgumentType]


def loop(trace: profile.Trace, steps: range) -> None:
    with trace:
        for step in steps:
            trace.before(step)
            trace.after(step, jnp.arange(10.0) * step)


def test_a_trace_of_the_wanted_steps_is_written(tmp_path):
    trace, listener = make_trace(range(3, 5), tmp_path)
    loop(trace, range(1, 8))
    (folder,) = (tmp_path / "profile" / "plugins" / "profile").iterdir()
    assert len(list(folder.glob("*.xplane.pb"))) == 1
    with gzip.open(folder / "perfetto_trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert {event["args"]["step_num"] for event in events if event.get("name") == "train"} == {"3", "4"}
    (said,) = listener.said
    assert said.startswith(f"trace of steps 3 to 4: {folder}\n") and "xprof" in said and "perfetto" in said
    assert listener.restarts == 1


def test_a_run_resumed_within_the_steps_traces_the_rest(tmp_path):
    trace, listener = make_trace(range(3, 6), tmp_path, start=4)
    loop(trace, range(5, 8))
    assert listener.said[0].startswith("trace of steps 5 to 5: ")


def test_steps_that_are_past_are_said_and_not_traced(tmp_path):
    trace, listener = make_trace(range(3, 5), tmp_path, start=10)
    loop(trace, range(11, 13))
    assert listener.said == ["--profile: steps 3 to 4 are past; nothing is traced"]
    trace, listener = make_trace(profile.NONE, tmp_path, start=10)
    loop(trace, range(11, 13))
    assert not listener.said and not list(tmp_path.iterdir())


def test_only_one_of_several_processes_is_traced(tmp_path):
    loop(make_trace(range(1, 3), tmp_path, active=False)[0], range(1, 4))
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_loop_ends_the_trace(tmp_path):
    trace, listener = make_trace(range(1, 9), tmp_path)
    with pytest.raises(KeyError), trace:
        trace.before(1)
        trace.after(1, None)
        trace.before(2)
        raise KeyError
    assert listener.said[0].startswith("trace of steps 1 to 1: ")
    trace, listener = make_trace(range(1, 2), tmp_path)
    loop(trace, range(1, 2))  # JAX would refuse it while another one runs
    assert len(listener.said) == 1


def test_a_trace_that_cannot_be_written_is_said_and_the_training_goes_on(tmp_path):
    (tmp_path / "profile").touch()
    trace, listener = make_trace(range(1, 2), tmp_path)
    loop(trace, range(1, 3))
    assert len(listener.said) == 1 and f"cannot be written to {tmp_path / 'profile'}: " in listener.said[0]
