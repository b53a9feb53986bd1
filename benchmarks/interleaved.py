"""Times several things in turn, round by round, so that a busy machine disturbs all alike; ratios are of one round."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.timing import GROUP_SECONDS

ROUNDS, QUICK_ROUNDS = 7, 2


class Contestant(NamedTuple):
    """Something that is compiled already."""

    call: Callable[[], Any]  # starts the work once; may return before the device is done
    wait: Callable[[Any], Any] = lambda result: result  # until its result is there
    images: int = 1  # of one call


def milliseconds(contestants: Mapping[str, Contestant], *, rounds: int) -> dict[str, list[float]]:
    """Returns the milliseconds an image of each contestant in each round.

    The first call of each is not counted. A round then runs each for at least ``GROUP_SECONDS``, in calls that are
    queued one after the other and waited for together.
    """
    groups = {}
    for name, one in contestants.items():
        _seconds(one, 1)
        groups[name] = max(1, math.ceil(GROUP_SECONDS / max(_seconds(one, 1), 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, one in contestants.items():
            found[name].append(1e3 * _seconds(one, groups[name]) / one.images)
    return found


def _seconds(one: Contestant, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls - 1):
        one.call()
    one.wait(one.call())
    return (time.perf_counter() - start) / calls
