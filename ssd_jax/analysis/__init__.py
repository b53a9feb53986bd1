"""Why a detector is wrong, after Hoiem et al. (ECCV 2012): kinds of errors, sensitivities, curves, confusions.

``analyze`` reads detections and ground truth as the metrics do and returns an ``Analysis``, which ``as_table`` turns
into text and ``as_dict`` into what JSON can hold. docs/evaluation.md says how to read it.
"""

from ssd_jax.analysis.findings import analyze
from ssd_jax.analysis.groups import default_groups
from ssd_jax.analysis.text import as_dict, as_table

__all__ = ["analyze", "as_dict", "as_table", "default_groups"]
