"""``postprocess.detect`` from its decoded boxes on, as nodes; ONNX's NonMaxSuppression does the greedy part.

Its rules are ours: boxes are visited by descending score, ties by lowest index, and a box falls if its IoU with a kept
one is above the threshold. What it lacks, the best ``pre_nms_top_k`` of each class, comes before; each class of each
image is then a batch entry of its own, since each has its own boxes.
"""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper  # pyright: ignore[reportMissingImports]  # an extra

from ssd_jax.export.to_onnx.graph import BATCH, Graph


def suppress(
    graph: Graph,
    boxes: str,  # [B, P, 4]
    scores: str,  # [B, P, C]
    *,
    counts: tuple[int, int],
    outputs: Sequence[str],
    score_threshold: float,
    iou_threshold: float,
    pre_nms_top_k: int,
    max_detections: int,
) -> None:
    """Adds the nodes.

    Args:
      graph: that they are added to.
      boxes, scores: names of the decoded boxes and the probabilities, zeros where they were not finite.
      counts: (P, C).
      outputs: names of the boxes, scores and labels that come out.
      score_threshold, iou_threshold, pre_nms_top_k, max_detections: as of ``postprocess.detect``.
    """
    priors, classes = counts
    kept, objects = min(pre_nms_top_k, priors), classes - 1
    one, last = np.array([1], np.int64), np.array([-1], np.int64)

    # The best of each class: [B, C-1, K].
    by_class = graph.node("Transpose", [scores], perm=[0, 2, 1])
    foreground = graph.node("Slice", [by_class, one, np.array([classes], np.int64), one])
    above = graph.node("Greater", [foreground, np.float32(score_threshold)])  # pyright: ignore[reportArgumentType]
    counted = graph.node("Where", [above, foreground, np.float32(0)])  # pyright: ignore[reportArgumentType]
    best, index = _top(graph, counted, kept)
    flat_index = graph.node("Unsqueeze", [graph.reshape(index, (BATCH, objects * kept)), last])
    candidates = graph.node("GatherND", [boxes, flat_index], batch_dims=1)  # [B, (C-1)*K, 4]

    # Which of them stay: [B*(C-1), K].
    rows = graph.reshape(best, (BATCH, kept))
    chosen = graph.node(
        "NonMaxSuppression",
        [
            graph.reshape(candidates, (BATCH, kept, 4)),
            graph.reshape(best, (BATCH, 1, kept)),
            np.array([kept], np.int64),
            np.array([iou_threshold], np.float32),
            np.array([0], np.float32),  # only what scores above it: empty rows do not
        ],
    )  # [N, 3]: row, class (0), position
    places = graph.node("Gather", [chosen, np.array([0, 2], np.int64)], axis=1)
    number = graph.node("Slice", [graph.node("Shape", [chosen]), np.array([0], np.int64), one])
    ones = graph.node("ConstantOfShape", [number], value=_scalar(1))
    zeros = graph.node("ConstantOfShape", [graph.node("Shape", [rows])], value=_scalar(0))
    stays = graph.node("ScatterND", [zeros, places, ones])
    remaining = graph.reshape(graph.node("Mul", [rows, stays]), (BATCH, objects * kept))

    # The best over all classes: [B, D], padded to max_detections.
    count = min(max_detections, objects * kept)
    final, position = _top(graph, remaining, count)
    found = graph.node("Greater", [final, np.float32(0)])  # pyright: ignore[reportArgumentType]
    class_of = graph.node("Add", [graph.node("Div", [position, np.array(kept, np.int64)]), np.array(1, np.int64)])
    labels = graph.node("Where", [found, graph.node("Cast", [class_of], to=TensorProto.INT32), np.int32(0)])  # pyright: ignore[reportArgumentType]
    corners = graph.node("GatherND", [candidates, graph.node("Unsqueeze", [position, last])], batch_dims=1)
    clipped = graph.node("Min", [graph.node("Max", [corners, np.float32(0)]), np.float32(1)])  # pyright: ignore[reportArgumentType]
    shown = graph.node("Where", [graph.node("Unsqueeze", [found, last]), clipped, np.float32(0)])  # pyright: ignore[reportArgumentType]
    missing = max_detections - count
    for value, rank, output in zip((shown, final, labels), (3, 2, 2), outputs, strict=True):
        padding = np.zeros((2, rank), np.int64)
        padding[1, 1] = missing
        graph.node("Pad", [value, padding.ravel()], outputs=[output])


def _top(graph: Graph, value: str, count: int) -> tuple[str, str]:
    names = graph.name("best"), graph.name("place")
    graph.node("TopK", [value, np.array([count], np.int64)], outputs=names, axis=-1)
    return names


def _scalar(number: float):
    return helper.make_tensor("value", TensorProto.FLOAT, [1], [number])
