"""Whole networks of others beside ours, with torch's random weights, on a real picture of each set of real data.

They need torch; frozen outputs of the same networks, with weights by formula, are tested in test_mappings_numerics,
test_mappings_torch, test_torchvision_parity and test_backbones. ``pytest -m slow -rP`` prints the measured differences.
"""

import functools
import importlib.util
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from golden import make_backbones_torchvision, make_mappings_torch, make_ssd300_torchvision
from golden import make_ssd300_detections as golden

from configs import ssd300_voc
from ssd_jax import models, recipe
from ssd_jax.models import ssd
from ssd_jax.weights import mappings

# Of each map, relative to its largest value; measured: at most 8e-6. A wrong tap or pad gives 1e-2 and more.
TOLERANCE = 1e-4
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed; frozen outputs are tested elsewhere"
)
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("torch") is None,
    reason="torch or torchvision is not installed; frozen outputs are tested elsewhere",
)
PICTURES = {
    "voc2012-animals": golden.PICTURE,
    "bccd": "data/bccd/JPEGImages/BloodImage_00000.jpg",
    "coco2017-mini": "data/coco2017-mini/val2017/000000000139.jpg",
}


@pytest.fixture(params=PICTURES)
def picture(shared, request):
    """Returns picture(side), whole levels [side, side, 3]."""
    return functools.partial(golden.picture, shared, PICTURES[request.param])


class Ours(NamedTuple):
    """Our side of a conversion."""

    recipe: dict[str, Any]
    model: models.Model
    default_boxes: np.ndarray  # [P, 4]
    variables: dict[str, Any]


def as_there(tensors):
    """The recipe under a conversion's configuration, its network, default boxes, and variables from the file."""
    converted = mappings.convert(tensors)
    ours = recipe.plain(ssd300_voc.get_config())
    for key, value in converted.config.items():
        section, option = key.split(".")
        ours[section][option] = value
    model, default_boxes = recipe.build_network(ours, converted.num_classes)
    normalization = mappings.Normalization(ours["model"]["mean"], ours["model"]["std"])
    variables, report = mappings.fit(
        converted, jax.eval_shape(model.init, jax.random.key(0)), normalization=normalization
    )
    assert report.random == () and not any("folded" in use.how for use in report.uses)
    return Ours(ours, model, default_boxes, variables)


def state(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def predict(ours, image):
    return jax.jit(ours.model.apply)(ours.variables, image[None])


def detect(ours, image, *, clip_first):
    """Detections of ours in pixels, best first."""
    rules = {**ours.recipe, "detect": {**ours.recipe["detect"], "clip_first": clip_first}}
    detect_one = jax.jit(recipe.build_detect(rules, ours.default_boxes))
    predictions = predict(ours, image)
    found = detect_one(predictions.offsets[0], predictions.logits[0])
    return np.asarray(found.boxes) * golden.SIDE, np.asarray(found.scores), np.asarray(found.labels)


def unmatched(ours, theirs):
    """How many of their detections have no partner in ours: same class, boxes to 0.01 pixels, scores to 1e-4.

    Detections whose scores differ in the sixth digit may come in another order.
    """
    boxes, scores, labels = ours
    free, missing = np.ones(len(boxes), bool), 0
    for box, score, label in zip(theirs["boxes"], theirs["scores"], theirs["labels"], strict=True):
        fits = free & (labels == label) & (abs(scores - score) <= 1e-4) & (abs(boxes - box).max(axis=1) <= 0.01)
        missing += not fits.any()
        free[np.argmax(fits)] &= not fits.any()
    return missing


def assert_close(name, ours, theirs):
    difference = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    print(f"{name}: {difference:.1e}")
    assert difference <= TOLERANCE


def assert_heads_close(ours, image, theirs):
    """Holds each head of each map to theirs(image), [1, P, ...] by name; all of them have to see the image."""
    found, expected, turned = predict(ours, image)._asdict(), theirs(image), theirs(image[::-1, ::-1, ::-1])
    rows = np.cumsum([level.num_boxes for level in ours.model.levels])[:-1]
    for head in found:
        maps = (np.split(np.asarray(values[head][0]), rows) for values in (found, expected, turned))
        for number, (one, other, another) in enumerate(zip(*maps, strict=True)):
            assert_close(f"{head} {number}", one, other)
            assert np.abs(other - another).max() > 100 * TOLERANCE * np.abs(other).max()


@functools.cache
def ssd300():
    """torchvision's detector, and ours with its weights; 91 classes, as it is published."""
    import torch

    make_ssd300_torchvision.define_operators()
    from torchvision.models.detection import ssd300_vgg16

    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).eval()
    return theirs, as_there(state(theirs))


