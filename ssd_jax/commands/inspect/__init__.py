"""The command ``python -m ssd_jax.commands.inspect``: a report on the data of a recipe."""
