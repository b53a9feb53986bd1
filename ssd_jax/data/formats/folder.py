"""Folders of images without annotations."""

from collections.abc import Iterator
from pathlib import Path

from ssd_jax.data.formats.voc_layout import EXTENSIONS
from ssd_jax.data.problems import Problems
from ssd_jax.data.records import AnnotatedImage


def negatives(folder: str, *, problems: Problems) -> Iterator[AnnotatedImage]:
    """Yields every image below a folder, without objects."""
    root = Path(folder)
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in EXTENSIONS:
            yield AnnotatedImage(f"{root.name}/{path.relative_to(root).with_suffix('')}", path, relative=True)
