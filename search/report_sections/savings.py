"""What the selected recipe costs beside full tuning, as far as the study itself measured both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Final

from search import wording
from search.plot_marks import metric_of
from search.results import TrialResult, TrialState
from search.selection import Selection
from search.study_record import StudyRecord

_FULL: Final = "full"
_MEASURES: Final[tuple[tuple[str, str, Callable[[float], str]], ...]] = (
    ("cost/train_seconds", "training", wording.duration),
    ("cost/train_flops", "floating-point operations of training", wording.rate),
    ("cost/trainable_parameters", "trained parameters", wording.count),
    ("cost/peak_memory_bytes", "peak memory", wording.human_bytes),
)


def saving_rows(record: StudyRecord, selection: Selection) -> list[dict[str, str]]:
    """Return the selected recipe's cost beside the mean of the trials that trained everything.

    Trials are compared that ran as many optimiser steps of as many samples. There are no rows where the
    selected recipe itself trains everything, or no such trial was completed.
    """
    winner = selection.winner
    if winner is None or _is_full(winner):
        return []
    full = [trial for trial in record.trials if _is_full(trial) and _same_length(trial, winner)]
    rows: list[dict[str, str]] = []
    for name, what, written in _MEASURES if full else ():
        ours, theirs = metric_of(winner, name), statistics.fmean(metric_of(trial, name) for trial in full)
        if not (math.isfinite(ours) and ours > 0 and math.isfinite(theirs) and theirs > 0):
            continue
        change = 100 * (1 - ours / theirs)
        rows.append(
            {
                "what": what,
                "selected": written(ours),
                "full": written(theirs),
                "saved": f"{change:.0f} %" if change >= 0 else f"none: {-change:.0f} % more",
            }
        )
    return rows


def full_trials(record: StudyRecord, selection: Selection) -> int:
    """Return of how many trials full tuning's cost is the mean."""
    winner = selection.winner
    return sum(
        _is_full(trial) and winner is not None and _same_length(trial, winner) for trial in record.trials
    )


def _is_full(trial: TrialResult) -> bool:
    recipe = trial.recipe
    return trial.state is TrialState.COMPLETE and (recipe.subset, recipe.layers, recipe.method) == (
        _FULL,
        "all",
        "selective",
    )


def _same_length(one: TrialResult, other: TrialResult) -> bool:
    return (one.recipe.steps, one.recipe.batch_size) == (other.recipe.steps, other.recipe.batch_size)
