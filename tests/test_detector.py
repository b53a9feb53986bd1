"""The detector finds what evaluate.py finds, whatever the images come as and however they are batched."""

import io
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trained_network as tiny
from PIL import Image

from ssd_jax import checkpoint, data, parallel, training
from ssd_jax.commands import scoring, setup
from ssd_jax.data.decode import ORIENTATION
from ssd_jax.errors import InputError
from ssd_jax.export import stablehlo
from ssd_jax.export.program import make_exportable
from ssd_jax.inference import DetectedObjects, Detector, Unreadable, above
from ssd_jax.inference.arguments import batch_sizes_of
from ssd_jax.inference.program import make_program
from ssd_jax.types import Detections
from ssd_jax.weights import published

# One network in programs of other batch sizes: sums of a few hundred float32 terms in another order, in pixels of a
# picture of up to 150; scores are probabilities.
CLOSE = {"boxes": 2e-2, "scores": 1e-4}


def toy(**options) -> Detector:
    """Returns a detector whose network compiles at once: each image has one object, by its size and colors."""

    def step(variables, canvas, size):
        pixels = size[:, 0] * size[:, 1]
        mean = canvas.astype(jnp.float32).sum((1, 2)) / pixels[:, None]  # [B, 3]
        boxes = jnp.concatenate([mean[:, :2] / 600, 0.5 + mean[:, 1:] / 600], axis=-1)
        empty = jnp.zeros((len(canvas), 1))
        scores = jnp.stack([variables * mean[:, 0] / 255, variables * mean[:, 0] / 510], axis=1)
        labels = 1 + pixels[:, None] % 3 * jnp.ones((1, 2), jnp.int32)
        rows = (jnp.stack([boxes, boxes / 2], axis=1), scores, labels.astype(jnp.int32))
        padding = (jnp.zeros((len(canvas), 1, 4)), empty, empty.astype(jnp.int32))
        return Detections(*(jnp.concatenate(pair, axis=1) for pair in zip(rows, padding, strict=True)))

    options = {"batch_size": 8, "devices": jax.devices()[:1], **options}
    return Detector(step, jnp.float32(1), name="toy", class_names=tiny.NAMES, recipe=tiny.recipe(), **options)


@pytest.fixture(scope="module")
def detector():
    return toy()


