"""Writes mappings_torch.npz: outputs of narrow torch networks in the names of others, with formula-made weights.

    python tests/golden/make_mappings_torch.py

needs torch (made with torch 2.13.0 on the CPU). The networks are written here after the facts of their structure: the
detectors of amdegroot/ssd.pytorch (SSD300) and lufficc/SSD (SSD512), and torchvision's vgg16 with its classifier. The
names and shapes of their arrays are frozen beside the outputs, so that nothing of the library enters them.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from golden import torchvision_names

FILE = Path(__file__).with_name("mappings_torch.npz")


class Widths(NamedTuple):
    """Channels of the layers."""

    stages: tuple[int, ...]  # of VGG
    fc: int  # fc6 and fc7
    extras: tuple[tuple[int, int], ...]  # both convolutions of each extra stage


NARROW = Widths((8,) * 5, 16, ((8, 8),) * 5)
FULL = Widths((64, 128, 256, 512, 512), 1024, ((256, 512), *((128, 256),) * 4))
WIDTH_MULTIPLIER = 1 / 64  # of our networks that are as narrow
FULL_FC_WIDTH = 64  # of fc6 and fc7 in the narrow classifier
DEPTHS = (2, 2, 3, 3, 3)
MEAN = (123.0, 117.0, 104.0)
EVERY = 7
NETWORKS = {"ssd_pytorch": (300, 4), "lufficc": (512, 3), "vgg16": (224, 0)}  # image size, classes

# Kernel, stride and padding of the second convolution of each extra stage.
EXTRAS = {
    300: ((3, 2, 1), (3, 2, 1), (3, 1, 0), (3, 1, 0)),
    512: ((3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 2, 1), (4, 1, 1)),
}
BOXES = {300: (4, 6, 6, 6, 4, 4), 512: (4, 6, 6, 6, 6, 4, 4)}


def images(side: int) -> np.ndarray:  # [1, side, side, 3] in 0..255, RGB
    """Returns an image made by formula."""
    return torchvision_names.formula_images(1, side, side)


def formula_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns weights by name: kernels of variance 2 / fan_in, small biases, scales of 10 to 30."""
    state = {}
    for name, shape in shapes.items():
        values = torchvision_names.uniform(name, shape)
        if len(shape) > 1:
            state[name] = values * np.float32(np.sqrt(6 / np.prod(shape[1:])))
        else:
            state[name] = 20 + 10 * values if "norm" in name.lower() else values
    return state


def vgg_layers(widths: Widths, with_ceil: bool) -> list:
    """Returns VGG's convolutions, ReLUs and pools up to the ReLU of conv5_3."""
    from torch import nn

    layers, inputs = [], 3
    for stage, depth in enumerate(DEPTHS, start=1):
        if stage > 1:
            # Only pool3 meets an odd size, at 300 pixels.
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=with_ceil and stage == 4))
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, widths.stages[stage - 1], 3, padding=1), nn.ReLU()]
            inputs = widths.stages[stage - 1]
    return layers


def detector_parts(side: int, num_classes: int, widths: Widths) -> dict:
    """Returns the layers of a detector: "base", "extras", "location", "confidence"."""
    from torch import nn

    base = vgg_layers(widths, with_ceil=True)
    base += [nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(widths.stages[4], widths.fc, 3, padding=6, dilation=6), nn.ReLU()]
    base += [nn.Conv2d(widths.fc, widths.fc, 1), nn.ReLU()]
    extras, inputs = [], widths.fc
    stages = list(zip(widths.extras, EXTRAS[side], strict=False))  # SSD300 has one less
    for (bottleneck, outputs), (kernel, stride, padding) in stages:
        extras += [nn.Conv2d(inputs, bottleneck, 1)]
        extras += [nn.Conv2d(bottleneck, outputs, kernel, stride=stride, padding=padding)]
        inputs = outputs
    sources = (widths.stages[3], widths.fc, *(outputs for (_, outputs), _ in stages))
    heads = {
        part: [nn.Conv2d(w, b * values, 3, padding=1) for w, b in zip(sources, BOXES[side], strict=True)]
        for part, values in (("location", 4), ("confidence", num_classes))
    }
    return {"base": nn.ModuleList(base), "extras": nn.ModuleList(extras)} | {
        k: nn.ModuleList(v) for k, v in heads.items()
    }


def l2_norm(channels: int):
    """Returns a module whose only parameter is the scale of each channel."""
    import torch

    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.full((channels,), 20.0))
    return module


def detector_maps(base, extras, norm, x) -> list:
    """Runs a detector up to its feature maps."""
    import torch

    maps = []
    for index, layer in enumerate(base):
        x = layer(x)
        if index == 22:  # the ReLU of conv4_3
            maps.append(torch.nn.functional.normalize(x, dim=1) * norm.weight.view(1, -1, 1, 1))
    maps.append(x)
    for index, layer in enumerate(extras):
        x = torch.relu(layer(x))
        if index % 2:
            maps.append(x)
    return maps


