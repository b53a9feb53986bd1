"""Exports of a trained detector, each compared with the live model before it takes its name.

``program`` makes the function that leaves the library; ``stablehlo``, ``to_onnx`` and ``weights.published`` write
it; ``pictures`` and ``comparing`` hold the file to the live model. docs/deploy.md says how to run what is written.
"""

from ssd_jax.export.comparing import Comparison
from ssd_jax.export.exporting import FORMATS, ONNX, SAFETENSORS, STABLEHLO, Options, export
from ssd_jax.export.stablehlo import PLATFORMS

__all__ = ["FORMATS", "ONNX", "PLATFORMS", "SAFETENSORS", "STABLEHLO", "Comparison", "Options", "export"]
