"""What a detector is given by mistake is refused by its name, before anything is computed."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trained_network as tiny
from PIL import Image
from test_detector import toy

from ssd_jax.data import decode
from ssd_jax.errors import InputError
from ssd_jax.inference import Unreadable


@pytest.fixture(scope="module")
def detector():
    return toy()


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("a.jpg", "got a single one of type str"),
        (b"\xff\xd8", "got a single one of type bytes"),
        (np.zeros((4, 5, 3), np.uint8), r"got an array \[4, 5, 3\]"),
        (np.zeros((4, 5), np.uint8), r"got an array \[4, 5\]"),
        (Image.new("RGB", (5, 4)), "got a single one of type Image"),
        (7, "something to iterate over, such as a list, got int"),
    ],
)
def test_a_stream_is_of_several_images(detector, images, says):
    """A path would be taken letter by letter, an array row by row."""
    with pytest.raises(TypeError, match=f"^images: expected .*{says}"):
        detector.stream(images)


def test_a_path_is_no_stream(detector, tmp_path):
    with pytest.raises(TypeError, match=r"^images: expected several, .* got a single one of type \w*Path$"):
        detector.stream(tmp_path / "a.jpg")


def test_arrays_of_jax_are_arrays(detector):
    pictures = np.stack([picture[:17, :30] for picture in tiny.pictures(3)])
    expected = detector(list(pictures))
    on_device = jnp.asarray(pictures)
    ways = [detector(on_device), detector(list(on_device)), list(detector.stream(pictures))]
    for found in [*ways, list(detector.stream(on_device)), [detector(one)[0] for one in on_device]]:
        assert [one.size for one in found] == [(17, 30)] * 3
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
    with pytest.raises(TypeError, match=r"^images: expected several, .* got an array \[17, 30, 3\]$"):
        detector.stream(on_device[0])
    with pytest.raises(InputError, match=r"image 1: cannot be used: expected a uint8 \[h, w, 3\] array, got float32"):
        detector(on_device[0].astype(jnp.float32))


@pytest.mark.parametrize("counts", [[100], [0], [-1], [1, 9]])
def test_what_is_warmed_up_is_a_number_of_images(counts):
    detector = toy()
    with pytest.raises(ValueError, match=f"^batch_sizes: expected 1 to 8, got {counts[-1]}$"):
        detector.warm_up(counts)
    assert detector.compilations == 0  # not even for the good one before it


def test_numbers_of_images_are_whole(detector):
    for size in (2.5, 2.0, "2"):
        with pytest.raises(TypeError, match="^batch_size: expected a whole number, got '?2"):
            detector.stream([], batch_size=size)
        with pytest.raises(TypeError, match="^batch_size: expected a whole number, got '?2"):
            toy(batch_size=size)
        with pytest.raises(TypeError, match="^batch_sizes: expected a whole number, got '?2"):
            detector.warm_up([size])
    assert toy(batch_size=np.int64(3)).batch_sizes == (1, 2, 3)


def test_there_is_a_device():
    with pytest.raises(ValueError, match="^devices: expected at least one, got none$"):
        toy(devices=[])


def test_a_threshold_is_a_number(detector):
    with pytest.raises(ValueError, match="^score_threshold: expected at least 0.01, .* got nan$"):
        detector(tiny.pictures(1), score_threshold=float("nan"))


def test_a_detector_stays_in_its_process(detector):
    for leave in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match=r"^a Detector cannot be pickled .*; use Detector\.load in the other one$"):
            leave(detector)


def test_a_path_that_leads_nowhere_is_one_sentence(detector, tmp_path):
    with pytest.raises(InputError, match="^image 1: cannot be used: its path is empty$"):
        detector("")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    Image.new("RGB", (50, 50)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    for path, reason in {
        tmp_path / "absent.jpg": "file is missing",
        tmp_path / ("long" * 100): "File name too long",
        tmp_path / "text.jpg" / "below.jpg": "Not a directory",
        tmp_path / "loop.jpg": "Too many levels of symbolic links",
        tmp_path / "text.jpg": "cannot identify image file",
        tmp_path: "no file",
        "zero\0byte.jpg": "embedded null byte",
    }.items():
        assert list(detector.stream([path])) == [Unreadable(str(path), reason)]
    (found,) = detector.stream([tmp_path / "cut.png"])
    assert isinstance(found, Unreadable) and str(tmp_path) not in found.reason and "Errno" not in found.reason


def test_why_a_file_cannot_be_decoded_is_said_without_its_path(tmp_path, monkeypatch):
    """Who asks names the file."""
    (tmp_path / "text.jpg").write_text("no image")
    for read in (decode.read_header, decode.decode_image):
        for source, reason in {
            tmp_path: "Is a directory",
            tmp_path / "text.jpg": "cannot identify image file",
            b"no image": "cannot identify image file",
        }.items():
            with pytest.raises(decode.ImageError) as caught:
                read(source)
            assert str(caught.value) == reason

    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(decode.Image, "open", forbidden)
    with pytest.raises(decode.ImageError, match="^Permission denied$"):
        decode.decode_image(tmp_path / "text.jpg")


def test_an_exception_without_words_has_its_name(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise EOFError

    monkeypatch.setattr(decode.Image, "open", fail)
    with pytest.raises(decode.ImageError, match="^EOFError$"):
        decode.read_header(tmp_path)


def test_devices_may_come_in_any_sequence():
    assert toy(batch_size=2, devices=tuple(jax.devices()[:2])).batch_sizes == (2,)
