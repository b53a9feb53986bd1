"""Detections typed by hand, random cases, and the analysis by the book: one detection and one object at a time."""

import hypothesis.strategies as st
import numpy as np
from reference_voc import pixel_iou
from test_evaluation_voc import annotated, found

from ssd_jax.analysis.types import Kind

NAMES = ("background", "cat", "dog", "car")
GROUPS = {"animal": ("cat", "dog")}
CAT, DOG, CAR = 1, 2, 3

# By VOC's rule a box (x, 0, x + 9, 9) has 10 x 10 pixels. Shifted by k its IoU is (10 - k) / (10 + k):
#   k    1    2    3    4    5    6    7    8    9
# IoU  .818 .667 .538 .429 .333 .250 .176 .111 .053


def square(x):
    return (x, 0, x + 9, 9)


OBJECTS = [  # image, box, label, difficult; the number of an object is its place
    ("a", square(0), CAT, 0),  # 0
    ("a", square(40), DOG, 0),  # 1
    ("a", square(80), CAR, 0),  # 2
    ("a", square(120), CAT, 1),  # 3: difficult
    ("b", square(0), CAT, 0),  # 4
    ("b", square(4), DOG, 0),  # 5: IoU .429 with 4
    ("b", square(40), DOG, 1),  # 6: difficult
    ("b", square(80), CAR, 1),  # 7: difficult
    ("c", square(0), CAT, 0),  # 8
    ("c", square(5), CAT, 0),  # 9: IoU .333 with 8
    ("c", square(100), CAR, 0),  # 10
    ("c", square(103), DOG, 0),  # 11: IoU .538 with 10
    ("e", square(0), CAT, 0),  # 12
]
IMAGES = "abcde"  # d has no objects

