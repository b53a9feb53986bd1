"""Readers of foreign weight files: named arrays out of them, and nothing of theirs is ever executed.

    file = readers.read("vgg16-397923af.pth")
    file.format, file.tensors["features.0.weight"], file.metadata

Each format is a module of its own with ``read(path) -> TensorFile``; sizes are bounded by what the file really holds,
and whatever is wrong with it is one sentence (InputError).
"""

import os
import struct
import zipfile

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import caffe, keras_h5, numpy_npz, safetensors, torch_legacy, torch_zip
from ssd_jax.weights.readers.bounds import one_sentence, regular_file
from ssd_jax.weights.readers.tensors import TensorFile

READERS = {
    "PyTorch (zip)": torch_zip.read,
    "PyTorch (legacy)": torch_legacy.read,
    "Caffe": caffe.read,
    "safetensors": safetensors.read,
    "Keras HDF5": keras_h5.read,
    "NumPy": numpy_npz.read,
}
_KNOWN = ".pth, .pt (PyTorch), .caffemodel, .safetensors, .h5 (Keras) or .npz"
_TORCH_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number as a pickle has it, behind its protocol

__all__ = ["READERS", "TensorFile", "read", "recognize"]


def read(path: str | os.PathLike[str]) -> TensorFile:
    """Reads a file of weights, whose format is told by its content.

    Raises:
      InputError: it cannot be read, is none of the formats, or is damaged.
    """
    return READERS[recognize(path)](path)


def recognize(path: str | os.PathLike[str]) -> str:
    """Returns the format of a file, a key of READERS.

    All but Caffe's begin with bytes of their own. A Caffe file is a bare message, told by its outline.

    Raises:
      InputError: the file cannot be read, or begins as no file of weights does.
    """
    expected = f"a file of weights ({_KNOWN})"
    with one_sentence(path, expected):
        regular_file(path, expected)
        with open(path, "rb") as file:
            start = file.read(64)
    if start.startswith(b"PK\x03\x04"):
        return "PyTorch (zip)" if _holds_pickle(path) else "NumPy"
    if start[:1] == b"\x80" and start[2:].startswith(_TORCH_LEGACY):
        return "PyTorch (legacy)"
    if start.startswith(keras_h5.SIGNATURE):
        return "Keras HDF5"
    if len(start) > 8 and struct.unpack("<Q", start[:8])[0] < 2**32 and start[8:9] == b"{":
        return "safetensors"
    # A net's name or its first layer; with these it may be one that is cut off, of which the reader tells more.
    if caffe.is_caffemodel(path) or start[:1] in (b"\x0a", b"\x12") or start[:2] == b"\xa2\x06":
        return "Caffe"
    raise InputError(f"{path}: expected {expected}, but it begins as none of them does")


def _holds_pickle(path: str | os.PathLike[str]) -> bool:
    """Whether an archive is PyTorch's: such a one has its pickle somewhere, NumPy's has arrays alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return not os.fspath(path).endswith(".npz")  # its reader says what is wrong
