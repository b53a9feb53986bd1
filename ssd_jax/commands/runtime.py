"""How JAX computes: the precision of float32 products, and whether a GPU repeats itself to the last bit."""

import os

import jax

from ssd_jax.errors import InputError
from ssd_jax.recipe import MATMUL_PRECISIONS

# XLA's own words for it: "Guarantees run-to-run determinism on GPU." Among other things it takes the first fitting
# kernel in place of the one that was fastest in a trial. jaxlib 0.10 and 0.12 know it, that for CPUs too; a flag that
# XLA does not know ends the process.
DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops"


def configure(*, matmul_precision: str, deterministic: bool) -> None:
    """Applies the section ``runtime`` of a recipe; to be called before JAX touches a device.

    Args:
      matmul_precision: of :func:`set_matmul_precision`.
      deterministic: whether the same program on the same GPU gives the same bits every time. XLA_FLAGS
        gets one flag more, which CPUs do not heed: they repeat themselves anyway.

    Raises:
      InputError: if the precision is unknown, or XLA_FLAGS contradicts ``deterministic``.
      RuntimeError: if it is too late for ``deterministic``.
    """
    set_matmul_precision(matmul_precision)
    if deterministic:
        _set_deterministic_flag()


def set_matmul_precision(matmul_precision: str) -> None:
    """Sets how convolutions and matrix products of float32 numbers are computed, where no other precision is named.

    Args:
      matmul_precision: "float32": in full. "tensorfloat32": factors may be rounded to 11 significant
        bits, where a device has units for that. "default": what JAX does, which is the same on GPUs. On
        CPUs all three are float32.

    Raises:
      InputError: if it is none of these.
    """
    if matmul_precision not in MATMUL_PRECISIONS:
        raise InputError(
            f"config.runtime.matmul_precision: expected one of {', '.join(MATMUL_PRECISIONS)}; got {matmul_precision!r}"
        )
    if matmul_precision != "default":
        jax.config.update("jax_default_matmul_precision", matmul_precision)


def _set_deterministic_flag() -> None:
    flags = os.environ.get("XLA_FLAGS", "").split()
    if flags and not flags[0].startswith("-"):  # XLA takes it for the name of a file
        raise InputError(f"XLA_FLAGS: expected flags, to which config.runtime.deterministic adds one, got {flags[0]}")
    values = [flag.partition("=")[2] for flag in flags if flag.partition("=")[0] == DETERMINISTIC_FLAG]
    if any(value.lower() in ("false", "0") for value in values):
        raise InputError(
            f"config.runtime.deterministic: True contradicts {DETERMINISTIC_FLAG}={values[-1]} in XLA_FLAGS"
        )
    if values:
        return
    if _devices_are_known():
        raise RuntimeError(
            f"XLA_FLAGS: JAX has read it already and would not see {DETERMINISTIC_FLAG}; "
            "configure() has to come before the first use of a device"
        )
    os.environ["XLA_FLAGS"] = " ".join([*flags, f"{DETERMINISTIC_FLAG}=true"])


def _devices_are_known() -> bool:
    # Only JAX's inner modules tell (0.10 to 0.12); asking the public ones for a device would make it so.
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
