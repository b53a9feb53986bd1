"""VOC average precision by the book: one detection and one object at a time, in plain Python floats."""

import math


def average_precisions(detections, ground_truth, label, threshold=0.5):
    """Returns (11-point AP, area AP) of one class, both nan without objects."""
    num_objects = sum(
        1
        for truth in ground_truth
        for k, flag in zip(truth.labels, truth.ignored, strict=True)
        if k == label and not flag
    )
    if num_objects == 0:
        return math.nan, math.nan
    ranked = [
        (float(score), found.id, [float(x) for x in box])
        for found in detections
        for box, score, k in zip(found.boxes, found.scores, found.labels, strict=True)
        if k == label
    ]
    ranked.sort(key=lambda row: -row[0])  # sorted() is stable
    truth_of = {truth.id: truth for truth in ground_truth}
    taken = set()
    points = []  # (precision, recall) after each detection that counts
    hits = misses = 0
    for _, name, box in ranked:
        best, best_iou = None, 0.0
        truth = truth_of[name]
        for j in range(len(truth.labels)):
            if truth.labels[j] == label and pixel_iou(box, [float(x) for x in truth.boxes[j]]) > best_iou:
                best, best_iou = j, pixel_iou(box, [float(x) for x in truth.boxes[j]])
        if best_iou > threshold and truth.ignored[best]:
            continue
        if best_iou > threshold and (name, best) not in taken:
            taken.add((name, best))
            hits += 1
        else:
            misses += 1
        points.append((hits / (hits + misses), hits / num_objects))
    return eleven_point(points), area(points)


def pixel_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return shared / (area_a + area_b - shared)


def eleven_point(points):
    return sum(max((p for p, r in points if r >= 0.1 * k), default=0.0) for k in range(11)) / 11


def area(points):
    total, reached = 0.0, 0.0
    for k, (_, recall) in enumerate(points):
        total += (recall - reached) * max(p for p, _ in points[k:])
        reached = recall
    return total
