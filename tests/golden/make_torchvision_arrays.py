"""Writes torchvision_arrays.npz: names, shapes and types of all arrays in checkpoints of torchvision's models.

    python tests/golden/make_torchvision_arrays.py

needs torch and torchvision (made with torch 2.13.0 on the CPU and torchvision 0.28.0). No weights are kept.
"""

import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from golden.make_ssd300_torchvision import define_operators

FILE = Path(__file__).with_name("torchvision_arrays.npz")
CLASSIFIERS = ("vgg16", "resnet34", "resnet50", "mobilenet_v2")
STRANGERS = ("vgg13", "vgg19", "vgg16_bn", "resnet18", "resnet101", "mobilenet_v3_large")
DETECTORS = ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large")  # with 91 classes, as published


def arrays(name: str) -> dict[str, np.ndarray]:
    """Returns arrays under the names and of the shapes of a published checkpoint; all numbers are zero.

    They take no memory: each is one number, read over and over.
    """
    frozen = np.load(FILE)
    shapes = [tuple(int(side) for side in shape.split("x") if side) for shape in frozen[f"{name}_shapes"]]
    dtypes = [np.int64 if key.endswith("num_batches_tracked") else np.float32 for key in frozen[f"{name}_names"]]
    return {
        str(key): np.broadcast_to(dtype(0), shape)
        for key, shape, dtype in zip(frozen[f"{name}_names"], shapes, dtypes, strict=True)
    }


def main() -> None:
    define_operators()
    import torchvision

    kept = {}
    for name in (*CLASSIFIERS, *STRANGERS, *DETECTORS):
        if name in DETECTORS:
            model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=91)
        else:
            model = getattr(torchvision.models, name)(weights=None)
        state = model.state_dict()
        kept[f"{name}_names"] = np.array(list(state))
        kept[f"{name}_shapes"] = np.array(["x".join(map(str, value.shape)) for value in state.values()])
        print(name, len(state))
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
