"""train.py with a fault put in: one image comes out of the augmentation as NaN, as a broken op on a device would do.

The image is the one whose pixels add up to $POISONED_SUM; all others are left alone.
"""

import os
import runpy
import sys
from pathlib import Path

import jax.numpy as jnp

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from ssd_jax import augment  # noqa: E402

intact = augment.augment


def augment_or_poison(key, canvas, *arguments, **options):
    images, *rest = intact(key, canvas, *arguments, **options)
    is_poisoned = jnp.sum(canvas.astype(jnp.uint32)) == int(os.environ["POISONED_SUM"])
    return jnp.where(is_poisoned, jnp.nan, images), *rest


if __name__ == "__main__":
    augment.augment = augment_or_poison
    sys.argv[0] = str(REPOSITORY / "train.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
