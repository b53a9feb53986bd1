"""What every test shares: eight fake CPU devices, hypothesis without a clock, and the folder of real data."""

import os
import sys
from pathlib import Path

# Before anything imports jax: XLA reads the number of CPU devices only once.
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

import hypothesis
import pytest

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent

# So that `import reference` works under every import mode of pytest.
sys.path.insert(0, str(TESTS))

# No deadline: the first example pays for the compilation. Derandomized: a failure is the same failure tomorrow.
hypothesis.settings.register_profile("ssd_jax", deadline=None, derandomize=True, max_examples=60, database=None)
hypothesis.settings.load_profile("ssd_jax")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Returns the folder of real data and oracles next to the repository; skips the test where there is none."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real data and oracles of {folder}, which are not part of the repository")
    return folder
