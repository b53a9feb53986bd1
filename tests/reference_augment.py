"""The augmentation written as plainly as possible: whole uint8 images, OpenCV, scalar loops.

Nothing here is clever: the expanded image is really made, the crop is really cut, and every step
rounds to uint8. The functions are fed with the draws of `ssd_jax.augment`, so pixels and boxes can be compared.
"""

import cv2
import numpy as np

OPENCV_FLAGS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def transform_image(image, draws, output_size, mean=(123, 117, 104), narrow=False):
    """Distort, expand, crop, resize, flip; image is uint8 [h, w, 3] RGB, as is the result."""
    image = distort(image, draws.distortion, narrow)
    height, width = draws.expansion.size
    top, left = draws.expansion.offset
    expanded = np.empty((height, width, 3), np.uint8)
    expanded[:] = mean
    expanded[top : top + image.shape[0], left : left + image.shape[1]] = image
    (top, left), (height, width) = draws.crop.offset, draws.crop.size
    crop = expanded[top : top + height, left : left + width]
    result = cv2.resize(crop, output_size[::-1], interpolation=OPENCV_FLAGS[int(draws.interpolation)])
    return result[:, ::-1] if draws.flip else result


def distort(image, draws, narrow=False):
    brightness, contrast, saturation, hue = draws.fired
    shift, factor, saturation_factor, hue_shift = (np.float32(steps / 65536) for steps in draws[2:])
    order = ["brightness", "contrast", "saturation", "hue"]
    if not draws.contrast_first:
        order = ["brightness", "saturation", "hue", "contrast"]
    for name in order:
        if name == "brightness" and brightness:
            image = saturate(image.astype(np.float32) + shift)
        elif name == "contrast" and contrast and abs(factor - 1) > 1e-3:
            image = saturate(image.astype(np.float32) * factor)
        elif name == "saturation" and saturation:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 1] = saturate(hsv[..., 1].astype(np.float32) * saturation_factor)
            image = hsv_to_rgb(hsv, narrow)
        elif name == "hue" and hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = saturate(hsv[..., 0].astype(np.float32) + hue_shift)
            image = hsv_to_rgb(hsv, narrow)
    return image


def hsv_to_rgb(hsv, narrow=False):
    """OpenCV truncates in its vector code and rounds in its scalar code, which narrow images reach."""
    if not narrow:
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return cv2.cvtColor(np.ascontiguousarray(hsv.reshape(-1, 1, 3)), cv2.COLOR_HSV2RGB).reshape(hsv.shape)


def saturate(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def transform_boxes(size, boxes, labels, ignored, draws):
    """Returns boxes, labels, ignored after expansion, crop, center rule, clipping and flip."""
    out = np.zeros((len(boxes), 4)), np.zeros(len(boxes), int), np.zeros(len(boxes), bool)
    tall, wide = (float(side) for side in draws.expansion.size)
    (shift_y, shift_x), (top, left), (height, width) = draws.expansion.offset, draws.crop.offset, draws.crop.size
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        x0, x1 = (float(x) * size[1] + shift_x for x in (box[0], box[2]))  # pixels of the expanded image
        y0, y1 = (float(y) * size[0] + shift_y for y in (box[1], box[3]))
        low_x, low_y, high_x, high_y = (float(v) for v in draws.crop.box)
        if not low_x <= (x0 + x1) / 2 / wide <= high_x or not low_y <= (y0 + y1) / 2 / tall <= high_y:
            continue
        x0, x1 = (min(max((x - left) / width, 0), 1) for x in (x0, x1))
        y0, y1 = (min(max((y - top) / height, 0), 1) for y in (y0, y1))
        if label == 0 or x1 <= x0 or y1 <= y0:
            continue
        if draws.flip:
            x0, x1 = 1 - x1, 1 - x0
        out[0][i], out[1][i], out[2][i] = (x0, y0, x1, y1), label, ignored[i]
    return out


def trial_box(uniform, scale=(0.3, 1.0), aspect_ratio=(0.5, 2.0)):
    """One crop from four numbers in [0, 1)."""
    side = scale[0] + uniform[0] * (scale[1] - scale[0])
    aspect = aspect_ratio[0] + uniform[1] * (aspect_ratio[1] - aspect_ratio[0])
    aspect = min(max(aspect, side**2), 1 / side**2)
    width, height = side * aspect**0.5, side / aspect**0.5
    x, y = uniform[2] * (1 - width), uniform[3] * (1 - height)
    return x, y, x + width, y + height


def run_samplers(trials, objects, min_ious=(0.1, 0.3, 0.5, 0.7, 0.9)):
    """Returns each sampler's first success or None: whole image, one a minimum IoU, any crop."""
    found = [(0.0, 0.0, 1.0, 1.0)]
    for boxes, minimum in zip(trials, [*min_ious, 0.0], strict=True):
        success = None
        for box in boxes:
            if any(iou(box, one) >= minimum for one in objects):
                success = tuple(box)
                break
        found.append(success)
    return found


def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def textured(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth colors, noise and hard edges: what interpolations and colors differ on."""
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.integers(
        -20, 21, (height, width, 3)
    )
    for _ in range(4):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + height // 4, x : x + width // 5] = rng.integers(0, 256, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def comparable(size, output_size, name: str, flip: bool = False) -> np.ndarray:
    """Marks the pixels [H, W] at which OpenCV's floor(target * scale), in float64, is the true floor.

    Where the product is a whole number, its rounding can land one source pixel too low (a known
    difference); only "nearest" and "area" use that product.
    """
    keep = []
    for side, output in zip(map(int, size), output_size, strict=True):
        target = np.arange(output)
        exact = np.floor(target * (1 / (output / side))) == target * side // output
        keep.append(exact | (name not in ("nearest", "area")))
    return keep[0][:, None] & (keep[1][::-1] if flip else keep[1])
