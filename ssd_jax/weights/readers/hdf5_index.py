"""A program that says where in an HDF5 file the weights of a Keras model lie; run by keras_h5, in a process of its own.

    python hdf5_index.py FILE      # prints JSON

HDF5's library is large, written in C, and not made for hostile files: with version 2.0.0, a few changed bytes in a
file of 60 kB make it search for ever or fill 4 GB, while it looks for the name of a layer. Here that ends this process,
whose memory and computing time are limited, and numbers never pass through it: it tells their offsets.

HDF5 can also point out of a file (soft and external links, external and virtual data sets), compress, load filters and
hold Python objects. Keras uses none of it, so all of it is refused. This file imports nothing of ssd_jax, so
that it starts within half a second.
"""

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # pyright: ignore[reportMissingImports]  # an extra
import numpy as np

_MEMORY = 512 * 2**20  # bytes beyond those of the interpreter
# Of computing, beyond those of the start; 1,000 layers take two. A search without end stops soon on a slow disk, too.
_SECONDS = 5
_MAX_GROUPS = _MAX_NAMES = 100_000
_MAX_DEPTH = 24  # groups within groups; a model in a model takes two
_DAMAGED = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
_Layer = tuple[str, str, list[tuple[str, Any]]]  # its own name or "", its path, its data sets by their paths


def index(path: str) -> dict[str, Any]:
    """Returns where the arrays of a file lie.

    Returns:
      "layout": "layer_names" or "vars"; "layers": own name or "", path, names of its arrays; "arrays": name, type
      as NumPy writes it or "bfloat16", shape, first byte; "keras_version" and "backend", where stated.

    Raises:
      Exception: the file is damaged, or uses what Keras does not; of almost any kind that Python has.
    """
    with h5py.File(path, "r") as file:
        root = file
        if not _is_listed(root) and "model_weights" in file:
            root = _member(file, "model_weights")
        listed = _is_listed(root)
        layers = list(_listed(root) if listed else _numbered(root))
        stated = {name: _text(root, name) for name in ("keras_version", "backend")}
        return {
            "layout": "layer_names" if listed else "vars",
            "layers": [(name, path, [array for array, _ in arrays]) for name, path, arrays in layers],
            "arrays": [(name, *_place(data, name)) for _, _, arrays in layers for name, data in arrays],
            **{name: text for name, text in stated.items() if text},
        }


def _is_listed(group: Any) -> bool:
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def _listed(root: Any) -> Iterator[_Layer]:
    """Yields each layer, in the order of layer_names and weight_names."""
    names = _long_list(root, "layer_names")
    if "top_level_model_weights" in root:  # of the model itself, in Keras 3
        names.append("top_level_model_weights")
    for name in names:
        group = _member_at(root, name)
        weights = _long_list(group, "weight_names")
        yield name, name, [(f"{name}/{weight}", _member_at(group, weight)) for weight in weights]


def _long_list(owner: Any, name: str) -> list[str]:
    """Returns a list of names, which Keras splits into NAME0, NAME1 ... where it has more than 64,512 bytes."""
    if name in owner.attrs:
        return _texts(owner, name)
    names, part = [], 0
    while f"{name}{part}" in owner.attrs:
        names += _texts(owner, f"{name}{part}")
        part += 1
    return names


def _numbered(root: Any) -> Iterator[_Layer]:
    """Yields each layer that has a group "vars"; the depth of the file is on a list, not on the stack."""
    waiting, seen = [("", root)], set()
    while waiting:
        path, group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or len(seen) >= _MAX_GROUPS or path.count("/") > _MAX_DEPTH:
            raise ValueError(f"its groups contain themselves, are too many or nested deeper than {_MAX_DEPTH}")
        seen.add(address)
        for name in sorted(group, key=_natural, reverse=True):  # the last is taken first
            child = _member(group, name)
            if name == "vars":
                if not isinstance(child, h5py.Group):
                    raise ValueError(f"{path + name!r} is no group")
                arrays = [(f"{path}vars/{number}", _member(child, number)) for number in sorted(child, key=_natural)]
                yield _text(child, "name"), path.removesuffix("/"), arrays
            elif isinstance(child, h5py.Group) and (path or name != "optimizer"):
                waiting.append((f"{path}{name}/", child))


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a key by which conv2d_2 comes before conv2d_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,9})", name)]


def _member(group: Any, name: str) -> Any:
    """Opens a member of a group that lies in this file."""
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{name!r} is looked for in what is no group")
    if name in ("", ".", ".."):
        raise ValueError("a path in it has an empty part or dots")
    link = group.get(name, getlink=True)
    if link is None:
        raise ValueError(f"{name!r} is listed and not there")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name!r} is a link to elsewhere, which Keras does not write")
    return group[name]


def _member_at(group: Any, path: str) -> Any:
    for name in path.split("/"):
        group = _member(group, name)
    return group


def _place(data: Any, name: str) -> tuple[str, tuple[int, ...], int]:
    """Returns type, shape and first byte of a data set whose numbers lie in this file in one piece, as they are."""
    if not isinstance(data, h5py.Dataset) or data.shape is None:
        raise ValueError(f"{name!r} is no array")
    if data.is_virtual or data.external:
        raise ValueError(f"{name!r} lies in another file")
    if data.chunks or data.id.get_create_plist().get_nfilters():
        raise ValueError(
            f"{name!r} is compressed or in pieces, as Keras does not write it; "
            "h5repack -f NONE -l CONTI FILE OUTPUT changes that"
        )
    kind = data.dtype.str
    if data.dtype == np.dtype("V2") and _text(data, "dtype") == "bfloat16":
        kind = "bfloat16"
    elif data.dtype.kind not in "fiub" or not data.id.get_type().equal(h5py.h5t.py_create(data.dtype, logical=True)):
        raise ValueError(f"{name!r} has the type {str(data.dtype)[:60]!r}, expected real numbers")
    offset = data.id.get_offset()
    if offset is None and data.size:
        raise ValueError(f"{name!r} was never written")
    return kind, data.shape, offset or 0


def _text(owner: Any, name: str) -> str:
    """Returns an attribute that is one string, "" where there is none."""
    found = _texts(owner, name) if name in owner.attrs else []
    return found[0] if len(found) == 1 else ""


def _texts(owner: Any, name: str) -> list[str]:
    """Returns an attribute of one or several strings."""
    attribute = owner.attrs.get_id(name)
    if attribute.shape is None or 0 in attribute.shape:  # an empty list has no type of text
        return []
    if h5py.check_string_dtype(attribute.dtype) is None or np.prod(attribute.shape, dtype=float) > _MAX_NAMES:
        raise ValueError(f"the attribute {name!r} is no list of names")
    values = np.asarray(owner.attrs[name], object).reshape(-1)
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def limit_resources() -> None:
    """Limits what this process may allocate and compute from now on, where the system can (Linux)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = math.ceil(usage.ru_utime + usage.ru_stime) + _SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))


def describe(path: str) -> str:
    """Returns JSON: the index of a file, or "error", why there is none."""
    try:
        return json.dumps(index(path))
    except _DAMAGED as error:
        reason = str(error.args[0]) if len(error.args) == 1 else str(error)  # a KeyError would quote it
        return json.dumps({"error": reason or type(error).__name__})


if __name__ == "__main__":
    limit_resources()
    print(describe(sys.argv[1]))
