"""What can be known about a dataset before training on it: counts, odd files, how the default boxes suit it, pictures.

Everything is computed from a source and a recipe and returned as plain values; nothing prints or writes files.
"""

from ssd_jax.inspection.assignments import panels
from ssd_jax.inspection.counts import Annotations, Counts, collect, count
from ssd_jax.inspection.files import FILE_KINDS, FileProblem, FileReport, check_files, shared_content
from ssd_jax.inspection.recall import PriorRecall, Share, prior_recall
from ssd_jax.inspection.samples import augmented
from ssd_jax.inspection.scales import Suggestion, suggest

__all__ = [
    "FILE_KINDS",
    "Annotations",
    "Counts",
    "FileProblem",
    "FileReport",
    "PriorRecall",
    "Share",
    "Suggestion",
    "augmented",
    "check_files",
    "collect",
    "count",
    "panels",
    "prior_recall",
    "shared_content",
    "suggest",
]