def rows(heads, maps, values: int):
    """Applies heads: -> [B, P, values], by level, row, column, box."""
    import torch

    parts = [head(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, values) for head, x in zip(heads, maps, strict=True)]
    return torch.cat(parts, dim=1)


def network(name: str, *, side: int = 0, widths: Widths = NARROW):
    """Returns the module of a network, with torch's random weights.

    Args:
      name: of NETWORKS.
      side: of a detector's images, 300 or 512; 0 = as frozen.
      widths: of a detector.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    frozen_side, num_classes = NETWORKS[name]
    model = nn.Module()
    if name == "vgg16":
        model.features = nn.Sequential(*vgg_layers(NARROW, with_ceil=False), nn.MaxPool2d(2, 2))
        fc6, fc7 = nn.Linear(NARROW.stages[4] * 7 * 7, FULL_FC_WIDTH), nn.Linear(FULL_FC_WIDTH, FULL_FC_WIDTH)
        model.classifier = nn.Sequential(
            fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), nn.Dropout(), nn.Linear(FULL_FC_WIDTH, 10)
        )
        return model.eval()
    parts = detector_parts(side or frozen_side, num_classes, widths)
    norm = l2_norm(widths.stages[3])
    if name == "ssd_pytorch":
        model.vgg, model.extras, model.loc, model.conf = (
            parts["base"],
            parts["extras"],
            parts["location"],
            parts["confidence"],
        )
        model.L2Norm = norm
        return model.eval()
    model.backbone, model.box_head = nn.Module(), nn.Module()
    model.backbone.vgg, model.backbone.extras, model.backbone.l2_norm = parts["base"], parts["extras"], norm
    model.box_head.predictor = nn.Module()
    model.box_head.predictor.cls_headers = parts["confidence"]
    model.box_head.predictor.reg_headers = parts["location"]
    return model.eval()


def outputs(name: str, model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a network on normalized images [B, H, W, 3]."""
    import torch

    num_classes = NETWORKS[name][1]
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        if name == "vgg16":
            conv5_3 = model.features[:-1](x)
            pooled = torch.flatten(model.features[-1](conv5_3), 1)
            fc7 = model.classifier[:5](pooled)
            return {
                "conv5_3": conv5_3.permute(0, 2, 3, 1).numpy(),
                "fc6": model.classifier[:2](pooled).numpy(),
                "fc7": fc7.numpy(),
            }
        if name == "ssd_pytorch":
            maps, heads = detector_maps(model.vgg, model.extras, model.L2Norm, x), (model.loc, model.conf)
        else:
            maps = detector_maps(model.backbone.vgg, model.backbone.extras, model.backbone.l2_norm, x)
            heads = (model.box_head.predictor.reg_headers, model.box_head.predictor.cls_headers)
        found = [rows(head, maps, values) for head, values in zip(heads, (4, num_classes), strict=True)]
    return {"offsets": found[0].numpy(), "logits": found[1].numpy()}


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the arrays that a checkpoint of the module holds."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def load(model, state: dict[str, np.ndarray]) -> None:
    """Puts arrays into a module; all of them have to be there."""
    import torch

    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})


def split(name: str, values: np.ndarray) -> list[np.ndarray]:
    """Returns the rows [P, values] of each feature map."""
    side = NETWORKS[name][0]
    grids = {300: (38, 19, 10, 5, 3, 1), 512: (64, 32, 16, 8, 4, 2, 1)}[side]
    counts = [cells * cells * boxes for cells, boxes in zip(grids, BOXES[side], strict=True)]
    return np.split(values, np.cumsum(counts)[:-1])


def main() -> None:
    kept = {}
    for name, (side, _) in NETWORKS.items():
        model = network(name)
        shapes = shapes_of(model)
        load(model, formula_state(shapes))
        kept[f"{name}_names"] = np.array(list(shapes))
        kept[f"{name}_shapes"] = np.array(["x".join(map(str, shape)) for shape in shapes.values()])
        for output, values in outputs(name, model, images(side) - np.float32(MEAN)).items():
            if output in ("offsets", "logits"):
                maps = split(name, values[0])
                kept[f"{name}_{output}"] = np.concatenate([m[:: max(1, len(m) // 40)] for m in maps])
                kept[f"{name}_{output}_largest"] = np.array([np.abs(m).max() for m in maps])
                kept[f"{name}_{output}_sums"] = np.array([m.astype(np.float64).sum(axis=0) for m in maps])
            else:
                kept[f"{name}_{output}"] = values.ravel()[::EVERY]
                kept[f"{name}_{output}_largest"] = np.abs(values).max()
            print(name, output, kept[f"{name}_{output}_largest"])
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
