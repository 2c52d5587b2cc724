"""From the runs of all sides to the figures that are reported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.machine import spread
from benchmarks.rivals.handed import Handed
from benchmarks.rivals.sides import Found
from benchmarks.rivals.trace import arrival, incumbents, steps_of, trials_of
from benchmarks.rivals.usage import Usage


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a side.

    Attributes:
        side: Name of the side.
        turn: Round.
        planned: Trials of the side's whole plan.
        at_a_time: Trials that run side by side.
        usage: What it took.
        found: What came of it.
    """

    side: str
    turn: int
    planned: int
    at_a_time: int
    usage: Usage
    found: Found

    @property
    def trials(self) -> int:
        """Trials that reported."""
        return trials_of(self.found.trace)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What recipes are truly worth.

    Attributes:
        source: Where that is known from.
        best: Score of the best recipe known.
        score: Subset and learning rate -> the recipe's score.
        within: Points below the best at which a recipe is still good.
    """

    source: str
    best: float
    score: Callable[[str, float], float]
    within: float = 1.0


PARTS: Final = ("before", "in_trials", "between_trials", "after")


def where_of(run: Run) -> dict[str, float] | None:
    """Return where a run's wall time went, in seconds; of trials side by side their mean counts.

    `before` the first trial's first step, `in_trials` from a trial's first step to its last report, `after`
    the last report of all, and the rest `between_trials`, where nothing is trained or evaluated. None where
    no trial reported.
    """
    last = {each.trial: each for each in run.found.trace}
    begins = [each.started_at for each in last.values() if each.started_at is not None]
    if not begins or len(begins) < len(last):
        return None
    before = min(begins)
    end = max(each.at for each in last.values())
    inside = (sum(each.at for each in last.values()) - sum(begins)) / min(run.at_a_time, len(last))
    return {
        "before": before,
        "in_trials": inside,
        "between_trials": end - before - inside,
        "after": run.usage.seconds - end,
    }


def figures_of(
    runs: Sequence[Run], steps: int, truth: Truth, confirmed: Callable[[Handed], Sequence[float]]
) -> dict[str, Any]:
    """Return the figures of one side's runs.

    Args:
        runs: The runs, at least one.
        steps: Optimiser steps of a whole trial.
        truth: What recipes are worth.
        confirmed: What was handed over -> its score on the confirm split for each new seed; none where that
            is not known.
    """
    arrivals = [
        arrival(incumbents(run.found.trace, steps), truth.score, truth.best - truth.within) for run in runs
    ]
    reached = [each.seconds for each in arrivals if each is not None]
    between = [seconds for run in runs for seconds in run.found.turn_rounds]
    handed = [run.found.handed_over for run in runs]
    # Handing over the base is a score of 0.
    known = [[0.0] if each is None else confirmed(each) for each in handed]
    scores = [statistics.fmean(each) for each in known if each]
    wheres = [each for run in runs if (each := where_of(run)) is not None]
    whole = all(run.trials >= run.planned for run in runs)
    return {
        "runs": len(runs),
        "trials": {"planned": runs[0].planned, "measured": [run.trials for run in runs]},
        "seconds": spread([run.usage.seconds for run in runs]),
        "seconds_of_whole_plan": None
        if whole
        else {
            "extrapolated": True,
            "measured_trials": [run.trials for run in runs],
            **spread([run.usage.seconds * run.planned / max(run.trials, 1) for run in runs]),
        },
        "seconds_to_good_recipe": {
            "reached": len(reached),
            "kept": sum(each is not None and each.kept for each in arrivals),
            **(spread(reached) if reached else {}),
        },
        "steps": spread([steps_of(run.found.trace) for run in runs]),
        "trials_per_hour": spread([3600 * run.trials / run.usage.seconds for run in runs]),
        "cpu_seconds": spread([run.usage.cpu_seconds for run in runs]),
        "cpu_seconds_per_trial": spread([run.usage.cpu_seconds / max(run.trials, 1) for run in runs]),
        "where": {
            part: round(statistics.median(each[part] for each in wheres), 1) for part in PARTS if wheres
        },
        "turn_round_seconds": spread(between) if between else None,
        "megabytes_left": spread([run.usage.bytes / 1e6 for run in runs]),
        "megabytes_of_weights_per_trial": spread(
            [run.usage.weight_bytes / 1e6 / max(run.trials, 1) for run in runs]
        ),
        "handed_over": ["the base" if each is None else each.label for each in handed],
        "confirmed_score": spread(scores) if scores else None,
        "load_at_start": [round(run.usage.load, 2) for run in runs],
    }


_COMPARED: Final = (
    "seconds_to_good_recipe",
    "seconds",
    "cpu_seconds",
    "cpu_seconds_per_trial",
    "turn_round_seconds",
)


def ratios(figures: Mapping[str, Mapping[str, Any]], against: str) -> dict[str, dict[str, float | None]]:
    """Return for each side how many times as much it takes as another, by medians.

    A side that did not always come to a good recipe has no ratio of the time to one.
    """
    return {
        side: {key: _ratio(own, figures[against], key) for key in _COMPARED}
        for side, own in figures.items()
        if side != against
    }


def _ratio(own: Mapping[str, Any], other: Mapping[str, Any], key: str) -> float | None:
    if key == "seconds_to_good_recipe":
        for each in (own, other):
            if each[key]["reached"] < each["runs"]:
                return None
    elif key in ("seconds", "cpu_seconds") and own["seconds_of_whole_plan"] is not None:
        return None
    above, below = own[key], other[key]
    if above is None or below is None or not math.isfinite(below["median"]) or below["median"] == 0:
        return None
    return float(round(above["median"] / below["median"], 2))
