"""ILSVRC DET: the detection task of ImageNet, 200 classes named by synsets."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ssd_jax.data.formats.ilsvrc_layout import ANNOTATIONS, EXTENSIONS, IMAGES, Folders, read_entries, read_synsets
from ssd_jax.data.formats.voc import to_image
from ssd_jax.data.formats.voc_xml import AnnotationError, VocAnnotation, read_annotation
from ssd_jax.data.problems import Problems
from ssd_jax.data.statements import AnnotatedImage, Reading
from ssd_jax.errors import InputError


def read(
    root: str,
    split: str,
    *,
    problems: Problems,
    synsets: str = "",
    annotations: str = "required",
    image_files: str = "required",
) -> Reading:
    """Reads lists of an ILSVRC DET tree, in the layout of its archives of 2015 to 2017.

    The paper (section 3.5) trains on train and val1 and tests on val2 "as used in [22]", R-CNN,
    whose division of val is not in the archive: its lists are files that the user gives. The
    original preparation (``data/ILSVRC2016/create_list.py`` of weiliu89/caffe) takes the images of
    train.txt and val1.txt that have an annotation, and all 9,917 of val2.txt.

    Images come in the order of the lists, each once, however many lists name it (the two hundred
    lists train_1 to train_200 overlap by design). Ids are the entries of the lists, which are
    unique as they stand ("ILSVRC2013_train/n00007846/n00007846_103856") and so never prefixed.
    A line is "ID [number]"; in train_N the number is 1 (the objects of class N are annotated), 0
    (some of them are) or -1 (there are none): lines with -1 are left out.

    Images of train without an annotation are the archive's negatives, each verified for some
    classes only, so that they are not known to be empty: they are left out, as in the original
    SSD, and are no problem. They are one if no image of their folder is annotated, which tells of
    a half unpacked archive (the folders train_extra of negatives excepted), and in val.

    Image headers are not opened: the annotations state the sizes, and train lists 450,000 images.

    Args:
      root: the folder with Annotations/DET, Data/DET and ImageSets/DET.
      split: lists joined by "+": NAME is ImageSets/DET/NAME.txt; what has a folder or ends in
        ".txt" is a path, absolute or relative to root: "train+lists/val1.txt".
      problems: the tally. An object of a synset that is not in the class list keeps that name.
      synsets: the class list, absolute or relative to root: the development kit's map_det.txt
        (lines "synset number name") or lines "synset name". Labels follow its lines. "": it is
        looked for in devkit/data in and beside root. Names that occur twice carry their synset.
      annotations: "required", or "none": every listed image is used without objects (test).
      image_files: "required"; or "optional": an absent image is used as annotated.

    Raises:
      InputError: a path does not exist.
    """
    if annotations not in ("required", "none"):
        raise InputError(f"data ilsvrc.annotations: expected 'required' or 'none', got {annotations!r}")
    base, annotated = Path(root), annotations == "required"
    names = read_synsets(base, synsets)
    needed = image_files == "required" or not annotated
    entries = list(read_entries(base, split, problems, images=needed))
    if annotated:
        _require_annotations(base, {subset for subset, _ in entries})
    return Reading(
        name=f"{root} {split}",
        images=_annotated(base, entries, names, problems, needed) if annotated else _plain(base, entries, problems),
        class_names=tuple(names.values()),
        load=partial(Path, base / IMAGES),  # half a million strings are smaller than half a million paths
        read_headers=not annotated,
        annotated=annotated,
        states_size=annotated,
    )


def _require_annotations(root: Path, subsets: set[str]) -> None:
    for subset in sorted(subsets):
        if not (root / ANNOTATIONS / subset).is_dir():
            hint = "; --config.data.ilsvrc.annotations=none reads the images alone" if subset == "test" else ""
            raise InputError(f"data split: {root} has no folder {ANNOTATIONS / subset}{hint}")


def _plain(root: Path, entries: Iterable[tuple[str, str]], problems: Problems) -> Iterator[AnnotatedImage]:
    folders = Folders()
    for subset, entry in entries:
        image = folders.find(root / IMAGES / subset, entry, EXTENSIONS)
        if image is None:
            problems.add("missing_image", entry)
        else:
            yield AnnotatedImage(entry, f"{subset}/{image}")


def _annotated(
    root: Path, entries: Iterable[tuple[str, str]], names: dict[str, str], problems: Problems, needed: bool
) -> Iterator[AnnotatedImage]:
    folders = Folders()
    for subset, entry in entries:
        place = root / ANNOTATIONS / subset
        annotation = folders.find(place, entry, (".xml",))
        image = folders.find(root / IMAGES / subset, entry, EXTENSIONS)
        if annotation is None:
            if subset != "train" or not _negative(entry, place, folders):
                problems.add("missing_annotation", entry)
        elif needed and image is None:
            problems.add("missing_image", entry)
        else:
            try:
                stated = read_annotation(place / annotation)
            except AnnotationError as error:
                problems.add("bad_annotation", entry, str(error))
            else:
                yield to_image(entry, f"{subset}/{image or entry + EXTENSIONS[0]}", _named(stated, names))


def _negative(entry: str, place: Path, folders: Folders) -> bool:
    """Tells whether an image of train that has no annotation is one of the archive's negatives."""
    folder = entry.rpartition("/")[0]
    return "_extra" in folder or bool(folders.names(place, folder))


def _named(stated: VocAnnotation, names: dict[str, str]) -> VocAnnotation:
    """Replaces synsets by the names of their classes; one without a class keeps its own."""
    return stated._replace(
        objects=tuple(item._replace(name=names.get(item.name, item.name)) for item in stated.objects)
    )
