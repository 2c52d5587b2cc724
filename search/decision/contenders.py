"""Contenders: a study's candidates as the rule sees them, by what the search or the confirm split tells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from search.decision.candidates import Candidate
from search.decision.evidence import Evidence
from search.decision.rule import Contender
from search.objective import Score
from search.results import Rung, TrialResult

_FLOPS = "cost/train_flops"
_PARAMETERS = "cost/trainable_parameters"


def contenders(
    candidates: Sequence[Candidate], trials: Iterable[TrialResult], evidence: Evidence
) -> dict[str, Contender]:
    """Return the candidates by key, with what they score on the search split.

    Args:
        candidates: The candidates.
        trials: All trials, whose training the candidates cost.
        evidence: Their intervals, as far as they are known.
    """
    costs = training_costs(candidates, trials)
    return {
        each.key: Contender(
            key=each.key,
            score=each.rung.score,
            estimates=evidence.estimates.get(each.key),
            cost=costs[each.key],
            made=each.made is not None,
            number=each.trial.number if each.made is None else each.made.number,
        )
        for each in candidates
    }


def confirmed(contenders: Mapping[str, Contender], confirmation: Evidence) -> list[Contender]:
    """Return those that were trained again, with what they score on the confirm split."""
    found = []
    for key, estimates in confirmation.estimates.items():
        score = Score(
            target_gain=estimates.target_gain.value,
            held_out_forgetting=estimates.held_out_forgetting.value,
            worst_forgetting=estimates.worst_forgetting.value,
            score=estimates.score.value,
        )
        known = contenders[key]
        found.append(
            Contender(
                key=key,
                score=score,
                estimates=estimates,
                cost=known.cost,
                made=known.made,
                number=known.number,
            )
        )
    return found


def training_costs(candidates: Sequence[Candidate], trials: Iterable[TrialResult]) -> dict[str, float]:
    """Return what the candidates' training costs: FLOPs if all trials counted them, else parameters.

    A soup costs what all its members do.
    """
    rungs = {(trial.number, rung.step): rung for trial in trials for rung in trial.rungs}
    flops: dict[str, float] = {}
    for each in candidates:
        known = [_metric(rungs.get((m.trial, m.step)), _FLOPS) for m in each.point.members]
        if any(value is None for value in known):
            return {each.key: _parameters(each.rung) for each in candidates}
        flops[each.key] = sum(value for value in known if value is not None)
    return flops


def _parameters(rung: Rung) -> float:
    count = _metric(rung, _PARAMETERS)
    # What is not known is not cheap.
    return math.inf if count is None or math.isnan(count) else count


def _metric(rung: Rung | None, name: str) -> float | None:
    return None if rung is None else rung.metrics.get(name)
