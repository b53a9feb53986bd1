"""ssd_jax.inspection.files: each kind of odd file is found, and nothing else."""

import io

import numpy as np
import pytest
from listed_source import Listed, example
from PIL import Image
from voc_folder import picture

from ssd_jax import inspection


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def report_of(*examples, **options):
    return inspection.check_files(Listed(examples), limit_canvas=(100, 100), **options)


def kinds(report):
    return [(problem.id, problem.kind) for problem in report.problems]


def test_good_images_are_not_reported():
    jpeg = encoded(picture(80, 100), "JPEG")
    report = report_of(example("array"), example("jpeg", image=jpeg))
    assert report.problems == () and report.counts == {}
    assert report.ids == ("array", "jpeg") and None not in report.digests


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("undecodable", example("bad", image=encoded(picture(80, 100), "JPEG")[:-700])),
        ("undecodable", example("bad", image=b"not an image")),
        ("undecodable", example("bad", image=encoded(picture(40, 100)))),  # annotated as 80 high
        ("tiny", example("bad", size=(31, 60))),
        ("elongated", example("bad", size=(40, 201))),
        ("one_color", example("bad", image=np.full((80, 100, 3), 7, np.uint8))),
    ],
)
def test_each_kind_is_found(kind, bad):
    report = report_of(example("good"), bad)
    assert kinds(report) == [("bad", kind)]
    assert report.counts == {kind: 1}
    assert (report.digests[1] is None) == (kind == "undecodable")


def test_limits_are_not_crossed_by_what_lies_on_them():
    assert kinds(report_of(example("a", size=(32, 60)), example("b", size=(40, 200)))) == []


def test_a_missing_file_is_undecodable(tmp_path):
    (problem,) = report_of(example("gone", image=tmp_path / "gone.jpg")).problems
    assert problem == ("gone", "undecodable", "file is missing")


def test_noise_in_a_uniform_image_and_a_speck_do_not_hide_it():
    image = np.random.default_rng(0).integers(100, 105, (80, 100, 3), dtype=np.uint8)
    image[:3, :20] = 255  # 0.75 % of the image
    (problem,) = report_of(example("gray", image=image)).problems
    assert problem.kind == "one_color" and problem.detail == "about rgb(102, 102, 102)"
    image[:4, :30] = 255  # 1.5 %
    assert not report_of(example("gray", image=image)).problems


def test_copies_are_found_by_their_pixels():
    first = picture(80, 100)
    other = np.asarray(first).copy()
    other[0, 0, 0] += 1
    report = report_of(
        example("a", image=encoded(first)),
        example("b", image=encoded(first, "BMP")),  # other bytes, same pixels
        example("c", image=other),
        example("d", image=np.asarray(first)),
    )
    assert [(p.id, p.detail) for p in report.problems] == [("b", "as a"), ("d", "as a")]


def test_images_shared_by_two_splits():
    train = report_of(example("a"), example("b"), example("gone", image=b""))
    test = report_of(example("x"), example("copy", image=example("b").image), example("lost", image=b""))
    assert inspection.shared_content(train, test) == [("b", "copy")]


def test_the_order_is_that_of_the_source_for_any_number_of_threads():
    examples = [example(f"image {k}", image=b"" if k % 3 else None) for k in range(30)]
    seen = []
    one, many = report_of(*examples, num_threads=1, progress=seen.append), report_of(*examples, num_threads=7)
    assert one == many
    assert seen == list(range(1, 31))


def test_an_image_larger_than_the_canvas_is_reduced_before_it_is_compared():
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8))
    pair = [encoded(large), np.asarray(large)]
    report = report_of(*(example(f"image {k}", image=image, size=(400, 500)) for k, image in enumerate(pair)))
    assert kinds(report) == [("image 1", "same_content")]
