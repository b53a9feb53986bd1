"""How the tests compile: in a fifth of the time where programs run once or twice, as users do where bits are compared.

Most of the time of these tests would be XLA's optimization for the CPU. It decides how loops are fused, unrolled and
vectorized, not which operations there are.
"""

import importlib.util
import mmap
from pathlib import Path

EMITTERS = "xla_cpu_use_fusion_emitters"


def knows(flag: str) -> bool:
    """Whether the installed XLA has heard of a flag: one that it does not know in XLA_FLAGS ends the process."""
    package = importlib.util.find_spec("jaxlib")
    library = Path(package.origin).with_name("libjax_common.so") if package and package.origin else None
    if library is None or not library.is_file():
        return False
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        # As a string of its own: within others, the names of removed flags are left.
        return text.find(b"\0" + flag.encode() + b"\0") >= 0


# The older of XLA's two ways from fusions to machine code is several times as fast, if nothing is optimized.
_EMITTERS = {EMITTERS: True} if knows(EMITTERS) else {}
# Both for jax.jit(compiler_options=...) and compile(...). The second is what XLA does of its own accord.
FAST = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    **dict.fromkeys(_EMITTERS, False),
}
OPTIMIZED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False, **_EMITTERS}


def flags(*, devices: int = 1, fast: bool = True) -> str:
    """Returns what XLA_FLAGS is to be for a process with some fake devices."""
    options = {"xla_force_host_platform_device_count": devices, **(FAST if fast else {})}
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
