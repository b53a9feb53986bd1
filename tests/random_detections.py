"""Random detections and ground truth for comparing metrics with slow references: small, and full of special cases."""

import numpy as np

from ssd_jax.types import ImageDetections, ImageGroundTruth

NAMES = ("background", "cat", "dog", "cow")


def random_case(seed, *, max_objects=6, max_detections=12):
    """Returns (detections, ground truth) of one to five images with classes 1 to 3, at least one object counts.

    Common are: equal scores, whole coordinates (equal overlaps, overlaps of exactly a threshold), copies of objects as
    detections, once and several times, difficult objects, boxes over the borders of an image of 60 x 60 pixels, images
    without objects, without detections or without an entry, and classes without either.
    """
    rng = np.random.default_rng(seed)
    whole, levels, classes = rng.random() < 0.6, rng.choice([2, 5, 1000]), rng.integers(1, 4)
    detections, truth = [], []
    for k in range(rng.integers(1, 6)):
        boxes = random_boxes(rng, rng.integers(0, max_objects + 1), whole)
        labels = rng.integers(1, classes + 1, len(boxes))
        truth.append(ImageGroundTruth(f"i{k}", boxes, labels, rng.random(len(boxes)) < 0.25))
        if rng.random() < 0.1:
            continue  # no entry
        others = random_boxes(rng, rng.integers(0, max_detections + 1), whole)
        found_labels = rng.integers(1, 4, len(others))
        if len(boxes):
            copies = rng.random(len(others)) < 0.7
            chosen = rng.integers(0, len(boxes), copies.sum())
            shift = rng.integers(-2, 3, (len(chosen), 4)) * (rng.random((len(chosen), 1)) < 0.6)
            others[copies], found_labels[copies] = boxes[chosen] + shift, labels[chosen]
        scores = rng.integers(0, levels + 1, len(others)) / levels
        detections.append(ImageDetections(f"i{k}", others, scores, found_labels))
    if all(entry.ignored.all() for entry in truth):
        truth.append(ImageGroundTruth("last", np.array([[0.0, 0, 9, 9]]), np.array([1]), np.array([False])))
    return detections, truth


def random_boxes(rng, count, whole):
    """Returns [count, 4] corners, some of them beyond (0, 0) and (60, 60)."""
    corners = rng.uniform(-10, 50, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 30, (count, 2))], axis=1)
    return np.round(boxes) if whole else boxes


def random_coco(seed):
    """Returns (annotations, results) in COCO's format: one to five images with unsorted numbers, one to three classes.

    Common are crowds, equal scores, areas on and beside the bounds of small, medium and large (stated, or of the box),
    copies of objects, more than 100 detections of an image and class, annotations of images and categories that are
    not listed, boxes without area and of negative size, images and classes without anything.
    """
    rng = np.random.default_rng(seed)
    kind, crowded = rng.integers(0, 4), rng.random() < 0.15
    images = rng.permutation(50)[: rng.integers(1, 6)].tolist()
    categories = rng.permutation(20)[: rng.integers(1, 4)].tolist()
    annotations, results = [], []
    for image in images:
        mine = [coco_box(rng, kind) for _ in range(rng.integers(0, 9))]
        for box in mine:
            entry = {"id": len(annotations), "image_id": image, "category_id": int(rng.choice(categories)), "bbox": box}
            entry["iscrowd"] = int(rng.random() < 0.2)
            if rng.random() < 0.3:
                entry["area"] = float(rng.choice([0, 0.5, 1023.999, 1024, 1024.001, 9215.5, 9216, 9216.001, 1e10, -1]))
            annotations.append(entry)
        for _ in range(rng.integers(0, 300 if crowded else 14)):
            box = coco_box(rng, kind)
            if mine and rng.random() < 0.6:
                box = list(mine[rng.integers(len(mine))])
                box[rng.integers(4)] += float(rng.integers(0, 3)) if kind < 2 else float(2 * rng.normal())
            score = rng.integers(1, 6) / 5 if kind % 2 else rng.random()
            entry = {"image_id": image, "category_id": int(rng.choice(categories)), "bbox": box, "score": float(score)}
            results.append(entry)
    outside = {"id": 900, "bbox": [0.0, 0.0, 9.0, 9.0], "iscrowd": 0}
    annotations.append({**outside, "image_id": 77, "category_id": categories[0]})
    annotations.append({**outside, "image_id": images[0], "category_id": 77})
    dataset = {
        "images": [{"id": image} for image in images],
        "categories": [{"id": category, "name": f"c{category}"} for category in categories],
        "annotations": annotations,
    }
    return dataset, results


def coco_box(rng, kind):
    """Returns [x, y, w, h]: small whole numbers, areas of 32^2 and 96^2, or any real numbers (negative sizes too)."""
    if kind == 0:
        return [float(number) for number in rng.integers(0, 12, 4)]
    if kind == 1:
        sizes = rng.choice([16, 31, 32, 33, 64, 95, 96, 97, 144], 2)
        return [float(number) for number in (*rng.integers(0, 20, 2), *sizes)]
    if kind == 2:
        return [float(number) for number in rng.uniform(0, 100, 4).astype(np.float32)]
    return [float(number) for number in rng.uniform(-20, 200, 4)]
