"""ONNX, written with the package ``onnx``: ``graph`` holds nodes, ``rules`` turns JAX's operations into them.

Why not jax2onnx, which converts far more: 0.17.1, the newest, wants orbax-checkpoint < 0.11.37, which is older than
ours, and fails under JAX 0.12.0.1 at every nested ``jit`` (it reads ``jax._src.core.ClosedJaxpr``); 0.13.0, which pip
finds to fit, fails there at ``vmap``. A detector without its suppression consists of thirty operations, and suppression
is one of ONNX's own, ``NonMaxSuppression`` (``suppression``).
"""

from ssd_jax.export.to_onnx.model import open_runner, write

__all__ = ["open_runner", "write"]
