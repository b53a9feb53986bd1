"""What the processes of one run have to agree about; with a single process all of it is free."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssd_jax.errors import InputError


def wait_for_all(name: str) -> None:
    """Returns once every process of the run has called it with this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def anywhere(flag: bool) -> bool:
    """Whether the flag is set on any process; all of them call it and get the same answer."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def from_first(compute: Callable[[], Any]) -> Any:
    """Returns on every process what the first one computes; the others wait for it.

    Args:
      compute: called on the first process only; its result has to be what JSON can express.

    Raises:
      InputError: on every process, if ``compute`` raises it.
    """
    if jax.process_count() == 1:
        return compute()
    message = {}
    if jax.process_index() == 0:
        try:
            message = {"value": compute()}
        except InputError as error:
            message = {"error": str(error)}
    message = json.loads(_broadcast(json.dumps(message).encode()))
    if "error" in message:
        raise InputError(message["error"])
    return message["value"]


def _broadcast(text: bytes) -> bytes:
    """Returns the first process's bytes on every process."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = 1 << max(8, length.bit_length())  # few different shapes, each of which is a program to compile
    buffer = np.zeros(padded, np.uint8)
    buffer[: min(len(text), padded)] = np.frombuffer(text, np.uint8)[:padded]
    return multihost_utils.broadcast_one_to_all(buffer).tobytes()[:length]


def union(numbers: Iterable[int]) -> list[int]:
    """Returns, sorted, the numbers (from 0 below 2**31) that any process has; all of them call it."""
    own = sorted(set(numbers))
    if jax.process_count() == 1:
        return own
    most = int(np.max(multihost_utils.process_allgather(np.int32(len(own)))))
    if not most:
        return []
    padded = np.pad(np.array(own, np.int32), (0, most - len(own)), constant_values=-1)
    found = multihost_utils.process_allgather(padded)
    return sorted({int(number) for number in np.ravel(found)} - {-1})
