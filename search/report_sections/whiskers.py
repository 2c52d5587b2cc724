"""Whiskers: values with their intervals as marks beside each other, drawn by the page's style sheet alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from search.decision.evidence import Estimate


@dataclass(frozen=True, slots=True)
class Scale:
    """What a row of whiskers spans, in points.

    Attributes:
        low: Value at the left end.
        high: Value at the right end; above `low`.
    """

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> Scale:
        """Return the scale that holds 0 and all values, with a little room at both ends."""
        found = [0.0, *(value for value in values if math.isfinite(value))]
        low, high = min(found), max(found)
        room = 0.04 * (high - low or 1.0)
        return cls(low - room, high + room)

    def place(self, value: float) -> float:
        """Return where a value lies, in percent of the width from the left."""
        return round(100 * (value - self.low) / (self.high - self.low), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Whisker:
    """One value with its interval; all in percent of the width.

    Attributes:
        zero: Where 0 lies.
        dot: Where the value lies.
        start: Where the interval begins; None where it is not known.
        width: How wide it is.
    """

    zero: float
    dot: float
    start: float | None
    width: float


def whisker(scale: Scale, value: float, interval: Estimate | None) -> Whisker:
    """Return the mark of a value."""
    start = None if interval is None else scale.place(interval.low)
    width = 0.0 if interval is None or start is None else round(scale.place(interval.high) - start, 1)
    return Whisker(zero=scale.place(0.0), dot=scale.place(value), start=start, width=width)


def reach(value: float, interval: Estimate | None) -> tuple[float, ...]:
    """Return what a scale must hold to show a value."""
    return (value,) if interval is None else (interval.low, value, interval.high)