@pytest.fixture(scope="module")
def live():
    """A real network; it is called with five to eight images, so that one program is compiled."""
    return Detector.of(tiny.trained(), batch_size=8, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of several sizes and kinds, one larger than the canvas and one to be turned."""
    place = tmp_path_factory.mktemp("images with spaces")
    for number, picture in enumerate(tiny.pictures(7)):
        Image.fromarray(picture).save(place / f"{number}.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(tiny.pictures(2)[1]).save(place / "turned.jpg", exif=exif, quality=95)
    return place


def assert_alike(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours.labels) == len(theirs.labels) > 0
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        for field, tolerance in CLOSE.items():
            np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=tolerance)


def test_it_finds_what_an_evaluation_finds(live, folder):
    trained = tiny.trained()
    settings = {**trained.recipe, "evaluate": {"batch_size": 8, "metric": "area"}}
    source = data.make_source(kind="folder", root=str(folder), split="all", class_names=tiny.NAMES[1:])
    model = setup.build_network(settings, tiny.NAMES)._replace(mesh=parallel.data_mesh(jax.devices()[:1]))
    evaluate = scoring.make_evaluator(settings, model, source, measured=False)
    expected = evaluate(trained.variables).detections
    found = live(sorted(folder.iterdir()))
    assert [one.id for one in expected] == sorted(path.stem for path in folder.iterdir())
    assert_alike(found, expected)
    scores = np.concatenate([one.scores for one in found])
    assert len(np.unique(scores)) > 50 and scores.min() < 0.9  # not all sure of everything
    turned = found[-1]
    assert turned.id.endswith("turned.jpg") and turned.size == (128, 96)  # stored as 96 x 128
    assert turned.boxes[:, 3].max() > 96


def test_the_number_of_images_at_once_changes_nothing_and_compiles_little(folder):
    detector = toy(batch_size=32)
    pictures = tiny.pictures(64)
    one_by_one = [detector(picture)[0] for picture in pictures[:7]]
    assert detector.compilations == 1
    assert_alike(detector(pictures[:7]), one_by_one)
    assert detector.compilations == 2  # 7 fill a batch of 8
    all_together = detector(pictures)
    assert_alike(all_together[:7], one_by_one)
    assert [found.id for found in all_together] == [f"image {number}" for number in range(1, 65)]
    assert detector.compilations == 3 and detector.batch_sizes == (1, 2, 4, 8, 16, 32)
    detector(pictures)
    assert detector.compilations == 3


def test_every_kind_of_image_is_the_same_image(detector, folder):
    path = folder / "2.png"
    pixels = np.asarray(Image.open(path))
    expected = detector(path)
    with Image.open(path) as opened:
        found = [detector(kind)[0] for kind in (str(path), path.read_bytes(), opened, pixels, pixels[None])]
    for one in found:
        for field in ("size", "boxes", "scores", "labels", "names"):
            np.testing.assert_array_equal(getattr(one, field), getattr(expected[0], field))
    assert expected[0].id == str(path) and found[1].id == "image 1"
    assert set(expected[0].names) <= set(tiny.NAMES[1:])
    assert all(expected[0].names[k] == tiny.NAMES[label] for k, label in enumerate(expected[0].labels))


def test_an_image_of_pillow_is_not_changed_and_its_orientation_counts(detector, folder):
    with Image.open(folder / "turned.jpg") as opened:
        before = opened.size, opened.getexif()[ORIENTATION]
        found = detector(opened)[0]
        assert (opened.size, opened.getexif()[ORIENTATION]) == before
    expected = detector(folder / "turned.jpg")[0]
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_gray_images_are_images(detector):
    gray = tiny.pictures(3)[2][..., 0]
    assert_alike(detector(gray), detector(np.stack([gray] * 3, axis=-1)))


def test_two_threads_get_what_one_gets():
    detector = toy(batch_size=4)
    groups = [tiny.pictures(count, seed=count) for count in (1, 3, 5, 6)]
    results: list = [None] * len(groups)

    def work(number):
        results[number] = [detector(groups[number]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(groups))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert detector.compilations <= len(detector.batch_sizes)
    for group, runs in zip(groups, results, strict=True):
        expected = detector(group)
        for found in runs:
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours.boxes, theirs.boxes)
                np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_all_devices_share_a_batch(detector, folder):
    everywhere = toy(batch_size=10, devices=None)
    assert everywhere.batch_sizes == (8, 16)  # ten, rounded up to the eight devices
    pictures = tiny.pictures(11)
    assert_alike(everywhere(pictures), detector(pictures))
    assert everywhere.compilations == 1


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(detector, folder, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    whole = (folder / "0.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    images = [folder / "0.png", tmp_path / "text.jpg", tmp_path / "absent.jpg", tmp_path / "half.png", folder / "1.png"]
    found = list(detector.stream(images))
    assert [type(one) for one in found] == [DetectedObjects, *[Unreadable] * 3, DetectedObjects]
    assert [one.id for one in found] == [str(image) for image in images]
    assert_alike([found[0], found[4]], detector([images[0], images[4]]))
    with pytest.raises(InputError, match=r"text.jpg: cannot be used: "):
        detector(images)
    assert list(detector.stream([tmp_path / "absent.jpg"])) == [
        Unreadable(str(tmp_path / "absent.jpg"), found[2].reason)
    ]
    assert detector([]) == [] and list(detector.stream([])) == []


def test_a_stream_reads_only_so_far_ahead_and_can_be_closed(detector):
    read = []

    def images():
        for number, picture in enumerate(tiny.pictures(100)):
            read.append(number)
            yield picture

    stream = detector.stream(images(), batch_size=2)
    next(stream)
    assert len(read) <= 9  # two batches of two, and four decoded ahead
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ssd_jax-picture")]


def test_warm_up_leaves_nothing_to_compile():
    detector = toy(batch_size=3)
    detector.warm_up()
    assert detector.batch_sizes == (1, 2, 3) and detector.compilations == 3
    detector(tiny.pictures(3))
    assert detector.compilations == 3


def test_scores_below_the_threshold_are_left_out(detector):
    everything = detector(tiny.pictures(2))
    some = detector(tiny.pictures(2), score_threshold=0.4)
    assert len(everything[0].scores) == 2 and len(some[0].scores) == 1
    np.testing.assert_array_equal(some[0].scores, everything[0].scores[everything[0].scores >= 0.4])
    assert above(everything[0], 2.0).names == () and above(everything[0], 2.0).boxes.shape == (0, 4)
    with pytest.raises(ValueError, match="score_threshold: expected at least 0.01"):
        detector([], score_threshold=0.001)


def test_runs_and_published_files_are_loaded_alike(live, tmp_path):
    trained = tiny.trained()
    variables = dict(trained.variables)
    state = training.TrainState(np.int32(7), variables.pop("params"), variables, (), None, np.bool_(False))
    meta = {"config": trained.recipe, "class_names": list(trained.class_names)}
    with checkpoint.open_manager(tmp_path / "run") as manager:
        checkpoint.save(manager, 7, state, meta)
    published.write(tmp_path / "tiny.safetensors", trained)
    for place in (tmp_path / "run", f"{tmp_path / 'run'}@7", tmp_path / "tiny.safetensors"):
        loaded = Detector.load(place, batch_size=8, devices=jax.devices()[:1])
        jax.tree.map(np.testing.assert_array_equal, loaded._variables, live._variables)
        assert (loaded.recipe, loaded.class_names) == (live.recipe, live.class_names)
        assert str(tmp_path) in loaded.name and "(step 7)" in loaded.name
    for ours, theirs in zip(loaded(tiny.pictures(5)), live(tiny.pictures(5)), strict=True):
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        np.testing.assert_array_equal(ours.scores, theirs.scores)
    for place, sentence in {
        tmp_path / "nothing": "expected the --workdir of a training run, but there is no such folder",
        tmp_path: "it holds no 'checkpoints' folder",
    }.items():
        with pytest.raises(InputError, match=sentence):
            Detector.load(place)


@pytest.mark.parametrize("size", [None, 3])
def test_an_exported_program_is_loaded_like_any_other(live, tmp_path, size):
    pytest.importorskip("flatbuffers", reason='jax.export needs flatbuffers: pip install "flatbuffers>=24"')
    trained, path = tiny.trained(), tmp_path / "tiny.stablehlo"
    stablehlo.write(path, make_exportable(trained, batch_size=size), platforms=("cpu",))
    loaded = Detector.load(path, batch_size=8)
    assert loaded.batch_sizes == ((1, 2, 4, 8) if size is None else (3,))
    pictures = tiny.pictures(5)
    found = loaded(pictures)
    assert loaded.compilations == 1 and loaded.class_names == trained.class_names
    assert_alike(found, live(pictures))
    with pytest.raises(InputError, match="expected no step of a file, got 7"):
        Detector.load(path, step=7)


def test_odd_arguments_are_named(detector):
    with pytest.raises(TypeError, match="images: expected paths, PIL images, .* got int"):
        detector([3])
    with pytest.raises(InputError, match=r"image 1: cannot be used: expected a uint8 \[h, w, 3\] array, got float32"):
        detector(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="batch_size: expected 1 to 8, got 9"):
        detector.stream([], batch_size=9)
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        toy(batch_size=0)
    with pytest.raises(ValueError, match="devices: expected a divisor of the batch of 3, got 2"):
        toy(batch_size=3, devices=jax.devices()[:2], only_this_size=True)
    stream = io.BytesIO()
    Image.fromarray(tiny.pictures(1)[0]).save(stream, "GIF")
    assert detector(stream.getvalue())[0].size == (150, 100)


@pytest.mark.parametrize(
    ("batch_size", "devices", "expected"),
    [
        (1, 1, (1,)),
        (2, 1, (1, 2)),
        (7, 1, (1, 2, 4, 7)),
        (32, 1, (1, 2, 4, 8, 16, 32)),
        (32, 8, (8, 16, 32)),
        (1, 8, (8,)),
    ],
)
def test_batch_sizes_are_few(batch_size, devices, expected):
    assert batch_sizes_of(batch_size, devices) == expected


def test_the_precision_of_the_recipe_is_that_of_the_network_however_it_was_read(tmp_path):
    """On CPUs all precisions compute alike, so the program is looked at; JAX's own settings stay as they are."""
    in_full = tiny.trained()._replace(recipe=tiny.recipe(runtime__matmul_precision="float32"))
    published.write(tmp_path / "a.safetensors", in_full)
    stated = []
    for trained in (in_full, published.read(tmp_path / "a.safetensors"), tiny.trained()):
        made = make_program(trained)
        canvas, size = np.zeros((1, *made.canvas, 3), np.uint8), np.ones((1, 2), np.int32)
        lowered = jax.jit(made.predict).lower(trained.variables, canvas, size).as_text()
        convolutions = [line for line in lowered.splitlines() if "stablehlo.convolution" in line]
        stated.append({"HIGHEST" in line for line in convolutions})
    assert stated == [{True}, {True}, {False}]
    assert jax.config.jax_default_matmul_precision is None
