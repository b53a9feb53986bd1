"""The libraries that compute COCO's figures: every engine gives the bits of pycocotools, called directly."""

import contextlib
import io
import json
import sys

import numpy as np
import pytest
import random_detections

from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco, coco_engines
from ssd_jax.types import ImageGroundTruth

NAMES = ("background", "cat", "dog")
TRUTH = [ImageGroundTruth("a", np.array([[0.0, 0, 40, 40]]), np.array([1]), np.array([False]))]


@pytest.fixture(params=["pycocotools", "fast"])
def engine(request):
    """Each engine that is installed; pycocotools is what it is compared with."""
    pytest.importorskip("pycocotools")
    pytest.importorskip("hotcoco" if request.param == "fast" else request.param)
    return request.param


@pytest.fixture
def oracle(shared):
    folder = shared / "oracles" / "coco-fakebbox100"
    return folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"


def api_directly(dataset, results):
    """Returns figures, precisions of all sizes and categories of pycocotools, handed the entries as they stand."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def area(entry):
        return entry.get("area", entry["bbox"][2] * entry["bbox"][3])

    truth = [{**entry, "area": area(entry), "id": k + 1} for k, entry in enumerate(dataset["annotations"])]
    found = [{**entry, "area": area(entry), "id": k + 1, "iscrowd": 0} for k, entry in enumerate(results)]
    apis = []
    with contextlib.redirect_stdout(io.StringIO()):
        for entries in (truth, found):
            apis.append(COCO())
            apis[-1].dataset = {**dataset, "annotations": entries}
            apis[-1].createIndex()
        run = COCOeval(*apis, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats, run.eval["precision"][:, :, :, 0, -1], run.params.catIds


def test_every_engine_gives_the_bits_of_the_api(engine):
    many = crowds = bounds = partial = 0
    for seed in range(80):
        dataset, results = random_detections.random_coco(seed)
        figures, precision, ids = api_directly(dataset, results)
        truth, found, names = coco_engines.from_dataset(dataset, results)
        sizes = {"num_images": len(dataset["images"]), "num_categories": len(names)}
        computed = coco_engines.compute(truth, found, **sizes, engine=engine)
        np.testing.assert_array_equal(computed.figures, figures, err_msg=f"seed {seed}")
        np.testing.assert_array_equal(computed.precision, precision, err_msg=f"seed {seed}")
        assert names == [f"c{number}" for number in ids]
        most = np.unique([found.image, found.category], axis=1, return_counts=True)[1].max(initial=0)
        many, crowds, partial = many + (most > 100), crowds + truth.crowd.any(), partial + (0 < figures[0] < 1)
        bounds += np.isin(truth.areas, (1024, 9216)).any()
    assert many >= 5 and crowds > 40 and bounds > 15 and partial > 40  # the cases hold what they promise


def test_every_engine_gives_the_bits_of_the_api_on_the_oracle(oracle, engine):
    dataset, results = (json.loads(path.read_text()) for path in oracle)
    figures, precision, _ = api_directly(dataset, results)
    result = coco.evaluate_json(*oracle, engine=engine)
    np.testing.assert_array_equal(result[:12], figures)
    means = np.array([column.mean() for column in np.moveaxis(precision, -1, 0)])
    np.testing.assert_array_equal(result.class_ap, np.where(means < 0, np.nan, means))


def test_ids_may_be_names(engine):
    """Of the images, as some tools write them, or numbers beyond float64; the order of the ids decides among ties."""
    dataset, results = random_detections.random_coco(1)
    plain = coco.evaluate_dataset(dataset, results, engine=engine)
    for rename in ("image {:04d}".format, lambda number: 10**17 + number):
        renamed = [{**entry, "image_id": rename(entry["image_id"])} for entry in results]
        images = [{"id": rename(image["id"])} for image in dataset["images"]]
        annotations = [{**entry, "image_id": rename(entry["image_id"])} for entry in dataset["annotations"]]
        named = {**dataset, "images": images, "annotations": annotations}
        truth, found, names = coco_engines.from_dataset(named, renamed)
        sizes = {"num_images": len(images), "num_categories": len(names)}
        computed = coco_engines.compute(truth, found, **sizes, engine=engine)
        np.testing.assert_array_equal(computed.figures, np.nan_to_num(plain[:12], nan=-1))


def test_engines_in_memory(engine):
    for seed in range(20):
        detections, truth = random_detections.random_case(seed)
        one = coco.evaluate(detections, truth, class_names=random_detections.NAMES)
        two = coco.evaluate(detections, truth, class_names=random_detections.NAMES, engine=engine)
        for field, wanted in one._replace(engine=two.engine)._asdict().items():
            np.testing.assert_array_equal(getattr(two, field), wanted, err_msg=f"seed {seed}: {field}")


def test_no_detections_by_each_engine(engine):
    result = coco.evaluate([], TRUTH, class_names=NAMES, engine=engine)
    assert result.ap == 0 and result.num_detections.tolist() == [0, 0] and np.isnan(result.class_ap[1])


@pytest.mark.parametrize(
    ("version", "library"),
    [
        ("1.3.0", "hotcoco"),
        ("1.10.2", "hotcoco"),
        (None, "pycocotools"),
        ("1.2.1", "pycocotools"),
        ("2.0.0", "pycocotools"),
        ("2.0rc1", "pycocotools"),
        ("unknown", "pycocotools"),
    ],
)
def test_only_compared_versions_are_taken(monkeypatch, version, library):
    monkeypatch.setattr(coco_engines, "_version", lambda package: version)
    assert coco_engines.choose("auto") == library and coco_engines.choose("pycocotools") == "pycocotools"
    if library == "hotcoco":
        assert coco_engines.choose("fast") == library
    else:
        got = "which is not installed" if version is None else f"got {version}"
        with pytest.raises(InputError, match=rf"engine 'fast' needs .*{got}: pip install 'hotcoco>=1\.3,<2'"):
            coco_engines.choose("fast")


def test_auto_falls_back_and_says_so(monkeypatch):
    pytest.importorskip("pycocotools")
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    result = coco.evaluate([], TRUTH, class_names=NAMES, engine="auto")
    assert result.engine.startswith("pycocotools ")
    with pytest.raises(InputError, match="which is not installed: pip install 'hotcoco"):
        coco.evaluate([], TRUTH, class_names=NAMES, engine="fast")
    with pytest.raises(ValueError, match="engine must be one of pycocotools, fast, auto, got 'hotcoco'"):
        coco.evaluate([], TRUTH, class_names=NAMES, engine="hotcoco")
