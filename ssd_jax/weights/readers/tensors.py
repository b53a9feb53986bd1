"""What every reader of foreign weights returns: named arrays, whatever the file."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class TensorFile(NamedTuple):
    """The arrays of a file under its own names, in its own order, layout and precision; nothing is judged yet."""

    format: str  # "PyTorch (zip)", "PyTorch (legacy)", "Caffe", "safetensors", "Keras HDF5", "NumPy"
    tensors: Mapping[str, np.ndarray]  # bfloat16 is ml_dtypes.bfloat16
    metadata: Mapping[str, Any] = MappingProxyType({})  # plain values that stand beside the arrays
