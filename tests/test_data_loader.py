"""The stream of batches: a function of the step, whatever reads it; and what a bad image becomes in it."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import add_image, annotation, one_object, picture

from ssd_jax import data
from ssd_jax.data import loader
from ssd_jax.types import Example

grain = pytest.importorskip("grain")
CANVAS = (24, 32)


def example(index, *, boxes=((0.25, 0.25, 0.5, 0.75),), labels=(1,), difficult=None, crowd=None, image=None):
    """An example whose pixels tell its index."""
    count = len(labels)
    if image is None:
        image = np.full((16, 20, 3), index, np.uint8)
    return Example(
        image,
        (16, 20),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        np.zeros(count, bool) if difficult is None else np.array(difficult),
        np.zeros(count, bool) if crowd is None else np.array(crowd),
        f"example {index}",
    )


def take(count, source, *, batch_size=4, seed=7, **options):
    stream = data.make_loader(source, batch_size=batch_size, seed=seed, canvas=CANVAS, **options)
    batches = [next(stream) for _ in range(count)]
    stream.close()
    return batches


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for name, array, wanted in zip(batch._fields, batch, other, strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=name)


TEN = [example(index) for index in range(10)]


def test_shapes_types_and_padding():
    source = [example(0), example(1, boxes=[(0, 0, 1, 1), (0.5, 0.5, 1, 1)], labels=(2, 3))]
    batch = take(1, source, batch_size=2)[0]
    shapes = {name: (array.shape, array.dtype.name) for name, array in zip(batch._fields, batch, strict=True)}
    assert shapes == {
        "canvas": ((2, 24, 32, 3), "uint8"),
        "size": ((2, 2), "int32"),
        "boxes": ((2, 8, 4), "float32"),
        "labels": ((2, 8), "int32"),
        "ignored": ((2, 8), "bool"),
        "index": ((2,), "uint32"),
        "epoch": ((2,), "uint32"),
        "valid": ((2,), "bool"),
    }
    row = int(np.flatnonzero(batch.index == 1)[0])
    assert batch.size[row].tolist() == [16, 20]
    assert (batch.canvas[row, :16, :20] == 1).all()
    assert batch.canvas[row].sum() == 16 * 20 * 3  # zeros elsewhere
    assert batch.labels[row].tolist() == [2, 3] + [0] * 6
    assert batch.boxes[row, 1].tolist() == [0.5, 0.5, 1, 1] and not batch.boxes[row, 2:].any()


def test_every_epoch_visits_each_example_once_in_another_order():
    batches = take(15, TEN)  # 60 rows: six epochs that do not end with a batch
    index = np.concatenate([batch.index for batch in batches]).reshape(6, 10)
    epoch = np.concatenate([batch.epoch for batch in batches]).reshape(6, 10)
    assert (np.sort(index, axis=1) == np.arange(10)).all() and (epoch == np.arange(6)[:, None]).all()
    assert len({tuple(order) for order in index}) == 6
    pixels = np.concatenate([batch.canvas[:, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(pixels, index.ravel())  # the images are those of their indices


def test_the_order_depends_on_the_seed_and_not_on_seed_plus_epoch():
    orders = {(seed, epoch): loader.shuffled(seed, epoch, 50).tolist() for seed in range(3) for epoch in range(3)}
    assert len({tuple(order) for order in orders.values()}) == 9


@pytest.mark.parametrize("step", [0, 3, 7])
def test_resuming_needs_the_step_only(step):
    assert_same(take(8, TEN)[step:], take(8 - step, TEN, start_step=step))


def test_a_step_in_the_far_future_is_reached_at_once():
    batch = take(1, TEN, start_step=10**9)[0]
    assert batch.epoch.tolist() == [4 * 10**8] * 4  # 4e9 rows / 10


@pytest.mark.parametrize(
    ("num_threads", "num_workers"), [(0, 0), (1, 0), (8, 0), pytest.param(1, 2, marks=pytest.mark.slow)]
)
def test_a_stream_resumed_with_any_number_of_readers_is_the_rest_of_the_unbroken_one(num_threads, num_workers):
    rest = take(5, TEN, start_step=3, num_threads=num_threads, num_workers=num_workers)  # from epoch 1 to epoch 3
    assert_same(take(8, TEN, num_threads=0)[3:], rest)


@pytest.mark.parametrize("count", [2, 4])
def test_the_shards_make_up_the_global_batch_in_order(count):
    shards = [take(5, TEN, shard=(index, count)) for index in range(count)]
    for whole, *parts in zip(take(5, TEN), *shards, strict=True):
        for name, array in zip(whole._fields, whole, strict=True):
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), array)


def test_a_source_smaller_than_the_batch_runs_through_epochs():
    batch = take(1, TEN[:3], batch_size=8)[0]
    assert sorted(batch.index[:3]) == sorted(batch.index[3:6]) == [0, 1, 2]
    assert batch.epoch.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert take(2, TEN[:1], batch_size=2)[1].epoch.tolist() == [2, 3]


BOTH = [example(0, boxes=[(0, 0, 1, 1)] * 4, labels=(1, 2, 3, 4), difficult=[0, 1, 0, 1], crowd=[0, 0, 1, 1])]


@pytest.mark.parametrize(
    ("difficult", "crowd", "labels", "ignored"),
    [
        ("train", "drop", [1, 2], [False, False]),
        ("ignore", "drop", [1, 2], [False, True]),
        ("drop", "drop", [1], [False]),
        ("train", "ignore", [1, 2, 3, 4], [False, False, True, True]),
        ("ignore", "ignore", [1, 2, 3, 4], [False, True, True, True]),
        ("drop", "ignore", [1, 3], [False, True]),
    ],
)
def test_policies_for_difficult_and_crowd_boxes(difficult, crowd, labels, ignored):
    source = [BOTH[0]._replace(difficult=np.array(BOTH[0].difficult, bool), crowd=np.array(BOTH[0].crowd, bool))]
    batch = take(1, source, batch_size=1, difficult=difficult, crowd=crowd)[0]
    assert batch.labels[0, : len(labels) + 1].tolist() == [*labels, 0]
    assert batch.ignored[0, : len(labels) + 1].tolist() == [*ignored, False]


def test_padded_boxes_is_the_maximum_rounded_up_to_eight():
    counts = {0: 8, 1: 8, 8: 8, 9: 16, 16: 16, 17: 24}
    for count, rows in counts.items():
        assert data.padded_boxes([example(0, boxes=[(0, 0, 1, 1)] * count, labels=[1] * count), example(1)]) == rows


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("image", [jpeg(picture(16, 20))[:400], b"", Path("nowhere.jpg")], ids=["cut", "empty", "gone"])
def test_an_unreadable_image_keeps_its_slot_and_is_named_once(image, caplog):
    with caplog.at_level(logging.WARNING, "ssd_jax.data"):
        batches = take(4, [example(0), example(1, image=image)], batch_size=2)
    for batch in batches:
        bad, good = (int(np.flatnonzero(batch.index == index)[0]) for index in (1, 0))
        assert batch.size[bad].tolist() == [1, 1] and not batch.canvas[bad].any() and not batch.labels[bad].any()
        assert not batch.valid[bad] and batch.valid[good] and loader.skipped(batch) == [1]
        assert batch.labels[good, 0] == 1
    assert [record.message for record in caplog.records if "example 1" in record.message] != []
    assert len(caplog.records) == 1


def test_a_picture_of_one_pixel_is_an_image():
    source = [example(0, image=np.full((1, 1, 3), 9, np.uint8))._replace(size=(1, 1)), example(1, image=b"no image")]
    ((batch, rows),) = data.make_eval_loader(source, batch_size=3, canvas=CANVAS, num_threads=0)
    assert batch.size.tolist() == [[1, 1]] * 3 and batch.canvas[0, 0, 0].tolist() == [9] * 3
    assert batch.valid.tolist() == [True, False, False]
    assert rows.tolist() == [True, True, False]  # the unreadable one is an image of the source, the last is none


def test_boxes_that_no_source_should_give_are_left_out_with_a_warning(caplog):
    boxes = [(0, 0, 0, 1), (0.5, 0, 0.2, 1), (np.nan, 0, 1, 1), (10, 20, 50, 60), (0, 0, 1, 1), (0.1, 0.1, 0.2, 0.2)]
    with caplog.at_level(logging.WARNING, "ssd_jax.data"):
        batch = take(1, [example(0, boxes=boxes, labels=(1, 1, 1, 1, 0, 5))], batch_size=1)[0]
    assert batch.labels[0].tolist() == [5] + [0] * 7 and np.isfinite(batch.boxes).all()
    assert [record.message for record in caplog.records] == [
        "example 0: 5 boxes left out: empty, outside [0, 1], not finite, or label < 1"
    ]


def test_evaluations_that_share_a_log_name_an_unreadable_image_once(caplog):
    source, log = [example(0), example(1, image=b"no image")], data.OnceLog()
    with caplog.at_level(logging.WARNING, "ssd_jax.data"):
        for _ in range(3):
            list(data.make_eval_loader(source, batch_size=2, canvas=CANVAS, num_threads=0, log=log))
    assert len(caplog.records) == 1 and "example 1" in caplog.text


def test_more_boxes_than_rows_are_cut_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "ssd_jax.data"):
        batch = take(1, [example(0, boxes=[(0, 0, 1, 1)] * 3, labels=(1, 2, 3))], batch_size=1, max_boxes=2)[0]
    assert batch.labels.tolist() == [[1, 2]] and "its 3 boxes the first 2" in caplog.text


def test_an_image_larger_than_the_canvas_is_reduced_and_its_boxes_stay(tmp_path, caplog):
    for name in ("a", "b"):
        add_image(tmp_path, name, annotation(one_object(box=(10, 20, 50, 60))))  # 100 wide, 80 high
    source = data.make_source(kind="voc", root=str(tmp_path), split="train")
    with caplog.at_level(logging.INFO, "ssd_jax.data"):
        batch = take(2, source, batch_size=1)[1]
    assert batch.size.tolist() == [[24, 30]]  # 100 * 24 / 80
    # The picture is linear in x and y; 10 levels for JPEG at a low resolution and half a pixel at the edge.
    assert np.abs(batch.canvas[0, :24, :30].astype(int) - np.asarray(picture(24, 30))).max() < 10
    np.testing.assert_array_equal(batch.boxes[0, 0], np.float32([0.1, 0.25, 0.5, 0.75]))
    line = "2 of 2 images are reduced to fit the canvas of 24x32 (height x width)"
    assert data.reductions(source, (24, 32)) == line and data.reductions(source, (80, 100)) == ""
    assert not caplog.records  # the programs print that line once, however many streams they make


def test_reductions_of_a_source_without_sizes_are_said_once_a_stream(caplog):
    source = [example(index, image=np.zeros((32, 40, 3), np.uint8))._replace(size=(32, 40)) for index in range(3)]
    with caplog.at_level(logging.INFO, "ssd_jax.data"):
        list(data.make_eval_loader(source, batch_size=1, canvas=(16, 23), num_threads=0))
    assert [record.message for record in caplog.records] == [
        "example 0 and others are reduced to fit the canvas of 16x23 (height x width)"
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_reads_each_image_once_in_order(count):
    seen = []
    shards = [
        data.make_eval_loader(TEN, batch_size=4, canvas=CANVAS, shard=(index, count), num_threads=2)
        for index in range(count)
    ]
    for pairs in zip(*shards, strict=True):
        assert all(len(valid) == 4 // count for _, valid in pairs)
        for batch, valid in pairs:
            seen += batch.index[valid].tolist()
            assert (batch.canvas[valid, 0, 0, 0] == batch.index[valid]).all()
            assert not batch.labels[~valid].any() and (batch.size[~valid] == 1).all()
    assert seen == list(range(10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 4, "shard": (0, 3)}, "3 processes, got 4"),
        ({"batch_size": 0}, "got 0"),
        ({"shard": (2, 2)}, r"got \(2, 2\)"),
        ({"difficult": "maybe"}, "got 'maybe'"),
        ({"crowd": "train"}, "got 'train'"),
        ({"start_step": -1}, "got -1"),
        ({"on_error": "raise"}, "got 'raise'"),
        ({"timeout_s": -1.0}, "and -1.0"),
        ({"max_boxes": -8}, "got -8"),
        ({"source": []}, "empty"),
    ],
)
def test_misuse_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        data.make_loader(**{"source": TEN, "batch_size": 4, "seed": 0, "canvas": CANVAS, **options})


def test_dirty_folder_streams_without_a_crash(tmp_path):
    """All color spaces at once, through the real path from files to batches."""
    for mode in ("L", "CMYK", "RGB"):
        add_image(tmp_path, f"jpeg_{mode}", image=picture(80, 100).convert(mode))
    for mode in ("RGBA", "P", "LA", "I;16"):
        add_image(tmp_path, f"png_{mode.replace(';', '')}")
        path = tmp_path / "JPEGImages" / f"png_{mode.replace(';', '')}"
        path.with_suffix(".jpg").unlink()
        image = picture(80, 100)
        deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        (deep if mode == "I;16" else image.convert(mode)).save(path.with_suffix(".png"))
    add_image(tmp_path, "cut", image=jpeg(picture(80, 100))[:900])
    source = data.make_source(kind="voc", root=str(tmp_path), split="train")
    batches = list(data.make_eval_loader(source, batch_size=4, canvas=(80, 100)))
    sizes = np.concatenate([batch.size for batch, _ in batches]).tolist()
    assert len(source) == 8 and sizes == [[80, 100]] * 7 + [[1, 1]]
    means = np.concatenate([batch.canvas for batch, _ in batches])[:7].mean(axis=(1, 2))
    # Red and green of the picture average 127, blue is 40; the three gray ones average 0.299 * 127 + 0.587 * 127
    # + 0.114 * 40 = 117. 12 levels for palettes and JPEG.
    gray = [name in (0, 5, 6) for name in range(7)]  # jpeg_L, png_LA, png_I16 in the order of the list
    expected = np.where(np.array(gray)[:, None], 117, [[127, 127, 40]])
    assert np.abs(means - expected).max() < 12


def test_importing_the_package_does_not_import_grain():
    code = "import sys, ssd_jax.data; sys.exit('grain' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
