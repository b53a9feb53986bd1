"""What a pickle of PyTorch may hold besides plain values: tensors, by their place in a storage, not read yet."""

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

from ssd_jax.weights.readers.raw import shown

DTYPES = {
    name: np.dtype(name)
    for name in "float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()
} | {name: np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")}

UNTYPED = "torch.storage.UntypedStorage"
STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    UNTYPED: "uint8",
}


# Not NamedTuples, which could be mistaken for the tuples of a file; eq=False, because a comparison of what a file
# has nested could be as deep as the file likes.
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that is known; it means something only to :mod:`ssd_jax.weights.readers.torch_globals`."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of numbers that tensors view, or a part of one."""

    key: str  # where the file keeps the whole run
    dtype: np.dtype
    untyped: bool  # it is bytes, of which each tensor tells the kind
    count: int  # numbers of the whole run
    first: int  # where the part begins
    length: int  # numbers of the part

    @property
    def nbytes(self) -> int:
        """Bytes of the whole run."""
        return self.count * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor by its place in a storage; of its place nothing is checked yet."""

    storage: Storage
    dtype: np.dtype
    shape: tuple[Any, ...]
    strides: tuple[Any, ...]  # in numbers
    offset: Any  # in numbers


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """An object of which only the attributes are kept, like argparse.Namespace."""

    values: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ScalarType:
    """A dtype of NumPy, as its scalars name it."""

    dtype: np.dtype


def make_storage(identifier: Any) -> Storage:
    """Returns the storage that a persistent id stands for.

    It is ``("storage", class, key, device, numbers)``; the legacy format appends None or
    ``(key, first, numbers)`` of a part.

    Raises:
      ValueError: it is anything else.
    """
    if type(identifier) is not tuple or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise ValueError("its pickle refers to something outside of it that is no storage")
    kind, key, _, count, *parts = identifier[1:]
    if type(kind) is not Global or kind.name not in STORAGES or type(key) is not str or not _is_count(count):
        raise ValueError("its pickle describes a storage wrongly")
    dtype, untyped = DTYPES[STORAGES[kind.name]], kind.name == UNTYPED
    if not parts or parts[0] is None:
        return Storage(key, dtype, untyped, count, 0, count)
    if type(parts[0]) is not tuple or len(parts[0]) != 3 or not all(map(_is_count, parts[0][1:])):
        raise ValueError("its pickle describes a part of a storage wrongly")
    _, first, length = parts[0]
    if first + length > count:
        raise ValueError(f"a part of its storage {shown(key)} reaches beyond it")
    return Storage(key, dtype, untyped, count, first, length)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62
