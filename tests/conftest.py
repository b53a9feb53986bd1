"""What every test shares: eight fake CPU devices, how XLA compiles, hypothesis without a clock, real data."""

import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

import hypothesis
import pytest

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent

# So that `import reference` works under every import mode of pytest.
sys.path.insert(0, str(TESTS))

import compiling  # noqa: E402

# No deadline: the first example pays for the compilation. Derandomized: a failure is the same failure tomorrow.
hypothesis.settings.register_profile("ssd_jax", deadline=None, derandomize=True, max_examples=60, database=None)
hypothesis.settings.load_profile("ssd_jax")


def pytest_configure(config: pytest.Config) -> None:
    """Sets XLA's flags before anything imports jax, because XLA reads them only once."""
    # The slow tests run their programs for long, so that optimization pays; and are seen as users compile them.
    flags = compiling.flags(devices=8, fast="not slow" in config.option.markexpr)
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}".strip()  # of two values the last counts
    if not hasattr(config, "workerinput"):  # the workers of pytest-xdist inherit it
        # Programs under test keep what they compile there, and nothing in the user's own cache.
        folder = tempfile.mkdtemp(prefix="ssd_jax-tests-")
        os.environ["XDG_CACHE_HOME"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    # Where Ctrl-C is ignored, as in what a shell runs in the background, so it would be in the programs under test.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Returns the folder of real data and oracles next to the repository; skips the test where there is none."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real data and oracles of {folder}, which are not part of the repository")
    return folder
