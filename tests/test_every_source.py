"""What holds through every format: no box is shifted, swapped or lost, and a detector learns from it."""

import layouts
import numpy as np
import pytest
from test_learning import GENTLE, load, train

from ssd_jax import data, training
from ssd_jax.commands import scoring
from ssd_jax.evaluation import coco, voc
from ssd_jax.types import ImageDetections

everywhere = pytest.mark.parametrize("kind", layouts.WRITERS)


def as_detections(truth):
    """The annotation, handed in as if a detector had found it."""
    found = ~truth.ignored
    boxes, labels = truth.boxes[found].astype(np.float32), truth.labels[found]
    return ImageDetections(truth.id, boxes, np.ones(len(labels), np.float32), labels)


@everywhere
def test_the_ground_truth_is_found_in_full(kind, tmp_path):
    items = layouts.pictures()
    source = data.make_source(**layouts.WRITERS[kind](tmp_path / "a folder", items))
    truth = data.ground_truth(source)
    assert not source.problems and source.max_boxes == max(len(item.labels) for item in items)
    assert source.class_names == ("background", *(layouts.CLASSES if kind != "tfds" else data.VOC_CLASSES))
    names = {item.name: [layouts.CLASSES[label - 1] for label in item.labels] for item in items}
    boxes = {item.name: item.boxes for item in items}
    order = [entry.id.rsplit("/")[-1].rsplit("_")[-1] for entry in truth]
    if kind == "tfds":  # shuffles once and for all when it prepares
        assert sorted(order) == list(boxes)
    else:
        assert order == list(boxes)
    for index, (entry, name) in enumerate(zip(truth, order, strict=True)):
        assert [source.class_names[label] for label in entry.labels] == names[name]
        # 1e-3 px: what float32 fractions (TFDS) and decimal fractions (YOLO) leave of whole pixels
        np.testing.assert_allclose(entry.boxes, boxes[name], atol=1e-3)
        scale = np.tile(source[index].size[::-1], 2)
        np.testing.assert_allclose(source[index].boxes * scale, boxes[name], atol=1e-3)
    detections = [as_detections(entry) for entry in truth]
    result = voc.evaluate(detections, truth, class_names=source.class_names)
    assert result.map_11point == result.map_area == 1.0
    assert coco.evaluate(detections, truth, class_names=source.class_names).ap == pytest.approx(1.0, abs=1e-12)


@everywhere
def test_all_formats_decode_to_the_same_pixels(kind, tmp_path):
    items = layouts.pictures(3)
    source = data.make_source(**layouts.WRITERS[kind](tmp_path, items))
    layouts.save(items[0], tmp_path / "again.jpg")
    index = next(i for i in range(len(source)) if source[i].id.endswith(items[0].name))
    np.testing.assert_array_equal(data.decode_image(source[index].image), data.decode_image(tmp_path / "again.jpg"))


@pytest.mark.slow
@everywhere
def test_eight_images_are_learned_by_heart(kind, tmp_path):
    section = layouts.WRITERS[kind](tmp_path, layouts.pictures())
    split = section.pop("split")
    options = load(
        "ssd_demo",
        data={**section, "train_split": split, "eval_split": split},
        augment={**GENTLE, "interpolation": "linear"},
        optimizer=dict(warmup_steps=20),
        train=dict(batch_size=8, num_steps=150),
        evaluate=dict(batch_size=8),
    )
    evaluate, state, _ = train(options, 150)
    assert evaluate(training.evaluated_variables(state)).voc().map_11point >= 0.95


@pytest.mark.parametrize(
    ("section", "images"),
    [
        (dict(kind="voc", root="bccd", split="trainval+test"), 364),
        (dict(kind="voc", root="voc2012-animals/VOCdevkit", split="VOC2012/train+VOC2012/val"), 800),
        (dict(kind="coco", root="coco2017-mini", split="train2017"), 60),
        (dict(kind="coco", root="coco2017-mini", split="val2017"), 60),
    ],
    ids=["bccd", "voc2012-animals", "coco-train", "coco-val"],
)
def test_real_ground_truth_is_found_in_full(section, images, shared):
    source = data.make_source(**{**section, "root": str(shared / "data" / section["root"])})
    truth = data.ground_truth(source)
    assert len(source) == images
    detections = [as_detections(entry) for entry in truth]
    result = voc.evaluate(detections, truth, class_names=source.class_names)
    assert result.map_11point == result.map_area == 1.0
    figures = scoring.Evaluation(source, source.class_names, detections, truth).coco()  # COCO: the official ones
    assert figures.ap == pytest.approx(1.0, abs=1e-12)
