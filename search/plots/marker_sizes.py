"""Marker sizes: the larger a mark, the more its trial cost to train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from search.plots.plot_marks import metric_of
from search.results import TrialResult

_COSTS: Final = (
    ("cost/train_flops", "floating-point operations"),
    ("cost/gpu_seconds", "GPU-seconds"),
    ("cost/train_seconds", "seconds of training"),
)
_SMALL, _LARGE = 7.0, 22.0  # pixels
_ROOM: Final = 100  # trials up to which marks of the largest size leave each other room


def cost_sizes(trials: Sequence[TrialResult]) -> tuple[Mapping[int, float] | None, str]:
    """Return the diameter of each trial's mark by its number, and what it counts; None where costs are alike.

    The area of a mark is in proportion to the cost, between the smallest size that can be pointed at and the
    largest that leaves the others visible. Of the costs the first one is taken that every trial has.
    """
    for name, unit in _COSTS:
        costs = {trial.number: metric_of(trial, name) for trial in trials}
        if costs and all(math.isfinite(cost) and cost > 0 for cost in costs.values()):
            largest = max(costs.values())
            if largest < 1.2 * min(costs.values()):
                return None, ""
            widest = max(_SMALL, _LARGE * min(1.0, math.sqrt(_ROOM / len(trials))))
            sizes = {number: _diameter(widest, cost / largest) for number, cost in costs.items()}
            return sizes, unit
    return None, ""


def _diameter(widest: float, share: float) -> float:
    return round(max(_SMALL, widest * math.sqrt(share)), 1)
