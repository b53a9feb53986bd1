"""Which of the detected objects a person wants to see."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_jax.errors import InputError
from ssd_jax.inference import DetectedObjects


class Choice(NamedTuple):
    """What is wanted of each image."""

    score_threshold: float  # lowest score
    labels: frozenset[int] | None = None  # None = all
    top_k: int | None = None  # the best so many; None = all

    def apply(self, found: DetectedObjects) -> DetectedObjects:
        """Returns what is wanted of what was found, best first."""
        wanted = found.scores >= self.score_threshold
        if self.labels is not None:
            wanted &= np.isin(found.labels, list(self.labels))
        rows = np.flatnonzero(wanted)[: self.top_k]
        return found._replace(
            boxes=found.boxes[rows],
            scores=found.scores[rows],
            labels=found.labels[rows],
            names=tuple(found.names[row] for row in rows),
        )


def labels_of(names: Sequence[str], class_names: Sequence[str]) -> frozenset[int] | None:
    """Returns the labels of classes by their names; None = all, if no name is given.

    Args:
      names: upper and lower case are the same where that is not ambiguous.
      class_names: of the detector, background first.

    Raises:
      InputError: the detector does not know a class; similar names are listed.
    """
    own = {name: label for label, name in enumerate(class_names) if label}
    folded: dict[str, set[int]] = {}
    for name, label in own.items():
        folded.setdefault(name.casefold(), set()).add(label)
    labels = set()
    for name in (name.strip() for name in names):
        candidates = {own[name]} if name in own else folded.get(name.casefold(), set())
        if len(candidates) != 1:
            raise InputError(f"--classes: expected classes of the detector, got {name!r}{_hint(name, class_names[1:])}")
        labels |= candidates
    return frozenset(labels) if names else None


def _hint(name: str, known: Sequence[str]) -> str:
    folded = {own.casefold(): own for own in known}
    close = [folded[own] for own in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"; it knows {', '.join(known[:8])}{more}"
