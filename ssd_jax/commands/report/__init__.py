"""The report of an evaluation: one self-contained page that explains a detector, or compares several."""

from ssd_jax.commands.report.run import Run
from ssd_jax.commands.report.writing import write

__all__ = ["Run", "write"]
