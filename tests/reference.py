"""Slow, obvious references of the pure core: plain loops in double precision, written from the original
code's documented behavior and never from the library. Nothing here imports jax or ssd_jax.
"""

import math

import numpy as np

VARIANCES = (0.1, 0.1, 0.2, 0.2)
MINIMUM_OVERLAP = 1e-6  # the original code keeps no smaller IoU when it matches


def area(box):
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def intersection(a, b):
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a, b):
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared) if shared > 0 else 0.0


def pairwise_iou(a, b):
    return np.array([[iou(x, y) for y in rows(b)] for x in rows(a)]).reshape(len(a), len(b))


def rows(array):
    """Turns an array of float32 rows into lists of Python floats, exactly."""
    return np.asarray(array, np.float64).tolist()


def encode(boxes, priors, variances=VARIANCES):
    offsets = []
    for (x0, y0, x1, y1), (px0, py0, px1, py1) in zip(rows(boxes), rows(priors), strict=True):
        width, height = px1 - px0, py1 - py0
        dx = ((x0 + x1) / 2 - (px0 + px1) / 2) / width
        dy = ((y0 + y1) / 2 - (py0 + py1) / 2) / height
        raw = (dx, dy, math.log((x1 - x0) / width), math.log((y1 - y0) / height))
        offsets.append([value / variance for value, variance in zip(raw, variances, strict=True)])
    return np.array(offsets).reshape(-1, 4)


def decode(offsets, priors, variances=VARIANCES):
    boxes = []
    for offset, (px0, py0, px1, py1) in zip(rows(offsets), rows(priors), strict=True):
        dx, dy, dw, dh = (value * variance for value, variance in zip(offset, variances, strict=True))
        x = (px0 + px1) / 2 + dx * (px1 - px0)
        y = (py0 + py1) / 2 + dy * (py1 - py0)
        width, height = (px1 - px0) * math.exp(dw), (py1 - py0) * math.exp(dh)
        boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return np.array(boxes).reshape(-1, 4)


