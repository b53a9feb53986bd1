"""How long does post-processing take? Raw predictions on the device in, detections on the device out.

Decoding, suppression and top-k of SSD300's 8,732 boxes, for scores that are easy and scores that are crowded (see
scenes.py). On a CPU beside plain NumPy (plain.py), in turn with it; on a GPU beside torchvision's batched_nms, in a
process of its own, where that is installed. Beside it the forward pass of the network, for the share.

python benchmarks/postprocess.py [--json FILE] [--quick] [--seconds S]
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory of the same GPU

import jax
import numpy as np

from benchmarks import plain, scenes, subjects, tables
from benchmarks.interleaved import QUICK_ROUNDS, ROUNDS, Contestant, milliseconds
from benchmarks.runner import OUT_OF_TIME, SHARE_OF_OURS
from ssd_jax import parallel, postprocess

QUESTION = "postprocess"
FORWARD_CLASSES = subjects.CLASSES - 1  # of the network whose forward pass is measured
COMPARED = 2  # images of a batch that plain NumPy looks at, before anything is timed
LEAST_AGREEMENT = 0.99  # rounding may decide an overlap that is nearly the threshold


class Group(NamedTuple):
    """Rows that are measured together: all scenes."""

    network: str
    classes: int
    batch: int


def groups(quick: bool) -> list[Group]:
    """Returns them, the most telling first: time may run out."""
    if quick:
        return [Group("tiny", FORWARD_CLASSES, 2)]
    return [Group("SSD300", classes, batch) for classes in (20, 80, 200) for batch in (8, 1)]


def inputs(group: Group, scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns offsets [B, P, 4], logits [B, P, C] and default boxes [P, 4]."""
    default_boxes = subjects.build(group.network, "float32")[1]
    return *scenes.make(scene, default_boxes, group.classes, group.batch), default_boxes


def measure(quick: bool, deadline: float) -> dict[str, Any]:
    """Measures all groups for which there is time."""
    device = jax.default_backend()
    rows, outputs, longest = [], {}, 0.0
    end_of_ours = deadline if device == "cpu" else deadline - (1 - SHARE_OF_OURS) * (deadline - time.monotonic())
    for group in groups(quick):
        start = time.monotonic()
        if start + longest > end_of_ours:
            rows += [_row(group, scene, error=OUT_OF_TIME) for scene in scenes.SCENES]
            continue
        try:
            measured, found = measure_group(group, device, QUICK_ROUNDS if quick else ROUNDS)
        except Exception as error:  # no memory, say: costs no other row
            measured, found = [_row(group, scene, error=_one_line(error)) for scene in scenes.SCENES], {}
        rows, outputs = rows + measured, outputs | found
        longest = max(longest, time.monotonic() - start)
    if device != "cpu":
        add_torchvision(rows, outputs, quick=quick, seconds=deadline - time.monotonic())
    return {**tables.head(QUESTION, quick, device), "peer": peer_name(device), "rows": rows}


def peer_name(device: str) -> str:
    """Returns who is measured beside us."""
    return "NumPy" if device == "cpu" else "torchvision"


def measure_group(group: Group, device: str, rounds: int) -> tuple[list[dict[str, Any]], dict[Any, Any]]:
    """Measures the scenes of a group in turn; returns their rows, and our detections by (group, scene)."""
    contestants, facts, outputs = {}, {}, {}
    run = None
    for scene in scenes.SCENES:
        offsets, logits, default_boxes = inputs(group, scene)
        placed = jax.device_put((offsets, logits))
        if run is None:
            run, seconds = subjects.compile_apart(_program(default_boxes), *placed)
            facts["compile_seconds"] = seconds
        found = jax.device_get(run(*placed))
        outputs[group, scene] = found
        compared = zip(offsets[:COMPARED], logits[:COMPARED], strict=True)
        one_by_one = [plain.detect(*image, default_boxes) for image in compared]
        facts[scene] = {
            "detections": float((found.labels > 0).sum() / group.batch),
            "agreement": agreement(found, one_by_one),
        }
        contestants[scene] = Contestant(functools.partial(run, *placed), jax.block_until_ready, group.batch)
        if device == "cpu":
            contestants[f"{scene}, peer"] = Contestant(
                functools.partial(plain.detect, offsets[0], logits[0], default_boxes)
            )
    if group.classes == FORWARD_CLASSES:
        contestants["forward"] = forward(group, "float32" if device == "cpu" else "bfloat16")
    found = milliseconds(contestants, rounds=rounds)
    return [summary(group, scene, found, facts) for scene in scenes.SCENES], outputs


def _program(default_boxes: np.ndarray) -> Callable:
    detect = functools.partial(postprocess.detect, priors=jax.numpy.asarray(default_boxes))
    return parallel.compile(jax.vmap(detect))


def forward(group: Group, precision: str) -> Contestant:
    """Returns the network alone, compiled for a batch of this size."""
    model, _ = subjects.build(group.network, precision)
    variables = jax.device_put(subjects.variables(group.network))
    shape = (group.batch, *subjects.image_size(group.network), 3)
    images = jax.device_put(np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32))
    run, _ = subjects.compile_apart(parallel.compile(model.apply), variables, images)
    return Contestant(lambda: run(variables, images), jax.block_until_ready, group.batch)


