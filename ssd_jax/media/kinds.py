"""What a file is by its name."""

import os
from os import PathLike

from ssd_jax.data import decode

VIDEO_EXTENSIONS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"),
    *(".ts", ".mts", ".m2ts", ".flv", ".3gp", ".ogv"),
)


def extension(path: str | PathLike[str]) -> str:
    """Returns the extension in lower case, with its dot."""
    return os.path.splitext(os.fspath(path))[1].lower()


def is_video(path: str | PathLike[str]) -> bool:
    """Whether a file is called like a video; any other is taken for an image."""
    return extension(path) in VIDEO_EXTENSIONS


def is_known(path: str | PathLike[str]) -> bool:
    """Whether a file is called like an image or a video."""
    return is_video(path) or extension(path) in decode.EXTENSIONS
