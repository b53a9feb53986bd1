"""The file of an exported program: what JAX alone needs to detect, and who made it.

It is a zip archive, nothing in it compressed, and also an archive of NumPy arrays (``numpy.load`` reads the weights):

    metadata.json       what the program takes and gives, class names, configuration, origin, versions
    program.bin         ``jax.export.Exported.serialize()``: StableHLO for one or several platforms
    NAME.npy            one array of the weights, float32, by its name ("backbone/conv1_1/kernel")

The weights are arguments of the program, not constants in it. Measured on SSD300 (26 million parameters; CPU, two
cores, JAX 0.10.2): the file is as large either way, but a program with constants takes 6.8 s to compile in place of
4.8 s and 250 MB more memory, and each batch size that is compiled would hold the weights once more. Besides,
StableHLO promises to be readable for months, NumPy's arrays for good.
"""

from ssd_jax.artifact.file import Artifact, check_platform, is_artifact, make_run, read, write
from ssd_jax.artifact.metadata import CANDIDATES, DETECTIONS, describe

__all__ = [
    "CANDIDATES",
    "DETECTIONS",
    "Artifact",
    "check_platform",
    "describe",
    "is_artifact",
    "make_run",
    "read",
    "write",
]
