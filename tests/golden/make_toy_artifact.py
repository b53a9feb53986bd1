"""Writes the artifact of tests/exported.py with the oldest supported JAX, for newer ones to read.

    PYTHONPATH=.:tests python tests/golden/make_toy_artifact.py     in an environment with jax 0.10.2 and flatbuffers

Made with jax 0.10.2, flatbuffers 25.12.19, Python 3.11.7.
"""

from pathlib import Path

import exported
import jax

if __name__ == "__main__":
    jax.config.update("jax_traceback_in_locations_limit", 0)  # no folders of this machine
    version = jax.__version__.replace(".", "_")
    exported.toy(Path(__file__).with_name(f"toy_jax_{version}.stablehlo"), platforms=("cpu", "cuda", "tpu"))
