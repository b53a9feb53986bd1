"""Initial weights from files: named arrays -> our parameter tree.

Only ``.npz`` is read here so far: arrays named by their path in the parameter tree
("conv1_1/kernel", as ``train.py --summary`` lists the layers), of exactly its shapes.
"""

from ssd_jax.weights.npz import MISSING_WEIGHTS, initialize, read_npz

__all__ = ["MISSING_WEIGHTS", "initialize", "read_npz"]
