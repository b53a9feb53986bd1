"""The ONNX model gives what JAX gives: operation by operation, suppression by itself, and as a whole detector."""

import functools
import json

import exported
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_export import assert_equal, run_alone, snippet

from ssd_jax import export, postprocess
from ssd_jax.errors import InputError
from ssd_jax.export.program import detect_options, make_decode
from ssd_jax.models import convolution as own
from ssd_jax.types import Detections

onnx = pytest.importorskip("onnx", reason='the extra "onnx" is not installed: pip install "onnx>=1.17"')
onnxruntime = pytest.importorskip("onnxruntime", reason='the extra "onnx" is not installed: onnxruntime>=1.20.1')
from ssd_jax.export import to_onnx  # noqa: E402
from ssd_jax.export.to_onnx import graph as graphs  # noqa: E402
from ssd_jax.export.to_onnx import lowering, model, suppression  # noqa: E402


def run_model(built, *arrays):
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, map(np.asarray, arrays), strict=True)))


def converted(function, *arrays, symbolic=True):
    """Returns what the converted function gives; the first axis of every argument is the batch."""
    batch = jax.export.symbolic_shape("batch")[0] if symbolic else len(arrays[0])
    shapes = [jax.ShapeDtypeStruct((batch, *array.shape[1:]), array.dtype) for array in arrays]
    traced = jax.make_jaxpr(function)(*shapes)
    built = graphs.Graph()
    names = [f"in{number}" for number in range(len(arrays))]
    if symbolic:
        shape = built.node("Shape", [names[0]])
        built.batch = built.node("Slice", [shape, np.array([0], np.int64), np.array([1], np.int64)])
    inputs = [graphs.Value(name, lowering.shape_of(one)) for name, one in zip(names, shapes, strict=True)]
    outputs = lowering.lower(built, traced, inputs)
    described = []
    for number, (value, aval) in enumerate(zip(outputs, traced.out_avals, strict=True)):
        built.node("Identity", [value.data], outputs=[f"out{number}"])
        shape = ["batch" if side is graphs.BATCH else side for side in value.shape]
        described.append((f"out{number}", aval.dtype, shape))
    first = "batch" if symbolic else len(arrays[0])
    made = built.model(
        [(name, one.dtype, [first, *one.shape[1:]]) for name, one in zip(names, shapes, strict=True)], described
    )
    return run_model(made, *arrays)


RANDOM = np.random.default_rng(0)
FLOATS = RANDOM.normal(0, 3, (3, 4, 6)).astype(np.float32)
INTEGERS = RANDOM.integers(-9, 10, (3, 4, 6)).astype(np.int32)
HALVES = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997]], np.float32)
TABLE = RANDOM.normal(0, 1, (5, 7, 8)).astype(np.float32)
KERNEL = RANDOM.normal(0, 1, (3, 3, 6, 4)).astype(np.float32)
IMAGES = RANDOM.normal(0, 1, (2, 9, 7, 6)).astype(np.float32)


