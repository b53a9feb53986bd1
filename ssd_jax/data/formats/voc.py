"""Folders in the layout of PASCAL VOC: the VOCdevkit and custom ones."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ssd_jax.data.formats.voc_layout import VocPart, annotations_by_stem, images_by_stem, list_names, parse_split
from ssd_jax.data.formats.voc_xml import AnnotationError, VocAnnotation, read_annotation
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def read(
    root: str,
    split: str,
    *,
    problems: Problems,
    one_based: bool = False,
    annotations: str = "required",
    image_files: str = "required",
) -> Reading:
    """Reads one or more lists of a VOC-layout folder; images come in the order of the lists.

    Args:
      root: a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or one above such folders.
      split: "[FOLDER/]NAME", several joined by "+": "VOC2007/trainval+VOC2012/trainval"; or the
        paper's name of a union, "07", "07+12" or "07++12". NAME is a list ImageSets/Main/NAME.txt,
        or "all": every annotation, sorted by name. Of a list of one class (cat_train) the images
        that hold it are taken, with all their objects. With several parts the ids are prefixed by
        their folder. VOC's 20 classes in their usual order are the stated ones if every folder is
        called VOC followed by a year.
      problems: the tally.
      one_based: False: a pixel coordinate is divided by width or height as it stands, as in the
        original SSD. True: 1 is subtracted from all four coordinates first.
      annotations: "required", or "none": Annotations/ is not read and every listed image is used
        without objects ("all": every image): a test set whose ground truth is secret, as VOC2012's.
      image_files: "required"; or "optional": an absent image is used as annotated, and JPEGImages/ need not exist.

    Raises:
      InputError: a path does not exist, or a test set of VOC is without its annotations.
    """
    if annotations not in ("required", "none"):
        raise InputError(f"data voc.annotations: expected 'required' or 'none', got {annotations!r}")
    annotated = annotations == "required"
    needed = image_files == "required" or not annotated
    parts = parse_split(Path(root), split, annotated=annotated, images=needed)
    listings = [_list(part, annotated) for part in parts]
    return Reading(
        name=f"{root} {split}",
        images=_images(listings, problems, 1.0 if one_based else 0.0, needed),
        usual_names=VOC_CLASSES if all(map(_official, parts)) else (),
        annotated=annotated,
        states_size=annotated,
    )


class _Listing(NamedTuple):
    """The files of a part and the names in its list."""

    part: VocPart
    names: list[str]
    images: dict[str, Path]
    annotations: dict[str, Path] | None  # None: not to be read


def _list(part: VocPart, annotated: bool) -> _Listing:
    images = images_by_stem(part.folder) if (part.folder / "JPEGImages").is_dir() else {}
    annotations = annotations_by_stem(part.folder) if annotated else None
    every = images if annotations is None else annotations
    names = list_names(part, images.keys() | every.keys())
    if names is None:
        names = sorted(every)
    if annotations is not None and part.name == "test" and _official(part):
        _refuse_secret(part, sum(name not in annotations for name in names), len(names))
    return _Listing(part, names, images, annotations)


def _official(part: VocPart) -> bool:
    return re.fullmatch(r"VOC\d{4}", part.folder.resolve().name) is not None


def _refuse_secret(part: VocPart, missing: int, total: int) -> None:
    """Stops at a test set without its ground truth; VOC2012's has annotations for other tasks on a part of it."""
    if missing > total / 2:
        raise InputError(
            f"data split {part.name!r}: {missing} of {total} images of {part.folder} have no annotation "
            "(VOC2012's are secret; --config.data.voc.annotations=none reads the images alone)"
        )


def _images(listings: list[_Listing], problems: Problems, shift: float, needed: bool) -> Iterator[AnnotatedImage]:
    for part, names, images, annotations in listings:
        for stem in names:
            name = part.prefix + stem
            if annotations is not None and stem not in annotations:
                problems.add("missing_annotation", name)
            elif needed and stem not in images:
                problems.add("missing_image", name)
            elif annotations is None:
                yield AnnotatedImage(name, images[stem])
            else:
                try:
                    annotation = read_annotation(annotations[stem])
                except AnnotationError as error:
                    problems.add("bad_annotation", name, str(error))
                else:
                    absent = part.folder / "JPEGImages" / f"{stem}.jpg"
                    yield to_image(name, images.get(stem, absent), annotation, shift)


def to_image(name: str, image: Any, annotation: VocAnnotation, shift: float = 0.0) -> AnnotatedImage:
    """Returns the common form of an annotation; ``shift`` is subtracted from each coordinate."""
    objects = [
        AnnotatedObject(
            item.name,
            (item.box[0] - shift, item.box[1] - shift, item.box[2] - shift, item.box[3] - shift),
            difficult=item.difficult,
        )
        for item in annotation.objects
    ]
    return AnnotatedImage(name, image, objects, annotation.size, unreadable=annotation.unreadable)
