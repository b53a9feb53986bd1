"""Initial weights: from files of anyone's (``readers``, ``mappings``), or from a run of ours (``finetune``)."""

from ssd_jax.weights.finetune import TrainedNetwork, fine_tune, read_run
from ssd_jax.weights.start import MISSING_WEIGHTS, initialize

__all__ = ["MISSING_WEIGHTS", "TrainedNetwork", "fine_tune", "initialize", "read_run"]
