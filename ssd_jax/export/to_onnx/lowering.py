"""From a traced function of JAX to nodes; what does not depend on its inputs is computed at once, a constant."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from ssd_jax.errors import InputError
from ssd_jax.export.to_onnx import rules
from ssd_jax.export.to_onnx.elementwise import ELEMENTWISE
from ssd_jax.export.to_onnx.graph import BATCH, Graph, Shape, Value

# Operations that hold a traced function, and under which name.
CALLS = {
    **dict.fromkeys(("jit", "pjit"), "jaxpr"),
    **dict.fromkeys(("closed_call", "custom_jvp_call", "custom_vjp_call"), "call_jaxpr"),
}
PLATFORM, CHOICE = "platform_index", "cond"  # jax.lax.platform_dependent


def lower(graph: Graph, traced: core.ClosedJaxpr, inputs: Sequence[Value]) -> list[Value]:
    """Adds the nodes of a traced function.

    Args:
      graph: that they are added to.
      traced: of ``jax.make_jaxpr``; an axis of a length that is not a number is the number of images.
      inputs: its arguments.

    Returns:
      Its results, in their full shapes.

    Raises:
      InputError: if it has an operation that there is no rule for.
    """
    jaxpr = traced.jaxpr
    known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
    known |= {var: _constant(array) for var, array in zip(jaxpr.constvars, traced.consts, strict=True)}
    for equation in jaxpr.eqns:
        found = _equation(graph, equation, [_look_up(known, var) for var in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
    return [graph.whole(_look_up(known, var), shape_of(var.aval)) for var in jaxpr.outvars]


def shape_of(aval: Any) -> Shape:
    """Returns the shape of a traced value."""
    return tuple(side if isinstance(side, int) else BATCH for side in aval.shape)


def _look_up(known: dict[Any, Value], var: Any) -> Value:
    if not isinstance(var, core.Literal):
        return known[var]
    aval: Any = var.aval  # 3 may be an int32 or a float32
    return _constant(np.asarray(var.val, aval.dtype))


def _constant(array: Any) -> Value:
    array = np.asarray(array)
    return Value(array, array.shape)


def _equation(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    name = equation.primitive.name
    if name in CALLS:
        return lower(graph, equation.params[CALLS[name]], values)
    if name in rules.SAME:
        return values
    if name == PLATFORM:
        return [_constant(np.int32(equation.params["platforms"].index(None)))]  # as on any platform but the named ones
    if name == CHOICE and isinstance(values[0].data, np.ndarray):
        return lower(graph, equation.params["branches"][int(values[0].data)], values[1:])
    out = shape_of(equation.outvars[0].aval)
    if name not in ELEMENTWISE and name != rules.BROADCAST:
        values = [graph.whole(value, shape_of(var.aval)) for value, var in zip(values, equation.invars, strict=True)]
    constant = all(isinstance(value.data, np.ndarray) for value in values)
    if constant and name != rules.BROADCAST and (BATCH not in out or name in ELEMENTWISE):
        found = equation.primitive.bind(*(value.data for value in values), **equation.params)
        arrays = jax.device_get(found if equation.primitive.multiple_results else [found])
        return [_with_rank(graph, _constant(array), len(out)) for array in arrays]
    rule = ELEMENTWISE.get(name) or rules.OTHERS.get(name)
    if rule is None:
        raise InputError(f"ONNX: the network needs JAX's operation {name!r}, for which there is no rule yet")
    return [_with_rank(graph, rule(graph, equation, values), len(out))]


def _with_rank(graph: Graph, value: Value, rank: int) -> Value:
    """Returns a value with all axes of its result, of which a scalar argument knows nothing."""
    shape = (1,) * (rank - len(value.shape)) + value.shape
    if shape == value.shape:
        return value
    if isinstance(value.data, np.ndarray):
        return Value(value.data.reshape(shape), shape)
    return Value(graph.reshape(value.data, shape), shape)
