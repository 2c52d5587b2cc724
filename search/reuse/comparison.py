"""A tuned model beside its base, on the same samples of one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from search.config import StudyConfig
from search.decision.estimation import estimate_runs
from search.decision.evidence import Estimates
from search.records.stored_study import objective_of
from trainables.scoring.evaluation import Evaluation

Evaluations = Mapping[str, Evaluation]
_TUNED: Final = "tuned"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A tuned model and its base on one split.

    Attributes:
        split: `search` or `confirm`.
        base: Task -> the untouched model's evaluation.
        tuned: Task -> the tuned model's.
        estimates: What the tuned model is worth, with intervals.
    """

    split: str
    base: Evaluations
    tuned: Evaluations
    estimates: Estimates


def compare(config: StudyConfig, split: str, base: Evaluations, tuned: Evaluations) -> Compared:
    """Compare a tuned model with its base on the samples of one split."""
    objective = objective_of(config, base)
    estimates = estimate_runs({_TUNED: {0: tuned}}, base, objective, config).estimates[_TUNED]
    return Compared(split=split, base=base, tuned=tuned, estimates=estimates)
