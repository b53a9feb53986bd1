"""Fully connected layers of VGG-16 as atrous convolutions: the subsampling of Chen et al. that the paper takes over.

SSD paper, section 3: "convert fc6 and fc7 to convolutional layers, subsample parameters from fc6 and fc7". The
published result (VGG_ILSVRC_16_layers_fc_reduced: fc6 1024 x 512 x 3 x 3, fc7 1024 x 1024) keeps every fourth
output of both, and of the 7x7 taps of fc6 every third: 0, 3 and 6 of a side. Three taps of a map that pool5 no longer
halves lie six cells apart, which is the dilation of the network's fc6.
"""

import numpy as np

OUTPUTS, TAPS = 4, 3  # every so many are kept


def decimate(kernel: np.ndarray, *, inputs: int = 1, outputs: int = OUTPUTS, taps: int = 1) -> np.ndarray:
    """Keeps every ``taps``-th row and column, ``inputs``-th input and ``outputs``-th output of a kernel.

    Args:
      kernel: [height, width, input, output].
      inputs, outputs, taps: 1 = all are kept. The first is always among them.

    Returns:
      A view of the kernel.

    Raises:
      ValueError: if a step is below 1 or the kernel has not four axes.
    """
    steps = {"inputs": inputs, "outputs": outputs, "taps": taps}
    for name, step in steps.items():
        if step < 1:
            raise ValueError(f"{name}: expected at least 1, got {step}")
    if kernel.ndim != 4:
        raise ValueError(f"kernel: expected [height, width, input, output], got shape {kernel.shape}")
    return kernel[::taps, ::taps, ::inputs, ::outputs]


def decimate_fc6(kernel: np.ndarray) -> np.ndarray:  # [7, 7, 512, 4096] -> [3, 3, 512, 1024]
    """Returns every third tap and every fourth output of fc6."""
    return decimate(kernel, taps=TAPS)


def decimate_fc7(kernel: np.ndarray) -> np.ndarray:  # [1, 1, 4096, 4096] -> [1, 1, 1024, 1024]
    """Returns every fourth input of fc7, which fc6 still gives, and every fourth output."""
    return decimate(kernel, inputs=OUTPUTS)


def decimate_bias(bias: np.ndarray) -> np.ndarray:  # [4096] -> [1024]
    """Returns the biases of the outputs that are kept of either layer."""
    return bias[::OUTPUTS]
