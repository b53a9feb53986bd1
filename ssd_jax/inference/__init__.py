"""Detecting: in images of any kind (``Detector``), and over a whole source, as evaluation does.

    from ssd_jax.inference import Detector

    detector = Detector.load("runs/ssd300_voc")
    for found in detector(["street.jpg", "kitchen.png"], score_threshold=0.5):
        print(found.id, found.names, found.boxes)

``steps`` and ``program`` are the device's part; ``source`` is the loop of an evaluation.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ssd_jax.inference.source import EvaluatedSource, Seconds, evaluate_source
from ssd_jax.inference.steps import (
    Evaluated,
    EvaluationSteps,
    compile_detect_step,
    compile_evaluation_steps,
    make_detect_step,
    make_evaluation_steps,
    to_pixels,
)

if TYPE_CHECKING:
    from ssd_jax.inference.detector import Detector
    from ssd_jax.inference.objects import DetectedObjects, above
    from ssd_jax.inference.pictures import ImageLike, Unreadable
    from ssd_jax.inference.program import Program, make_program

__all__ = [
    "DetectedObjects",
    "Detector",
    "Evaluated",
    "EvaluatedSource",
    "EvaluationSteps",
    "ImageLike",
    "Program",
    "Seconds",
    "Unreadable",
    "above",
    "compile_detect_step",
    "compile_evaluation_steps",
    "evaluate_source",
    "make_detect_step",
    "make_evaluation_steps",
    "make_program",
    "to_pixels",
]

# What reads trained networks, and so imports Orbax, is imported when it is asked for: the loop of an evaluation and the
# benchmarks do without.
_LATE = {
    "DetectedObjects": "objects",
    "Detector": "detector",
    "above": "objects",
    "ImageLike": "pictures",
    "Unreadable": "pictures",
    "Program": "program",
    "make_program": "program",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
