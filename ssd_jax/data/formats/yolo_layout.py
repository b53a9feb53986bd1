"""Which images, label files and class names belong to a split of a dataset in YOLO's layouts."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssd_jax.data.decode import EXTENSIONS
from ssd_jax.data.formats.folder import EVERYTHING, image_files, image_ids, name_below
from ssd_jax.data.formats.text import read_text
from ssd_jax.data.problems import Problems
from ssd_jax.errors import InputError

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")  # the first one present is used
NAMES = ("classes.txt", "obj.names")  # likewise; then the only *.names


class Description(NamedTuple):
    """What a data.yaml says; everything is empty where there is none."""

    file: Path | None
    content: dict[str, Any]  # scalars are text, so that a class called "no" stays what it is


def read_description(root: Path) -> Description:
    """Reads the data.yaml of a dataset, if there is one."""
    if not root.is_dir():
        raise InputError(f"data root: expected a folder of YOLO images and labels, but {root} is not a folder")
    file = next((root / name for name in DESCRIPTIONS if (root / name).is_file()), None)
    return Description(file, _read_yaml(file) if file else {})


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        # BaseLoader builds nothing but text, lists and mappings: safe_load would read "no" as False.
        content = yaml.load(read_text(file), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected YAML with entries such as names:, got {type(content).__name__}")
    return content


def find_sources(root: Path, name: str, description: Description) -> list[Path]:
    """Returns the folders of images, or list files, that one part of a split means.

    Looked for in this order:

    1. "all" or ".": root/images if it exists, otherwise root itself.
    2. The entry NAME of data.yaml (a path or a list of paths), seen from its ``path``, from root, and from root
       without leading "../". Paths that do not exist, as those of another machine, are passed over.
    3. The only one that exists of: root/images/NAME, root/NAME/images, root/NAME, and the lists root/NAME.txt and
       root/NAME (if it is a file). With root/NAME/images, root/NAME is not considered.

    Raises:
      InputError: there is nothing, or more than one in step 3.
    """
    if name in EVERYTHING:
        return [root / "images" if (root / "images").is_dir() else root]
    stated = _stated_sources(root, name, description)
    if stated:
        return stated
    nested = root / name / "images"
    folders = [root / "images" / name, nested if nested.is_dir() else root / name]
    found = [folder for folder in folders if folder.is_dir()] if name else []
    found += [path for path in (root / f"{name}.txt", root / name) if path.is_file()] if name else []
    if len(found) == 1:
        return found
    if found:
        texts = [path.relative_to(root).as_posix() for path in found]
        raise InputError(
            f"data split {name!r}: expected one place of images in {root}, but {' and '.join(texts)} exist; "
            f"name the one that is meant, such as {texts[0]!r}"
        )
    entry = f"an existing path at {name}: in {description.file.name}" if description.file else "data.yaml"
    raise InputError(
        f"data split {name!r}: expected in {root} {entry}, a folder images/{name}, {name}/images or {name}, "
        f"or a list {name}.txt, but there is none of them ('all' takes every image)"
    )


def _stated_sources(root: Path, name: str, description: Description) -> list[Path]:
    value = description.content.get(name) if name else None
    base = description.content.get("path")
    bases = [root / base, root] if isinstance(base, str) and base else [root]
    found = []
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and text.strip():
            plain = text.strip().replace("\\", "/")
            while plain.startswith("../"):
                plain = plain[3:]
            candidates = [*(place / text.strip() for place in bases), root / plain]
            found += [path for path in candidates if path.exists()][:1]
    return found


def list_images(sources: Sequence[Path], root: Path, problems: Problems) -> Iterator[tuple[str, Path]]:
    """Yields (id, image): those of a folder sorted by path, those of a list in its order.

    The id is the path without extension, below the folder if there is one folder alone, otherwise below root.
    """
    paths = [path for source in sources for path in _members(source, root, problems)]
    alone = sources[0] if len(sources) == 1 and sources[0].is_dir() else None
    names = [name_below(os.path.abspath(path), alone or root) for path in paths]
    yield from zip(image_ids(names), paths, strict=True)


def _members(source: Path, root: Path, problems: Problems) -> Iterator[Path]:
    if source.is_dir():
        yield from image_files(source)
        return
    try:
        lines = read_text(source).split("\n")
    except InputError as error:
        raise InputError(f"a list of images cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            path = _find_listed(line.strip().replace("\\", "/"), source.parent, root)
            if path is None:
                problems.add("missing_image", line.strip(), f"{source.name}:{number}")
            else:
                yield path


def _find_listed(text: str, folder: Path, root: Path) -> Path | None:
    """Looks from the list's folder, from root, and (CVAT writes "data/" before all paths) from there without it."""
    plain = text.removeprefix("data/")
    candidates = (folder / text, root / text, folder / plain, root / plain)
    return next((path for path in candidates if path.suffix.lower() in EXTENSIONS and path.is_file()), None)


def labels_folder(folder: Path) -> Path:
    """Replaces the last folder called "images" of a path by "labels"; without one the path stays."""
    parts = list(Path(os.path.abspath(folder)).parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            return Path(*parts[:index], "labels", *parts[index + 1 :])
    return folder


def find_labels(image: Path) -> Path | None:
    """Returns the label file of an image: in the folder of labels, else beside the image; None if there is none."""
    for folder in (labels_folder(image.parent), image.parent):
        path = folder / f"{image.stem}.txt"
        if path.is_file():
            return path
    return None


def read_names(root: Path, names_file: str, sources: Sequence[Path], description: Description) -> dict[int, str]:
    """Returns the class names by their numbers.

    They come from names_file, from ``names`` in data.yaml, or from the first classes.txt, obj.names
    or only *.names found in root, root/labels, and the folders of labels and of images of the split.
    """
    if names_file:
        file = Path(root, names_file)
        names = _yaml_names(file, _read_yaml(file)) if file.suffix in (".yaml", ".yml") else _listed_names(file)
    elif description.file and description.content.get("names"):
        file, names = description.file, _yaml_names(description.file, description.content)
    else:
        file = _find_names(root, sources)
        names = _listed_names(file)
    if not names or not all(names.values()) or len(set(names.values())) != len(names):
        raise InputError(f"{file}: expected class names, none of them empty or twice, got {', '.join(names.values())}")
    return names


def _find_names(root: Path, sources: Sequence[Path]) -> Path:
    folders = [source if source.is_dir() else source.parent for source in sources]
    for place in dict.fromkeys((root, root / "labels", *map(labels_folder, folders), *folders)):
        others = sorted(place.glob("*.names"))
        for file in (*(place / name for name in NAMES), *(others if len(others) == 1 else [])):
            if file.is_file():
                return file
    raise InputError(
        f"data root: expected the names of the classes in {root} as names: in data.yaml, classes.txt or obj.names; "
        "write one of them (one name a line, in the order of the numbers) or set --config.data.yolo.names_file"
    )


def _listed_names(file: Path) -> dict[int, str]:
    return {number: line.strip() for number, line in enumerate(read_text(file).rstrip().split("\n"))}


def _yaml_names(file: Path, content: dict[str, Any]) -> dict[int, str]:
    names = content.get("names")
    try:
        if isinstance(names, str):
            raise TypeError("text would be taken letter by letter")
        pairs = names.items() if isinstance(names, dict) else enumerate(names or ())
        return {number: str(name) for number, name in sorted((int(number), name) for number, name in pairs)}
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: expected names: as a list or as number: name, got {names!r}") from error