TYPED = [  # image, box, label, score, kind, object
    ("a", square(0), CAT, 0.95, Kind.CORRECT, 0),  # exactly on it
    ("a", square(1), CAT, 0.90, Kind.LOCALIZATION, 0),  # IoU .818, but the object is taken: a second detection
    ("a", square(4), CAT, 0.85, Kind.LOCALIZATION, 0),  # IoU .429
    ("a", square(-8), CAT, 0.80, Kind.LOCALIZATION, 0),  # IoU .111
    ("a", (0, 0, 9, 0), CAT, 0.79, Kind.LOCALIZATION, 0),  # 10 of 100 pixels: exactly 0.1 is enough
    ("a", square(9), CAT, 0.75, Kind.BACKGROUND, -1),  # IoU .053 is not
    ("a", square(40), CAT, 0.97, Kind.SIMILAR, 1),  # a cat exactly on a dog
    ("a", square(48), CAT, 0.70, Kind.SIMILAR, 1),  # a cat with .111 of a dog
    ("a", square(49), CAT, 0.65, Kind.BACKGROUND, -1),  # .053 of a dog
    ("a", square(80), CAT, 0.60, Kind.OTHER, 2),  # a cat on a car
    ("a", square(0), CAR, 0.99, Kind.OTHER, 0),  # a car on a cat: cars have no similar class
    ("a", square(0), DOG, 0.40, Kind.SIMILAR, 0),  # a dog on a cat; that a cat hits it already does not matter
    ("a", square(41), DOG, 0.30, Kind.LOCALIZATION, 1),  # comes first in the file, but the next one scores better
    ("a", square(42), DOG, 0.90, Kind.CORRECT, 1),  # IoU .667: the best score wins, not the best overlap
    ("a", square(120), CAT, 0.98, Kind.IGNORED, 3),  # on a difficult object
    ("a", square(121), CAT, 0.20, Kind.IGNORED, 3),  # so is every further one
    ("a", square(125), CAT, 0.96, Kind.LOCALIZATION, 3),  # IoU .333: the difficult object explains the error
    ("a", square(120), DOG, 0.55, Kind.SIMILAR, 3),  # a dog on a difficult cat
    ("a", square(120), CAR, 0.54, Kind.OTHER, 3),  # a car on a difficult cat
    ("a", square(81), CAR, 0.50, Kind.CORRECT, 2),  # of equal scores the first in the file
    ("a", square(80), CAR, 0.50, Kind.LOCALIZATION, 2),  # and not the second, though it fits better
    ("b", square(4), CAT, 0.93, Kind.LOCALIZATION, 4),  # exactly on a dog, but .429 of a cat: its own class explains
    ("b", square(0), DOG, 0.92, Kind.LOCALIZATION, 5),  # likewise
    ("b", square(4), DOG, 0.45, Kind.CORRECT, 5),  # worse than the one before, which hits nothing
    ("b", square(2), CAR, 0.44, Kind.OTHER, 4),  # IoU .667 with cat and dog: the first annotated
    ("b", square(43), DOG, 0.43, Kind.IGNORED, 6),  # IoU .538 with a difficult dog
    ("b", square(84), CAR, 0.42, Kind.LOCALIZATION, 7),  # IoU .429 with a difficult car
    ("b", square(80), CAT, 0.41, Kind.OTHER, 7),  # a cat on a difficult car
    ("c", square(0), CAT, 0.89, Kind.CORRECT, 8),
    ("c", square(1), CAT, 0.88, Kind.LOCALIZATION, 8),  # IoU .429 with 9, which is free, but it belongs to 8
    ("c", square(5), CAT, 0.70, Kind.CORRECT, 9),
    ("c", square(103), CAT, 0.69, Kind.SIMILAR, 11),  # exactly on a dog
    ("c", square(98), CAT, 0.68, Kind.SIMILAR, 11),  # .667 of a car, .333 of a dog: similar classes come first
    ("c", square(5), DOG, 0.67, Kind.SIMILAR, 9),  # on a cat, .333 of another one
    ("c", square(104), CAR, 0.66, Kind.LOCALIZATION, 10),  # IoU .429; on the dog it would be .818
    ("d", square(0), CAT, 0.35, Kind.BACKGROUND, -1),  # an image without objects
    ("d", square(40), DOG, 0.34, Kind.BACKGROUND, -1),
    ("d", square(80), CAR, 0.33, Kind.BACKGROUND, -1),  # a car of image a is in that place
    ("e", (0, 0, 9, 4), CAT, 0.91, Kind.LOCALIZATION, 12),  # 50 of 100 pixels: exactly 0.5 is no hit
    ("e", (0, 0, 9, 0), DOG, 0.32, Kind.SIMILAR, 12),  # exactly 0.1 of a cat
    ("e", (0, 0, 9, 0), CAR, 0.31, Kind.OTHER, 12),  # exactly 0.1 of a cat
    ("e", (9, 9, 0, 0), CAT, 0.10, Kind.BACKGROUND, -1),  # reversed: overlaps nothing
]
MISSED = [4, 10, 11, 12]


def by_hand():
    """Returns the detections and the ground truth of the tables above; their order is that of the rows."""
    truth = [annotated(k, *((*box, label, flag) for i, box, label, flag in OBJECTS if i == k)) for k in IMAGES]
    detections = [found(k, *((*box, score, label) for i, box, label, score, *_ in TYPED if i == k)) for k in IMAGES]
    return detections, truth


# Random cases. Coordinates on a small grid and scores of one digit: overlaps, exact halves and ties are common; in
# crowded ones most boxes of an image overlap by more than half, so detections compete for objects.


def _cases(corners, sizes):
    boxes = st.tuples(corners, corners, sizes, sizes).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
    labels = st.integers(1, 3)
    detected = st.tuples(boxes, st.integers(1, 8), labels).map(lambda row: (*row[0], row[1] / 8, row[2]))
    objects = st.tuples(boxes, labels, st.integers(0, 3)).map(lambda row: (*row[0], row[1], row[2] == 0))
    images = st.tuples(st.lists(detected, max_size=8), st.lists(objects, max_size=5))
    return st.lists(images, min_size=1, max_size=4)