def agreement(ours: Any, theirs: Sequence[plain.Found]) -> float:
    """Returns the share of all detections, ours and theirs, of the first images, that the other side has too.

    The same: of the same class, with coordinates within 1e-4 of the image's side and scores within 1e-5.
    """
    same = total = 0
    for row, other in enumerate(theirs):
        mine = plain.Found(*(np.asarray(part)[row][np.asarray(ours.labels)[row] > 0] for part in ours))
        close = np.abs(mine.scores[:, None] - other.scores) <= 1e-5
        close &= np.abs(mine.boxes[:, None] - other.boxes).max(axis=-1, initial=0) <= 1e-4
        close &= mine.labels[:, None] == other.labels
        same += close.any(axis=1).sum() + close.any(axis=0).sum()
        total += len(mine.labels) + len(other.labels)
    return float(same / total) if total else 1.0


def summary(group: Group, scene: str, found: Mapping[str, Sequence[float]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Sums up one scene: milliseconds an image and ratios within each round."""
    if facts[scene]["agreement"] < LEAST_AGREEMENT:
        return _row(group, scene, error=f"only {facts[scene]['agreement']:.1%} of the detections are those of NumPy")

    def ratio(above: str, below: str) -> dict[str, float] | None:
        if above not in found or below not in found:
            return None
        return tables.spread([a / b for a, b in zip(found[above], found[below], strict=True)])

    peer = found.get(f"{scene}, peer")
    return _row(
        group,
        scene,
        milliseconds=tables.spread(found[scene]),
        peer_milliseconds=peer and tables.spread(peer),
        times_as_fast=ratio(f"{scene}, peer", scene),
        share_of_forward=ratio(scene, "forward"),
        over_easy=ratio(scene, "easy"),
        compile_seconds=facts["compile_seconds"],
        **facts[scene],
    )


def add_torchvision(rows: list[dict[str, Any]], outputs: Mapping[Any, Any], *, quick: bool, seconds: float) -> None:
    """Measures torchvision in a process of its own and completes the rows, or says in them why it is not."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("postprocess_torch.py")
        command = [sys.executable, str(script), folder, *["--quick"] * quick]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(seconds, 1))
            reason = done.stderr.strip().splitlines()[-1] if done.returncode and done.stderr.strip() else "no figure"
        except subprocess.TimeoutExpired:
            reason = OUT_OF_TIME
        for row in rows:
            group, scene = Group(row["network"], row["classes"], row["batch"]), row["scene"]
            file = Path(folder, f"{group.classes}_{group.batch}_{scene}.npz")
            if "error" in row:
                continue
            if not file.exists():
                row["peer_error"] = reason
                continue
            with np.load(file) as theirs:
                images = [
                    plain.Found(*(theirs[f"{part}{k}"] for part in plain.Found._fields)) for k in range(group.batch)
                ]
                row["agreement"] = min(row["agreement"], agreement(outputs[group, scene], images))
                row["peer_milliseconds"] = tables.spread(theirs["milliseconds"].tolist())
            row["times_as_fast"] = tables.spread(
                [row["peer_milliseconds"][name] / row["milliseconds"]["median"] for name in ("median", "low", "high")]
            )
            if row["agreement"] < LEAST_AGREEMENT:
                row["error"] = f"only {row['agreement']:.1%} of the detections are those of torchvision"


def _row(group: Group, scene: str, **found: Any) -> dict[str, Any]:
    return {**group._asdict(), "scene": scene, **found}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine, the two shares that matter, and the table."""
    peer = result["peer"]
    columns = ("classes", "batch", "scores", "ours, ms an image (min-max)", f"{peer}, ms an image (min-max)")
    columns += (f"{peer} / ours", "of the forward pass", "crowded / easy", "detections an image", "agree", "compile, s")
    notes = [note for row in result["rows"] if (note := _note(row))]
    return tables.page(result, notes, tables.table(columns, [_cells(row) for row in result["rows"]]))


def _note(row: Mapping[str, Any]) -> str:
    if "error" in row or row["scene"] != "crowded" or row["batch"] != 1 or not row["share_of_forward"]:
        return ""
    share, times = row["share_of_forward"]["median"], row["over_easy"]["median"]
    return (
        f"One image, {row['classes']} classes, crowded: {share:.1%} of the forward pass, {times:.2f} times easy scores."
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    case = [str(row[name]) for name in ("classes", "batch", "scene")]
    if "error" in row:
        return [*case, row["error"], *[""] * 7]
    return [
        *case,
        tables.span(row["milliseconds"]),
        row.get("peer_error") or tables.span(row["peer_milliseconds"]),
        tables.median(row["times_as_fast"]),
        tables.median(row["share_of_forward"], tables.percent),
        tables.median(row["over_easy"]) if row["scene"] != "easy" else "",
        tables.number(row["detections"]),
        tables.percent(row["agreement"]),
        f"{row['compile_seconds']:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(tables.main(measure, markdown, "Measures decoding, suppression and top-k. See docs/performance.md."))
