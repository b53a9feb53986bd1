"""Another normalization of images, folded into the first convolution.

A network that expects (x - m) / s of an image x, and is fed y = (x - M) / S instead, sees the same if its first
kernel is multiplied by S / s, channel by channel, and the sum over its taps of kernel * (M - m) / s is added
to the bias. The factor is exact everywhere, and so is the sum where all taps lie in the image. A tap beyond the
border reads zero, which stands for the mean, and the means differ. To be exact there as well, give the
network the normalization that the weights expect (model.mean, model.std): the overrides of a conversion do.
"""

import numpy as np

from ssd_jax.weights.mappings.types import Converted, Normalization, Use

FOLDED = "folded"


def fold_normalization(
    kernel: np.ndarray,  # [height, width, 3, output]
    *,
    expected: Normalization,
    given: Normalization,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the kernel for images normalized otherwise, and what has to be added to the outputs.

    Args:
      kernel: of a first convolution, for RGB.
      expected: the normalization that it was trained for.
      given: the one that it is going to be fed.

    Returns:
      The kernel; [output], the addition; the most by which an output that reads beyond the border is off, which
      is the sum of the magnitudes of all taps' additions.
    """
    factor = np.divide(given.std, expected.std)
    shift = np.subtract(given.mean, expected.mean) / expected.std
    terms = kernel.astype(np.float64) * shift[:, None]
    scaled = (kernel * factor[:, None]).astype(np.float32)
    return scaled, terms.sum((0, 1, 2)).astype(np.float32), float(np.abs(terms).sum((0, 1, 2)).max())


def fold(
    converted: Converted, arrays: dict[str, np.ndarray], uses: tuple[Use, ...], given: Normalization
) -> tuple[dict[str, np.ndarray], tuple[Use, ...], tuple[str, ...]]:
    """Folds what the network does to images into the first convolution, if that is not what the weights expect.

    Behind a convolution without bias stands a batch normalization, from whose running mean the addition is
    subtracted. Where the network has one and the file has none, training finds the mean.

    Args:
      converted: tells the first convolution and the normalization it expects.
      arrays: by path.
      uses: of the arrays.
      given: the normalization of the network.

    Returns:
      The arrays, the uses with what was done, and a sentence if something was.
    """
    expected = converted.normalization
    if expected is None or np.allclose(expected, given, rtol=1e-6, atol=0):
        return arrays, uses, ()
    layer = converted.first.removesuffix("/kernel")
    kernel, addition, most = fold_normalization(arrays[converted.first], expected=expected, given=given)
    bias, mean = f"{layer}/bias", f"batch_stats/{layer}_bn/mean"
    folded = {converted.first: kernel}
    if bias in arrays:
        folded[bias] = arrays[bias] + addition
    elif mean in arrays:
        folded[mean] = arrays[mean] - addition
    note = (
        f"images are normalized by {_described(given)}, and the weights expect {_described(expected)}: folded into the "
        f"first convolution, exactly but where it reads beyond the border, where outputs are off by up to {most:.2g}"
    )
    uses = tuple(use._replace(how=(*use.how, FOLDED)) if use.target in folded else use for use in uses)
    return {**arrays, **folded}, uses, (note,)


def _described(normalization: Normalization) -> str:
    parts = (f"({', '.join(f'{value:.6g}' for value in values)})" for values in normalization)
    return "mean {} and deviation {}".format(*parts)
