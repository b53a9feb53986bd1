"""One rule for each of JAX's operations: which nodes of ONNX compute the same.

A rule takes the graph, the traced equation and the values of its arguments, in their full shapes but for BROADCAST.
``elementwise`` holds those that compute each element by itself.
"""

import string
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from onnx import TensorProto  # pyright: ignore[reportMissingImports]  # an extra

from ssd_jax.export.to_onnx.elementwise import Rule, unsupported
from ssd_jax.export.to_onnx.graph import BATCH, END, Graph, Shape, Value

SAME = ("stop_gradient", "copy", "optimization_barrier")  # their results are their arguments
BROADCAST = "broadcast_in_dim"


def _broadcast_in_dim(graph: Graph, equation: Any, values: list[Value]) -> Value:
    """Only moves the axes to their places; the new ones keep length 1."""
    rank, places = len(equation.params["shape"]), equation.params["broadcast_dimensions"]
    shape: list[Any] = [1] * rank
    for side, place in zip(values[0].shape, places, strict=True):
        shape[place] = side
    if isinstance(values[0].data, np.ndarray):
        return Value(values[0].data.reshape(shape), tuple(shape))
    return Value(graph.reshape(values[0].data, tuple(shape)), tuple(shape))


def _out(equation: Any) -> Shape:
    return tuple(side if isinstance(side, int) else BATCH for side in equation.outvars[0].aval.shape)


def _reshape(graph: Graph, equation: Any, values: list[Value]) -> Value:
    if _out(equation).count(BATCH) > 1:
        return unsupported(equation)
    return Value(graph.reshape(values[0].data, _out(equation)), _out(equation))


def _transpose(graph: Graph, equation: Any, values: list[Value]) -> Value:
    order = list(map(int, equation.params["permutation"]))
    return Value(graph.node("Transpose", [values[0].data], perm=order), _out(equation))


def _concatenate(graph: Graph, equation: Any, values: list[Value]) -> Value:
    joined = graph.node("Concat", [value.data for value in values], axis=int(equation.params["dimension"]))
    return Value(joined, _out(equation))


def _slice(graph: Graph, equation: Any, values: list[Value]) -> Value:
    parameters = equation.params
    rank = len(parameters["start_indices"])
    starts = np.array(parameters["start_indices"], np.int64)
    ends = [side if isinstance(side, int) else END for side in parameters["limit_indices"]]
    steps = parameters["strides"] or (1,) * rank
    given = [values[0].data, starts, np.array(ends), np.arange(rank), np.array(steps, np.int64)]
    return Value(graph.node("Slice", given), _out(equation))


def _pad(graph: Graph, equation: Any, values: list[Value]) -> Value:
    low, high, inner = np.array(equation.params["padding_config"], np.int64).T
    if inner.any():
        return unsupported(equation)
    if not low.any() and not high.any():
        return values[0]
    return Value(graph.node("Pad", [values[0].data, np.concatenate([low, high]), values[1].data]), _out(equation))


def _reduce(operation: str) -> Rule:
    def rule(graph: Graph, equation: Any, values: list[Value]) -> Value:
        axes = np.array(equation.params["axes"], np.int64)
        return Value(graph.node(operation, [values[0].data, axes], keepdims=0), _out(equation))

    return rule


def _reduce_and(graph: Graph, equation: Any, values: list[Value]) -> Value:
    numbers = Value(graph.node("Cast", [values[0].data], to=TensorProto.INT32), values[0].shape)
    least = _reduce("ReduceMin")(graph, equation, [numbers])
    return Value(graph.node("Cast", [least.data], to=TensorProto.BOOL), least.shape)


def _convolution(graph: Graph, equation: Any, values: list[Value]) -> Value:
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    if any(one != 1 for one in parameters["lhs_dilation"]) or parameters["batch_group_count"] != 1:
        return unsupported(equation)
    images = graph.node("Transpose", [values[0].data], perm=list(numbers.lhs_spec))
    kernel = values[1].data
    if isinstance(kernel, str):
        return unsupported(equation)
    low, high = zip(*parameters["padding"], strict=True)
    maps = graph.node(
        "Conv",
        [images, kernel.transpose(numbers.rhs_spec)],
        strides=list(map(int, parameters["window_strides"])),
        pads=list(map(int, (*low, *high))),
        dilations=list(map(int, parameters["rhs_dilation"])),
        group=int(parameters["feature_group_count"]),
    )
    back = list(map(int, np.argsort(numbers.out_spec)))
    return Value(graph.node("Transpose", [maps], perm=back), _out(equation))


def _dot(graph: Graph, equation: Any, values: list[Value]) -> Value:
    (left_axes, right_axes), (left_batch, right_batch) = equation.params["dimension_numbers"]
    letters = iter(string.ascii_lowercase)
    left, right = ([""] * len(value.shape) for value in values)
    for i, j in zip((*left_batch, *left_axes), (*right_batch, *right_axes), strict=True):
        left[i] = right[j] = next(letters)
    left, right = ([letter or next(letters) for letter in side] for side in (left, right))
    shared = [left[i] for i in left_batch]
    rest = [letter for letter in (*left, *right) if (letter in left) != (letter in right)]
    text = f"{''.join(left)},{''.join(right)}->{''.join(shared + rest)}"
    return Value(graph.node("Einsum", [value.data for value in values], equation=text), _out(equation))


def _look_up(graph: Graph, equation: Any, values: list[Value]) -> Value:
    """A gather that looks whole rows up in a table, by indices known to lie in it."""
    numbers, table = equation.params["dimension_numbers"], values[0].shape
    leading = tuple(range(len(numbers.start_index_map)))
    rows = len(table) - len(leading)
    result = len(_out(equation))
    if (
        equation.params["mode"] != jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS
        or tuple(numbers.start_index_map) != leading
        or tuple(numbers.collapsed_slice_dims) != leading
        or tuple(numbers.offset_dims) != tuple(range(result - rows, result))
        or tuple(equation.params["slice_sizes"]) != (*(1 for _ in leading), *table[len(leading) :])
    ):
        return unsupported(equation)
    index = graph.node("Cast", [values[1].data], to=TensorProto.INT64)
    return Value(graph.node("GatherND", [values[0].data, index]), _out(equation))


OTHERS: Mapping[str, Rule] = {
    BROADCAST: _broadcast_in_dim,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "pad": _pad,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_and": _reduce_and,
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "gather": _look_up,
}
