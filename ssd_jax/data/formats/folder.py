"""Folders of images without annotations: to detect on, to look at, or to train on as images without objects."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ssd_jax.data.decode import EXTENSIONS
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import AnnotatedImage, Reading
from ssd_jax.errors import InputError

EVERYTHING = ("all", ".")  # splits that mean the whole folder


def read(root: str, split: str, *, problems: Problems) -> Reading:
    """Reads every image below a folder, sorted by path; there are no annotations, so no ground truth either.

    Args:
      root: the folder.
      split: a folder below it, several joined by "+"; "all" or ".": root itself. An id is the path
        without extension, below the split's folder; below root if there are several.
      problems: the tally; nothing is added here, since no image is opened.

    Raises:
      InputError: a folder does not exist or holds no image.
    """
    if not Path(root).is_dir():
        raise InputError(f"data root: expected a folder of images, but {root} is not a folder")
    texts = [text.strip() for text in split.split("+")]
    images: list[AnnotatedImage] = []
    for text in texts:
        if not text:
            raise InputError(f"data split: expected folders joined by '+', or 'all', got {split!r}")
        folder = Path(root) if text in EVERYTHING else Path(root, text)
        images += _images(folder, f"data split {text!r}", below=folder if len(texts) == 1 else Path(root))
    return Reading(f"{root} {split}", images, annotated=False, states_size=False)


def negatives(folder: str, *, problems: Problems) -> list[AnnotatedImage]:
    """Returns every image below a folder, sorted by path, as images that are known to hold no object.

    Args:
      folder: where they lie. An id is the folder's own name, a slash, and the path below it
        without extension, so that it differs from the ids of the source they are added to.
      problems: the tally; nothing is added here, since no image is opened.

    Raises:
      InputError: the folder does not exist or holds no image.
    """
    prefix = Path(os.path.abspath(folder)).name
    return [image._replace(id=f"{prefix}/{image.id}") for image in _images(Path(folder), "data negatives")]


def _images(folder: Path, argument: str, below: Path | None = None) -> list[AnnotatedImage]:
    if not folder.is_dir():
        raise InputError(f"{argument}: expected a folder of images, but {folder} is not a folder")
    paths = image_files(folder)
    if not paths:
        raise InputError(f"{argument}: {folder} holds no image ({', '.join(EXTENSIONS)})")
    ids = image_ids([path.relative_to(below or folder).as_posix() for path in paths])
    # relative: so that the absence of a size is no problem in a source whose format states sizes.
    return [AnnotatedImage(name, path, relative=True) for name, path in zip(ids, paths, strict=True)]


def image_files(folder: Path) -> list[Path]:
    """Returns the images of a folder and of those below it, sorted by path; hidden ones are left out."""
    return [path for path in files_below(folder) if path.suffix.lower() in EXTENSIONS]


def files_below(folder: Path) -> list[Path]:
    """Returns every file that is not hidden, sorted by path; links to folders are followed, each folder once."""
    found, visited = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found)


def image_ids(names: Sequence[str]) -> list[str]:
    """Drops the extension of each name, except where two different names would become the same."""
    owners: dict[str, set[str]] = {}
    for name in names:
        owners.setdefault(os.path.splitext(name)[0], set()).add(name)
    short = (os.path.splitext(name)[0] for name in names)
    return [stem if len(owners[stem]) == 1 else name for stem, name in zip(short, names, strict=True)]


def name_below(path: str, root: Path) -> str:
    """Returns a path as a name that leads nowhere else: relative to root if inside; no "..", no leading slash."""
    pure, base = PurePosixPath(os.path.normpath(path)), os.path.abspath(root)
    if pure.is_absolute() and pure.is_relative_to(base):
        pure = pure.relative_to(base)
    return "/".join(part for part in pure.parts if part not in (pure.anchor, "..", "."))