# Their own preparation of images, and their default boxes.
@pytest.mark.slow
@needs_torchvision
def test_heads_and_default_boxes_equal_those_of_torchvision(picture):
    import torch

    theirs, ours = ssd300()

    def outputs(image):
        with torch.no_grad():
            prepared, _ = theirs.transform([torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255))])
            maps = list(theirs.backbone(prepared.tensors).values())
            anchors = theirs.anchor_generator(prepared, maps)[0].numpy()
            found = theirs.head(maps)
        np.testing.assert_allclose(ours.default_boxes * golden.SIDE, anchors, rtol=0, atol=1e-3)
        return {"offsets": found["bbox_regression"].numpy(), "logits": found["cls_logits"].numpy()}

    assert_heads_close(ours, picture(), outputs)


@functools.cache
def formula_ssd300():
    """The same with weights by formula, whose scores spread over the classes."""
    theirs = golden.network()
    return theirs, as_there(state(theirs))


# By its own rules torchvision has nothing changed, and our conversion's configuration has nothing changed.
@pytest.mark.slow
@needs_torchvision
@pytest.mark.parametrize("clip_first", [True, False], ids=["its own rules", "clipped after suppression"])
def test_detections_equal_those_of_torchvision(picture, clip_first):
    (theirs, ours), image = formula_ssd300(), picture()
    assert ours.recipe["detect"]["clip_first"]
    expected = golden.detections(theirs, image, clip_first=clip_first)
    boxes, scores, labels = detect(ours, image, clip_first=clip_first)
    print(f"{len(expected['scores'])} detections of {len(np.unique(expected['labels']))} classes")
    assert len(expected["scores"]) == (scores > 0).sum() > 100
    assert unmatched((boxes, scores, labels), expected) == 0


@functools.cache
def torch_detector(name, side):
    import torch

    theirs = make_mappings_torch.network(name, side=side, widths=make_mappings_torch.FULL)
    # torch's own random numbers let a signal fade within twenty layers: biases would be all that is compared.
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    scale = theirs.L2Norm if name == "ssd_pytorch" else theirs.backbone.l2_norm
    torch.nn.init.uniform_(scale.weight, 10, 30)
    return theirs, as_there(state(theirs))


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("side", [300, 512])
@pytest.mark.parametrize("name", ["ssd_pytorch", "lufficc"])
def test_detectors_equal_those_in_torch(picture, name, side):
    theirs, ours = torch_detector(name, side)
    assert ours.recipe["model"]["image_size"] == (side, side)

    def outputs(image):
        return make_mappings_torch.outputs(name, theirs, (image - mappings.CAFFE.mean).astype(np.float32)[None])

    assert_heads_close(ours, picture(side=side), outputs)


@pytest.mark.slow
@needs_torchvision
def test_vgg16_equals_torchvisions(picture):
    import torch

    make_ssd300_torchvision.define_operators()
    from torchvision.models import vgg16

    torch.manual_seed(0)
    theirs = vgg16(weights=None).eval()
    module = ssd.BACKBONES["vgg16_full"](sources=("conv5_3", "fc7"))
    x = ((picture(side=224) - mappings.IMAGENET.mean) / mappings.IMAGENET.std).astype(np.float32)[None]
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, False))
    variables, report = mappings.fit(
        mappings.convert(state(theirs)), {"params": {"backbone": shapes["params"]}}, normalization=mappings.IMAGENET
    )
    assert report.random == ()
    conv5_3, fc7 = jax.jit(lambda p, x: module.apply({"params": p}, x, False))(variables["params"]["backbone"], x)
    with torch.no_grad():
        expected = theirs.features[:-1](torch.from_numpy(x.transpose(0, 3, 1, 2)))
        classified = theirs.classifier[:5](torch.flatten(theirs.avgpool(theirs.features[-1](expected)), 1))
    assert_close("conv5_3", conv5_3, expected.permute(0, 2, 3, 1).numpy())
    assert_close("fc7", fc7[:, 3, 3], classified.numpy())


@pytest.mark.slow
@needs_torchvision
@pytest.mark.parametrize("name", make_backbones_torchvision.NAMES)
def test_classifiers_equal_torchvisions(name, picture):
    theirs = make_backbones_torchvision.network(name)
    x = ((picture() - mappings.IMAGENET.mean) / mappings.IMAGENET.std).astype(np.float32)[None]
    module = ssd.BACKBONES[name]()
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, False))
    tree = {collection: {"backbone": arrays} for collection, arrays in shapes.items()}
    variables, _ = mappings.fit(mappings.convert(state(theirs)), tree, normalization=mappings.IMAGENET)
    alone = {collection: arrays["backbone"] for collection, arrays in variables.items()}
    maps = jax.jit(lambda v, x: module.apply(v, x, False))(alone, x)
    for number, (ours, other) in enumerate(
        zip(maps, make_backbones_torchvision.torchvision_maps(name, x), strict=True)
    ):
        assert_close(f"map {number}", ours, other)
