"""One process of several, for tests/test_distributed.py: python distributed_worker.py OUTPUT JOB,JOB OPTIONS"""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import toy_run

from ssd_jax import parallel, processes
from ssd_jax.commands import cli, distributed
from ssd_jax.commands.interrupt import StopSignal
from ssd_jax.errors import InputError


def shard() -> tuple[int, int]:
    return jax.process_index(), jax.process_count()


def train(batch_norm: bool) -> Callable:
    def job(mesh):
        return toy_run.train(*toy_run.compile_step(mesh, batch_norm, shard()), mesh, shard())

    return job


def evaluate(mesh):
    found = toy_run.evaluate(mesh, shard())
    asked = []

    def second_time() -> bool:
        asked.append(None)
        return len(asked) == 2

    return found, toy_run.evaluate(mesh, shard(), should_stop=second_time), len(asked)


def agree(mesh):
    """What the processes tell each other, and the calls after which each of them stops."""

    def refuse():
        raise InputError("no such thing")

    told = processes.from_first(lambda: {"map": 0.1 + 0.2 + jax.process_index(), "name": "ä" * 300})
    try:
        processes.from_first(refuse)
        refused = ""
    except InputError as error:
        refused = str(error)
    numbers = np.split(np.arange(8), jax.process_count())[jax.process_index()]
    gathered = parallel.gather({"numbers": parallel.split(numbers, mesh)}, mesh)["numbers"]
    with StopSignal(mesh) as stop:
        for call in range(1, 100):
            if call == 5 and jax.process_index() == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            if stop.agreed():
                break
    return told, refused, gathered, (call, stop.status, stop.requested)


JOBS = {"train": train(False), "train_batch_norm": train(True), "evaluate": evaluate, "agree": agree}


def main(arguments: list[str]) -> int:
    distributed.start()
    print(f"process {jax.process_index()} speaks")
    _, output, jobs = arguments
    mesh = parallel.data_mesh()
    results = {job: JOBS[job](mesh) for job in jobs.split(",")}
    Path(f"{output}.{jax.process_index()}").write_bytes(pickle.dumps(results))
    return 0


if __name__ == "__main__":
    cli.run(main, sys.argv, positional=("OUTPUT", "JOBS"))