def prior_boxes(image_size, layers, offset=0.5):
    """Default boxes in Caffe's order; a layer is (grid, step, min_sizes, max_sizes, aspect_ratios)."""
    height, width = image_size
    boxes = []
    for (grid_rows, grid_columns), (step_y, step_x), min_sizes, max_sizes, aspect_ratios in layers:
        for row in range(grid_rows):
            for column in range(grid_columns):
                x, y = (column + offset) * step_x, (row + offset) * step_y
                shapes = []
                for index, size in enumerate(min_sizes):
                    size = int(size)
                    shapes.append((size, size))
                    if max_sizes:
                        between = math.sqrt(size * int(max_sizes[index]))
                        shapes.append((between, between))
                    for ratio in aspect_ratios:
                        shapes.append((size * math.sqrt(ratio), size / math.sqrt(ratio)))
                        shapes.append((size / math.sqrt(ratio), size * math.sqrt(ratio)))
                for w, h in shapes:
                    boxes.append([(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height])
    return np.array(boxes)


def is_proper(box):
    return all(math.isfinite(value) for value in box) and box[2] > box[0] and box[3] > box[1]


def match(boxes, labels, priors, ignored=None, prior_mask=None, iou_threshold=0.5, negative_overlap=0.5):
    """Returns (offsets [P, 4], labels [P], ignore [P]) of one image."""
    boxes, priors = rows(boxes), rows(priors)
    ignored = [False] * len(boxes) if ignored is None else ignored
    prior_mask = [True] * len(priors) if prior_mask is None else prior_mask
    real = [g for g in range(len(boxes)) if labels[g] > 0 and is_proper(boxes[g])]
    learned = [g for g in real if not ignored[g]]
    crowds = [g for g in real if ignored[g]]
    usable = [p for p in range(len(priors)) if prior_mask[p]]
    overlap = {(p, g): iou(priors[p], boxes[g]) for p in usable for g in learned}

    owner = {}
    waiting = list(learned)
    while True:  # the globally best pair, again and again; `>` keeps the first of equals
        best, best_overlap = None, MINIMUM_OVERLAP
        for p in usable:
            for g in waiting:
                if p not in owner and overlap[p, g] > best_overlap:
                    best, best_overlap = (p, g), overlap[p, g]
        if best is None:
            break
        owner[best[0]] = best[1]
        waiting.remove(best[1])

    ignore = [not mask for mask in prior_mask]
    for p in usable:
        if p in owner:
            continue
        best, best_overlap = None, MINIMUM_OVERLAP
        for g in learned:
            if overlap[p, g] > best_overlap:
                best, best_overlap = g, overlap[p, g]
        if best is not None and best_overlap >= iou_threshold:
            owner[p] = best
        elif best is not None and best_overlap >= negative_overlap:
            ignore[p] = True
        elif any(intersection(priors[p], boxes[g]) / area(priors[p]) >= iou_threshold for g in crowds):
            ignore[p] = True

    offsets = np.zeros((len(priors), 4))
    for p, g in owner.items():
        offsets[p] = encode([boxes[g]], [priors[p]])[0]
    matched = np.array([labels[owner[p]] if p in owner else 0 for p in range(len(priors))], np.int32)
    return offsets, matched, np.array(ignore, bool)


def cross_entropy(logits, label):
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[label]


def mine(background_losses, labels, ignore, negative_ratio=3.0):
    """Returns the indices of the mined negatives of one image, the hardest first."""
    positives = sum(1 for label in labels if label > 0)
    candidates = [p for p in range(len(labels)) if labels[p] == 0 and not ignore[p]]
    candidates.sort(key=lambda p: (-background_losses[p], p))
    return candidates[: math.floor(negative_ratio * positives)]


def multibox_loss(offsets, logits, target_offsets, labels, ignore, negative_ratio=3.0):
    """Returns (location, confidence, positives, negatives) of one image."""
    offsets, logits, target_offsets = rows(offsets), rows(logits), rows(target_offsets)
    positives = [p for p in range(len(labels)) if labels[p] > 0]
    negatives = mine([cross_entropy(row, 0) for row in logits], labels, ignore, negative_ratio)
    location = 0.0
    for p in positives:
        for predicted, wanted in zip(offsets[p], target_offsets[p], strict=True):
            distance = abs(predicted - wanted)
            location += 0.5 * distance**2 if distance < 1 else distance - 0.5
    confidence = sum(cross_entropy(logits[p], labels[p]) for p in positives)
    confidence += sum(cross_entropy(logits[p], 0) for p in negatives)
    return location, confidence, len(positives), len(negatives)


def nms(boxes, scores, iou_threshold, valid=None):
    """Returns the kept indices, best first."""
    boxes = rows(boxes)
    valid = [True] * len(boxes) if valid is None else valid
    alive = [i for i in range(len(boxes)) if valid[i] and np.isfinite(boxes[i]).all() and np.isfinite(scores[i])]
    kept = []
    for i in sorted(alive, key=lambda i: (-float(scores[i]), i)):
        if all(iou(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(i)
    return kept


def softmax(logits):
    exponents = [[math.exp(value - max(row)) for value in row] for row in rows(logits)]
    return np.array([[value / sum(row) for value in row] for row in exponents])


def detect(offsets, logits, priors, score_threshold=0.01, iou_threshold=0.45, pre_nms_top_k=400, max_detections=200):
    """Returns (boxes [K, 4], scores [K], labels [K]) of one image, zeros in the empty slots."""
    boxes, scores = decode(offsets, priors), softmax(logits)
    found = []
    for label in range(1, scores.shape[1]):
        ranked = [p for p in range(len(boxes)) if scores[p, label] > score_threshold]
        ranked = sorted(ranked, key=lambda p: (-scores[p, label], p))[:pre_nms_top_k]
        kept = nms(boxes[ranked], scores[ranked, label], iou_threshold)
        found += [(-scores[ranked[i], label], label, rank, ranked[i]) for rank, i in enumerate(kept)]
    found = sorted(found)[:max_detections]
    result = np.zeros((max_detections, 4)), np.zeros(max_detections), np.zeros(max_detections, np.int32)
    for slot, (negative_score, label, _, p) in enumerate(found):
        result[0][slot], result[1][slot], result[2][slot] = np.clip(boxes[p], 0, 1), -negative_score, label
    return result


def assert_same_numbers(result, expected, *, ulps=4, magnitude=0.0):
    """Holds two float32 arrays to `ulps` units in the last place, others to equality.

    Compiled code may fuse a multiplication with an addition, so the last bits may differ. Where terms of
    size `magnitude` cancel, a unit is one of the terms', not of the small difference that is left.
    """
    result, expected = np.asarray(result), np.asarray(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    if result.dtype != np.float32:
        np.testing.assert_array_equal(result, expected)
        return
    unit = np.spacing(np.maximum(np.maximum(np.abs(result), np.abs(expected)), np.float32(magnitude)))
    np.testing.assert_array_less(np.abs(result - expected), (ulps + 0.5) * unit)
