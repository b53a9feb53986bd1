"""What readers of annotation formats state: plain values, of which nothing is judged yet."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssd_jax.data.repair import Box


class AnnotatedObject(NamedTuple):
    """One object, as its file states it; nothing is judged yet."""

    name: str  # of the class
    box: Box  # (xmin, ymin, xmax, ymax), pixels; or fractions where the image says ``relative``
    difficult: bool = False
    crowd: bool = False
    area: float | None = None  # pixels^2, of the object's mask, where the format states it


class AnnotatedImage(NamedTuple):
    """One image, as its file states it."""

    id: str  # stable, unique within the source
    image: Any  # Path; or whatever ``Reading.load`` turns into a Path or encoded bytes
    objects: Sequence[AnnotatedObject] = ()
    size: tuple[int, int] | None = None  # (height, width); None: not stated
    relative: bool = False  # boxes are fractions of width and height
    unreadable: int = 0  # objects that could not be read


class Reading(NamedTuple):
    """What a reader of a format returns; problems that it meets itself go to the tally it is given."""

    name: str  # one line, for printing
    images: Iterable[AnnotatedImage]  # in the documented order; consumed once
    # Classes that the format states, without background, in the order of their labels; () = those found, sorted.
    class_names: tuple[str, ...] = ()
    # Classes that are meant if nothing but them is found: a folder called VOC2007 may hold other data.
    usual_names: tuple[str, ...] = ()
    load: Callable[[Any], Path | bytes] | None = None  # picklable; needed where ``AnnotatedImage.image`` is no Path
    read_headers: bool = True  # False: a stated size is believed, since opening a hundred thousand files takes long
    annotated: bool = True  # False: images only, such as a test set whose objects are kept secret
    states_size: bool = True  # False: the format never states a size, so that its absence is no problem
    category_ids: tuple[int, ...] = ()  # of class_names, where the format has such numbers (COCO)
    image_ids: dict[str, int] | None = None  # id -> number, where the format has such numbers (COCO)
    # (holds(id), class names) -> what the files themselves say, in COCO's format; picklable.
    coco_dataset: Callable[[Callable[[str], bool], Sequence[str]], dict[str, Any]] | None = None