def convolution(x, **options):
    kernel = options.pop("kernel", KERNEL)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        **{"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")} | options,
    )


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda x: (x + 1) * 2 - x / 3, [FLOATS]),
        (lambda x: jnp.maximum(jnp.minimum(x, 6.0), 0), [FLOATS]),
        (lambda x: jnp.exp(x) + jax.lax.rsqrt(jnp.abs(x)) + jnp.sqrt(jnp.abs(x)) + jnp.tanh(x), [FLOATS]),
        (lambda x: jax.nn.sigmoid(x) + x**2 + jnp.square(x) + jnp.log1p(2) + jnp.clip(x, -1, 2), [FLOATS]),
        (lambda x: jnp.round(x), [HALVES]),
        (lambda x: jax.nn.softmax(x, axis=-1), [FLOATS]),
        (lambda x: jax.nn.relu(x), [FLOATS]),
        (lambda x: (x // 4, x % 4, jnp.sign(x), -x, jax.lax.div(x, 3), jax.lax.rem(x, 4)), [INTEGERS]),
        (lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y), [INTEGERS, INTEGERS[::-1].copy()]),
        (lambda x: jnp.where((x > 0) & ~(x > 5) | (x < -5), x, 7), [INTEGERS]),
        (lambda x: jnp.where(False & (x > 0), jnp.float32(1), x.astype(jnp.float32)), [INTEGERS]),
        (lambda x: x + jnp.zeros((4, 6)), [FLOATS]),
        (lambda x: jnp.zeros_like(x) + 1, [FLOATS]),
        (lambda x: jnp.concatenate([x, jnp.broadcast_to(jnp.arange(6.0), x.shape)], axis=1), [FLOATS]),
        (jax.vmap(lambda x: x[1:4:2, ::3].reshape(-1)), [FLOATS]),
        (jax.vmap(lambda x: x.transpose(1, 0)[:, 0]), [FLOATS]),
        (lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3)), constant_values=-jnp.inf), [FLOATS]),
        (lambda x: jax.lax.pad(x, -1.0, ((0, 0, 0), (-1, 1, 0), (0, -2, 0))), [FLOATS]),
        (lambda x: (x.sum(-1), x.max((1, 2)), x.min(1), (x > -2).all(-1)), [FLOATS]),
        (lambda x: x.astype(jnp.int32), [FLOATS]),
        (lambda x: (x.astype(jnp.uint8).astype(jnp.float32), x > 0), [np.abs(INTEGERS)]),
        (lambda x, y: jnp.einsum("bij,bkj->bik", x, y), [FLOATS, FLOATS[::-1].copy()]),
        (lambda x: x @ FLOATS[0].T, [FLOATS]),
        (jax.vmap(lambda x: jnp.asarray(TABLE)[x[:, 0] % 5, x[:, 1] % 7]), [np.abs(INTEGERS)]),
        (lambda x: convolution(x), [IMAGES]),
        (lambda x: convolution(x, window_strides=(2, 1), padding=((0, 1), (2, 0))), [IMAGES]),
        (lambda x: convolution(x, rhs_dilation=(2, 2)), [IMAGES]),
        (lambda x: convolution(x, kernel=KERNEL[:, :, :1].repeat(3, -1), feature_group_count=6), [IMAGES]),
        (lambda x: jnp.isfinite(x), [np.array([[1, np.nan, np.inf, -np.inf, 3e38]], np.float32)]),
        (lambda x: jax.lax.stop_gradient(jax.lax.optimization_barrier(x)) + 1, [FLOATS]),
    ],
)
@pytest.mark.parametrize("symbolic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_operations_are_those_of_jax(function, arrays, symbolic):
    expected = jax.tree.leaves(function(*map(jnp.asarray, arrays)))

    def listed(*given):
        return jax.tree.leaves(function(*given))

    found = converted(listed, *arrays, symbolic=symbolic)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: jnp.sin(x), "JAX's operation 'sin', for which there is no rule yet"),
        (lambda x: jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x - 1, x), "operation 'while'"),
        (lambda x: x.reshape(-1)[:3], "no rule yet for JAX's operation in this form|operation '"),
        (lambda x: jax.lax.round(x, jax.lax.RoundingMethod.AWAY_FROM_ZERO), "in this form: .*round"),
    ],
)
def test_what_there_is_no_rule_for_is_named(function, sentence):
    with pytest.raises(InputError, match=sentence):
        converted(lambda x: [function(x)], FLOATS)


def suppressed(boxes, scores, options):
    built, (_, priors, classes) = graphs.Graph(), scores.shape
    names, rows = ("found_boxes", "found_scores", "labels"), options["max_detections"]
    suppression.suppress(built, "boxes", "scores", counts=(priors, classes), outputs=names, **options)
    inputs = [("boxes", np.float32, ["batch", priors, 4]), ("scores", np.float32, ["batch", priors, classes])]
    outputs = [(names[0], np.float32, ["batch", rows, 4]), (names[1], np.float32, ["batch", rows])]
    made = built.model(inputs, [*outputs, (names[2], np.int32, ["batch", rows])])
    return Detections(*run_model(made, boxes, scores))


CASES = {
    "usual": {},
    "strict": {"iou_threshold": 0.0, "score_threshold": 0.2},
    "everything": {"iou_threshold": 1.0, "score_threshold": 0.0},
    "clipped first": {"clip_first": True, "iou_threshold": 0.3},
    "few of each class": {"pre_nms_top_k": 7},
    "more than there are": {"pre_nms_top_k": 10_000, "max_detections": 900},
}


@functools.cache  # the thresholds are arguments of one program
def detect(**static):
    def one(offsets, logits, default_boxes, iou_threshold, score_threshold):
        thresholds = {"iou_threshold": iou_threshold, "score_threshold": score_threshold}
        return postprocess.detect(offsets, logits, default_boxes, **thresholds, **static)

    return jax.jit(jax.vmap(one, (0, 0, None, None, None)))


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in list(CASES)[4:]]


@pytest.mark.parametrize("name", [*list(CASES)[:4], *SLOW])
def test_suppression_keeps_the_same_boxes_ties_included(name):
    random, (batch, priors, classes) = np.random.default_rng(1), (3, 250, 4)
    corners = random.uniform(-0.1, 0.8, (priors, 2)).astype(np.float32)
    default_boxes = np.concatenate([corners, corners + random.uniform(0.05, 0.4, (priors, 2))], -1).astype(np.float32)
    default_boxes[100:150] = default_boxes[:50]  # duplicates
    offsets = random.normal(0, 0.5, (batch, priors, 4)).astype(np.float32)
    offsets[:, 100:130] = offsets[:, :30]
    logits = random.normal(0, 2, (batch, priors, classes)).astype(np.float32)
    logits[:, 100:120] = logits[:, :20]  # equal scores of equal boxes
    logits[:, 200:] = np.round(logits[:, 200:])  # equal scores of others, within classes and between them
    logits[0, 7], offsets[0, 8] = np.nan, np.inf
    logits[2, :, 0] = 50  # nothing at all but background
    options = {"score_threshold": 0.01, "iou_threshold": 0.45, "pre_nms_top_k": 100, "max_detections": 60} | CASES[name]
    static = {"clip_first": False} | {key: options[key] for key in options if "threshold" not in key}
    thresholds = options["iou_threshold"], options["score_threshold"]
    expected = detect(**static)(offsets, logits, default_boxes, *thresholds)
    recipe = {"match": {"variances": (0.1, 0.1, 0.2, 0.2)}, "detect": options}
    boxes, scores = jax.vmap(make_decode(default_boxes, recipe))(offsets, logits)
    assert np.asarray(expected.scores)[2].max() < 0.01 or name == "everything"
    chosen = detect_options(recipe)
    del chosen["clip_first"]
    found = suppressed(np.asarray(boxes), np.asarray(scores), chosen)
    assert (np.asarray(expected.labels[:2]) > 0).sum() > 30
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def live():
    return exported.live()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "detector.onnx"
    to_onnx.write(path, exported.mini())
    return path


