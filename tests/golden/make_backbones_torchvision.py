"""Writes backbones_torchvision.npz: feature maps and counts of torchvision's classifiers with formula-made weights.

    python tests/golden/make_backbones_torchvision.py

needs torch and torchvision (made with torch 2.13.0 on the CPU and torchvision 0.28.0). Of each map every
61st value is kept, beside the sum of each channel and the largest magnitude.
"""

import functools
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from golden import torchvision_backbones, torchvision_names
from golden.make_ssd300_torchvision import define_operators

FILE = Path(__file__).with_name("backbones_torchvision.npz")
NAMES = ("resnet34", "resnet50", "mobilenet_v2")
IMAGE_SIZE = (104, 74)  # the stem makes 52x37 of it: the pool rounds one side down, strides meet both parities
EVERY = 61  # prime: the kept values wander through cells and channels


def images(height: int, width: int) -> np.ndarray:  # [1, height, width, 3]
    """Returns an image made by formula, on the scale that classifiers expect."""
    return (torchvision_names.formula_images(1, height, width) - 120) / 60


def network(name: str):
    """Returns torchvision's classifier with random weights; a ResNet's layer3 has stride 1 as in SSD300."""
    import torch

    define_operators()
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    if name.startswith("resnet"):
        block = model.layer3[0]
        for layer in (block.conv1, block.conv2, block.downsample[0]):
            layer.stride = (1, 1)
    return model


def feature_maps(name: str, model, x) -> list:
    """Returns the maps that SSD reads, [B, C, h, w] each."""
    if name.startswith("resnet"):
        for layer in list(model.children())[:7]:
            x = layer(x)
        return [x]
    for block in model.features[:14]:
        x = block(x)
    return [model.features[14].conv[0](x), model.features[14:](x)]


def torchvision_maps(name: str, x: np.ndarray, state: dict[str, np.ndarray] | None = None) -> list[np.ndarray]:
    """Returns the feature maps [B, h, w, C] of images [B, H, W, 3], with random weights unless given."""
    import torch

    model = network(name)
    if state is not None:
        unset = model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
        assert not unset.unexpected_keys
    with torch.no_grad():
        maps = feature_maps(name, model, torch.from_numpy(x.transpose(0, 3, 1, 2)))
    return [one.permute(0, 2, 3, 1).numpy() for one in maps]


def counts(name: str) -> tuple[int, int]:
    """Returns the parameters of the layers that SSD keeps, and their multiply-accumulates for an image of 300x300."""
    import torch

    model, found = network(name), [0]
    left_out = ("layer4", "fc", "classifier")

    def record(layer, inputs, output):
        found[0] += layer.weight.numel() * output.shape[2] * output.shape[3]

    for key, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and not key.startswith(left_out):
            layer.register_forward_hook(record)
    x = torch.zeros(1, 3, 300, 300)
    with torch.no_grad():
        model.features(x) if name == "mobilenet_v2" else feature_maps(name, model, x)
    return sum(p.numel() for key, p in model.named_parameters() if not key.startswith(left_out)), found[0]


def keep(one: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what is frozen of a map [1, h, w, C]."""
    return {
        "values": one.ravel()[::EVERY],
        "sums": one.astype(np.float64).sum(axis=(0, 1, 2)).astype(np.float32),
        "largest": np.abs(one).max(),
        "shape": np.array(one.shape),
    }


def main() -> None:
    import jax

    from ssd_jax.models import ssd

    kept, x = {}, images(*IMAGE_SIZE)
    for name in NAMES:
        init = functools.partial(ssd.BACKBONES[name]().init, train=False)
        shapes = jax.eval_shape(init, jax.random.key(0), x)
        state = torchvision_backbones.formula_state(shapes)
        for number, one in enumerate(torchvision_maps(name, x, state)):
            kept |= {f"{name}_{number}_{key}": value for key, value in keep(one).items()}
        kept[f"{name}_counts"] = np.array(counts(name))
        print(name, kept[f"{name}_counts"], [kept[k] for k in kept if k.startswith(name) and k.endswith("largest")])
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
