"""Folders of images without annotations, alone and behind an annotated split."""

import numpy as np
import pytest
from voc_folder import add_image, picture

from ssd_jax import data
from ssd_jax.data.formats import folder
from ssd_jax.data.problems import Problems
from ssd_jax.data.sources import READERS
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(READERS, "folder", folder.read)


def read(root, split="all", **options):
    return data.make_source(kind="folder", root=str(root), split=split, class_names=("cat",), **options)


def add(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(80, 100).save(root / name)
    return root


def negatives(path):
    return folder.negatives(str(path), problems=Problems())


NAMES = ("b c.JPG", "Z.png", "sub/é 猫.jpeg", "sub/deep/v1.2.webp", "same.jpg", "same.png")
IDS = ["Z", "b c", "same.jpg", "same.png", "sub/deep/v1.2", "sub/é 猫"]  # sorted by path


@pytest.mark.parametrize("split", ["all", "."])
def test_every_image_below_is_found(tmp_path, split):
    add(tmp_path, *NAMES, ".hidden.png", ".git/x.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.jpg").mkdir()
    source = read(tmp_path, split)
    assert source.ids() == IDS and not source.annotated and not source.problems
    assert source[0].size == (80, 100) and source.max_boxes == 0 and source[0].boxes.shape == (0, 4)
    np.testing.assert_array_equal(data.decode_image(source[0].image), np.asarray(picture(80, 100)))


def test_splits_are_folders(tmp_path):
    add(tmp_path, "one/a.png", "two/a.png", "two/b/c.png")
    assert read(tmp_path, "two").ids() == ["a", "b/c"]
    assert read(tmp_path, "one+two").ids() == ["one/a", "two/a", "two/b/c"]
    assert read(tmp_path, "all+one").problems.named == {"duplicate": ["one/a"]}


def test_linked_folders_are_followed_once(tmp_path):
    add(tmp_path / "elsewhere", "a.png")
    add(tmp_path / "set", "b.png")
    (tmp_path / "set/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
    assert read(tmp_path / "set").ids() == ["b", "link/a"]


def test_negatives_carry_the_name_of_their_folder(tmp_path):
    add(tmp_path / "back ground", *NAMES)
    images = negatives(tmp_path / "back ground")
    assert [image.id for image in images] == [f"back ground/{name}" for name in IDS]
    assert all(image.objects == () and image.image.is_file() for image in images)
    assert [image.id for image in negatives(tmp_path / "back ground/sub/..")] == [image.id for image in images]


def test_negatives_stand_behind_the_annotated_images(tmp_path):
    add_image(tmp_path / "voc", "a")
    add(tmp_path / "background", "n.png", "a.png")
    (tmp_path / "background/bad.png").write_bytes(b"not an image")
    options = dict(kind="voc", root=str(tmp_path / "voc"), split="train")
    source = data.make_source(**options, negatives=str(tmp_path / "background"))
    assert source.ids() == ["a", "background/a", "background/n"]
    assert [len(source[index].boxes) for index in range(3)] == [1, 0, 0]
    assert source.problems.named == {"bad_image": ["background/bad"]}  # and nothing of a size that is not stated
    truth = data.ground_truth(source)
    found = [ImageDetections(t.id, t.boxes.astype(np.float32), np.ones(len(t.labels)), t.labels) for t in truth]
    assert voc.evaluate(found, truth, class_names=source.class_names).map_11point == 1
    assert coco.evaluate(found, truth, class_names=source.class_names).ap == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("linked", [False, True])
def test_an_image_with_objects_is_no_negative(tmp_path, linked):
    add_image(tmp_path / "voc", "a")
    (annotated,) = (tmp_path / "voc").rglob("a.jpg")
    folder = annotated.parent
    if linked:
        folder = tmp_path / "background"
        add(folder, "n.png")
        (folder / "again.jpg").symlink_to(annotated)
    with pytest.raises(
        InputError, match=rf"data negatives: expected images without objects, but {folder}/a.*\.jpg has"
    ):
        data.make_source(kind="voc", root=str(tmp_path / "voc"), split="train", negatives=str(folder))


@pytest.mark.parametrize(
    ("root", "split", "message"),
    [
        ("nowhere", "all", "data root: expected a folder of images, but .*nowhere is not a folder"),
        ("a.png", "all", r"but .*a\.png is not a folder"),
        ("", "test", "data split 'test': expected a folder of images, but .*test is not a folder"),
        ("", "empty", r"data split 'empty': .*empty holds no image \(\.jpg, \.jpeg"),
        ("", "all+", r"folders joined by '\+', or 'all', got 'all\+'"),
    ],
)
def test_wrong_paths_are_refused_in_one_sentence(tmp_path, root, split, message):
    add(tmp_path, "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / root, split)
    assert "\n" not in str(caught.value)


def test_wrong_folders_of_negatives_are_refused(tmp_path):
    with pytest.raises(InputError, match="data negatives: expected a folder of images, but .*nowhere is not"):
        negatives(tmp_path / "nowhere")
    with pytest.raises(InputError, match="data negatives: .* holds no image"):
        negatives(tmp_path)
