"""SSD: Single Shot MultiBox Detector (Liu et al., ECCV 2016) in JAX.

``from ssd_jax import boxes, matching, losses, postprocess, priors`` needs JAX alone (losses: and
optax); the network, the loaders and the checkpoints are imported by the modules that use them.
"""

__version__ = "0.1.0"
