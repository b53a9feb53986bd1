"""A whole detector as an ONNX model, and running it."""

import json
from collections.abc import Callable
from os import PathLike
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnx  # pyright: ignore[reportMissingImports]  # an extra

from ssd_jax import files
from ssd_jax.errors import InputError
from ssd_jax.export.program import describe, detect_options, make_exportable
from ssd_jax.export.to_onnx import suppression
from ssd_jax.export.to_onnx.graph import Graph, Value
from ssd_jax.export.to_onnx.lowering import lower, shape_of
from ssd_jax.weights import TrainedNetwork

BATCH_AXIS = "batch"


def write(
    path: str | PathLike[str], trained: TrainedNetwork, *, nms: bool = True, batch_size: int | None = None
) -> None:
    """Writes a detector; the arguments, and what it takes and gives, as of ``program.make_exportable``.

    Raises:
      InputError: if the network has an operation without a rule, or the file cannot be written.
    """
    files.write_bytes(path, make_model(trained, nms=nms, batch_size=batch_size).SerializeToString())


def make_model(trained: TrainedNetwork, *, nms: bool = True, batch_size: int | None = None) -> onnx.ModelProto:
    """Returns the model of a detector."""
    candidates = make_exportable(trained, nms=False, batch_size=batch_size)
    about = describe(trained, nms=nms, batch_size=batch_size)
    batch = jax.export.symbolic_shape(BATCH_AXIS)[0] if batch_size is None else batch_size
    shapes = {
        "canvas": jax.ShapeDtypeStruct((batch, *candidates.canvas, 3), jnp.uint8),
        "size": jax.ShapeDtypeStruct((batch, 2), jnp.int32),
    }
    traced = jax.make_jaxpr(lambda canvas, size: candidates.function(candidates.weights, canvas, size))(
        *shapes.values()
    )
    graph = Graph()
    if batch_size is None:
        first = np.array([0], np.int64), np.array([1], np.int64)
        graph.batch = graph.node("Slice", [graph.node("Shape", ["size"]), *first])
    boxes, scores = lower(graph, traced, [Value(name, shape_of(like)) for name, like in shapes.items()])
    names = list(about["outputs"])
    if nms:
        counts = len(trained.default_boxes), len(trained.class_names)
        options = detect_options(trained.recipe)
        del options["clip_first"]  # done where boxes are decoded
        suppression.suppress(graph, str(boxes.data), str(scores.data), counts=counts, outputs=names, **options)
    else:
        for value, name in zip((boxes, scores), names, strict=True):
            graph.node("Identity", [value.data], outputs=[name])
    model = graph.model(_described(about["inputs"]), _described(about["outputs"]))
    model.producer_name = "ssd_jax"
    model.doc_string = "A detector of ssd_jax; its metadata say what it takes and gives."
    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    return model


def open_runner(path: str | PathLike[str]) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Returns run(canvas, size) -> outputs of a file in ONNX Runtime, on the CPU.

    Raises:
      InputError: if onnxruntime is missing or cannot read the file.
    """
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise InputError(
            'ONNX: comparing the model needs onnxruntime: pip install "onnx>=1.17" "onnxruntime>=1.20.1" '
            '(the extra "onnx")'
        ) from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of several kinds, all its own
        raise InputError(f"{path}: ONNX Runtime cannot read it ({' '.join(str(error).split())[:200]})") from error
    names = [output.name for output in session.get_outputs()]

    def run(canvas: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run(names, {"canvas": canvas, "size": size})
        return dict(zip(names, map(np.asarray, found), strict=True))

    return run


def _described(arrays: dict[str, dict[str, Any]]) -> list[tuple[str, Any, list[Any]]]:
    return [(name, one["dtype"], one["shape"]) for name, one in arrays.items()]
