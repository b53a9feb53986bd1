"""One device, eight of one process and two processes of four each do the same; nothing else is communicated."""

import json
import pickle
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run
import toy_run

from ssd_jax import losses, parallel
from ssd_jax.commands import distributed, metrics_log, scoring
from ssd_jax.errors import InputError
from ssd_jax.types import LossParts

WORKER = Path(__file__).with_name("distributed_worker.py")
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "u8": 1, "bf16": 2}
COLLECTIVE = r"(all-reduce|all-gather|all-to-all|reduce-scatter|ragged-all-to-all|collective-\w+)(?:-start)?\("


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_processes(monkeypatch, tmp_path: Path, *jobs: str, count: int = 2) -> list[subprocess.Popen]:
    monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={8 // count}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(WORKER.parent.parent))
    address, started = f"127.0.0.1:{free_port()}", []
    for number in range(count):
        options = (f"--coordinator_address={address}", f"--num_processes={count}", f"--process_id={number}")
        command = [sys.executable, str(WORKER), str(tmp_path / "result"), ",".join(jobs), *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return started


def outputs(started: list[subprocess.Popen], *, timeout: float = 300) -> list[tuple[str, str]]:
    """Waits for the processes, of which none is left behind; returns stdout and stderr of each."""
    try:
        return [process.communicate(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[list[dict], list[str]]:
    """What two processes of four devices found, and what they printed."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        started = start_processes(patch, folder, "train", "evaluate", "agree")
        said = outputs(started)
    assert [process.returncode for process in started] == [0, 0], said
    results = [pickle.loads((folder / f"result.{number}").read_bytes()) for number in range(2)]
    return results, [stdout for stdout, _ in said]


@pytest.fixture(scope="module")
def mesh() -> jax.sharding.Mesh:
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices: tests/conftest.py makes them of the CPU")
    return parallel.data_mesh(jax.devices()[:8])


@pytest.fixture(scope="module")
def plain_step(mesh):
    return toy_run.compile_step(mesh, False)


def assert_same_training(ours, reference, before) -> None:
    """Parameters: 1e-5 of the largest of each leaf after one step, 1e-4 after five, where rounding has grown."""
    (snapshots, counts, loss), (wanted, expected, expected_loss) = ours, reference
    assert counts[0] == expected[0] and min(counts[0]) > 0  # the same default boxes are positive and are mined
    for found, right, tolerance in zip(snapshots, wanted, (1e-5, 1e-4), strict=True):
        leaves = zip(*map(jax.tree.leaves, (found, right, before.params)), strict=True)
        for ours_leaf, leaf, old in leaves:
            assert np.abs(ours_leaf - leaf).max() <= tolerance * np.abs(leaf).max()
            assert not np.array_equal(leaf, old), "nothing was learned, so nothing was compared"
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4)


def test_eight_devices_and_two_processes_of_four_train_alike(mesh, pair, plain_step):
    reference = toy_run.train(*plain_step, mesh)
    for process in pair[0]:
        assert_same_training(process["train"], reference, toy_run.start(False))


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_device_trains_alike_too_and_so_with_batch_normalization(mesh, tmp_path, monkeypatch, batch_norm):
    before = toy_run.start(batch_norm)
    one = toy_run.train(jax.jit(toy_run.train_step(None, batch_norm)), before, None)
    step, state = toy_run.compile_step(mesh, batch_norm)
    assert communicated(step) == expected_communication(batch_norm)
    assert_same_training(toy_run.train(step, state, mesh), one, before)

    job = "train_batch_norm" if batch_norm else "train"
    started = start_processes(monkeypatch, tmp_path, job)
    said = outputs(started)
    assert [process.returncode for process in started] == [0, 0], said
    for number in range(2):
        process = pickle.loads((tmp_path / f"result.{number}").read_bytes())
        assert_same_training(process[job], one, before)


def communicated(step) -> dict[str, int]:
    """Bytes of what a compiled step communicates, by the kind of the operation."""
    found: dict[str, int] = {}
    for line in step.as_text().splitlines():
        if match := re.search(rf"= (.*?) {COLLECTIVE}", line):
            shapes = re.findall(r"(\w+)\[([\d,]*)\]", match[1])
            size = sum(BYTES[kind] * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in shapes)
            found[match[2]] = found.get(match[2], 0) + size
    return found


def expected_communication(batch_norm: bool) -> dict[str, int]:
    """The gradient of each parameter; mean and mean square of each channel, forward, and their gradients, backward.

    And six scalars: numerator, denominator, the two parts of the loss, positives and negatives.
    """
    parameters = sum(leaf.size for leaf in jax.tree.leaves(toy_run.start(batch_norm).params))
    statistics = 2 * 2 * sum(toy_run.CHANNELS) if batch_norm else 0
    return {"all-reduce": 4 * (parameters + statistics + 6)}


def test_gradients_and_six_numbers_are_all_that_a_step_communicates(plain_step):
    assert communicated(plain_step[0]) == expected_communication(False)


def test_two_processes_find_what_one_finds(mesh, pair):
    """To the last bit: each device has the same rows and runs the same program."""
    detections, parts = toy_run.evaluate(mesh)
    assert [found.id for found in detections] == [f"image {number}" for number in range(21)]
    assert sum(len(found.labels) for found in detections) > 100
    for process in pair[0]:
        (others, other_parts), abandoned, asked = process["evaluate"]
        assert abandoned is None and asked == 2
        for ours, theirs in zip(detections, others, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)
        for a, b in zip(parts, other_parts, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_validation_loss_is_that_of_one_batch_of_all_images(mesh):
    _, parts = toy_run.evaluate(mesh)
    assert parts.positives[1] == parts.negatives[1] == 0  # it cannot be read
    assert parts.positives[2] == 0 and parts.positives[3] > 0  # its objects are difficult
    whole = LossParts(*(np.asarray(part) for part in zip(*toy_run.reference_losses(), strict=True)))
    numerator, denominator = losses.fraction(whole, per="global", location_weight=0.5)
    found = scoring.validation_losses(parts, location_weight=0.5)
    # Networks of batches of other sizes sum in another order.
    assert found["validation_loss"] == pytest.approx(float(numerator / denominator), rel=1e-5)
    assert found["validation_location_loss"] == pytest.approx(whole.location.sum() / whole.positives.sum(), rel=1e-5)
    assert found["validation_loss"] == pytest.approx(
        found["validation_confidence_loss"] + 0.5 * found["validation_location_loss"]
    )


def test_only_the_first_process_prints(pair):
    assert "process 0 speaks" in pair[1][0] and pair[1][1] == ""


def test_all_processes_hear_what_the_first_says_and_what_it_refuses(pair):
    for process in pair[0]:
        told, refused, gathered, _ = process["agree"]
        assert told == {"map": 0.1 + 0.2, "name": "ä" * 300}  # to the last bit of a float64
        assert refused == "no such thing"
        np.testing.assert_array_equal(gathered, np.arange(8))


def test_a_signal_to_one_process_stops_all_at_the_same_step(pair):
    stops = [process["agree"][3] for process in pair[0]]
    # Sent before the fifth call, answered by the sixth; only the second process got it.
    assert stops == [(6, 143, False), (6, 143, True)]


def test_of_several_processes_each_reads_its_rows():
    whole = toy_run.batches()
    for number in range(2):
        for batch, share in zip(whole, toy_run.batches((number, 2)), strict=True):
            np.testing.assert_array_equal(share.index, batch.index[8 * number : 8 * number + 8])


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
        cwd=WORKER.parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_processes_that_do_not_find_each_other_say_so_in_one_sentence(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    address = f"127.0.0.1:{free_port()}"
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


@pytest.fixture(scope="module")
def environ(tmp_path_factory) -> dict[str, str]:
    compiled = tiny_run.environment(tmp_path_factory.mktemp("compiled"))
    return {**compiled, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def start_pair(program: str, *options: str, environ: dict[str, str], logs: Path) -> list[subprocess.Popen]:
    """Starts a program of the checkout as two processes of two devices; each appends what it says to a file."""
    address = f"127.0.0.1:{free_port()}"
    by_hand = (f"--coordinator_address={address}", "--num_processes=2")
    return [
        tiny_run.start(
            *options, *by_hand, f"--process_id={number}", environ=environ, log=logs / f"log.{number}", program=program
        )
        for number in range(2)
    ]


def wait_all(started: list[subprocess.Popen], logs: Path, *, timeout: float = 300) -> list[int]:
    try:
        return [process.wait(timeout) for process in started]
    except subprocess.TimeoutExpired:
        pytest.fail("\n".join((logs / f"log.{number}").read_text() for number in range(len(started))))
    finally:
        for process in started:
            process.kill()


@pytest.mark.slow
def test_a_run_of_two_processes_stops_by_a_signal_to_one_resumes_and_is_evaluated(tmp_path, environ):
    workdir, logs = tmp_path / "run", tmp_path
    options = (*tiny_run.TINY, f"--workdir={workdir}", "--config.train.num_steps=2000")
    started = start_pair("train.py", *options, environ=environ, logs=logs)
    metrics = workdir / "metrics.jsonl"
    assert tiny_run.wait_for(lambda: metrics.exists() and bool(metrics.read_text()), started[0]), (
        logs / "log.0"
    ).read_text()
    started[1].send_signal(signal.SIGTERM)
    assert wait_all(started, logs) == [143, 143], (logs / "log.1").read_text()
    stopped = int(re.search(r"stopped after step (\d+); saved", (logs / "log.0").read_text())[1])  # pyright: ignore[reportOptionalSubscript]
    assert (workdir / "checkpoints" / str(stopped)).is_dir()
    assert "saved" not in (logs / "log.1").read_text().replace("saving", "")

    end = 6 * (stopped // 6 + 2)  # an evaluation comes every six steps
    more = (*options, f"--config.train.num_steps={end}")
    assert wait_all(start_pair("train.py", *more, environ=environ, logs=logs), logs) == [0, 0]
    assert f"resuming after step {stopped} of {end}" in (logs / "log.0").read_text()
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == sorted(set(steps)) and lines[-1]["step"] == end

    # The same checkpoint, evaluated by two processes and by one.
    figures = []
    for name, count in (("two", 2), ("one", 1)):
        output = ("evaluate.py", f"--ckpt={workdir}", f"--step={end}", f"--output={tmp_path / name}")
        if count == 2:
            assert wait_all(start_pair(*output, environ=environ, logs=logs), logs) == [0, 0]
        else:
            alone = tiny_run.start(*output[1:], environ=environ, log=logs / "log.0", program=output[0])
            assert wait_all([alone], logs) == [0]
        figures.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    assert figures[0]["voc"] == figures[1]["voc"]
    assert figures[0]["validation_loss"] == pytest.approx(figures[1]["validation_loss"], rel=1e-5)
    assert lines[-1]["validation_loss"] == pytest.approx(figures[0]["validation_loss"], rel=1e-5)


@pytest.mark.slow
def test_a_run_of_two_processes_of_which_one_is_killed_three_times_ends_as_the_unbroken_one(tmp_path, environ):
    """The other process ends with it, at the latest when the launcher sees to that, and the job is started again."""
    length = ("--config.train.num_steps=40", "--config.train.checkpoint_every=5", "--config.train.evaluate_every=20")
    found = {}
    for name, victims in (("unbroken", ()), ("broken", (0, 1, 0))):
        workdir, logs = tmp_path / name, tmp_path / f"{name} logs"
        logs.mkdir()
        options = (*tiny_run.TINY, *length, f"--workdir={workdir}")
        metrics = workdir / "metrics.jsonl"
        for victim in victims:
            started = start_pair("train.py", *options, environ=environ, logs=logs)
            before = metrics.read_text() if metrics.exists() else ""
            assert tiny_run.wait_for(
                lambda before=before, metrics=metrics: metrics.exists() and metrics.read_text() != before, started[0]
            ), (logs / "log.0").read_text()
            started[victim].kill()
            started[victim].wait()
            started[1 - victim].kill()  # as srun --kill-on-bad-exit does: by itself it may take 100 s to notice
            assert wait_all(started, logs) == [-signal.SIGKILL] * 2
        assert wait_all(start_pair("train.py", *options, environ=environ, logs=logs), logs) == [0, 0]
        checksums = json.loads((workdir / "checkpoints" / "40" / "meta" / "metadata").read_text())["checksums"]
        found[name] = checksums["arrays"], [metrics_log.comparable(line) for line in metrics.read_text().splitlines()]
    assert found["broken"] == found["unbroken"]
