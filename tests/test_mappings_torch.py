"""Whole networks of others on a real picture: detections of torchvision, frozen; names of its arrays where it is."""

import importlib.util
import zlib

import jax
import numpy as np
import pytest
from golden import make_ssd300_detections as golden
from golden import make_ssd300_torchvision, make_torchvision_arrays, torchvision_names
from test_mappings_live import as_there, detect, unmatched

from ssd_jax import models

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("torch") is None,
    reason="torch or torchvision is not installed; the frozen names and detections are used all the same",
)


# "own" is torchvision with nothing changed; "equal" clips boxes after suppression, as the original does.
@pytest.mark.slow
def test_detections_equal_the_frozen_ones_of_torchvision(shared):
    frozen = np.load(golden.FILE)
    if zlib.crc32(golden.decoded(shared).tobytes()) != frozen["decoded"]:
        pytest.skip(f"this machine decodes {golden.PICTURE} to other levels than the one that froze the detections")
    picture = golden.picture(shared)
    assert zlib.crc32(picture.astype(np.uint8).tobytes()) == frozen["resized"]
    params = jax.eval_shape(models.build(num_classes=golden.NUM_CLASSES).init, jax.random.key(0))["params"]
    ours = as_there(golden.formula_state(torchvision_names.torch_shapes(params)))
    assert ours.recipe["detect"]["clip_first"]
    for clip_first, rule in ((True, "own"), (False, "equal")):
        found = detect(ours, picture, clip_first=clip_first)
        theirs = {field: frozen[f"{rule}_{field}"] for field in golden.FIELDS}
        assert len(theirs["scores"]) == len(found[1]) == 200
        assert unmatched(found, theirs) == 0
        # The rules differ: each finds some that the other does not.
        other = {field: frozen[f"{'equal' if rule == 'own' else 'own'}_{field}"] for field in golden.FIELDS}
        assert 0 < unmatched(found, other) < 20


@pytest.mark.slow
@needs_torchvision
def test_the_frozen_detections_are_torchvisions(shared):
    frozen, picture = np.load(golden.FILE), golden.picture(shared)
    for clip_first, rule in ((True, "own"), (False, "equal")):
        theirs = golden.detections(golden.network(), picture, clip_first=clip_first)
        for field in golden.FIELDS:
            np.testing.assert_allclose(
                theirs[field], frozen[f"{rule}_{field}"], rtol=0, atol=1e-2 if field == "boxes" else 1e-4
            )


@needs_torchvision
@pytest.mark.parametrize("name", [*make_torchvision_arrays.CLASSIFIERS, "ssd300_vgg16"])
def test_frozen_names_are_torchvisions(name):
    make_ssd300_torchvision.define_operators()
    import torchvision

    if name in make_torchvision_arrays.DETECTORS:
        build = getattr(torchvision.models.detection, name)
        model = build(weights=None, weights_backbone=None, num_classes=91)
    else:
        model = getattr(torchvision.models, name)(weights=None)
    frozen = make_torchvision_arrays.arrays(name)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in frozen.items()
    }
