"""From the named arrays of foreign files to the variables of our networks.

    converted = convert(tensors)                        # what the file means: arrays under our names, its configuration
    variables, report = fit(converted, fresh_variables, normalization=Normalization(mean, std))
    print(as_table(report))

``recognize`` names the family of a file; each family is a module of its own. Reading files is the task of
:mod:`ssd_jax.weights.readers`; messages begin with the name of an array, to which the caller adds that of the file.
"""

from ssd_jax.weights.mappings.collect import REVERSED
from ssd_jax.weights.mappings.fitting import HEADS, fit
from ssd_jax.weights.mappings.folding import fold_normalization
from ssd_jax.weights.mappings.recognition import FAMILIES, NAMES, convert, recognize
from ssd_jax.weights.mappings.report import as_table
from ssd_jax.weights.mappings.types import CAFFE, IMAGENET, Converted, Family, Normalization, Options, Report, Use

__all__ = [
    "CAFFE",
    "FAMILIES",
    "HEADS",
    "IMAGENET",
    "NAMES",
    "REVERSED",
    "Converted",
    "Family",
    "Normalization",
    "Options",
    "Report",
    "Use",
    "as_table",
    "convert",
    "fit",
    "fold_normalization",
    "recognize",
]
