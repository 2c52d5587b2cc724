"""Reasons: why a recipe was selected, or none, in one plain sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.decision.candidates import Candidate
from search.decision.choices import Choice
from search.decision.evidence import Measure
from search.decision.naming import candidate_name, candidate_subject
from search.decision.rule import Contender, Ruling, worst_case
from search.objective import Objective
from search.settings.selection_config import SelectionConfig, TieBreak
from search.wording import counted
from spaces.nearest import did_you_mean

_CALLED = {"score": "score", "target_gain": "gain"}
_DECIDED: Mapping[TieBreak, str] = {
    "held_out_forgetting": "less forgetting",
    "worst_forgetting": "a smaller worst drop",
    "cost": "a lower cost of training",
    "target_gain": "a higher gain",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What was ruled on, and the ruling.

    Attributes:
        candidates: Key -> candidate.
        everyone: Key -> what it scores on the search split.
        feasible: Those of them that keep the bound on forgetting.
        trained_again: Those that were trained again, with what they score on the confirm split; the rule
            chose among them, if any.
        finals: Those of these that keep the bound there.
        objective: What is maximised.
        rule: The rule.
        ruling: What it says.
    """

    candidates: Mapping[str, Candidate]
    everyone: Mapping[str, Contender]
    feasible: Mapping[str, Contender]
    trained_again: Sequence[Contender]
    finals: Sequence[Contender]
    objective: Objective
    rule: SelectionConfig
    ruling: Ruling


def reason(case: Case) -> str:
    """Say why a recipe was selected, or the base is kept."""
    if not case.everyone:
        return "keep the base: no trial finished"
    if case.trained_again and not case.finals:
        return _all_infeasible(case, case.trained_again, _finalists(case.trained_again))
    if not case.trained_again and not case.feasible:
        return _all_infeasible(case, case.everyone.values(), _tried(case.everyone.values(), "complete"))
    if case.ruling.first is None:
        return _nothing_gained(case)
    if case.ruling.decided:
        return _tie_broken(case, case.ruling.first)
    measure = case.rule.maximise
    subject = candidate_subject(case.candidates[case.ruling.first.key])
    worth = _worth(case.ruling.first, measure)
    return f"{subject} has the highest {_CALLED[measure]} of {_among(case)}: {worth}"


def taken(case: Case, choice: str) -> str:
    """Say what was taken, as a choice that was asked for by its name."""
    assert case.ruling.first is not None
    subject = candidate_subject(case.candidates[case.ruling.first.key])
    worth = _worth(case.ruling.first, case.rule.maximise)
    return f"{subject} is the {choice} choice, which was asked for: {worth}"


def offered(case: Case) -> str:
    """Say what the finalists offer, as they were ruled on, where something else was selected."""
    if not case.finals:
        bound = case.objective.max_forgetting
        assert bound is not None
        how = ", by its interval's upper end" if case.rule.strict else ""
        return f"No finalist keeps the allowed {bound:g} points of forgetting on the confirm split{how}."
    best = case.ruling.best
    if best is None:
        called = _CALLED[case.rule.maximise]
        return f"No finalist's {called} lies above 0 on the confirm split, beyond its noise."
    name = candidate_name(case.candidates[best.key])
    worth = _worth(best, case.rule.maximise)
    return f"Of {_finalists(case.finals)} the best by this rule is {name}: {worth}."


def no_such_choice(choice: str, choices: Sequence[Choice]) -> str:
    """Say that a choice is not offered."""
    names = [each.name for each in choices]
    if not names:
        return f"there is no {choice} choice: no feasible recipe gains anything beyond its noise"
    return f"there is no {choice} choice here: {did_you_mean(choice, names)}"


def _tie_broken(case: Case, first: Contender) -> str:
    assert case.ruling.best is not None
    measure = case.rule.maximise
    subject = candidate_subject(case.candidates[first.key])
    by = [_DECIDED[criterion] for criterion in case.ruling.decided]
    if any(each.value(measure) < first.value(measure) for each in case.ruling.left):
        by.append(f"the higher {_CALLED[measure]}")
    return (
        f"{subject} is chosen, by {', then '.join(by)}, of the {len(case.ruling.tied)} whose "
        f"{_CALLED[measure]} lies within noise of the highest, {case.ruling.best.key}'s "
        f"{case.ruling.best.value(measure):+.1f}, among {_among(case)}: {_worth(first, measure)}"
    )


def _worth(contender: Contender, measure: Measure) -> str:
    score = contender.score
    text = f"{contender.value(measure):+.1f} points"
    if contender.estimates is not None:
        estimate = contender.estimates.of(measure)
        text += f" ({estimate.low:+.1f} to {estimate.high:+.1f})"
    gain = f"a gain of {score.target_gain:+.1f} " if measure == "score" else ""
    comma = "," if gain else ""
    return f"{text}{comma} {gain}for {score.held_out_forgetting:+.1f} of forgetting"


def _nothing_gained(case: Case) -> str:
    measure = case.rule.maximise
    best = min(case.finals or case.feasible.values(), key=lambda each: each.order(measure))
    verb = "scores" if measure == "score" else "gains"
    text = f"keep the base: the best of {_among(case)} {verb} {best.value(measure):+.1f} points"
    if best.estimates is None or best.value(measure) <= 0:
        return f"{text}, and doing nothing {verb} 0"
    estimate = best.estimates.of(measure)
    return f"{text}, and its interval, {estimate.low:+.1f} to {estimate.high:+.1f}, does not lie above 0"


def _all_infeasible(case: Case, contenders: Iterable[Contender], among: str) -> str:
    bound, strict = case.objective.max_forgetting, case.rule.strict
    nearest = min(
        contenders,
        key=lambda each: (worst_case(each, strict=strict), *each.order(case.rule.maximise)),
    )
    most = worst_case(nearest, strict=strict)
    text = f"keep the base: all {among}"
    if math.isinf(most):
        return f"{text} have unknown scores of samples, which a strict bound on forgetting needs"
    assert bound is not None
    forgets = "may forget up to" if strict else "forgets"
    many = "may forget" if strict else "forget"
    return (
        f"{text} {many} more than the allowed {bound:g} points; the nearest, "
        f"{candidate_name(case.candidates[nearest.key])}, {forgets} {most:.1f}, {most - bound:.1f} too much"
    )


def _among(case: Case) -> str:
    if case.finals:
        return _finalists(case.finals)
    return _tried(case.feasible.values(), "feasible complete")


def _finalists(contenders: Sequence[Contender]) -> str:
    return f"{counted(len(contenders), 'finalist')} on the confirm split"


def _tried(contenders: Iterable[Contender], kind: str) -> str:
    found = list(contenders)
    points = sum(each.made for each in found)
    text = counted(len(found) - points, f"{kind} trial")
    # People read "points" as what a score is counted in.
    return f"{text} and {counted(points, 'variant')} made from their weights" if points else text
