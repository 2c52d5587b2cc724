"""A side's trace: what it knew when; and what follows from it, such as the time to a good recipe."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Recipe2 = tuple[str, float]
"""Subset and learning rate: all that the recipes here differ in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """One evaluation of a trial.

    Attributes:
        at: When the side's driver had it, in seconds since 1970; in a trace that was read, since its start.
        trial: Number of the trial, in the order in which they began.
        subset: What it trains.
        learning_rate: Its rate.
        step: Optimiser steps done.
        score: What the side measured, in points.
        started_at: When the trial's first step began, on the same clock; None where it is not known.
    """

    at: float
    trial: int
    subset: str
    learning_rate: float
    step: int
    score: float
    started_at: float | None = None

    @property
    def recipe(self) -> Recipe2:
        """The recipe."""
        return self.subset, self.learning_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """When a side came to a good recipe.

    Attributes:
        seconds: When the best that it had measured so far was good for the first time.
        kept: Whether it was good at the side's end, too.
    """

    seconds: float
    kept: bool


def append(file: Path, reported: Reported) -> None:
    """Write an evaluation to a trace's file."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(reported)) + "\n")


def read(file: Path, start: float) -> list[Reported]:
    """Read a trace, in the order of time.

    Args:
        file: What `append` wrote.
        start: When the side was started, in seconds since 1970.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return since(start, (Reported(**json.loads(line)) for line in lines))


def since(start: float, reported: Iterable[Reported]) -> list[Reported]:
    """Return evaluations by seconds since a start, in the order of time."""
    found = []
    for each in reported:
        began = None if each.started_at is None else each.started_at - start
        found.append(Reported(**{**asdict(each), "at": each.at - start, "started_at": began}))
    return sorted(found, key=lambda each: each.at)


def incumbents(trace: Sequence[Reported], steps: int) -> list[tuple[float, Recipe2]]:
    """Return when which recipe became the best that a side had measured, of trials trained to their end.

    Args:
        trace: In the order of time.
        steps: Optimiser steps of a whole trial.
    """
    found: list[tuple[float, Recipe2]] = []
    highest = float("-inf")
    for each in trace:
        if each.step == steps and each.score > highest:
            highest = each.score
            found.append((each.at, each.recipe))
    return found


def arrival(
    held: Sequence[tuple[float, Recipe2]], true_score: Callable[[str, float], float], enough: float
) -> Arrival | None:
    """Return when the best recipe that a side held was truly good; None where it never was.

    Args:
        held: What `incumbents` returns.
        true_score: Subset and learning rate -> the score that the recipe truly has.
        enough: Least true score of a good recipe.
    """
    good = [true_score(*recipe) >= enough for _, recipe in held]
    if not any(good):
        return None
    return Arrival(seconds=held[good.index(True)][0], kept=good[-1])


def turn_rounds(trace: Sequence[Reported], at_a_time: int) -> list[float]:
    """Return the times from a trial's last report to the first step of the trial that takes its place.

    Args:
        trace: In the order of time.
        at_a_time: Trials that run side by side.
    """
    begins: dict[int, float] = {}
    ends: dict[int, float] = {}
    for each in trace:
        if each.started_at is not None:
            begins[each.trial] = each.started_at
        ends[each.trial] = each.at
    later = sorted(begins.values())[at_a_time:]
    return [begin - end for begin, end in zip(later, sorted(ends.values()), strict=False)]


def steps_of(trace: Iterable[Reported]) -> int:
    """Return the optimiser steps that were reported."""
    last: dict[int, int] = {}
    for each in trace:
        last[each.trial] = max(each.step, last.get(each.trial, 0))
    return sum(last.values())


def trials_of(trace: Iterable[Reported]) -> int:
    """Return the number of trials that reported."""
    return len({each.trial for each in trace})


def now() -> float:
    """Return the time of traces."""
    return time.time()
