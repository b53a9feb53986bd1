"""The peer of input.py: a training image the classic way, on the host, from its JPEG file to float32 [300, 300, 3].

The original's order (annotated_data_layer.cpp, data_transformer.cpp): distort, expand, crop by minimum overlap, resize,
flip. Each step makes its image, as the usual ports do; the sizes and chances are those of ``ssd_jax.augment``. OpenCV
does the pixels where it is installed, else Pillow and NumPy.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

try:
    import cv2
except ModuleNotFoundError:  # the tables say what was used
    cv2 = None

MEAN = (123, 117, 104)  # RGB
MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # of the crop samplers; the last takes any crop
TRIALS = 50


class Annotated(NamedTuple):
    """An image with its objects."""

    image: np.ndarray  # uint8 [h, w, 3] RGB
    boxes: np.ndarray  # [G, 4] xyxy in [0, 1]
    labels: np.ndarray  # [G]


def tool() -> str:
    """Returns what does the pixels."""
    return f"OpenCV {cv2.__version__}" if cv2 else "Pillow"


def use_one_thread() -> None:
    """Keeps OpenCV from using threads of its own, as is usual in the workers of such pipelines."""
    if cv2:
        cv2.setNumThreads(0)


def decode(file: bytes | Path) -> np.ndarray:  # uint8 [h, w, 3] RGB
    """Decodes a JPEG file."""
    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    if cv2 is None:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"file: expected a JPEG, got {len(data)} bytes that OpenCV cannot decode")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def augment(random: np.random.Generator, given: Annotated, size: tuple[int, int]) -> Annotated:
    """Distorts, expands, crops, resizes and flips; size is (height, width) of the result, whose image is float32."""
    given = given._replace(image=distort(random, given.image))
    given = crop(random, expand(random, given))
    image, boxes = resize(random, given.image, size), given.boxes
    if random.random() < 0.5:
        image, boxes = image[:, ::-1], boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [1, 0, 1, 0]
    return Annotated(image.astype(np.float32), boxes, given.labels)


def distort(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each in one image of two; contrast is second or last."""
    order = [_brightness, _contrast, _saturation, _hue]
    if random.random() < 0.5:
        order = [_brightness, _saturation, _hue, _contrast]
    for change in order:
        if random.random() < 0.5:
            image = change(random, image)
    return image


def _brightness(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return _saturate(image.astype(np.float32) + random.uniform(-32, 32))


def _contrast(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return _saturate(image.astype(np.float32) * random.uniform(0.5, 1.5))


def _saturation(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    hsv = _to_hsv(image)
    hsv[..., 1] = _saturate(hsv[..., 1].astype(np.float32) * random.uniform(0.5, 1.5))
    return _to_rgb(hsv)


def _hue(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    hsv = _to_hsv(image)
    shift = random.uniform(-18, 18) * (1 if cv2 else 255 / 180)  # OpenCV's circle has 180 steps, Pillow's 255
    hsv[..., 0] = _saturate(hsv[..., 0].astype(np.float32) + shift)
    return _to_rgb(hsv)


def _to_hsv(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2HSV) if cv2 else np.array(Image.fromarray(image).convert("HSV"))


def _to_rgb(hsv: np.ndarray) -> np.ndarray:
    if cv2:
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.array(Image.frombytes("HSV", hsv.shape[1::-1], hsv.tobytes()).convert("RGB"))


def _saturate(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def expand(random: np.random.Generator, given: Annotated) -> Annotated:
    """Lays one image of two somewhere on a mean-colored one of up to four times its sides."""
    if random.random() < 0.5:
        return given
    ratio = random.uniform(1, 4)
    height, width = given.image.shape[:2]
    canvas = np.empty((int(height * ratio), int(width * ratio), 3), np.uint8)
    canvas[:] = MEAN
    top, left = (int(random.uniform(0, a - b)) for a, b in zip(canvas.shape, (height, width), strict=False))
    canvas[top : top + height, left : left + width] = given.image
    pixels = given.boxes * [width, height, width, height] + [left, top, left, top]
    return given._replace(image=canvas, boxes=_by(pixels, canvas))


def _by(pixels: np.ndarray, image: np.ndarray) -> np.ndarray:  # [G, 4] -> [G, 4]
    height, width = image.shape[:2]
    return pixels / [width, height, width, height]


def crop(random: np.random.Generator, given: Annotated) -> Annotated:
    """Runs every sampler, takes one of their crops, and keeps the objects whose centers lie in it."""
    x0, y0, x1, y1 = sample_crop(random, given.boxes)
    height, width = given.image.shape[:2]
    left, top = int(x0 * width), int(y0 * height)
    right, bottom = max(left + 1, int(x1 * width)), max(top + 1, int(y1 * height))
    image = given.image[top:bottom, left:right]
    center = (given.boxes[:, :2] + given.boxes[:, 2:]) / 2
    pixels = given.boxes * [width, height, width, height] - [left, top, left, top]
    boxes = _by(pixels, image).clip(0, 1)
    kept = ((center >= [x0, y0]) & (center <= [x1, y1])).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Annotated(image, boxes[kept], given.labels[kept])


def sample_crop(random: np.random.Generator, boxes: np.ndarray) -> np.ndarray:  # [G, 4] -> [4] xyxy in [0, 1]
    """Returns the whole image, or the first success of a sampler, each with the same chance."""
    found = [np.array([0.0, 0, 1, 1])]
    for least in MIN_OVERLAPS if len(boxes) else ():
        trials = draw_trials(random)
        good = np.flatnonzero(overlaps(trials, boxes).max(axis=1) >= least)
        if good.size:
            found.append(trials[good[0]])
    return found[random.integers(len(found))]


def draw_trials(random: np.random.Generator) -> np.ndarray:  # [TRIALS, 4] xyxy in [0, 1]
    """Draws side, aspect ratio and place of the crops that a sampler looks at."""
    side, aspect = random.uniform(0.3, 1, TRIALS), random.uniform(0.5, 2, TRIALS)
    aspect = np.clip(aspect, side**2, 1 / side**2)
    sides = np.stack([side * aspect**0.5, side / aspect**0.5], axis=1)
    low = random.uniform(0, 1, (TRIALS, 2)) * (1 - sides)
    return np.concatenate([low, low + sides], axis=1).clip(0, 1)


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:  # [N, 4], [G, 4] -> [N, G]
    """Returns the intersection over union of each pair."""
    low, high = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    area, other_area = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other))
    return shared / (area[:, None] + other_area - shared)


def resize(random: np.random.Generator, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warps to (height, width) by one of five interpolations."""
    choice = int(random.integers(5))
    if cv2:
        names = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
        return cv2.resize(image, (size[1], size[0]), interpolation=names[choice])
    filters = Image.Resampling
    names = (filters.BILINEAR, filters.BOX, filters.NEAREST, filters.BICUBIC, filters.LANCZOS)
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), names[choice]))
