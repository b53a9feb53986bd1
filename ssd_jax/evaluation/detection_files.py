"""Detections of a source, written to files and read from those of any detector, in VOC's or in COCO's format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd_jax import data
from ssd_jax.errors import InputError
from ssd_jax.evaluation import archives, coco_files, coco_rows, comp4_files, comp4_names
from ssd_jax.types import ImageDetections

COMP4 = "comp4"  # the folder of the files of VOC's format
RESULTS = "coco_results.json"
KINDS = ("comp4", "coco")
_EXPECTED = f"a folder or an archive of files {comp4_names.LAYOUT}, or COCO results in JSON"


def write(
    folder: Path,
    source: Any,
    detections: Sequence[ImageDetections],
    class_names: Sequence[str] = (),
    *,
    kind: str = "",
    split: str = "all",
    shift: float = 0.0,
) -> Path:
    """Writes detections below a folder: COMP4/comp4_det_SPLIT_CLASS.txt, or RESULTS.

    Reading gives the same numbers. Comp4 files call an image by its id. So do COCO results of a source
    without COCO's numbers, in which a category is the label.

    Args:
      folder: where they go; made if it is absent.
      source: of the images.
      detections: boxes in pixels of the original image.
      class_names: of the labels, background first; (): the source's.
      kind: "comp4" or "coco"; "": "coco" if the source has COCO's numbers of all its images and classes, else "comp4".
      split: for the names of comp4 files, of which the part behind the last slash is taken ("VOC2007/test": "test").
      shift: of :func:`comp4_files.to_texts`.

    Returns:
      What :func:`read` takes: the folder of the comp4 files, or the JSON file.

    Raises:
      ValueError: kind is unknown.
      InputError: the detections do not fit, COCO's numbers are wanted and the source has them for some images or
        classes only, or a file cannot be written.
    """
    class_names = class_names or source.class_names
    kind = kind or ("coco" if _has_numbers(source, class_names) else "comp4")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "comp4":
        comp4_files.write(folder / COMP4, detections, class_names, split=split_name(split), shift=shift)
        return folder / COMP4
    image_ids: Any = {found.id: found.id for found in detections}
    category_ids: tuple[int | None, ...] = (None, *range(1, len(class_names)))
    if _has_numbers(source, class_names):
        image_ids, category_ids = source.image_ids, category_ids_of(source, class_names)
    elif getattr(source, "image_ids", None):  # labels among COCO's numbers would be taken for such
        raise InputError(
            f"COCO results: expected COCO's numbers of all images and classes, but {source.name} lacks some; "
            "comp4 files can hold them"
        )
    path = folder / RESULTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder for detections, but it cannot be made ({error})") from error
    coco_files.write(path, detections, image_ids, category_ids)
    return path


def split_name(split: str) -> str:
    """Returns what comp4 files call a split: what stands behind its last slash."""
    return split.strip().rpartition("/")[2] or "all"


def _has_numbers(source: Any, class_names: Sequence[str]) -> bool:
    """Tells whether COCO has a number of every image and class."""
    numbers, categories = getattr(source, "image_ids", None) or (), category_ids_of(source, class_names)
    return bool(categories) and None not in categories[1:] and all(name in numbers for name in image_ids_of(source))


def image_ids_of(source: Any) -> list[str]:
    """Returns the id of each image of a source, in its order."""
    return source.ids() if hasattr(source, "ids") else [truth.id for truth in data.ground_truth(source)]


def read(
    path: str | Path, source: Any, class_names: Sequence[str] = (), *, split: str = "", shift: float = 0.0
) -> list[ImageDetections]:
    """Reads the detections of a source from files; what they are is told by their content.

    Numbers are kept as they stand: as float32 if that holds them all, which it does for files of :func:`write`, else
    as float64. In an image the best score comes first; equal ones are in the order of labels, then of the file.

    Args:
      path: a folder or an archive (.tar.gz, .zip) of comp4 files, or COCO results: a JSON file, a .zip that holds one,
        or a folder in which :func:`write` has put one.
      source: of the images. Those of comp4 files, and strings in JSON, are matched by
        :func:`detection_rows.match_ids`; numbers in JSON by ``source.image_ids`` and ``source.category_ids``, if it has
        any, else as :func:`coco_rows.parse_detections` says.
      class_names: of the labels, background first; (): the source's.
      split: which comp4 files are meant where there are those of several splits, such as "test" or "VOC2007/test".
      shift: of :func:`comp4_files.read`.

    Returns:
      One entry for each image of the source, in its order, also for those without detections.

    Raises:
      InputError: nothing of the kind is there, it is damaged, or images or classes are not those of the source.
    """
    path, ids = Path(path).expanduser(), image_ids_of(source)
    class_names = tuple(class_names or source.class_names)
    whose = getattr(source, "name", "the ground truth")
    texts = _find_texts(path)
    if all(map(_is_json, texts)):
        (name, content), *others = texts.items()
        if others:
            raise InputError(f"{path}: expected {_EXPECTED}, but there are {', '.join(sorted(texts)[:4])}")
        return coco_rows.parse_detections(
            f"{path}/{name}" if name else str(path),
            content,
            ids=ids,
            class_names=class_names,
            image_ids=getattr(source, "image_ids", None) or None,
            category_ids=category_ids_of(source, class_names),
            whose=whose,
        )
    texts = {name: content for name, content in texts.items() if not _is_json(name)}
    split = split_name(split) if split else ""
    return comp4_files.parse(str(path), texts, class_names=class_names, ids=ids, split=split, shift=shift, whose=whose)


def category_ids_of(source: Any, class_names: Sequence[str]) -> tuple[int | None, ...]:
    """Returns COCO's number of each label, if the source has such; None for a class that has none."""
    categories = getattr(source, "category_ids", ())
    known = dict(zip(source.class_names, categories, strict=True)) if categories else {}
    return tuple(known.get(name) for name in class_names) if known else ()


def _find_texts(path: Path) -> dict[str, bytes]:
    """Returns comp4 files and COCO results by their paths within a folder or an archive; "" is a file of its own.

    Raises:
      InputError: there is neither.
    """
    if not path.exists():
        raise InputError(f"{path}: expected {_EXPECTED}, but there is nothing of that name")
    if path.is_dir() or archives.is_archive(path):
        # In a folder there may be other JSON, such as metrics.json.
        is_results = (lambda name: name == RESULTS) if path.is_dir() else _is_json
        texts = archives.read_files(path, lambda name: comp4_names.is_comp4(name) or is_results(name))
        if not texts:
            raise InputError(f"{path}: expected {_EXPECTED}, but there is none in it")
        return texts
    content = path.read_bytes()
    if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        return {"": content}
    hint = f"; point to the folder, {path.absolute().parent}" if comp4_names.is_comp4(path.name) else ""
    got = f"a file that begins with {content[:20]!r}" if content.strip() else "an empty file"
    raise InputError(f"{path}: expected {_EXPECTED}, got {got}{hint}")


def _is_json(name: str) -> bool:
    return not name or name.endswith(".json")
