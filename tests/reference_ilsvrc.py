"""ILSVRC DET's average precision by the book: one detection and one object at a time, in plain Python floats."""

import math

import reference_voc


def average_precision(detections, ground_truth, label, blacklist=()):
    """Returns the AP of one class; nan without objects."""
    entries = {found.id: found for found in detections}
    points = []  # (score, +1 hit, -1 miss) in the order of the images
    num_objects = 0
    for truth in ground_truth:
        if (truth.id, label) in blacklist:
            continue
        pairs = zip(truth.boxes, truth.labels, truth.ignored, strict=True)
        objects = [([float(x) for x in box], bool(flag)) for box, k, flag in pairs if k == label]
        num_objects += sum(not flag for _, flag in objects)
        points += judge_image(rows_of(entries.get(truth.id), label), objects)
    if num_objects == 0:
        return math.nan
    points.sort(key=lambda point: -point[0])  # sort() is stable
    hits = misses = 0
    curve = []
    for _, verdict in points:
        hits, misses = hits + (verdict > 0), misses + (verdict < 0)
        curve.append((hits / (hits + misses), hits / num_objects))
    return reference_voc.area(curve)


def rows_of(found, label):
    if found is None:
        return []
    rows = zip(found.boxes, found.scores, found.labels, strict=True)
    chosen = [([float(x) for x in box], float(score)) for box, score, k in rows if k == label]
    return sorted(chosen, key=lambda row: -row[1])


def judge_image(rows, objects):
    """Returns (score, +1 or -1) of the detections of one image and class that count."""
    taken, verdicts = set(), []
    for box, score in rows:
        best, best_iou, on_ignored = None, -math.inf, False
        for k, (other, flag) in enumerate(objects):
            iou = reference_voc.pixel_iou(box, other)
            if k in taken or iou <= 0 or iou < needed_overlap(other):
                continue
            if flag:
                on_ignored = True
            elif iou > best_iou:
                best, best_iou = k, iou
        if best is not None:
            taken.add(best)
            verdicts.append((score, 1))
        elif not on_ignored:
            verdicts.append((score, -1))
    return verdicts


def needed_overlap(box):
    width, height = max(box[2] - box[0] + 1, 0.0), max(box[3] - box[1] + 1, 0.0)
    return min(0.5, width * height / ((width + 10) * (height + 10)))