def test_onnxruntime_alone_runs_the_model_for_batches_of_1_and_7(place, live, tmp_path):
    seen = exported.seen()
    np.savez(tmp_path / "in.npz", canvas=seen.canvas, size=seen.size)
    (tmp_path / "detector.onnx").write_bytes(place.read_bytes())
    height, width = seen.size[0]
    Image.fromarray(seen.canvas[0, :height, :width]).save(tmp_path / "street.jpg")
    code = (
        snippet("onnx")
        + """
given = np.load("in.npz")
results = {}
for count in (1, 7):
    batch = {key: given[key][:count] for key in ("canvas", "size")}
    for key, array in zip(("boxes", "scores", "labels"), session.run(["boxes", "scores", "labels"], batch)):
        results[f"{key}{count}"] = array
np.savez("out.npz", **results)
"""
    )
    run_alone(code, tmp_path, without=("ssd_jax", "jax", "flax", "onnx", "tensorflow"))
    with np.load(tmp_path / "out.npz") as results:
        for count in (1, 7):
            assert_equal({key: results[f"{key}{count}"] for key in live}, live, count)


def test_the_model_tells_what_it_is(place):
    made = onnx.load(place)
    about = {one.key: one.value for one in made.metadata_props}
    assert json.loads(about["class_names"]) == list(exported.mini().class_names)
    assert json.loads(about["canvas"]) == [48, 40] and about["gives"] == "detections"
    assert json.loads(about["origin"]) == {"file": "vgg.pth"}
    assert {one.domain for one in made.opset_import} == {""}
    shapes = {
        one.name: [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in (*made.graph.input, *made.graph.output)
    }
    assert shapes == {
        "canvas": ["batch", 48, 40, 3],
        "size": ["batch", 2],
        "boxes": ["batch", 20, 4],
        "scores": ["batch", 20],
        "labels": ["batch", 20],
    }


@pytest.mark.slow
def test_without_suppression_and_with_a_fixed_batch_it_is_the_same(tmp_path):
    options = export.Options(export.ONNX, nms=False, batch_size=3)
    line = export.export(exported.mini(), tmp_path / "raw.onnx", options, exported.seen())
    assert line.endswith("0 without a partner")
    made = onnx.load(tmp_path / "raw.onnx")
    assert [one.type.tensor_type.shape.dim[0].dim_value for one in made.graph.input] == [3, 3]
    assert "NonMaxSuppression" not in {one.op_type for one in made.graph.node}


@pytest.mark.slow
def test_a_network_in_bfloat16_is_exported_in_float32(tmp_path):
    trained = exported.mini()
    half = trained._replace(recipe={**trained.recipe, "model": {**trained.recipe["model"], "dtype": "bfloat16"}})
    line = export.export(half, tmp_path / "it.onnx", export.Options(export.ONNX, nms=False), exported.seen())
    assert line.endswith("0 without a partner")
    config = {one.key: one.value for one in onnx.load(tmp_path / "it.onnx").metadata_props}["config"]
    assert json.loads(config)["model"]["dtype"] == "float32"


def test_what_is_no_model_is_one_sentence(tmp_path):
    (tmp_path / "it.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="it.onnx: ONNX Runtime cannot read it"):
        model.open_runner(tmp_path / "it.onnx")


def test_a_wide_convolution_is_one_node_whatever_cpus_make_of_it(monkeypatch):
    """On CPUs it would be six products; a runtime has its own ways."""
    kernel = RANDOM.normal(0, 0.05, (3, 3, 128, 128)).astype(np.float32)
    images = RANDOM.normal(0, 1, (2, 17, 5, 128)).astype(np.float32)
    kinds = []
    node = graphs.Graph.node

    def record(self, kind, *arguments, **options):
        kinds.append(kind)
        return node(self, kind, *arguments, **options)

    monkeypatch.setattr(graphs.Graph, "node", record)
    names = ("NHWC", "HWIO", "NHWC")

    def convolve(x):
        return own.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=names)

    (found,) = converted(convolve, images)
    np.testing.assert_allclose(found, jax.jit(convolve)(images), atol=1e-4)  # 1,152 products of size 0.05
    assert kinds.count("Conv") == 1 and "If" not in kinds
    assert "platform_index" in str(jax.make_jaxpr(convolve)(images))
