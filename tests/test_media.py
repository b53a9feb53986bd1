"""Annotated copies of pictures, and JSON Lines."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ssd_jax import media
from ssd_jax.errors import InputError
from ssd_jax.types import ImageDetections

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.bmp", "BMP")],
)
def test_a_copy_keeps_format_and_pixels(name, kind):
    smooth = np.asarray(Image.fromarray(PIXELS[:4, :6]).resize((60, 40), Image.Resampling.BICUBIC))
    target, content = media.encode(smooth, Path("x") / name)
    picture = decoded(content)
    assert target == Path("x") / name and picture.format == kind
    difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - smooth)
    assert difference.max() == 0 if kind in ("PNG", "TIFF", "BMP") else difference.mean() < 3


def test_jpeg_keeps_the_color_of_a_single_line():
    line = np.full((16, 16, 3), 128, np.uint8)
    line[:, 8] = (255, 85, 68)  # half the color resolution would halve its distance from gray
    _, content = media.encode(line, Path("a.jpg"))
    assert np.abs(np.asarray(decoded(content)).astype(int)[:, 8] - line[:, 8]).max() < 20


@pytest.mark.parametrize(("name", "width"), [("a.webp", 16384), ("a.jpg", 65501)])
def test_what_a_format_cannot_hold_becomes_png(name, width):
    target, content = media.encode(np.zeros((1, width, 3), np.uint8), Path(name))
    assert target.name == f"{name}.png" and decoded(content).size == (width, 1)


def test_a_profile_of_rgb_is_kept_and_others_are_not(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for number, (given, expected) in enumerate([(profile, profile), (lab, None), (b"short", None), (None, None)]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(PIXELS).save(path, icc_profile=given)
        picture = media.read_picture(path)
        assert picture.profile == expected
        np.testing.assert_array_equal(picture.pixels, PIXELS)
    for name in ("a.jpg", "a.png", "a.webp", "a.tif"):
        assert decoded(media.encode(PIXELS, Path(name), profile)[1]).info["icc_profile"] == profile
    assert "icc_profile" not in decoded(media.encode(PIXELS, Path("a.png"))[1]).info


def test_a_turned_picture_is_upright_and_says_nothing_of_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    picture = media.read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, np.rot90(PIXELS, -1))
    copy = decoded(media.encode(picture.pixels, Path("a.png"), picture.profile)[1])
    assert 0x0112 not in copy.getexif() and copy.size == (20, 30)


def test_boxes_are_drawn_in_the_color_of_their_class():
    found = ImageDetections("a", np.array([[2, 2, 20, 15]], np.float32), np.array([0.9]), np.array([1]))
    copy = media.annotate(np.zeros((60, 80, 3), np.uint8), found, ("background", "cat"))
    assert copy.shape == (60, 80, 3) and tuple(copy[14, 10]) == (255, 85, 68)


def test_lines_are_whole_at_every_moment(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("of an earlier run\n" * 100)
    lines = media.JsonLines(path)
    entries = [{"path": "ż \u2028.jpg"}, {"path": os.fsdecode(b"\xff.jpg")}, {"box": [0.5, 1.0]}]
    for number, entry in enumerate(entries, start=1):
        lines.write(entry)
        assert path.read_bytes().count(b"\n") == number and path.read_bytes().endswith(b"}\n")
    with pytest.raises(ValueError):
        lines.write({"score": float("nan")})
    lines.close()
    text = path.read_bytes().decode("utf-8")  # also the name that is not UTF-8
    assert [json.loads(line) for line in text.split("\n")[:-1]] == entries
    assert "ż" in text


def test_a_line_that_does_not_fit_the_disk_is_taken_back(tmp_path, monkeypatch):
    lines = media.JsonLines(tmp_path / "a.jsonl")
    lines.write({"a": 1})
    real = os.write
    calls = iter([lambda file, data: real(file, data[:3]), None])

    def write(file, data):
        call = next(calls)
        if call is None:
            raise OSError(28, "No space left on device")
        return call(file, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(InputError, match=r"a.jsonl: cannot be written \(No space left on device\)"):
        lines.write({"b": 2})
    monkeypatch.undo()
    assert (tmp_path / "a.jsonl").read_text() == '{"a": 1}\n'
    lines.close()
    with pytest.raises(InputError, match="cannot be written"):
        media.JsonLines(tmp_path / "gone" / "a.jsonl")
