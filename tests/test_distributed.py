"""One device, eight of one process and two processes of four each do the same; nothing else is communicated."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run
import toy_run

from ssd_jax import losses, parallel
from ssd_jax.commands import scoring
from ssd_jax.types import LossParts

WORKER = Path(__file__).with_name("distributed_worker.py")
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "u8": 1, "bf16": 2}
COLLECTIVE = r"(all-reduce|all-gather|all-to-all|reduce-scatter|ragged-all-to-all|collective-\w+)(?:-start)?\("


def start_processes(monkeypatch, tmp_path: Path, *jobs: str, count: int = 2) -> list[subprocess.Popen]:
    # To the last bit the same programs need the same flags; of two values of one the last counts.
    flags = os.environ["XLA_FLAGS"]
    monkeypatch.setenv("XLA_FLAGS", f"{flags} --xla_force_host_platform_device_count={8 // count}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(WORKER.parent.parent))
    address, started = f"127.0.0.1:{tiny_run.free_port()}", []
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
    detections, parts, _ = toy_run.evaluate(mesh)
    assert [found.id for found in detections] == [f"image {number}" for number in range(21)]
    assert sum(len(found.labels) for found in detections) > 100
    for process in pair[0]:
        (others, other_parts, _), abandoned, asked = process["evaluate"]
        assert abandoned is None and asked == 2
        for ours, theirs in zip(detections, others, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)
        for a, b in zip(parts, other_parts, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_validation_loss_is_that_of_one_batch_of_all_images(mesh):
    parts = toy_run.evaluate(mesh).losses
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
