"""decode_image: every color space and orientation arrives as uint8 RGB, upright, or raises ImageError."""

import io

import numpy as np
import pytest
from PIL import Image
from voc_folder import picture

from ssd_jax.data import ImageError, decode_image
from ssd_jax.data.decode import UPRIGHT, fitted_size


def encode(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


PLAIN = np.asarray(picture(40, 60))


def test_bytes_path_and_array_are_the_same(tmp_path):
    (tmp_path / "a b.png").write_bytes(encode(picture(40, 60)))
    for image in (encode(picture(40, 60)), tmp_path / "a b.png", PLAIN):
        decoded = decode_image(image, (40, 60))
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, PLAIN)


def test_gray_and_sixteen_bit_gray_become_three_equal_channels():
    gray = np.asarray(picture(40, 60).convert("L"))
    expected = np.stack([gray] * 3, axis=-1)
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(gray))), expected)
    np.testing.assert_array_equal(decode_image(gray), expected)
    deep = Image.fromarray(gray.astype(np.uint16) * 256 + 77)  # the high byte is what counts
    np.testing.assert_array_equal(decode_image(encode(deep)), expected)


def test_alpha_is_dropped_not_composited():
    picture_rgba = picture(40, 60)
    picture_rgba.putalpha(picture(40, 60).convert("L"))
    np.testing.assert_array_equal(decode_image(encode(picture_rgba)), PLAIN)


def test_palette_with_and_without_transparency():
    palette = picture(40, 60).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode_image(encode(palette)), expected)
    np.testing.assert_array_equal(decode_image(encode(palette, transparency=3)), expected)


def test_cmyk_jpeg_is_close_to_its_rgb_picture():
    decoded = decode_image(encode(picture(40, 60).convert("CMYK"), "JPEG", quality=95))
    # JPEG at quality 95 on four smooth channels; an inverted picture would differ by about 128
    assert np.abs(decoded.astype(int) - PLAIN).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_upright(orientation):
    """Stores the picture the way a camera held in that way would, then reads it back."""
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # the others undo themselves
    stored = picture(40, 60)
    if orientation > 1:
        stored = stored.transpose(back.get(orientation, UPRIGHT[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(encode(stored, exif=exif), (40, 60)), PLAIN)


def test_orientation_six_means_turn_right():
    """EXIF 2.32: in orientation 6 the stored row 0 is the visual right side."""
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode_image(encode(Image.fromarray(stored), exif=exif))
    assert upright.shape == (3, 2, 3) and (upright[:, 1] == 200).all() and (upright[:, 0] == 0).all()


@pytest.mark.parametrize("nonsense", [0, 9, 300])
def test_orientations_that_do_not_exist_are_upright(nonsense):
    exif = Image.Exif()
    exif[0x0112] = nonsense
    np.testing.assert_array_equal(decode_image(encode(picture(40, 60), exif=exif)), PLAIN)


def test_a_frame_of_another_shape_is_refused():
    with pytest.raises(ImageError, match="image is 60x40, its annotation says 60x60"):
        decode_image(PLAIN, (60, 60))


def test_damaged_and_missing_images_raise_one_exception(tmp_path):
    whole = encode(picture(400, 600), "JPEG")
    for damaged in (whole[: len(whole) // 2], b"", b"\x89PNG\r\n\x1a\n", encode(picture(40, 60))[:-30], whole[:200]):
        with pytest.raises(ImageError):
            decode_image(damaged)
    with pytest.raises(ImageError, match="missing"):
        decode_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="float32"):
        decode_image(np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "array"])
def test_larger_images_are_reduced_to_fit_and_keep_their_aspect(format):
    big = picture(400, 600)
    image = np.asarray(big) if format == "array" else encode(big, format)
    small = decode_image(image, (400, 600), limit=(100, 100))
    assert small.shape == (67, 100, 3)  # 400 * 100 / 600 = 66.7
    # The picture is linear in x and y, so that its reduction is the same picture drawn smaller, but for
    # the half pixel at the borders (at most 255 / 100 / 2) and the JPEG.
    assert np.abs(small.astype(int) - np.asarray(picture(67, 100))).mean() < 3


def test_reduction_turns_the_limit_with_the_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = encode(picture(400, 600), "JPEG", exif=exif)  # upright: 600 high, 400 wide
    assert decode_image(image, (600, 400), limit=(300, 100)).shape == (150, 100, 3)


def test_fitted_size_never_enlarges_and_never_vanishes():
    assert fitted_size((40, 60), (500, 500)) == (40, 60)
    assert fitted_size((1, 5000), (500, 500)) == (1, 500)
    assert fitted_size((1000, 500), (500, 500)) == (500, 250)
