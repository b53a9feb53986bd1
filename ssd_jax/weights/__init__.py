"""Weights of networks, wherever they come from and go to.

``readers`` and ``mappings`` take files of anyone's apart, ``start`` fills a network's variables from them;
``trained`` reads what we have trained (``runs``, ``published``), and ``finetune`` starts from that.
"""

from ssd_jax.weights.finetune import fine_tune, read_trained
from ssd_jax.weights.network import TrainedNetwork
from ssd_jax.weights.start import MISSING_WEIGHTS, Start, initialize
from ssd_jax.weights.trained import describe, read

__all__ = ["MISSING_WEIGHTS", "Start", "TrainedNetwork", "describe", "fine_tune", "initialize", "read", "read_trained"]
