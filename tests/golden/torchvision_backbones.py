"""torchvision's classifiers beside our backbones: parameter names, formula-made weights. NumPy only."""

from typing import Any

import numpy as np
from golden.torchvision_names import uniform

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def torch_name(module: str) -> str:
    """Returns torchvision's name: layer2_0_conv1_bn -> layer2.0.bn1, block3_expand -> features.3.conv.0.0."""
    layer, is_norm = module.removesuffix("_bn"), module.endswith("_bn")
    first, last = layer.split("_")[0], layer.split("_")[-1]
    if layer == "conv1":
        return "bn1" if is_norm else "conv1"
    if layer in ("conv_first", "conv_last"):
        return f"features.{0 if last == 'first' else 18}.{int(is_norm)}"
    if first.startswith("block"):
        number = int(first.removeprefix("block"))
        position = ("expand", "depthwise", "project").index(last) - (number == 1)  # block 1 expands nothing
        inside = str(position + is_norm) if last == "project" else f"{position}.{int(is_norm)}"
        return f"features.{number}.conv.{inside}"
    stage, block, _ = layer.split("_")
    if last == "downsample":
        return f"{stage}.{block}.downsample.{int(is_norm)}"
    return f"{stage}.{block}.{last.replace('conv', 'bn') if is_norm else last}"


def torch_state(variables: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Returns torchvision's name of every array -> its (collection, module, leaf) in our variables."""
    return {
        f"{torch_name(module)}.{LEAVES[leaf]}": (collection, module, leaf)
        for collection, modules in variables.items()
        for module, leaves in modules.items()
        for leaf in leaves
    }


def formula_state(shapes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns weights for our variables, by torchvision's names and in its layout, the same on every machine.

    Kernels are uniform with variance 4/3 / fan_in; scales and variances lie in 0.5 to 1.5, biases and
    means in +-0.3, so that forgetting any of them shows.
    """
    state = {}
    for name, (collection, module, leaf) in torch_state(shapes).items():
        shape = shapes[collection][module][leaf].shape
        shape = (shape[3], shape[2], *shape[:2]) if leaf == "kernel" else shape
        values = uniform(name, shape)
        if leaf == "kernel":
            state[name] = values * np.float32(np.sqrt(4 / np.prod(shape[1:])))
        else:
            state[name] = 1 + values / 2 if leaf in ("scale", "var") else np.float32(0.3) * values
    return state