cases = (
    st.one_of(_cases(st.integers(0, 12), st.integers(0, 8)), _cases(st.integers(0, 3), st.integers(6, 9)))
    .filter(lambda images: any(not row[5] for _, rows in images for row in rows))
    .map(lambda images: unpack(images))
)


def unpack(images):
    detections = [found(str(k), *rows) for k, (rows, _) in enumerate(images)]
    return detections, [annotated(str(k), *rows) for k, (_, rows) in enumerate(images)]


def flat(detections, ground_truth):
    """Returns the detections as (image, box, score, label) and the objects as (image, box, label, difficult)."""
    position = {truth.id: place for place, truth in enumerate(ground_truth)}
    rows = [
        (position[one.id], tuple(map(float, box)), float(score), int(label))
        for one in detections
        for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True)
    ]
    things = [
        (place, tuple(map(float, box)), int(label), bool(flag))
        for place, truth in enumerate(ground_truth)
        for box, label, flag in zip(truth.boxes, truth.labels, truth.ignored, strict=True)
    ]
    return rows, things


def reference_kinds(detections, ground_truth, similar):
    """Returns (kind, object) of each detection. ``similar``: label -> labels."""
    rows, things = flat(detections, ground_truth)
    taken, result = set(), [None] * len(rows)
    for k in sorted(range(len(rows)), key=lambda k: -rows[k][2]):  # stable
        image, box, _, label = rows[k]

        def nearest(allowed, image=image, box=box):
            best, best_iou = -1, 0.0
            for g, (where, thing, which, _) in enumerate(things):
                if where == image and which in allowed and pixel_iou(box, thing) > best_iou:
                    best, best_iou = g, pixel_iou(box, thing)
            return best, best_iou

        own, own_iou = nearest({label})
        if own_iou > 0.5 and things[own][3]:
            result[k] = (Kind.IGNORED, own)
        elif own_iou > 0.5 and own not in taken:
            taken.add(own)
            result[k] = (Kind.CORRECT, own)
        elif own_iou >= 0.1:
            result[k] = (Kind.LOCALIZATION, own)
        elif nearest(similar[label])[1] >= 0.1:
            result[k] = (Kind.SIMILAR, nearest(similar[label])[0])
        elif nearest({1, 2, 3} - similar[label] - {label})[1] >= 0.1:
            result[k] = (Kind.OTHER, nearest({1, 2, 3} - similar[label] - {label})[0])
        else:
            result[k] = (Kind.BACKGROUND, -1)
    return result


def reference_confusion(detections, ground_truth, threshold, num_classes):
    rows, things = flat(detections, ground_truth)
    counts = np.zeros((num_classes, num_classes), int)
    taken = set()
    for image, box, _, label in sorted((row for row in rows if row[2] >= threshold), key=lambda row: -row[2]):
        best, best_iou, is_excused = None, 0.5, False
        for g, (where, thing, _, difficult) in enumerate(things):
            iou = pixel_iou(box, thing) if where == image else 0
            is_excused |= difficult and iou > 0.5
            if not difficult and g not in taken and iou > best_iou:
                best, best_iou = g, iou
        if best is not None:
            taken.add(best)
            counts[things[best][2], label] += 1
        elif not is_excused:
            counts[0, label] += 1
    for g, (_, _, label, difficult) in enumerate(things):
        counts[label, 0] += g not in taken and not difficult
    return counts


def reference_best_f1(detections, ground_truth, kinds, label):
    """Tries every score as the threshold; returns the best (F1, threshold) or None."""
    rows, things = flat(detections, ground_truth)
    kept = [(row[2], kind) for row, (kind, _) in zip(rows, kinds, strict=True) if row[3] == label]
    kept = [(score, kind) for score, kind in kept if kind != Kind.IGNORED]
    num_objects = sum(thing[2] == label and not thing[3] for thing in things)
    tried = []
    for threshold in {score for score, _ in kept} if num_objects else ():
        hits = sum(kind == Kind.CORRECT for score, kind in kept if score >= threshold)
        tried.append((2 * hits / (sum(score >= threshold for score, _ in kept) + num_objects), threshold))
    return max(tried, default=None)
