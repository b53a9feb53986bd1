"""``python -m ssd_jax.commands.weights``: lists files of weights, and converts them."""
