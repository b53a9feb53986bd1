"""The benchmark of the input: its files, its passes, and the classic pipeline that it is compared with."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks import classic, input_rates
from benchmarks.classic import Annotated
from ssd_jax import objective
from ssd_jax.types import Batch

BOX = np.array([[0.25, 0.25, 0.75, 0.5]])


@pytest.fixture(params=["OpenCV", "Pillow"])
def tool(request, monkeypatch):
    """The pixels are done by either library."""
    if request.param == "OpenCV":
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr(classic, "cv2", None)
    assert classic.tool().startswith(request.param)


class Fixed:
    """A generator whose numbers are given."""

    def __init__(self, *numbers):
        self._numbers = list(numbers)

    def random(self):
        return self._numbers.pop(0)

    def uniform(self, low, high):
        return low + (high - low) * self._numbers.pop(0)

    def integers(self, count):
        return int(self._numbers.pop(0))


def test_input_times_every_kind(tmp_path, capsys):
    pytest.importorskip("grain")
    from benchmarks import input as script

    assert script.main(["--quick", "--json", str(tmp_path / "new" / "input.json")]) == 0
    result = json.loads((tmp_path / "new" / "input.json").read_text())
    rows = {row["source"]: row for row in result["rows"]}
    measured = {name for name, row in rows.items() if "error" not in row}
    assert measured == {"voc", "voc, cached", "coco", "yolo", "csv", "ilsvrc", "tfds"}
    for name in measured:
        for figure in ("one_thread", "all_cores", "per_processor_second", "over_pillow"):
            assert 0 < rows[name][figure]["low"] <= rows[name][figure]["median"] <= rows[name][figure]["high"]
    assert result["images"] == 8 and result["pillow_images_per_second"] > 0
    pipelines = {row["pipeline"]: row for row in result["pipelines"]}
    assert set(pipelines) == {script.HOST_ONLY, script.AUGMENTED, script.CLASSIC}
    assert pipelines[script.CLASSIC]["over_classic"] == {"median": 1, "low": 1, "high": 1}
    # Without the augmentation there is less to do; by how much the quick run cannot tell.
    assert pipelines[script.HOST_ONLY]["over_classic"]["median"] > pipelines[script.AUGMENTED]["over_classic"]["median"]
    table = capsys.readouterr().out
    assert "the figures mean nothing" in table and "| voc, cached | " in table
    assert script.main(["--quick", "--kind=voc", f"--root={tmp_path}"]) == 1  # there is no such data
    assert "Annotations" in capsys.readouterr().out


def test_images_of_the_input_benchmark_compress_like_photographs(tmp_path):
    from benchmarks import input_files

    files = input_files.write_images(tmp_path / "images", 4)
    sizes = [path.stat().st_size for path in (tmp_path / "images").iterdir()]
    assert len(files) == 4 and 85_000 < min(sizes) <= max(sizes) < 135_000  # about 100 kB
    for file in files:
        for x1, y1, x2, y2 in file.boxes:
            assert 0 < x1 < x2 <= 500 and 0 < y1 < y2 <= 375


def test_expansion_lays_the_image_on_the_mean():
    image = np.full((10, 20, 3), 200, np.uint8)
    # Fires (0.5 is not below), ratio 1 + 3 / 3 = 2, a quarter of the room above and half of that on the left.
    found = classic.expand(Fixed(0.5 - 1e-9), Annotated(image, BOX, np.array([1])))
    assert found.image is image
    found = classic.expand(Fixed(0.5, 1 / 3, 0.25, 0.5), Annotated(image, BOX, np.array([1])))
    assert found.image.shape == (20, 40, 3) and (found.image[2:12, 10:30] == 200).all()
    assert (found.image.reshape(-1, 3).astype(int).sum(axis=0) == 200 * 200 + 600 * np.array(classic.MEAN)).all()
    # Pixels 5 to 15 of 20 lie at 15 to 25 of 40; 2.5 to 5 of 10 at 4.5 to 7 of 20.
    np.testing.assert_allclose(found.boxes, [[15 / 40, 4.5 / 20, 25 / 40, 7 / 20]])


def test_a_crop_keeps_boxes_by_their_centers(monkeypatch):
    image = np.arange(20, dtype=np.uint8)[:, None, None].repeat(40, axis=1).repeat(3, axis=2)
    boxes = np.array([[0.25, 0.25, 0.75, 0.5], [0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]])  # centers at 0.5, 0.2, 0.8
    monkeypatch.setattr(classic, "sample_crop", lambda random, boxes: np.array([0.25, 0.25, 0.75, 1.0]))
    found = classic.crop(Fixed(), Annotated(image, boxes, np.array([1, 2, 3])))
    assert found.image.shape == (15, 20, 3) and found.image[0, 0, 0] == 5
    np.testing.assert_array_equal(found.labels, [1])
    np.testing.assert_allclose(found.boxes, [[0, 0, 1, 5 / 15]])


def test_crop_samplers_keep_their_promises():
    random = np.random.default_rng(0)
    found = np.array([classic.sample_crop(random, BOX) for _ in range(100)])
    assert (found >= 0).all() and (found <= 1 + 1e-9).all()
    sides = found[:, 2:] - found[:, :2]
    cropped = sides.min(axis=1) < 1
    # Six samplers beside the whole image; those of 0.7 and 0.9 rarely succeed with so small an object.
    assert 0.7 < cropped.mean() < 0.95
    area = sides.prod(axis=1)[cropped]
    assert area.min() >= 0.09 - 1e-9 and (sides[cropped, 0] / sides[cropped, 1]).max() <= 2 + 1e-9
    np.testing.assert_array_equal(classic.sample_crop(random, BOX[:0]), [0, 0, 1, 1])
    # They share 1/4 x 1/4 of the image; the areas are 1/4 and 1/8.
    assert classic.overlaps(np.array([[0.0, 0.0, 0.5, 0.5]]), BOX)[0, 0] == pytest.approx(
        1 / 16 / (1 / 4 + 1 / 8 - 1 / 16)
    )


def test_classic_images_follow_their_boxes(tool):
    """A bright object on a dark ground is where its box says, whatever was drawn."""
    random = np.random.default_rng(1)
    image = np.full((40, 60, 3), 40, np.uint8)
    image[10:20, 15:45] = 220
    seen = 0
    for _ in range(60):
        found = classic.augment(random, Annotated(image, BOX, np.array([7])), (48, 64))
        assert found.image.shape == (48, 64, 3) and found.image.dtype == np.float32
        assert found.image.min() >= 0 and found.image.max() <= 255
        for (x0, y0, x1, y1), label in zip(found.boxes * [64, 48, 64, 48], found.labels, strict=True):
            middle = found.image[int((y0 + y1) / 2), int((x0 + x1) / 2)]
            assert label == 7 and middle.mean() > 90  # contrast 0.5 and brightness -32 leave 94 of 220
            seen += 1
    assert seen > 30


def test_both_libraries_distort_alike(tool):
    red = np.full((4, 4, 3), (200, 50, 50), np.uint8)
    # Order A; only saturation fires, by 0.5 + 0.25 = 0.75: 255 x 150 / 200 = 191 becomes 143, and so 50 becomes 88.
    found = classic.distort(Fixed(0.9, 0.9, 0.9, 0.1, 0.25, 0.9), red)
    assert np.abs(found[0, 0].astype(int) - [200, 88, 88]).max() <= 2
    # Order B; only hue, by a third of the half range: 12 of 180 are 24 degrees toward yellow, 150 x 24 / 60 = 60 more.
    found = classic.distort(Fixed(0.1, 0.9, 0.9, 0.1, 5 / 6, 0.9), red)
    assert np.abs(found[0, 0].astype(int) - [200, 110, 50]).max() <= 5
    # Only contrast, last: 1.5 times, saturated.
    found = classic.distort(Fixed(0.1, 0.9, 0.9, 0.9, 0.1, 1.0), red)
    np.testing.assert_array_equal(found[0, 0], [255, 75, 75])


def test_decoding_gives_rgb(tool, tmp_path):
    path = tmp_path / "red.jpg"
    Image.new("RGB", (16, 8), (250, 10, 20)).save(path, quality=95)
    for file in (path, path.read_bytes()):
        found = classic.decode(file)
        assert found.shape == (8, 16, 3) and np.abs(found[4, 4].astype(int) - [250, 10, 20]).max() <= 4


def test_each_image_is_augmented_with_the_key_of_training(monkeypatch):
    def stand_in(key, canvas, size, boxes, labels, ignored, *, output_size):
        return jnp.full(output_size, jax.random.uniform(key) + canvas[0, 0, 0] + size[0]), boxes, labels, ignored, None

    monkeypatch.setattr(input_rates.augment, "augment", stand_in)
    zeros = np.zeros((2, 1), np.int32)
    canvas, size = np.array([10, 20], np.uint8).reshape(2, 1, 1, 1), np.array([[300, 1], [400, 1]])
    index, epoch = np.array([3, 9], np.uint32), np.array([0, 5], np.uint32)
    batch = Batch(canvas, size, zeros[..., None], zeros, zeros, index, epoch, np.ones(2, bool))
    found = input_rates.make_augment((2, 3))(batch)
    uniform = [jax.random.uniform(key) for key in objective.image_keys(0, epoch, index)]
    np.testing.assert_allclose(found, np.add(uniform, [310, 420])[:, None, None] * np.ones((2, 2, 3)), rtol=1e-6)
