"""Which candidates are finalists: the best one, and those that noise alone may have put behind it."""

from __future__ import annotations

from collections.abc import Sequence

from search.decision.candidates import Candidate
from search.decision.evidence import Evidence
from search.decision.rule import bounded
from search.finalists.racing import Entrant
from search.objective import Objective, Score
from search.settings.selection_config import Maximised, SelectionConfig


def finalists(
    ranked: Sequence[Candidate],
    objective: Objective,
    evidence: Evidence,
    rule: SelectionConfig,
    most: int,
) -> tuple[Candidate, ...]:
    """Return the candidates that are worth training again, best first.

    These are the best one and those that noise alone may have put behind it. A candidate that forgets more
    than allowed is among them as long as its interval reaches the bound; the best one is the first that keeps
    it (if the rule is strict, with its interval's end), or else the first of these. What scores no more than
    the untouched model has nothing to confirm. Candidates whose scores of each sample are not known can't be
    told apart.

    What counts is what is trained again: a trial and what is made of its weights take one training between
    them, and a soup one for each member. So a candidate that needs no training but those of better ones takes
    part as well, and one that needs more than are left does not. The best one always does.

    Args:
        ranked: The candidates, best first by what is maximised on the search split.
        objective: What the study maximises.
        evidence: What they are worth there, with intervals.
        rule: What is maximised, how sure a difference must be, and whether the bound is strict.
        most: Most trials whose recipes are trained again, but for those that the best one needs.
    """

    def least_forgetting(each: Candidate) -> float:
        known = evidence.estimates.get(each.key)
        return each.rung.score.held_out_forgetting if known is None else known.held_out_forgetting.low

    near = [
        each
        for each in ranked
        if worth(each.rung.score, rule.maximise) > 0 and objective.violation(least_forgetting(each)) <= 0
    ]
    if not near:
        return ()

    def most_forgetting(each: Candidate) -> float:
        forgetting = each.rung.score.held_out_forgetting
        return bounded(forgetting, evidence.estimates.get(each.key), strict=rule.strict)

    leader = next((each for each in near if objective.violation(most_forgetting(each)) <= 0), near[0])
    others = [
        each for each in near if each is not leader and not behind(evidence, each.key, leader.key, rule)
    ]
    chosen, trained = [leader], set(entrant(leader).needs)
    for each in others:
        wanted = trained | set(entrant(each).needs)
        if wanted == trained or len(wanted) <= most:
            chosen.append(each)
            trained = wanted
    return tuple(chosen)


def behind(evidence: Evidence, one: str, other: str, rule: SelectionConfig) -> bool:
    """Return whether one is worth less than another beyond noise; False where that is not known."""
    difference = evidence.difference
    if difference is None or not {one, other} <= set(evidence.estimates):
        return False
    return difference(one, other, rule.maximise, rule.confidence).high < 0


def worth(score: Score, maximise: Maximised) -> float:
    """Return what is maximised of a score."""
    return score.score if maximise == "score" else score.target_gain


def entrant(candidate: Candidate) -> Entrant:
    """Return which trials' recipes must be trained again for a candidate, and for how long."""
    needs: dict[int, int] = {}
    for member in candidate.point.members:
        needs[member.trial] = max(member.step, needs.get(member.trial, 0))
    return Entrant(key=candidate.key, needs=needs)
