"""Dividing one annotated collection into a part to train on and a part to evaluate on.

An image belongs to "[:80%]" if the hash of its id, as a number in [0, 1), lies below 0.8. So the
two parts never share an image, each holds about its share of every class, and adding images later
moves none from one part to the other.
"""

import hashlib
import math
import re
from typing import NamedTuple

from ssd_jax.errors import InputError

_SUFFIX = re.compile(r"(?P<whole>.*)\[(?P<low>[^:\[\]]*):(?P<high>[^:\[\]]*)\]", re.DOTALL)


class Part(NamedTuple):
    """The images whose hash lies in [low, high)."""

    low: float = 0.0
    high: float = 1.0

    def holds(self, image_id: str) -> bool:
        """Tells whether an image belongs to the part."""
        return self.low <= hash_fraction(image_id) < self.high

    def __str__(self) -> str:
        return "" if self == EVERYTHING else f"[{100 * self.low:g}%:{100 * self.high:g}%]"


EVERYTHING = Part()


def parse_part(split: str) -> tuple[str, Part]:
    """Separates "SPLIT[20%:80%]" into "SPLIT" and the part; either bound may be absent.

    Raises:
      InputError: the bounds are not increasing percentages.
    """
    match = _SUFFIX.fullmatch(split.strip())
    if re.search(r"\[[^\]]*[%:]", match["whole"] if match else split):  # "[1]" may be part of a name
        raise InputError(f"data split: expected one part such as [:80%] at the very end, got {split!r}")
    if not match:
        return split, EVERYTHING
    part = Part(_fraction(match["low"], 0.0), _fraction(match["high"], 1.0))
    if not 0 <= part.low < part.high <= 1:  # also if a bound is no number
        raise InputError(f"data split: expected a part such as [:80%] or [80%:], got {split!r}")
    return match["whole"], part


def hash_fraction(image_id: str) -> float:
    """Returns a number in [0, 1) that depends on the id alone."""
    return (
        int.from_bytes(hashlib.blake2b(image_id.encode("utf-8", "surrogateescape"), digest_size=6).digest(), "big")
        / 2**48
    )


def _fraction(percentage: str, default: float) -> float:
    """Reads "80%"; nan if it is something else."""
    if not percentage.strip():
        return default
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", percentage)
    return float(match[1]) / 100 if match else math.nan
