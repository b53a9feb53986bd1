"""The names that a pickle of PyTorch may mention, and what they make here.

None is imported or called: a name is looked up in a table, and what stands there is a function of
this module that checks its arguments and returns a record or a plain value. Names and arguments are those of
torch/_utils.py, torch/_tensor.py, NumPy and the standard library, as found by pickling with
them (torch 2.13); those of PyTorch before 0.4 after its torch/_utils.py and torch/autograd/variable.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssd_jax.weights.readers.raw import shown
from ssd_jax.weights.readers.torch_values import (
    DTYPES,
    STORAGES,
    Attributes,
    Global,
    ScalarType,
    Storage,
    Tensor,
)


def find_global(module: str, name: str) -> Global:
    """Returns a known name.

    Raises:
      ValueError: it is not known, whatever it is.
    """
    full = f"{RENAMED.get(module, module)}.{name}"
    if full not in KNOWN:
        raise ValueError(
            f"its pickle names {shown(full)}, and only tensors and plain values are made here "
            "(if this is a whole model, save its state dict alone: torch.save(model.state_dict(), FILE))"
        )
    return Global(full)


def construct(function: Any, arguments: Any) -> Any:
    """Returns what a known name makes of its arguments.

    Raises:
      ValueError: the name makes nothing, or not of these arguments.
    """
    if type(function) is not Global or function.name not in CONSTRUCTORS or type(arguments) is not tuple:
        raise ValueError("its pickle calls what is no function")
    try:
        return CONSTRUCTORS[function.name](*arguments)
    except TypeError as error:
        raise ValueError(f"its pickle calls {function.name} with arguments that do not fit") from error


def set_state(value: Any, state: Any) -> None:
    """Gives a value what was pickled beside its arguments; only attributes are kept.

    Raises:
      ValueError: the value has no state.
    """
    if type(value) is Attributes and type(state) is dict and all(type(name) is str for name in state):
        value.values.update(state)
    elif type(value) is ScalarType:
        if type(state) is not tuple or len(state) < 2 or type(state[1]) is not str or state[1] not in "<|=":
            raise ValueError("its pickle holds a NumPy scalar that is not little-endian")
    elif type(value) not in (dict, Tensor):  # versions of modules; gradients and hooks of a parameter
        raise ValueError("its pickle sets the state of a value that has none")


def make_key(key: Any) -> Any:
    """Returns a key of a dictionary.

    Raises:
      ValueError: it is of a kind whose hash takes long (tuples of tuples) or can be made to collide.
    """
    if type(key) not in (str, bool, int, float, type(None)) or (type(key) is int and abs(key) >= 2**63):
        raise ValueError("its pickle holds a dictionary whose keys are neither text nor numbers")
    return key


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    if _expect(storage, Storage).untyped:
        raise TypeError("the kind of the numbers is missing")
    return Tensor(storage, storage.dtype, _expect(shape, tuple), _expect(strides, tuple), offset)


def _tensor_v2(storage: Any, offset: Any, shape: Any, strides: Any, _: Any, __: Any, bits: Any = None) -> Tensor:
    if bits:  # {"conj": True} or {"neg": True}
        raise ValueError("its pickle holds a tensor whose numbers are to be negated or conjugated")
    return _tensor(storage, offset, shape, strides)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, _: Any, __: Any, kind: Any, bits: Any = None
) -> Tensor:
    dtype = DTYPES.get(_expect(kind, Global).name.removeprefix("torch."))
    if bits or dtype is None or not _expect(storage, Storage).untyped:
        raise TypeError("not a kind of number that is known")
    return Tensor(storage, dtype, _expect(shape, tuple), _expect(strides, tuple), offset)


def _tensor_of_type(function: Any, _: Any, arguments: Any, __: Any) -> Any:
    # A tensor of a subclass or with attributes. It is not made by this function again, as deep as the file likes.
    if _expect(function, Global).name not in TENSORS:
        raise TypeError("not a function that makes tensors")
    return TENSORS[function.name](*_expect(arguments, tuple))


def _parameter(tensor: Any, *_: Any) -> Tensor:
    return _expect(tensor, Tensor)


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    # Python 3 pickles an empty one and then its items, Python 2 a list of pairs.
    if type(pairs) not in (list, tuple) or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise TypeError("expected pairs")
    return {make_key(key): value for key, value in pairs}


def _counter(counts: Any = ()) -> dict[Any, Any]:
    return dict(_expect(counts, dict)) if counts != () else {}


def _default_dict(_: Any = None) -> dict[Any, Any]:
    return {}


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    return tuple(sizes) if type(sizes) in (list, tuple) else _expect(sizes, tuple)


def _set(items: Any = ()) -> list[Any]:
    return list(items) if type(items) in (list, tuple) else _expect(items, list)


def _device(kind: Any, index: Any = None) -> str:
    return _expect(kind, str) if index is None else f"{_expect(kind, str)}:{_expect(index, int)}"


def _path(*parts: Any) -> str:
    return "/".join(_expect(part, str) for part in parts).replace("//", "/")


def _encode(text: Any, encoding: Any) -> bytes:
    # What protocol 2 makes of bytes.
    if encoding not in ("latin1", "latin-1") or any(letter > "\xff" for letter in _expect(text, str)):
        raise TypeError("expected bytes as text")
    return text.encode("latin-1")


def _scalar_type(code: Any, *_: Any) -> ScalarType:
    if _expect(code, str) not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
        raise ValueError(f"its pickle holds a NumPy scalar of kind {shown(code)}")
    return ScalarType(np.dtype(f"<{code}"))


def _scalar(kind: Any, data: Any) -> bool | int | float:
    dtype = _expect(kind, ScalarType).dtype
    data = data.encode() if type(data) is str else _expect(data, bytes)  # Python 2 has one kind of string
    if len(data) != dtype.itemsize:
        raise TypeError(f"expected {dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype)[0].item()


def _attributes() -> Attributes:
    return Attributes({})


TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,  # PyTorch before 0.4
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,  # PyTorch before 0.4
    "torch.autograd.variable.Variable": _parameter,  # likewise
}
CONSTRUCTORS = TENSORS | {
    "torch._tensor._rebuild_from_type_v2": _tensor_of_type,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "collections.defaultdict": _default_dict,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "_codecs.encode": _encode,
    "numpy.dtype": _scalar_type,
    "numpy._core.multiarray.scalar": _scalar,
    "argparse.Namespace": _attributes,
    **{f"pathlib.{system}Path": _path for system in ("Posix", "PurePosix", "Windows", "PureWindows")},
}
# What else may be named, and makes nothing: kinds of storages and numbers, the class of a tensor, what a
# defaultdict is filled with.
CONSTANTS = {
    *STORAGES,
    *(f"torch.{name}" for name in DTYPES),
    "torch.Tensor",
    *(f"builtins.{name}" for name in ("list", "dict", "int", "float", "str", "bool", "tuple")),
}
KNOWN = {*CONSTRUCTORS, *CONSTANTS}
# What modules are called in Python 2, NumPy 1 and Python 3.13.
RENAMED = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray", "pathlib._local": "pathlib"}
