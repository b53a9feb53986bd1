"""Archives for the evaluation servers of VOC2012 and COCO, whose ground truth is not published.

VOC: a .tar.gz with the folder ``results`` as the development kit fills it (VOCinit.m), of which detection needs
``results/VOC2012/Main/comp4_det_test_CLASS.txt``. COCO: a .zip with nothing but ``detections_SET_ALG_results.json``,
and called so itself (cocodataset.org, "Upload"); with a folder in it the server fails (kkhoot/PAA#20).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd_jax import data, files
from ssd_jax.errors import InputError
from ssd_jax.evaluation import archives, coco_files, comp4_files, detection_files, detection_rows
from ssd_jax.types import ImageDetections

VOC_ARCHIVE = "results.tar.gz"
VOC_FOLDER = "results/VOC2012/Main"
_DECIMALS = 2  # of a pixel, as COCO's annotations have; all digits of a float32 would double the upload
_VOC_ID = re.compile(r"\d{4}_\d{6}")


def write(
    folder: Path,
    source: Any,
    detections: Sequence[ImageDetections],
    class_names: Sequence[str] = (),
    *,
    test_set: str = "test-dev2017",
    algorithm: str = "SSD",
    shift: float = 0.0,
) -> Path:
    """Writes the archive for COCO's server if the source has COCO's numbers, else that for VOC2012's.

    Args:
      folder: where it goes; it exists.
      source: of the images, of kind "coco" (image_info_test-dev2017.json) or "voc" (annotations="none").
      detections: of all of its images.
      class_names: of the labels, background first; (): the source's.
      test_set, algorithm: of :func:`write_coco`.
      shift: of :func:`comp4_files.to_texts`.

    Returns:
      The archive.

    Raises:
      InputError: as the two that it calls.
    """
    class_names = class_names or source.class_names
    if getattr(source, "image_ids", None):
        return write_coco(folder, source, detections, class_names, test_set=test_set, algorithm=algorithm)
    return write_voc2012(folder, source, detections, class_names, shift=shift)


def check(source: Any, class_names: Sequence[str], *, test_set: str, algorithm: str) -> None:
    """Raises what :func:`write` would raise whatever the detections are."""
    if getattr(source, "image_ids", None):
        _coco_name(source, class_names, test_set, algorithm)
    else:
        _voc_ids(source, class_names)


def write_voc2012(
    folder: Path,
    source: Any,
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    *,
    shift: float = 0.0,
) -> Path:
    """Writes VOC_ARCHIVE; the same detections give the same bytes.

    Raises:
      InputError: the classes are not VOC's twenty, an image is not called as VOC2012's are (2008_000001), or the
        detections do not fit the source.
    """
    ids = _voc_ids(source, class_names)
    _check_images(ids, detections, "VOC2012 submission")
    texts = comp4_files.to_texts(detections, class_names, split="test", ids=ids, shift=shift)
    contents = {f"{VOC_FOLDER}/{name}": comp4_files.encode(texts[name]) for name in sorted(texts)}
    files.write_bytes(folder / VOC_ARCHIVE, archives.make_tar_gz(contents))
    return folder / VOC_ARCHIVE


def _voc_ids(source: Any, class_names: Sequence[str]) -> dict[str, str]:
    """Returns what the server calls each image of a source."""
    if set(class_names[1:]) != set(data.VOC_CLASSES):
        strange = sorted(set(class_names[1:]) ^ set(data.VOC_CLASSES))
        raise InputError(f"VOC2012 submission: expected VOC's 20 classes, but they differ in {', '.join(strange[:5])}")
    ids = {name: name.rpartition("/")[2] for name in detection_files.image_ids_of(source)}
    wrong = [name for name, short in ids.items() if not _VOC_ID.fullmatch(short)]
    if wrong or len(set(ids.values())) < len(ids):
        got = f"{len(wrong)} others, such as {wrong[0]!r}" if wrong else "some of them twice"
        raise InputError(f"VOC2012 submission: expected images called as 2008_000001, each once, got {got}")
    return ids


def write_coco(
    folder: Path,
    source: Any,
    detections: Sequence[ImageDetections],
    class_names: Sequence[str],
    *,
    test_set: str = "test-dev2017",
    algorithm: str = "SSD",
) -> Path:
    """Writes detections_SET_ALG_results.zip; the same detections give the same bytes.

    Coordinates are rounded to 0.01 pixels, which COCO recommends to keep uploads small (to 0.1 even).

    Args:
      folder: where it goes; it exists.
      source: with COCO's numbers.
      detections: of its images.
      class_names: of the labels, background first.
      test_set: what the server calls the images: "test-dev2017", "test-challenge2017" or "val2017".
      algorithm: a name for the table of results; letters, digits, "-" and ".", since "_" divides the file's name.

    Raises:
      InputError: a name cannot be used, the source lacks COCO's numbers, or the detections do not fit it.
    """
    name, category_ids = _coco_name(source, class_names, test_set, algorithm)
    _check_images(source.image_ids, detections, "COCO submission")
    detection_rows.check_corners(detections)
    results = coco_files.as_results(detections, source.image_ids, category_ids)
    rounded = [{**entry, "bbox": [round(value, _DECIMALS) for value in entry["bbox"]]} for entry in results]
    archive = archives.make_zip({f"{name}.json": coco_files.to_text(rounded).encode()})
    files.write_bytes(folder / f"{name}.zip", archive)
    return folder / f"{name}.zip"


def _coco_name(
    source: Any, class_names: Sequence[str], test_set: str, algorithm: str
) -> tuple[str, tuple[int | None, ...]]:
    """Returns the name of a file of results, without its ending, and COCO's number of each label."""
    for argument, text in (("test_set", test_set), ("algorithm", algorithm)):
        if not re.fullmatch(r"[0-9A-Za-z.-]+", text):
            raise InputError(f"COCO submission {argument}: expected letters, digits, '-' and '.', got {text!r}")
    image_ids, category_ids = getattr(source, "image_ids", None), detection_files.category_ids_of(source, class_names)
    if not image_ids or not category_ids or None in category_ids[1:]:
        raise InputError(f"COCO submission: expected COCO's numbers of images and classes, {source.name} has none")
    return f"detections_{test_set}_{algorithm}_results", category_ids


def _check_images(known: Any, detections: Sequence[ImageDetections], what: str) -> None:
    unknown = [found.id for found in detections if found.id not in known]
    if unknown:
        raise InputError(
            f"{what}: expected detections of the {len(known)} images, got {len(unknown)} others, such as {unknown[0]!r}"
        )
