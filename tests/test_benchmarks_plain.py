"""The benchmarks of post-processing and matching: their NumPy peers, what they compare, and their tables."""

import json
import time

import numpy as np
import pytest
import reference

from benchmarks import interleaved, matching, plain, postprocess, runner, scenes, subjects, timing
from ssd_jax.types import Targets

GROUP = postprocess.Group("tiny", 20, 2)


def test_plain_suppression_by_hand():
    # IoU of neighbors: 10 x 6 shared of 10 x 14 = 3 / 7; of the first with the third: 20 / 180 = 1 / 9.
    boxes = np.array([[0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18]], np.float32)
    assert plain.nms(boxes, 0.45) == [0, 1, 2]
    assert plain.nms(boxes, 0.42) == [0, 2]  # what is dropped drops nothing
    assert plain.nms(boxes, 0.1) == [0]


def test_plain_detection_by_hand():
    priors = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.5, 0.5, 1.1, 1.1]], np.float32)
    # Softmax: 0.8 of class 1; 0.5 and 0.3 of classes 1 and 2; 0.005 is below the threshold.
    logits = np.log(np.array([[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.595, 0.4, 0.005]], np.float32))
    found = plain.detect(np.zeros((3, 4), np.float32), logits, priors)
    np.testing.assert_array_equal(found.labels, [1, 1, 2])
    np.testing.assert_allclose(found.scores, [0.8, 0.4, 0.3], rtol=1e-5)
    np.testing.assert_allclose(found.boxes[1], [0.5, 0.5, 1, 1])  # clipped
    assert len(plain.detect(np.zeros((3, 4), np.float32), logits, priors, max_detections=2).labels) == 2
    assert len(plain.detect(np.zeros((3, 4), np.float32), logits, priors, pre_nms_top_k=1).labels) == 2


def test_plain_matching_is_that_of_the_reference():
    random = np.random.default_rng(3)
    priors = subjects.build("tiny", "float32")[1]
    low = random.uniform(0, 0.6, (5, 2))
    boxes = np.concatenate([low, low + random.uniform(0.1, 0.4, (5, 2))], axis=1).astype(np.float32)
    boxes[4] = boxes[3] + 0.001  # two objects that want the same priors
    labels = np.array([1, 2, 3, 4, 5])
    offsets, matched, _ = reference.match(boxes, labels, priors)
    found = plain.match(boxes, labels, priors)
    np.testing.assert_array_equal(found.labels, matched)
    np.testing.assert_allclose(found.offsets, offsets, atol=1e-4)
    np.testing.assert_allclose(
        plain.decode(found.offsets, priors)[matched > 0], boxes[matched[matched > 0] - 1], atol=1e-5
    )


