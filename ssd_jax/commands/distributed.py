"""Several processes that make up one run: how they find each other, and which of them speaks.

Imported by a program, this module defines its options ``--coordinator_address``, ``--num_processes``,
``--process_id`` and ``--distributed``; see docs/scale.md.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from typing import NamedTuple

from absl import flags

from ssd_jax.commands import cli
from ssd_jax.errors import InputError

TIMEOUT = 300  # seconds in which all processes have to appear
END_TIMEOUT = 30  # seconds that a process waits for the others at its end: if it alone failed, they will not come
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")  # what JAX looks for, too


def define_options(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the options of this module; importing it defines them for the program."""
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "HOST:PORT of process 0, if the processes are started by hand.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "num_processes",
        None,
        "How many processes make up the run, if they are started by hand.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "process_id",
        None,
        "Which of them this is, from 0, if they are started by hand.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "distributed",
        "auto",
        ["auto", "on", "off"],
        "Whether this is one process of several. auto: if the options above are given, or if SLURM, Open MPI or a TPU "
        "pod has started more than one. on: as JAX detects the cluster, which may be Kubernetes too.",
        flag_values=flag_values,
    )


define_options()


class ByHand(NamedTuple):
    """What the three options say."""

    coordinator_address: str
    num_processes: int
    process_id: int


def start(
    options: flags.FlagValues = flags.FLAGS, *, environ: Mapping[str, str] = os.environ, timeout: int = TIMEOUT
) -> None:
    """Joins the other processes of the run, if there are any; before JAX touches a device.

    Afterwards only the first process writes to stdout, and the others say only warnings and errors.

    Args:
      options: parsed, with those of :func:`define_options`.
      environ: the environment, which tells of a cluster.
      timeout: seconds to wait for the others; then the program ends with one sentence and status 2.

    Raises:
      InputError: if the options contradict each other, or the processes do not find each other.
    """
    by_hand = given_by_hand(options.coordinator_address, options.num_processes, options.process_id)
    if by_hand and options.distributed == "off":
        raise InputError("--distributed=off contradicts --coordinator_address, --num_processes and --process_id")
    if by_hand or options.distributed == "on" or (options.distributed == "auto" and detected_tasks(environ) > 1):
        _join(by_hand, environ, timeout)
        _quiet_all_but_the_first()


def is_main() -> bool:
    """Whether this is the process that prints and writes files; to be asked after :func:`start`."""
    import jax

    return jax.process_index() == 0


def given_by_hand(address: str | None, num_processes: int | None, process_id: int | None) -> ByHand | None:
    """Returns what the three options say, or None if none is given.

    Raises:
      InputError: if only some are given, or one is out of range.
    """
    values = {"--coordinator_address": address, "--num_processes": num_processes, "--process_id": process_id}
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == len(values):
        return None
    if address is None or num_processes is None or process_id is None:
        given = [name for name in values if name not in missing]
        raise InputError(f"{', '.join(given)}: expected {' and '.join(missing)} as well")
    if not re.fullmatch(r"(\[[^\]]+\]|[^:\s]+):\d{1,5}", address):
        raise InputError(f"--coordinator_address: expected HOST:PORT, got {address!r}")
    if num_processes < 1:
        raise InputError(f"--num_processes: expected at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise InputError(f"--process_id: expected 0 to {num_processes - 1} (--num_processes), got {process_id}")
    return ByHand(address, num_processes, process_id)


def detected_tasks(environ: Mapping[str, str]) -> int:
    """Returns how many processes SLURM's srun, Open MPI's mpirun or a TPU pod has started; 1 if none of them has.

    A Kubernetes pod looks the same whether it is one of several or not, so it has to be said (``--distributed=on``).
    """
    if all(name in environ for name in _SLURM):  # the script of a job, which srun did not start, lacks some
        return int(environ.get("SLURM_NTASKS", 1))
    if "OMPI_COMM_WORLD_SIZE" in environ:
        return int(environ["OMPI_COMM_WORLD_SIZE"])
    return len(environ.get("TPU_WORKER_HOSTNAMES", "").split(","))


def devices_of_task(environ: Mapping[str, str]) -> list[int] | None:
    """Returns the GPUs of this process if all that it sees are its own; None leaves the choice to JAX.

    Under SLURM and Open MPI, JAX gives each process one GPU, by its number on the host. That is wrong
    if there is one process a host, which would leave the other GPUs idle, and with --gpus-per-task,
    which lets a process see no others.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if not visible or "JAX_LOCAL_DEVICE_IDS" in environ:
        return None
    if all(name in environ for name in _SLURM):
        tasks, hosts = int(environ.get("SLURM_NTASKS", 1)), int(environ.get("SLURM_STEP_NUM_NODES", 1))
        alone = tasks == hosts or any(name in environ for name in ("SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"))
    else:
        alone = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"
    return list(range(len(visible.split(",")))) if alone else None


def _join(by_hand: ByHand | None, environ: Mapping[str, str], timeout: int) -> None:
    import jax  # here, because it takes a second that a wrong option need not wait for

    # It would take SIGTERM for itself; commands.interrupt does what is to be done.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    where = f"--coordinator_address={by_hand.coordinator_address}" if by_hand else "--distributed"
    who = f"process {by_hand.process_id} of {by_hand.num_processes}" if by_hand else "this process"
    # After its own timeout JAX ends the process from C++, with a stack trace; this comes before.
    vain = f"{where}: {who} waited {timeout} s for the others in vain; expected all to run and to reach that address"
    timer = threading.Timer(timeout, _give_up, [vain])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **(by_hand._asdict() if by_hand else {}),
            cluster_detection_method="deactivate" if by_hand else None,
            local_device_ids=None if by_hand else devices_of_task(environ),
            initialization_timeout=2 * timeout,
            shutdown_timeout_seconds=END_TIMEOUT,
        )
    except ValueError as error:  # what the options leave open, no cluster tells
        raise InputError(
            "--distributed=on: expected a task of SLURM, Open MPI, Kubernetes or a TPU pod, but JAX finds none of "
            "them; started by hand, a process is told by --coordinator_address, --num_processes and --process_id"
        ) from error
    except RuntimeError as error:
        raise InputError(f"{where}: {who} cannot join the others ({str(error).splitlines()[0]})") from error
    finally:
        timer.cancel()


def _give_up(message: str) -> None:
    print(cli.printable(f"{os.path.basename(sys.argv[0])}: error: {message}"), file=sys.stderr, flush=True)
    os._exit(2)  # the main thread is within C++ and would not hear of an exception


def _quiet_all_but_the_first() -> None:
    if not is_main():
        logging.getLogger("ssd_jax").setLevel(logging.WARNING)
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # not sys.stdout alone: libraries in C++ print, too
