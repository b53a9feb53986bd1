"""The event files for TensorBoard, read back record by record."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssd_jax.commands import scoring, tensorboard
from ssd_jax.errors import InputError
from ssd_jax.types import Example, ImageDetections

CLASSES = ("background", "cat", "dog")


def example(name: str, size: tuple[int, int]) -> Example:
    pixels = np.full((*size, 3), 90, np.uint8)
    return Example(pixels, size, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), np.zeros(0, bool), name)


def evaluation(num_images: int, size=(240, 320)) -> scoring.Evaluation:
    source = [example(str(k), size) for k in range(num_images)]
    box = np.float32([[10, 20, 40, 50], [0, 0, 5, 5]]) * size[0] / 60
    found = [ImageDetections(str(k), box, np.float32([0.9, 0.1]), np.array([1, 2])) for k in range(num_images)]
    return scoring.Evaluation(source, CLASSES, found, [])


def events(folder: Path) -> list:
    """What TensorBoard is left with: a restart hides the steps from its own on, in all earlier files."""
    event_pb2 = pytest.importorskip("tensorboardX").proto.event_pb2
    shown = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):  # a record: length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log"):
                shown = [old for old in shown if old.step < event.step]
            elif event.HasField("summary"):
                shown.append(event)
        assert at == len(data)
    return shown


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_lines_become_scalars_and_a_resumed_run_shows_each_step_once(tmp_path):
    pytest.importorskip("tensorboardX")
    with tensorboard.Writer(tmp_path, start=0) as writer:
        for step in (1, 2, 3):
            writer.scalars({"step": step, "loss": 0.5 * step, "images_per_second": None}, "train")
        writer.scalars({"step": 3, "map": np.float32(0.25), "event": "x", "images": ["a"]}, "evaluation")
    with tensorboard.Writer(tmp_path, start=1) as writer:
        writer.scalars({"step": 2, "loss": 8.0, "images_per_second": 100.0}, "train")
    assert len(list(tmp_path.iterdir())) == 2
    assert scalars(tmp_path) == {"train/loss": [(1, 0.5), (2, 8.0)], "speed/images_per_second": [(2, 100.0)]}


def test_a_checkpoint_finds_all_lines_on_the_disk(tmp_path):
    pytest.importorskip("tensorboardX")
    writer = tensorboard.Writer(tmp_path, start=0)
    for step in range(1, 100):
        writer.scalars({"step": step, "loss": 1.0}, "train")
    writer.flush()  # and no close
    assert len(scalars(tmp_path)["train/loss"]) == 99


def test_evaluations_come_with_pictures_of_what_was_found(tmp_path):
    pytest.importorskip("tensorboardX")
    with tensorboard.Writer(tmp_path, start=0) as writer:
        writer.pictures(7, evaluation(9))
    values = [(event.step, value) for event in events(tmp_path) for value in event.summary.value]
    assert [(step, value.tag) for step, value in values] == [(7, f"detections/{k}") for k in range(4)]
    picture = values[0][1].image
    assert (picture.height, picture.width) == (240, 320) and picture.encoded_image_string[:2] == b"\xff\xd8"


def test_the_boxes_are_where_they_were_found():
    images = list(tensorboard.detection_images(evaluation(2), count=4))
    assert len(images) == 2  # no more than there are
    changed = np.argwhere((images[0] != 90).any(-1))
    # The box with a score of 0.9 and its shaded rim; its label stands above; the one of 0.1 is not drawn.
    assert changed[:, 0].max() == 4 * 50 and changed[:, 1].min() == 4 * 10 - 1 and changed[:, 0].min() > 4 * 5


@pytest.mark.parametrize(("size", "shape"), [((1200, 1600), (480, 640, 3)), ((60, 80), (240, 320, 3))])
def test_large_pictures_are_reduced_and_small_ones_enlarged_with_their_boxes(size, shape):
    (image,) = tensorboard.detection_images(evaluation(1, size), count=4)
    assert image.shape == shape
    changed = np.argwhere((image != 90).any(-1))
    assert abs(changed[:, 0].max() - shape[0] * 50 / 60) <= 1  # the rim, one pixel


def test_pictures_are_spread_evenly_and_the_same_each_time():
    seen = []

    class Source(list):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    found = evaluation(10)
    for _ in range(2):
        list(tensorboard.detection_images(found._replace(source=Source(found.source)), count=4))
    assert seen == [0, 3, 6, 9] * 2


def test_without_tensorboardx_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        InputError, match=r"config\.train\.tensorboard: .* python -m pip install \"tensorboardX"
    ) as caught:
        tensorboard.Writer(tmp_path / "new", start=0)
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/tensorboard: cannot be written \(Not a directory\)"):
        tensorboard.Writer(tmp_path / "file" / "tensorboard", start=0)


def test_the_pictures_are_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(tensorboard._jpeg(np.zeros((3, 5, 3), np.uint8)))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG" and image.size == (5, 3)
