"""Writes ssd300_torchvision.npz: outputs of torchvision's ssd300_vgg16 with formula-made weights.

    python tests/golden/make_ssd300_torchvision.py

needs torch and torchvision (made with torch 2.13.0 on the CPU and torchvision 0.28.0). The outputs are
kept at fixed positions of each feature map, beside the sum and the largest magnitude of the whole map.
"""

import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from golden import torchvision_names

FILE = Path(__file__).with_name("ssd300_torchvision.npz")
NUM_CLASSES = 21
BOXES = (5776, 2166, 600, 150, 36, 4)  # of each feature map: facts of SSD300, see ssd_pascal.py
MEAN = (123.0, 117.0, 104.0)


def positions() -> np.ndarray:
    """Returns the indices of the kept boxes: up to 40 a map, evenly spread, first and last among them."""
    starts = np.cumsum((0, *BOXES[:-1]))
    spread = [start + np.unique(np.linspace(0, n - 1, 40).astype(int)) for start, n in zip(starts, BOXES, strict=True)]
    return np.concatenate(spread)


def torchvision_outputs(images: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Runs backbone and head: images [B, H, W, 3] RGB -> "offsets" [B, P, 4], "logits" [B, P, C]."""
    import torch

    define_operators()
    from torchvision.models.detection import ssd300_vgg16

    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=num_classes).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    state = torchvision_names.formula_state(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    # Caffe's scale of pixels, as the weights of the paper expect it; torchvision's transform is skipped.
    x = torch.from_numpy(images - np.float32(MEAN)).permute(0, 3, 1, 2)
    with torch.no_grad():
        outputs = model.head(list(model.backbone(x).values()))
    return {"offsets": outputs["bbox_regression"].numpy(), "logits": outputs["cls_logits"].numpy()}


def define_operators() -> None:
    """Declares the operators without which a torchvision built for CUDA cannot be imported on a CPU."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        define_operators.library = torch.library.Library("torchvision", "DEF")  # lives as long as it is referred to
        for name in ("nms", "qnms"):
            define_operators.library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def main() -> None:
    outputs = torchvision_outputs(torchvision_names.formula_images(1, 300, 300), NUM_CLASSES)
    kept = {}
    for name, values in outputs.items():
        maps = np.split(values[0].astype(np.float64), np.cumsum(BOXES)[:-1])
        kept[name] = values[0, positions()]
        kept[f"{name}_sums"] = np.array([m.sum(axis=0) for m in maps])
        kept[f"{name}_largest"] = np.array([np.abs(m).max() for m in maps])
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size} bytes; largest values {kept['offsets_largest']}, {kept['logits_largest']}")


if __name__ == "__main__":
    main()
