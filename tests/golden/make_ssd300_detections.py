"""Writes ssd300_detections.npz: what torchvision's ssd300_vgg16 detects on a real picture with formula-made weights.

    python tests/golden/make_ssd300_detections.py SHARED_FOLDER

needs torch and torchvision (made with torch 2.13.0 on the CPU and torchvision 0.28.0) and the folder of real data.
Two sets of detections are kept: "equal", where boxes are clipped after suppression as the original and we do, all
else being torchvision's, and "own", with nothing changed. Both see the picture in 300x300 pixels, as we resize it.
"""

import sys
import zlib
from pathlib import Path
from unittest import mock

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from golden import make_ssd300_torchvision, torchvision_names

FILE = Path(__file__).with_name("ssd300_detections.npz")
PICTURE = "data/voc2012-animals/VOCdevkit/VOC2012/JPEGImages/2008_000053.jpg"
NUM_CLASSES = 21
SIDE = 300
FIELDS = ("boxes", "scores", "labels")


def decoded(shared: Path, path: str = PICTURE) -> np.ndarray:  # [height, width, 3] uint8
    """Returns a picture as this machine decodes it; decoders of JPEG may differ by a level."""
    from PIL import Image

    return np.asarray(Image.open(shared / path).convert("RGB"))


def picture(shared: Path, path: str = PICTURE, *, side: int = SIDE) -> np.ndarray:  # [side, side, 3] whole levels
    """Returns a picture as evaluation resizes it."""
    from ssd_jax import augment

    pixels = decoded(shared, path)
    return np.asarray(augment.resize(pixels, np.int32(pixels.shape[:2]), output_size=(side, side)))


def formula_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns the weights of test_torchvision_parity with smaller heads, whose scores do not all end at 0 and 1."""
    state = torchvision_names.formula_state(shapes)
    return {name: value * np.float32(HEADS) if name.startswith("head.") else value for name, value in state.items()}


HEADS = 0.02


def network(num_classes: int = NUM_CLASSES):
    """Returns torchvision's detector with these weights."""
    import torch

    make_ssd300_torchvision.define_operators()
    from torchvision.models.detection import ssd300_vgg16

    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=num_classes).eval()
    state = formula_state({name: tuple(value.shape) for name, value in model.state_dict().items()})
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return model


def suppress(boxes, scores, iou_threshold):
    """Is torchvision.ops.nms, slow and obvious: its own is a compiled operator, which is not everywhere."""
    import torch

    order = torch.sort(scores, descending=True, stable=True)[1]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = torch.maximum(boxes[best, :2], boxes[order, :2])
        high = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        order = order[shared / (area[best] + area[order] - shared) <= iou_threshold]
    return torch.tensor(kept, dtype=torch.int64)


def detections(model, image: np.ndarray, *, clip_first: bool) -> dict[str, np.ndarray]:
    """Returns boxes in pixels, scores and labels of an image [300, 300, 3] in 0..255."""
    import torch
    from torchvision.ops import boxes as box_ops

    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(255))
    clip = box_ops.clip_boxes_to_image
    later = clip if clip_first else lambda boxes, size: boxes
    replaced = mock.patch.multiple(box_ops, clip_boxes_to_image=later, nms=suppress)
    with torch.no_grad(), replaced:
        found = model([x])[0]
    boxes = clip(found["boxes"], (SIDE, SIDE))
    return {
        "boxes": boxes.numpy(),
        "scores": found["scores"].numpy(),
        "labels": found["labels"].numpy().astype(np.int32),
    }


def main() -> None:
    shared = Path(sys.argv[1])
    image, model = picture(shared), network()
    kept = {"decoded": zlib.crc32(decoded(shared).tobytes()), "resized": zlib.crc32(image.astype(np.uint8).tobytes())}
    for name, clip_first in (("equal", False), ("own", True)):
        found = detections(model, image, clip_first=clip_first)
        kept |= {f"{name}_{field}": found[field] for field in FIELDS}
        print(name, len(found["scores"]), found["scores"][[0, -1]], np.bincount(found["labels"], minlength=NUM_CLASSES))
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
