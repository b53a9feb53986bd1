"""An analysis as text for the terminal, and as plain values that JSON can hold."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ssd_jax.analysis.types import KEPT, REMEDIES, Analysis, ClassAnalysis, Curve, Kind
from ssd_jax.evaluation import table

RECALLS = np.arange(101) / 100
A_ROW_A_BOX = ("typed", "missed", "detections", "truth")  # not in the dictionary


def as_table(analysis: Analysis) -> str:
    """Returns what the detections of each class are, and the AP that each remedy gains, as two aligned tables."""
    kinds = [kind.name.lower() for kind in Kind]
    several = (*analysis.group_findings, analysis.overall)
    counts = table.align(
        ("class", "objects", "missed", *kinds, "best F1", "at score"),
        [_counts(findings) for findings in analysis.classes],
        footer=[_counts(findings) for findings in several],
    )
    gains = table.align(
        ("AP (area) gained", "AP", *REMEDIES),
        [_gains(findings) for findings in analysis.classes],
        footer=[_gains(findings) for findings in several],
    )
    return f"{counts}\n\n{gains}"


def _counts(findings: ClassAnalysis) -> tuple[str, ...]:
    best = (findings.best.f1, findings.best.threshold) if findings.best else (math.nan, math.nan)
    missed = findings.num_objects - findings.counts[Kind.CORRECT]
    counts = (findings.num_objects, missed, *(findings.counts[kind] for kind in Kind))
    return (findings.name, *map(str, counts), *map(table.number, best))


def _gains(findings: ClassAnalysis) -> tuple[str, ...]:
    return (findings.name, *map(table.number, (findings.ap_area, *(findings.gains[remedy] for remedy in REMEDIES))))


def as_dict(analysis: Analysis) -> dict[str, Any]:
    """Returns everything but what is said of single boxes, as plain values; an undefined figure is None.

    Of a curve it holds the best precision at recall 0, 0.01, ..., 1 or beyond, as COCO's figures read it.
    """
    whole = {name: value for name, value in analysis._asdict().items() if name not in A_ROW_A_BOX}
    kept_kinds = {"kept_kinds": [kind.name.lower() for kind in KEPT]}  # the order of the columns of "fractions"
    return _plain({**whole, **kept_kinds, "num_missed": len(analysis.missed)})


def _plain(value: Any) -> Any:
    if isinstance(value, Curve):
        return {"recall": RECALLS.tolist(), "precision": _plain(_envelope(value))}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key.name.lower() if isinstance(key, Kind) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return table.json_number(value) if isinstance(value, float) else value


def _envelope(curve: Curve) -> np.ndarray:  # [101] float64
    if np.isnan(curve.recall).any():
        return np.full(len(RECALLS), np.nan)
    best_beyond = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(best_beyond, 0)[np.searchsorted(curve.recall, RECALLS, side="left")]
