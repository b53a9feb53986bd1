"""The content of a COCO result file: what each entry must be, and what images and labels its numbers mean."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.evaluation import detection_rows
from ssd_jax.types import ImageDetections

KEYS = ("image_id", "category_id", "bbox", "score")


def parse_detections(
    name: str,
    content: bytes,
    *,
    ids: Sequence[str],
    class_names: Sequence[str],
    image_ids: Mapping[str, int] | None = None,
    category_ids: Sequence[int | None] = (),
    whose: str = "the ground truth",
) -> list[ImageDetections]:
    """Reads COCO results; returns one entry an image, best detections first.

    Args:
        name: of the file, for messages.
        content: of the file.
        ids: of the images, in the order of the result.
        class_names: background first.
        image_ids: COCO's number of each id. None: a number n is the image whose id, or the last part of it behind a
            slash, is n written with leading zeros or without.
        category_ids: COCO's number of each label; (): a number is the label itself, from 1.
            In either case an image may be stated by its id, and a category by its name, as a string.
        whose: what the images belong to, for messages.

    Raises:
        InputError: it is not JSON with results, or a result has an unknown image or category, or a box or a score
            that is none. Results are counted from 0.
    """
    entries = check_entries(name, parse_json(name, content, "results"))
    check_sizes(name, entries)
    images = _image_positions(name, entries, ids, image_ids, whose)
    labels = _labels(name, entries, class_names, category_ids)
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    beyond = ~detection_rows.fits_float32(corners).all(axis=1)
    if beyond.any():
        row = int(beyond.argmax())
        raise InputError(f"{name}: result {row}: expected a box of finite size, got {_shown(entries[row], 2)}")
    scores = np.array([entry["score"] for entry in entries], np.float64)
    return detection_rows.to_images(detection_rows.Rows(images, corners, scores, labels), ids)


def _image_positions(
    name: str,
    entries: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    image_ids: Mapping[str, int] | None,
    whose: str,
) -> np.ndarray:  # [N]
    """Returns the position of each entry's image."""

    def place(image: Any) -> str:
        return f"{name}: result {[entry['image_id'] for entry in entries].index(image)}"

    stated = list(dict.fromkeys(entry["image_id"] for entry in entries))
    texts = [image for image in stated if isinstance(image, str)]
    numbers = [image for image in stated if not isinstance(image, str)]
    known: dict[Any, int] = {}
    if image_ids is None:
        meant = _texts_of_numbers(ids)
        called = {image: meant.get(image, str(image)) for image in numbers}
        back = {text: image for image, text in called.items()} | {text: text for text in texts}
        found = detection_rows.match_ids(list(back), ids, place=lambda text: place(back[text]), whose=whose)
        known = dict(zip(back, found, strict=True))
        known |= {image: known[text] for image, text in called.items()}
    else:
        positions = {image_ids[own]: position for position, own in enumerate(ids) if own in image_ids}
        unknown = [image for image in numbers if image not in positions]
        if unknown:
            raise detection_rows.unknown_images(
                unknown, len(stated), ids, place=place(unknown[0]), whose=whose, example=next(iter(positions), None)
            )
        known = dict(zip(texts, detection_rows.match_ids(texts, ids, place=place, whose=whose), strict=True))
        known |= {image: positions[image] for image in numbers}
    return np.array([known[entry["image_id"]] for entry in entries], np.int64)


def _texts_of_numbers(ids: Sequence[str]) -> dict[int, str]:
    """Returns, for each number that an id is, or ends in behind a slash, how it is written there, if in one way."""
    found: dict[int, set[str]] = {}
    for own in ids:
        last = own.rpartition("/")[2]
        if last.isdecimal():
            found.setdefault(int(last), set()).add(last)
    return {number: min(texts) for number, texts in found.items() if len(texts) == 1}


def _labels(
    name: str, entries: Sequence[Mapping[str, Any]], class_names: Sequence[str], category_ids: Sequence[int | None]
) -> np.ndarray:  # [N]
    known: dict[Any, int] = {own: label for label, own in enumerate(class_names) if label}
    numbers = category_ids or (None, *range(1, len(class_names)))
    known |= {number: label for label, number in enumerate(numbers) if label and number is not None}
    labels = [known.get(entry["category_id"], 0) for entry in entries]
    if 0 in labels:
        entry = entries[labels.index(0)]
        stated = {entry["category_id"] for entry in entries}
        listed = [number for number in numbers if number is not None]
        hint = ""
        if isinstance(entry["category_id"], str):
            hint = detection_rows.class_hint(entry["category_id"], class_names[1:])
        elif stated <= set(range(len(class_names))):
            hint = " (do the numbers in the file count the classes, from 0 or from 1?)"
        raise InputError(
            f"{name}: result {labels.index(0)}: expected one of {len(listed)} categories ({listed[0]} is "
            f"{class_names[numbers.index(listed[0])]!r}, {listed[-1]} is {class_names[numbers.index(listed[-1])]!r}), "
            f"got {_shown(entry, 1)}{hint}"
        )
    return np.array(labels, np.int64)


def check_entries(name: str, entries: Any) -> Sequence[Mapping[str, Any]]:
    """Returns the results as they are, if each has an image, a category, a box and a score that can be such.

    Raises:
        InputError: one has not; it is named by its row, from 0.
    """
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        got = f", got an object with {', '.join(list(entries)[:4])}" if isinstance(entries, Mapping) else ""
        raise InputError(f"{name}: expected a list of COCO results, each with {', '.join(KEYS)}{got}")
    for row, entry in enumerate(entries):
        fault = _fault(entry)
        if fault:
            raise InputError(f"{name}: result {row}: expected {fault}")
    return entries


def check_sizes(name: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuses boxes of negative width or height; what :func:`check_entries` returns is given."""
    for row, entry in enumerate(entries):
        if min(entry["bbox"][2:]) < 0:
            raise InputError(
                f"{name}: result {row}: expected a bbox (x, y, width, height) whose width and height are not negative, "
                f"got {_shown(entry, 2)}"
            )


def _fault(entry: Any) -> str:
    """Says what a result should have and what it has instead; nothing of a good one."""
    if not isinstance(entry, Mapping):
        return f"an entry of a list of COCO results, with {', '.join(KEYS)}; got {str(entry)[:60]!r}"
    for key in KEYS:
        if key not in entry:
            return f"{', '.join(KEYS)}; it lacks {key!r}"
    for place in (0, 1):
        if not isinstance(entry[KEYS[place]], str) and not _is_number(entry[KEYS[place]]):
            return f"a number as {KEYS[place]}, got {_shown(entry, place)}"
    box = entry["bbox"]
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(_is_number, box)):
        return f"a bbox of four finite numbers (x, y, width, height), got {_shown(entry, 2)}"
    return "" if _is_number(entry["score"]) else f"a finite number as score, got {_shown(entry, 3)}"


def _shown(entry: Mapping[str, Any], place: int) -> str:
    key = KEYS[place]
    return f"{key} {str(entry[key])[:80] if not isinstance(entry[key], str) else repr(entry[key][:80])}"


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1024  # a float holds it


def parse_json(name: str, content: bytes, what: str) -> Any:
    """Returns what a file holds; raises InputError, naming the place, if it is not (or not the whole of) JSON."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        text = error.doc.rstrip()
        cut = ", as if it were cut off" if error.pos >= len(text) - 1 or not text.endswith(("]", "}")) else ""
        raise InputError(
            f"{name}: expected JSON with COCO {what}, but it breaks at line {error.lineno}, column {error.colno}{cut} "
            f"({error.msg})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: expected JSON with COCO {what}, got something else ({error})") from error
