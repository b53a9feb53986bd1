"""Folders in the layout of PASCAL VOC: the VOCdevkit and custom ones."""

import re
from collections.abc import Iterator
from pathlib import Path

from ssd_jax.data.formats.voc_layout import VocPart, annotation_stems, images_by_stem, parse_split, read_list
from ssd_jax.data.formats.voc_xml import AnnotationError, VocAnnotation, read_annotation
from ssd_jax.data.problems import Problems
from ssd_jax.data.records import AnnotatedImage, AnnotatedObject, Reading
from ssd_jax.errors import InputError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def read(
    root: str, split: str, *, problems: Problems, one_based: bool = False, annotations: str = "required"
) -> Reading:
    """Reads one or more lists of a VOC-layout folder; images come in the order of the lists.

    Args:
      root: a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or one above such folders.
      split: "[FOLDER/]NAME", several joined by "+": "VOC2007/trainval+VOC2012/trainval". NAME is
        a list ImageSets/Main/NAME.txt, or "all": every annotation, sorted by name. With several
        parts the ids are prefixed by their folder. VOC's 20 classes in their usual order are the
        stated ones if every folder is called VOC followed by a year.
      problems: the tally.
      one_based: False: a pixel coordinate is divided by width or height as it stands, as in the
        original SSD. True: 1 is subtracted from all four coordinates first.
      annotations: "required", or "none": Annotations/ is not read and every listed image is used
        without objects: a test set whose ground truth is secret, as that of VOC2012.

    Raises:
      InputError: a path does not exist.
    """
    if annotations not in ("required", "none"):
        raise InputError(f"data annotations: expected 'required' or 'none', got {annotations!r}")
    parts = parse_split(Path(root), split, annotated=annotations == "required")
    official = all(re.fullmatch(r"VOC\d{4}", part.folder.resolve().name) for part in parts)
    return Reading(
        name=f"{root} {split}",
        images=_images(parts, problems, 1.0 if one_based else 0.0, annotations == "required"),
        class_names=VOC_CLASSES if official else (),
        annotated=annotations == "required",
        states_size=annotations == "required",
    )


def _images(parts: list[VocPart], problems: Problems, shift: float, annotated: bool) -> Iterator[AnnotatedImage]:
    for part in parts:
        images, annotations = images_by_stem(part.folder), annotation_stems(part.folder) if annotated else set()
        for stem in read_list(part):
            name = part.prefix + stem
            if annotated and stem not in annotations:
                problems.add("missing_annotation", name)
            elif stem not in images:
                problems.add("missing_image", name)
            elif not annotated:
                yield AnnotatedImage(name, images[stem])
            else:
                try:
                    annotation = read_annotation(part.folder / "Annotations" / f"{stem}.xml")
                except AnnotationError as error:
                    problems.add("bad_annotation", name, str(error))
                else:
                    yield to_image(name, images[stem], annotation, shift)


def to_image(name: str, image: Path, annotation: VocAnnotation, shift: float = 0.0) -> AnnotatedImage:
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
