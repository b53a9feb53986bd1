"""Axes of drawings: where values lie, and which of them are written."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Tick = tuple[float, str]  # (place along the axis in [0, 1], label)

_LOGARITHMIC_FROM = 100.0  # largest by smallest value from which equal factors are drawn equally long
_FROM_ZERO = 0.5  # smallest by largest value up to which a linear axis begins at zero


class Axis(NamedTuple):
    """Values low to high are drawn at 0 to 1."""

    low: float
    high: float
    logarithmic: bool
    ticks: Sequence[Tick]

    def place(self, values: np.ndarray) -> np.ndarray:  # [N] -> [N]
        """Returns where values lie; nan stays nan."""
        if self.logarithmic:
            return np.log(values / self.low) / math.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)


def axis_for(values: np.ndarray, *, logarithmic: bool | None = None, ticks: int = 5) -> Axis:
    """Returns an axis for values [N]; those that are not finite do not count.

    Args:
      values: to be drawn.
      logarithmic: None: if all are positive and the largest is at least a hundred times the smallest.
      ticks: about how many.

    Raises:
      ValueError: logarithmic is True and a value is not positive.
    """
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if logarithmic and low <= 0:
        raise ValueError(f"values: a logarithmic axis expects positive ones, got {low}")
    if logarithmic or (logarithmic is None and low > 0 and high / low >= _LOGARITHMIC_FROM):
        return _logarithmic(low, high)
    return _linear(low, high, ticks)


def axis_at(values: Sequence[float], *, logarithmic: bool = False) -> Axis:
    """Returns an axis from the first to the last of given values, with a tick at each.

    Args:
      values: [N], rising, at least two.
      logarithmic: equal factors are drawn equally long.

    Raises:
      ValueError: values do not rise, are too few, or not positive although the axis is to be logarithmic.
    """
    if len(values) < 2 or any(after <= before for before, after in zip(values, values[1:], strict=False)):
        raise ValueError(f"values: expected at least two that rise, got {list(values)}")
    if logarithmic and values[0] <= 0:
        raise ValueError(f"values: a logarithmic axis expects positive ones, got {values[0]}")
    bare = Axis(float(values[0]), float(values[-1]), logarithmic, ())
    places = bare.place(np.asarray(values, np.float64)).tolist()
    return bare._replace(ticks=[(place, number(value)) for place, value in zip(places, values, strict=True)])


def _linear(low: float, high: float, ticks: int) -> Axis:
    if 0 <= low <= _FROM_ZERO * high:
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # all are alike
        margin = 0.5 * abs(high) or 1.0
        low, high = low - margin, high + margin
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    labeled = [((k - first) / (last - first), number(k * step)) for k in range(first, last + 1)]
    return Axis(first * step, last * step, False, labeled)


def _logarithmic(low: float, high: float) -> Axis:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    every = max(1, math.ceil((last - first) / 6))
    labeled = [((power - first) / (last - first), number(10.0**power)) for power in range(first, last + 1, every)]
    return Axis(10.0**first, 10.0**last, True, labeled)


def _round_step(least: float) -> float:
    """Returns the smallest of 1, 2 and 5 times a power of ten that is at least so large."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def number(value: float) -> str:
    """Returns a number in words, to four digits: "0.25", "12,000", "3e-05" as "3e-5", "-" for nan."""
    if not math.isfinite(value):
        return "-"
    if value and not 1e-3 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):.4g}e{int(exponent)}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
