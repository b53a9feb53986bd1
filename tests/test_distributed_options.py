"""How processes find each other: options, clusters, devices, and what is refused."""

import subprocess
import sys

import pytest
import tiny_run

from ssd_jax.commands import distributed
from ssd_jax.errors import InputError

BY_HAND = ("10.0.0.1:1234", 4, 1)


@pytest.mark.parametrize(
    ("values", "fragments"),
    [
        (("10.0.0.1:1234", None, None), ("--coordinator_address", "--num_processes and --process_id as well")),
        ((None, 4, 1), ("--num_processes, --process_id", "expected --coordinator_address")),
        (("10.0.0.1", 4, 1), ("HOST:PORT", "'10.0.0.1'")),
        (("http://a:1234", 4, 1), ("HOST:PORT",)),
        (("10.0.0.1:1234", 0, 0), ("--num_processes", "got 0")),
        (("10.0.0.1:1234", 4, 4), ("--process_id", "0 to 3", "got 4")),
        (("10.0.0.1:1234", 4, -1), ("--process_id", "got -1")),
    ],
)
def test_options_that_contradict_each_other_are_refused(values, fragments):
    with pytest.raises(InputError) as caught:
        distributed.given_by_hand(*values)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_options_by_hand_are_taken_together():
    assert distributed.given_by_hand(None, None, None) is None
    assert distributed.given_by_hand(*BY_HAND) == distributed.ByHand(*BY_HAND)
    assert distributed.given_by_hand("[::1]:1234", 1, 0) is not None


SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-4]",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_NODES": "4",
}


@pytest.mark.parametrize(
    ("environ", "tasks"),
    [
        ({}, 1),
        (SLURM, 4),
        ({**SLURM, "SLURM_NTASKS": "1"}, 1),
        # The script of a job, or a shell of salloc: the tasks are allotted, but srun has not started them.
        ({key: value for key, value in SLURM.items() if "STEP" not in key}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, 8),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, 1),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, 2),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 1),  # a single pod looks the same
    ],
)
def test_a_cluster_counts_when_it_has_started_more_than_one_process(environ, tasks):
    assert distributed.detected_tasks(environ) == tasks


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({**SLURM, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [0, 1, 2, 3]),  # one process a host
        ({**SLURM, "SLURM_NTASKS": "16", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, None),  # one a GPU: JAX takes its own
        ({**SLURM, "SLURM_NTASKS": "8", "SLURM_GPUS_PER_TASK": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, [0, 1]),
        ({**SLURM, "SLURM_NTASKS": "8", "SLURM_TRES_PER_TASK": "gres/gpu:1", "CUDA_VISIBLE_DEVICES": "0"}, [0]),
        ({**SLURM, "CUDA_VISIBLE_DEVICES": "0,1", "JAX_LOCAL_DEVICE_IDS": "1"}, None),  # said already
        (SLURM, None),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, [0, 1]),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, None),
    ],
)
def test_no_gpu_of_a_host_is_left_idle(environ, devices):
    assert distributed.devices_of_task(environ) == devices


def start_in_vain(*options: str) -> subprocess.CompletedProcess:
    program = (
        "import sys\n"
        "from ssd_jax.commands import cli, distributed\n"
        "sys.argv[0] = 'train.py'\n"
        "cli.run(lambda _: distributed.start(timeout=2))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=tiny_run.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_processes_that_do_not_find_each_other_say_so_in_one_sentence(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    address = f"127.0.0.1:{tiny_run.free_port()}"
    result = start_in_vain(f"--coordinator_address={address}", "--num_processes=2", "--process_id=1")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("train.py: error: ") and address in line and "process 1 of 2 waited 2 s" in line


def test_on_without_a_cluster_and_off_with_options_are_refused():
    on = start_in_vain("--distributed=on")
    assert on.returncode == 2 and "--distributed=on: expected a task of SLURM" in on.stderr
    options = ("--coordinator_address=a:1", "--num_processes=2", "--process_id=1")
    off = start_in_vain("--distributed=off", *options)
    assert off.returncode == 2 and "contradicts" in off.stderr and len(off.stderr.splitlines()) == 1
    assert start_in_vain().returncode == 0
