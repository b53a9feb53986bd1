"""Networks behind one seam: :func:`build` returns pure functions; only this package knows Flax."""

from ssd_jax.models.ssd import Model, build

__all__ = ["Model", "build"]
