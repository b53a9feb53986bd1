"""Initial weights: from files of named arrays, or from a run of ours.

Of files only ``.npz`` is read here so far: arrays named by their path in the parameter tree
("backbone/conv1_1/kernel", as ``train.py --summary`` lists the layers), of exactly its shapes.
"""

from ssd_jax.weights.finetune import TrainedNetwork, fine_tune, read_run
from ssd_jax.weights.npz import MISSING_WEIGHTS, initialize, read_npz

__all__ = ["MISSING_WEIGHTS", "TrainedNetwork", "fine_tune", "initialize", "read_npz", "read_run"]