@pytest.mark.parametrize("classes", [20, 200])
def test_scenes_are_as_crowded_as_they_say(classes):
    default_boxes = subjects.build("SSD300", "float32")[1]
    for scene in scenes.SCENES:
        _, (logits,) = scenes.make(scene, default_boxes, classes, 1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        above = ((powers / powers.sum(axis=1, keepdims=True))[:, 1:] > 0.01).sum(axis=0)
        if scene == "crowded":
            assert above.min() > 400
        else:
            assert 0 < above.sum() < 1500 and np.count_nonzero(above) <= scenes.OBJECTS
    again = scenes.make("easy", default_boxes, classes, 1)[1]
    np.testing.assert_array_equal(again, scenes.make("easy", default_boxes, classes, 1)[1])


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:  # the network takes seconds to compile
        patch.setattr(postprocess, "forward", lambda group, precision: interleaved.Contestant(lambda: time.sleep(0.02)))
        return postprocess.measure_group(GROUP, "cpu", 1)


def test_ours_and_numpy_find_the_same(measured):
    rows, _ = measured
    easy, crowded = rows
    assert [row["agreement"] for row in rows] == [1, 1]
    assert crowded["detections"] == 200 > easy["detections"] > 0
    assert easy["over_easy"]["median"] == 1 and crowded["share_of_forward"]["median"] > 0


@pytest.mark.parametrize("change", ["box", "score", "label", "missing"])
def test_detections_that_differ_are_seen(measured, change):
    found = measured[1][GROUP, "easy"]
    images = []
    for row in range(GROUP.batch):
        real = found.labels[row] > 0
        images.append(plain.Found(*(np.array(part[row][real]) for part in (found.boxes, found.scores, found.labels))))
    assert postprocess.agreement(found, images) == 1
    one, count = images[1], sum(len(image.labels) for image in images)
    if change == "missing":
        images[1] = plain.Found(*(part[1:] for part in one))
        assert postprocess.agreement(found, images) == pytest.approx((2 * count - 2) / (2 * count - 1))
        return
    {"box": one.boxes, "score": one.scores, "label": one.labels}[change][0] += 1
    assert postprocess.agreement(found, images) == pytest.approx((count - 1) / count)


def test_rows_hold_ratios_of_the_same_round():
    found = {"easy": [1.0, 2.0], "crowded": [2.0, 2.0], "crowded, peer": [20.0, 40.0], "forward": [100.0, 50.0]}
    facts = {"crowded": {"detections": 200.0, "agreement": 0.995}, "compile_seconds": 3.0}
    row = postprocess.summary(GROUP, "crowded", found, facts)
    assert row["times_as_fast"] == {"median": 15, "low": 10, "high": 20}
    assert row["share_of_forward"] == {"median": 0.03, "low": 0.02, "high": 0.04}
    assert row["over_easy"] == {"median": 1.5, "low": 1, "high": 2}
    facts["crowded"]["agreement"] = 0.9
    assert postprocess.summary(GROUP, "crowded", found, facts)["error"].startswith("only 90.0%")


def test_rows_without_time_or_memory_say_so(monkeypatch):
    def fails(group, device, rounds):
        raise MemoryError("too large\nsecond line")

    monkeypatch.setattr(postprocess, "measure_group", fails)
    rows = postprocess.measure(True, float("inf"))["rows"]
    assert [row["error"] for row in rows] == ["MemoryError: too large"] * 2
    result = postprocess.measure(True, float("-inf"))
    assert [row["error"] for row in result["rows"]] == [runner.OUT_OF_TIME] * 2
    assert postprocess.markdown(result).count(runner.OUT_OF_TIME) == 2


def test_without_torchvision_the_rows_of_a_gpu_say_why(measured, monkeypatch):
    rows = [{**row, "peer_milliseconds": None, "times_as_fast": None} for row in measured[0]]
    done = postprocess.subprocess.CompletedProcess(
        [], 1, "", "Traceback\nModuleNotFoundError: No module named 'torch'\n"
    )
    monkeypatch.setattr(postprocess.subprocess, "run", lambda *args, **options: done)
    postprocess.add_torchvision(rows, measured[1], quick=True, seconds=10)
    assert {row["peer_error"] for row in rows} == {"ModuleNotFoundError: No module named 'torch'"}
    result = {"question": "postprocess", "peer": "torchvision", "rows": rows}
    assert postprocess.markdown(result).count("No module named 'torch'") == 2


def test_torchvision_on_a_gpu_is_compared_and_joined(measured, monkeypatch):
    def torchvision(command, **options):
        for scene in scenes.SCENES:
            found = measured[1][GROUP, scene]
            images = {
                f"{part}{k}": getattr(found, part)[k][found.labels[k] > 0]
                for part in plain.Found._fields
                for k in (0, 1)
            }
            if scene == "easy":
                images["boxes0"] = images["boxes0"] + 1
            np.savez(f"{command[2]}/20_2_{scene}.npz", milliseconds=np.array([6.0, 5.0, 9.0]), **images)
        return postprocess.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(postprocess.subprocess, "run", torchvision)
    rows = [{**row, "milliseconds": {"median": 2.0, "low": 1.0, "high": 3.0}} for row in measured[0]]
    postprocess.add_torchvision(rows, measured[1], quick=True, seconds=10)
    easy, crowded = rows
    assert "error" not in crowded and crowded["times_as_fast"] == {"median": 3.0, "low": 2.5, "high": 4.5}
    assert easy["error"].endswith("are those of torchvision")


def test_the_quick_run_of_matching(tmp_path, capsys):
    from benchmarks import tables

    path = tmp_path / "matching.json"
    assert tables.main(matching.measure, matching.markdown, "", ["--quick", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["agreement"] == 1 and row["matched"] >= row["objects"] == 3 and row["priors"] == 180
    assert row["times_as_fast"]["low"] > 0 and "| 180 | 3 | 2 |" in capsys.readouterr().out


def test_matches_that_differ_are_seen():
    labels, offsets = np.array([[1, 0, 2]]), np.zeros((1, 3, 4))
    ours = Targets(offsets, labels, np.zeros((1, 3), bool))  # pyright: ignore[reportArgumentType]
    same = plain.Matched(offsets[0], labels[0])
    assert matching.agreement(ours, [same]) == 1
    assert matching.agreement(ours, [same._replace(labels=np.array([1, 0, 0]))]) == 0.5
    assert matching.agreement(ours, [same._replace(labels=np.array([1, 1, 2]))]) == pytest.approx(2 / 3)
    assert matching.agreement(ours, [same._replace(offsets=offsets[0] + [[0.1], [0.1], [0]])]) == 0.5


def test_contestants_take_turns(monkeypatch):
    calls: list[str] = []
    seconds = {"fast": 0.02, "slow": 0.2}
    monkeypatch.setattr(interleaved.time, "perf_counter", lambda: sum(seconds[name] for name in calls))
    contestants = {
        name: interleaved.Contestant(lambda name=name: calls.append(name), images=images)
        for name, images in (("fast", 2), ("slow", 1))
    }
    found = interleaved.milliseconds(contestants, rounds=2)
    assert found["fast"] == pytest.approx([10, 10]) and found["slow"] == pytest.approx([200, 200])
    # One call for nothing and one to see how long it takes; then 0.05 / 0.02 = 3 calls a round, rounded up, in turn.
    assert calls == ["fast"] * 2 + ["slow"] * 2 + (["fast"] * 3 + ["slow"]) * 2
    assert timing.GROUP_SECONDS == 0.05
