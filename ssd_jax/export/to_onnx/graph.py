"""A graph of ONNX that is being built: nodes, constants, and what a value is."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]  # an extra
from onnx import helper, numpy_helper  # pyright: ignore[reportMissingImports]  # an extra

BATCH = None  # the length of an axis that is known only when the program runs: the number of images
Shape = tuple[Any, ...]  # numbers, and BATCH at most where the images are
END = np.iinfo(np.int64).max  # of a slice: wherever the axis ends
OPSET, IR_VERSION = 18, 8  # a few years old, so that runtimes know them; tried with ONNX Runtime 1.20 and 1.31


class Value(NamedTuple):
    """What an operation of JAX has made: a constant, or the output of a node.

    Axes along which it only repeats itself may have length 1 (``Graph.whole`` repeats it), so that what
    NumPy's rules of broadcasting do by themselves costs nothing.
    """

    data: np.ndarray | str  # numbers, or the name in the graph
    shape: Shape


class Graph:
    """Nodes in the order in which they run."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names: dict[Any, str] = {}  # of constants, by what they hold
        self._count = 0
        self.batch: str | np.ndarray = np.array([1])  # int64 [1]: the number of images

    def node(
        self, operation: str, inputs: Sequence[str | np.ndarray], *, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Adds a node and returns the name of its first output; ``outputs`` names them."""
        names = list(outputs) or [self.name(operation)]
        given = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        self._nodes.append(helper.make_node(operation, given, names, **attributes))
        return names[0]

    def name(self, what: str) -> str:
        """Returns a name that nothing has yet."""
        self._count += 1
        return f"{what.lower()}_{self._count}"

    def constant(self, array: np.ndarray) -> str:
        """Adds numbers, once however often they are needed, and returns their name."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = self.name("constant")
            self._constants.append(numpy_helper.from_array(np.asarray(array, order="C"), self._names[key]))
        return self._names[key]

    def reshape(self, value: str | np.ndarray, shape: Shape) -> str:
        """Returns a value in another shape, in which at most one axis may be BATCH."""
        return self.node("Reshape", [value, np.array([-1 if side is BATCH else side for side in shape], np.int64)])

    def whole(self, value: Value, shape: Shape) -> Value:
        """Returns a value repeated to its full shape."""
        if value.shape == shape:
            return value
        if isinstance(value.data, np.ndarray) and BATCH not in shape:
            return Value(np.broadcast_to(value.data, shape), shape)
        sides = [self.batch if side is BATCH else np.array([side], np.int64) for side in shape]
        return Value(self.node("Expand", [value.data, self.node("Concat", sides, axis=0)]), shape)

    def model(
        self, inputs: Sequence[tuple[str, Any, Sequence[Any]]], outputs: Sequence[tuple[str, Any, Sequence[Any]]]
    ) -> onnx.ModelProto:
        """Returns the checked model.

        Args:
          inputs, outputs: name, dtype and shape, in which a text names an axis of any length.
        """
        described = [
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))
                for name, dtype, shape in side
            ]
            for side in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, "ssd", *described, initializer=self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
