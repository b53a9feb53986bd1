"""Operations that compute each element by itself: which nodes of ONNX do the same.

A rule takes the graph, the traced equation and the values of its arguments, which may be of length 1 along axes where
they repeat themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from onnx import helper  # pyright: ignore[reportMissingImports]  # an extra

from ssd_jax.errors import InputError
from ssd_jax.export.to_onnx.graph import BATCH, Graph, Shape, Value

Rule = Callable[[Graph, Any, list[Value]], Value]


def unsupported(equation: Any) -> Value:
    """Raises the InputError that names an operation in a form without a rule."""
    text = " ".join(str(equation).split())[:200]
    raise InputError(f"ONNX: there is no rule yet for JAX's operation in this form: {text}")


def _broadcast(shapes: list[Shape]) -> Shape:
    """Returns the shape of the result of several values of one rank, or of rank 0."""
    rank = max(map(len, shapes))
    sides = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return tuple(BATCH if BATCH in side else max(side) for side in sides)


def _elementwise(operation: str, **attributes: Any) -> Rule:
    def rule(graph: Graph, equation: Any, values: list[Value]) -> Value:
        shape = _broadcast([value.shape for value in values])
        return Value(graph.node(operation, [value.data for value in values], **attributes), shape)

    return rule


def _chain(*operations: str) -> Rule:
    """Several nodes of one argument, one after the other; the first may have more."""

    def rule(graph: Graph, equation: Any, values: list[Value]) -> Value:
        for operation in operations:
            values = [_elementwise(operation)(graph, equation, values)]
        return values[0]

    return rule


def _square(graph: Graph, equation: Any, values: list[Value]) -> Value:
    return _elementwise("Mul")(graph, equation, values * 2)


def _power(graph: Graph, equation: Any, values: list[Value]) -> Value:
    exponent = equation.params["y"]
    if exponent < 1:
        raise InputError(f"ONNX: expected a positive exponent, got {exponent}")
    return _elementwise("Mul")(graph, equation, values * exponent) if exponent < 3 else unsupported(equation)


def _and(graph: Graph, equation: Any, values: list[Value]) -> Value:
    """Logical; False if one side is known to be, so that what it decides about need not be computed."""
    for value in values:
        if isinstance(value.data, np.ndarray) and not value.data.any():
            return Value(np.zeros((1,) * len(value.shape), bool), (1,) * len(value.shape))
    return _elementwise("And")(graph, equation, values)


def _select(graph: Graph, equation: Any, values: list[Value]) -> Value:
    which, *cases = values
    if len(cases) != 2:
        return unsupported(equation)
    if isinstance(which.data, np.ndarray) and which.data.all() == which.data.any():
        return cases[int(which.data.any())]
    return _elementwise("Where")(graph, equation, [which, cases[1], cases[0]])


def _clamp(graph: Graph, equation: Any, values: list[Value]) -> Value:
    low, value, high = values
    return _elementwise("Min")(graph, equation, [_elementwise("Max")(graph, equation, [value, low]), high])


def _is_finite(graph: Graph, equation: Any, values: list[Value]) -> Value:
    # x - x is 0 for finite numbers alone: NaN - NaN and infinity - infinity are NaN.
    difference = _elementwise("Sub")(graph, equation, values * 2)
    return _elementwise("Equal")(graph, equation, [difference, Value(np.zeros((), np.float32), ())])


def _convert(graph: Graph, equation: Any, values: list[Value]) -> Value:
    target = helper.np_dtype_to_tensor_dtype(np.dtype(equation.params["new_dtype"]))
    return _elementwise("Cast", to=target)(graph, equation, values)


def _round(graph: Graph, equation: Any, values: list[Value]) -> Value:
    if equation.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        return unsupported(equation)
    return _elementwise("Round")(graph, equation, values)


ELEMENTWISE: Mapping[str, Rule] = {
    **{name: _elementwise(name.capitalize()) for name in ("add", "sub", "mul", "div", "max", "min", "exp", "log")},
    **{name: _elementwise(name.capitalize()) for name in ("abs", "floor", "neg", "sign", "sqrt", "tanh", "or", "not")},
    "logistic": _elementwise("Sigmoid"),
    "rem": _elementwise("Mod", fmod=1),
    "eq": _elementwise("Equal"),
    "ne": _chain("Equal", "Not"),
    "lt": _elementwise("Less"),
    "le": _elementwise("LessOrEqual"),
    "gt": _elementwise("Greater"),
    "ge": _elementwise("GreaterOrEqual"),
    "rsqrt": _chain("Sqrt", "Reciprocal"),
    "and": _and,
    "select_n": _select,
    "clamp": _clamp,
    "square": _square,
    "integer_pow": _power,
    "is_finite": _is_finite,
    "convert_element_type": _convert,
    "round": _round,
}
