"""The Pareto front of gain and forgetting."""

from __future__ import annotations

from collections.abc import Iterable

from search.decision.candidates import Candidate


def pareto_front(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates that neither another one nor the base dominates, by rising forgetting.

    One dominates another if it gains at least as much and forgets at most as much, and is better in one.
    """
    found = list(candidates)
    scores = [(each.rung.score.held_out_forgetting, each.rung.score.target_gain) for each in found]
    rivals = {*scores, (0.0, 0.0)}

    def dominated(forgetting: float, gain: float) -> bool:
        return any(f <= forgetting and g >= gain and (f, g) != (forgetting, gain) for f, g in rivals)

    places = sorted(zip(scores, found, strict=True), key=lambda pair: pair[0])
    return tuple(each for score, each in places if not dominated(*score))
