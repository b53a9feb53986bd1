"""TensorFlow Datasets: tiny archives go through TFDS's own code, and what comes back is what went in."""

import concurrent.futures
import importlib
import json
import pickle
import shutil
import struct
import sys

import fake_tfds
import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource

from ssd_jax import data
from ssd_jax.data import sources, tfds
from ssd_jax.data.formats import tfds_records
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections

NAMES = list(fake_tfds.CONTENT)
SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}
ROUNDING = 1e-12  # the COCO API adds an epsilon of 2e-16 to its denominators
COUNTS = {
    "voc/2007": {"train": 2, "validation": 1, "test": 2},
    "voc/2012": {"train": 1, "validation": 1, "test": 1},
    "coco/2017": {"train": 3, "validation": 3, "test": 1},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Returns a data_dir in which all three are prepared."""
    folder = tmp_path_factory.mktemp("tfds")
    manual = folder / "archives"
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            fake_tfds.make_archives(name, manual)
        fake_tfds.install(patch, manual)
        for name in NAMES:
            prepared = tfds.prepare(name, folder / "data", manual, show_progress=False)
            assert prepared.counts == COUNTS[name]
    return folder / "data"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(sources.READERS, "tfds", tfds_records.read)


def read(root, split, **options):
    return data.make_source(kind="tfds", root=str(root), split=split, **options)


def expected(name, split):
    """Returns {image: (size, things)} of what the archives hold."""
    images = fake_tfds.CONTENT[name][SPLIT_KEYS[split]]
    return {stem: ((height, width), things) for stem, (height, width, things) in images.items()}


def corners(name, thing):
    x, y, w, h = thing.box
    return [x, y, x + w, y + h] if name == "coco/2017" else list(thing.box)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", list(SPLIT_KEYS))
def test_everything_comes_back_as_it_went_in(root, name, split):
    source, wanted = read(root, f"{name}:{split}", class_names=names_of(name)), expected(name, split)
    assert set(source.ids()) == set(wanted) and len(source) == len(wanted) and not source.problems
    for index, stem in enumerate(source.ids()):
        (size, things), example, truth = wanted[stem], source[index], source.ground_truth(index)
        assert (example.id, example.size) == (stem, size)
        assert example.image == fake_tfds.jpeg(*size)  # the very bytes
        assert [source.class_names[label] for label in truth.labels] == [thing.name for thing in things]
        # Exact: a sum of two decimal fractions may differ from its decimal in the last bit.
        wanted_boxes = np.reshape([corners(name, thing) for thing in things], (-1, 4))
        np.testing.assert_array_equal(truth.boxes, wanted_boxes.round(3))
        flags = [thing.flag for thing in things]
        crowd = name == "coco/2017"
        assert (example.crowd if crowd else example.difficult).tolist() == flags
        assert not (example.difficult if crowd else example.crowd).any()
        if crowd:
            assert truth.areas.tolist() == [int(thing.area) for thing in things]  # TFDS drops the fraction


def names_of(name):
    return tuple(fake_tfds.COCO_NAMES) if name == "coco/2017" else data.VOC_CLASSES


@pytest.mark.parametrize("name", NAMES)
def test_classes_are_stated_in_the_usual_order(root, name):
    source = read(root, f"{name}:train")
    assert source.class_names == ("background", *names_of(name))  # ids 1-90 with gaps become labels 1-80


def test_parts_are_joined_in_order_with_prefixed_ids(root):
    source = read(root, "voc/2007:trainval+voc/2012:trainval")  # the paper's 07+12
    ids = source.ids()
    assert set(ids[:2]) == {"voc/2007/000012", "voc/2007/000017"}
    assert ids[2:] == ["voc/2007/000005", "voc/2012/2008_000008", "voc/2012/2008_000003"]
    assert source.class_names == ("background", *data.VOC_CLASSES) and source.annotated
    assert source[3].image == fake_tfds.jpeg(*source[3].size)
    single = read(root, "voc/2007:trainval")
    assert [f"voc/2007/{name}" for name in single.ids()] == ids[:3]
    twice = read(root, "voc/2007:test+voc/2007:test")
    assert len(twice) == 2 and dict(twice.problems.counts) == {"duplicate": 2}


def test_the_order_is_the_same_each_time(root):
    split = "voc/2007:trainval+coco/2017:train"
    assert read(root, split).ids() == read(root, split).ids()
    # As TFDS 4.9.10 shuffled them, which depends on the names alone: a change would make indices mean other images.
    assert read(root, "voc/2007:train").ids() == ["000017", "000012"]


def test_secret_test_sets_are_images_only(root):
    for name, count in (("voc/2012:test", 20), ("coco/2017:test", 80)):
        source = read(root, name)
        assert not source.annotated and len(source.class_names) == count + 1 and source.max_boxes == 0
    assert read(root, "voc/2007:test").annotated
    with pytest.raises(InputError, match="all have annotations, or none"):
        read(root, "voc/2007:trainval+voc/2012:test")


def perfect(truths):
    """Returns the ground truth as detections; crowds and difficult objects are left out."""
    kept = [(truth, ~truth.ignored) for truth in truths]
    return [
        ImageDetections(truth.id, truth.boxes[keep], np.ones(keep.sum()), truth.labels[keep]) for truth, keep in kept
    ]


@pytest.mark.parametrize("split", ["voc/2007:trainval+voc/2012:trainval", "voc/2007:test"])
def test_ground_truth_as_detections_is_perfect_by_voc(root, split):
    source = read(root, split)
    truths = data.ground_truth(source)
    result = voc.evaluate(perfect(truths), truths, class_names=source.class_names)
    assert result.map_11point == result.map_area == 1.0


@pytest.mark.parametrize("split", ["coco/2017:train", "coco/2017:validation", "coco/2017:train+coco/2017:validation"])
def test_ground_truth_as_detections_is_perfect_by_coco(root, split):
    source = read(root, split)
    truths = data.ground_truth(source)
    result = coco.evaluate(perfect(truths), truths, class_names=source.class_names)
    assert (result.ap, result.ap75, result.ar100) == pytest.approx((1, 1, 1), abs=ROUNDING)


@pytest.mark.parametrize("name", ["train", "val"])
def test_boxes_are_perfect_against_the_annotation_file_of_the_archive(root, name):
    """What TFDS keeps is compared with the JSON it was made from, by the COCO API: no box shifted, no class swapped."""
    source = read(root, "coco/2017:" + {"train": "train", "val": "validation"}[name])
    path = root / f"downloads/extracted/ZIP.annotations_trainval2017.zip/annotations/instances_{name}2017.json"
    results = [
        {
            "image_id": int(truth.id),
            "category_id": fake_tfds.COCO_IDS[label - 1],
            "bbox": [*box[:2], *(box[2:] - box[:2])],
            "score": 1.0,
        }
        for truth in data.ground_truth(source)
        for box, label, crowd in zip(truth.boxes, truth.labels, truth.ignored, strict=True)
        if not crowd
    ]
    assert coco.evaluate_json(path, results).ap == pytest.approx(1, abs=ROUNDING)


def test_sources_are_picklable_and_safe_among_threads(root):
    source = read(root, "voc/2007:trainval+coco/2017:train")
    copy = pickle.loads(pickle.dumps(source))
    indices = list(range(len(source))) * 30
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda index: copy[index].image, indices))
    assert images == [source[index].image for index in indices]


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_loader_reads_it(root, num_workers):
    source = read(root, "voc/2007:trainval")
    batches = data.make_eval_loader(source, batch_size=4, canvas=(100, 100), num_workers=num_workers)
    batch, valid = next(batches)
    batches.close()
    assert valid.tolist() == [True, True, True, False]
    assert [tuple(size) for size in batch.size[:3]] == [source[i].size for i in range(3)]
    np.testing.assert_array_equal(batch.canvas[0, :80, :97], data.decode_image(source[0].image))


def test_an_image_that_cannot_be_read_is_skipped_and_named(root, monkeypatch):
    original = tfds_records.read_header

    def read_header(image):
        if image == fake_tfds.jpeg(75, 100):
            raise data.ImageError("cut off")
        return original(image)

    monkeypatch.setattr(tfds_records, "read_header", read_header)
    source = read(root, "voc/2007:train")
    assert source.ids() == ["000017"] and source.problems.named == {"bad_image": ["000012"]}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("voc/2008:train", "NAME one of voc/2007, voc/2012, coco/2017"),
        ("voc/2007", "SPLIT one of train, validation, test, trainval; got 'voc/2007'"),
        ("voc/2007:val", "SPLIT one of train, validation, test, trainval"),
        ("coco/2017:trainval", "SPLIT one of train, validation, test; got"),
        ("", "NAME:SPLIT joined by"),
        ("voc/2007:train+", "NAME:SPLIT joined by"),
    ],
)
def test_wrong_splits_are_refused_in_one_sentence(root, split, message):
    with pytest.raises(InputError, match="^data split: ") as caught:
        read(root, split)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_not_prepared_is_refused_with_the_command(root, tmp_path):
    with pytest.raises(InputError, match="^data root: .*nowhere is not a folder$"):
        read(tmp_path / "nowhere", "voc/2007:train")
    with pytest.raises(InputError) as caught:
        read(tmp_path, "voc/2007:train+coco/2017:train")
    command = f"python -m ssd_jax.commands.prepare voc/2007 --data_dir={tmp_path}"
    assert str(caught.value) == f"data root: {tmp_path} holds no prepared voc/2007; prepare it by {command}"


def with_format(root, target, name, file_format):
    """Copies a prepared dataset and lets it claim another file format."""
    folder = next(shutil.copytree(root / name, target / name).glob("*.*.*"))
    text = (folder / "dataset_info.json").read_text().replace("array_record", file_format)
    assert json.loads(text)["fileFormat"] == file_format
    (folder / "dataset_info.json").write_text(text)
    return folder


def as_tfrecord(root, target, name):
    """Copies a prepared dataset and writes its records as TFRecord files, as TFDS does by default."""
    folder = with_format(root, target, name, "tfrecord")
    for path in sorted(folder.glob("*array_record*")):
        records = ArrayRecordDataSource(str(path))
        content = b"".join(struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records)
        path.with_name(path.name.replace("array_record", "tfrecord")).write_bytes(content)
        path.unlink()
    return folder


@pytest.mark.parametrize(("name", "split"), [("voc/2007", "trainval"), ("coco/2017", "train")])
def test_tfrecord_files_hold_the_same(root, tmp_path, name, split):
    as_tfrecord(root, tmp_path, name)
    one, other = read(root, f"{name}:{split}"), read(tmp_path, f"{name}:{split}")
    other = pickle.loads(pickle.dumps(other))
    assert one.ids() == other.ids() and one.class_names == other.class_names
    for index in range(len(one)):
        for a, b in zip(one[index], other[index], strict=True):
            np.testing.assert_array_equal(a, b)


def test_damaged_tfrecord_files_are_refused(root, tmp_path):
    path = next(as_tfrecord(root, tmp_path, "voc/2007").glob("voc-train.tfrecord*"))
    content = path.read_bytes()
    first = struct.unpack("<Q", content[:8])[0] + 16
    for damaged, message in (
        (content[:-1], f"expected a TFRecord file (it is cut off at byte {len(content) - 1})"),
        (content[: first + 5], f"cut off at byte {first + 5}"),
        (content[:first], "expected 2 records, got 1"),
        (None, "No such file"),
    ):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            read(tmp_path, "voc/2007:train")
        assert str(path) in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)


def test_another_file_format_is_refused_with_the_command(root, tmp_path):
    with_format(root, tmp_path, "voc/2007", "riegeli")
    with pytest.raises(InputError, match=r"5\.0\.0 was prepared as riegeli, .* by python -m \S+prepare voc/2007"):
        read(tmp_path, "voc/2007:train")


def test_a_damaged_folder_is_refused_in_one_sentence(root, tmp_path):
    folder = shutil.copytree(root / "voc/2007", tmp_path / "voc/2007") / "5.0.0"
    (folder / "features.json").write_text("{")
    with pytest.raises(InputError, match=r"5\.0\.0: expected a dataset prepared by TFDS"):
        read(tmp_path, "voc/2007:train")


def test_the_newest_version_counts_and_unfinished_ones_do_not(root, tmp_path):
    shutil.copytree(root / "voc/2007", tmp_path / "voc/2007")
    shutil.copytree(root / "voc/2007/5.0.0", tmp_path / "voc/2007/4.0.0")
    shutil.copytree(root / "voc/2007/5.0.0", tmp_path / "voc/2007/incomplete.ABC123_6.0.0")
    assert tfds.find_prepared(tmp_path, "voc/2007").folder.name == "5.0.0"
    shutil.rmtree(tmp_path / "voc/2007/5.0.0")
    shutil.rmtree(tmp_path / "voc/2007/4.0.0")
    assert tfds.find_prepared(tmp_path, "voc/2007") is None


def test_nothing_of_tensorflow_was_imported_or_left_replaced(root):
    assert "tensorflow" not in sys.modules
    for user in tfds.USERS:
        module = importlib.import_module(f"tensorflow_datasets.{user}")
        assert type(module.tf).__name__ == "LazyModule"
    tqdm_utils = importlib.import_module("tensorflow_datasets.core.utils.tqdm_utils")
    assert type(tqdm_utils.tqdm_lib).__name__ != "SimpleNamespace"
