"""torchvision's ssd300_vgg16 beside our SSD300: parameter names, formula-made weights and images.

NumPy only, so that the same numbers can be made with and without torch.
"""

import zlib

import numpy as np

_VGG_FEATURES = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21,
}  # fmt: skip
_VGG_EXTRA = {"conv5_1": "1", "conv5_2": "3", "conv5_3": "5", "fc6": "7.1", "fc7": "7.3"}
_MAPS = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")

# torchvision's module -> (group, module) of our parameter tree
MODULES = {
    **{f"backbone.features.{index}": ("backbone", name) for name, index in _VGG_FEATURES.items()},
    **{f"backbone.extra.0.{index}": ("backbone", name) for name, index in _VGG_EXTRA.items()},
    **{f"backbone.extra.{k}.0": ("extras", f"conv{5 + k}_1") for k in range(1, 5)},
    **{f"backbone.extra.{k}.2": ("extras", f"conv{5 + k}_2") for k in range(1, 5)},
    **{f"head.regression_head.module_list.{k}": ("heads", f"{name}_mbox_loc") for k, name in enumerate(_MAPS)},
    **{f"head.classification_head.module_list.{k}": ("heads", f"{name}_mbox_conf") for k, name in enumerate(_MAPS)},
}
L2_SCALE = "backbone.scale_weight"


def torch_shapes(params) -> dict[str, tuple[int, ...]]:
    """Returns torchvision's parameter names and shapes, derived from our tree of arrays or shapes."""
    shapes = {L2_SCALE: params["backbone"]["conv4_3_norm"]["scale"].shape}
    for name, (group, module) in MODULES.items():
        height, width, inputs, outputs = params[group][module]["kernel"].shape
        shapes[f"{name}.weight"] = (outputs, inputs, height, width)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def formula_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns weights made by formula, the same on every machine.

    Kernels are uniform with variance 2 / fan_in, which keeps activations of a ReLU network at their
    size; biases are uniform in +-1, the L2 scale in 10 to 30.
    """
    state = {}
    for name, shape in shapes.items():
        values = uniform(name, shape)
        if name == L2_SCALE:
            state[name] = 20 + 10 * values
        elif name.endswith(".weight"):
            state[name] = values * np.float32(np.sqrt(6 / np.prod(shape[1:])))
        else:
            state[name] = values
    return state


def formula_images(batch: int, height: int, width: int) -> np.ndarray:
    """Returns images made by formula, float32 [batch, height, width, 3] in 0..255: waves and noise."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + 4 * c) + np.sin(y / (11 + 3 * c))) for c in range(3)]
    noise = uniform("images", (batch, height, width, 3))
    return (127.5 + 80 * np.stack(waves, axis=-1)[None] + 47 * noise).astype(np.float32)


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float32 numbers in [-1, 1): an integer hash of name and position, exact everywhere.

    NumPy's own generators may change their streams between versions.
    """
    x = np.arange(np.prod(shape), dtype=np.uint32) ^ np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    # The upper 24 bits are exact in float32.
    return ((x >> np.uint32(8)).astype(np.float32) / 2**23 - 1).astype(np.float32).reshape(shape)
