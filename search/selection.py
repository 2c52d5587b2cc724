"""Selection: which recipe won, among the feasible trials, their points and the base itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from search.decision import reasons
from search.decision.candidates import Candidate, candidates
from search.decision.choices import Choice, offered_choices
from search.decision.contenders import confirmed, contenders
from search.decision.evidence import NO_EVIDENCE, Estimates, Evidence, Finalist, FinalistRun
from search.decision.rule import Contender, Ruling, level, rule_on, worst_case
from search.objective import Objective
from search.results import PointResult, Rung, TrialResult
from search.settings.selection_config import SelectionConfig
from spaces.points import Identity, Point

_RULE: Final = SelectionConfig()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The verdict of a study.

    Attributes:
        winner: The selected trial, or None for "keep the base".
        point: What is done to the winner's weights; None takes them as they are.
        ranking: The trials that finished and are feasible, best score first.
        infeasible: The trials that finished but forget more than allowed, least violation first.
        points: The points that were measured and are feasible, best score first.
        reason: Why, in one plain sentence.
        estimates: Key of a candidate -> what it is worth on the search split, with intervals; only where its
            per-sample scores are known. See `search.decision.candidates` for the keys.
        tied: Keys of the candidates whose difference to the best, or to the choice taken, lies within
            noise, itself among them.
        best: Key of the one that these are compared with; None where nothing beats the base.
        finalist: What was trained again of the winner; None where nothing was.
        choices: Recipes of the front of gain and forgetting, by name.
        notes: What limits the verdict, one sentence each.
    """

    winner: TrialResult | None
    point: PointResult | None = None
    ranking: tuple[TrialResult, ...]
    infeasible: tuple[TrialResult, ...]
    points: tuple[PointResult, ...] = ()
    reason: str
    estimates: Mapping[str, Estimates] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    best: str | None = None
    finalist: Finalist | None = None
    choices: tuple[Choice, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keep_base(self) -> bool:
        """Whether the verdict is to keep the untouched model."""
        return self.winner is None

    @property
    def made(self) -> Point | None:
        """What is made of the winner's weights; None for "keep the base"."""
        if self.winner is None:
            return None
        if self.point is not None:
            return self.point.point
        return Point(self.winner.number, self.winner.last.step, Identity())

    @property
    def rung(self) -> Rung | None:
        """What was measured of the selected trial or point on the search split; None for "keep the base"."""
        if self.point is not None:
            return self.point.rung
        return self.winner.last if self.winner else None

    @property
    def key(self) -> str | None:
        """The selected candidate's key; None for "keep the base"."""
        return None if self.winner is None else Candidate(trial=self.winner, made=self.point).key

    @property
    def run(self) -> FinalistRun | None:
        """The winner's run on a new seed whose weights are handed over; None if there is none."""
        return None if self.finalist is None else self.finalist.run


def select(
    trials: Sequence[TrialResult],
    objective: Objective,
    points: Sequence[PointResult] = (),
    *,
    rule: SelectionConfig = _RULE,
    evidence: Evidence = NO_EVIDENCE,
    finalists: Sequence[Finalist] = (),
    confirmation: Evidence = NO_EVIDENCE,
    choice: str | None = None,
    other_rule: bool = False,
) -> Selection:
    """Select a complete trial or a point by a rule, if it beats doing nothing; see `search.decision.rule`.

    The rule chooses among the finalists, by what the confirm split says. By another rule than they were taken
    by, another recipe may be the best on the search split, with more than any of them confirmed: then that
    split decides. A pruned trial is never selected: it was not trained to its end.

    Args:
        trials: The trials.
        objective: What is maximised, and the bound on forgetting.
        points: What was made of their weights.
        rule: How one is chosen.
        evidence: What the candidates are worth on the search split; without it values count as they are.
        finalists: What was trained again.
        confirmation: What these are worth on the confirm split.
        choice: Name of the choice to take instead; see `search.decision.choices`.
        other_rule: Whether the finalists were taken by another bound on forgetting, strict or not, another
            weight of forgetting, or for something else that was maximised.

    Raises:
        ValueError: There is no such choice.
    """
    found = candidates(trials, points)
    by_key = {each.key: each for each in found}
    everyone = contenders(found, trials, evidence)

    def keeps(contender: Contender) -> bool:
        return objective.violation(worst_case(contender, strict=rule.strict)) <= 0

    feasible = {key: each for key, each in everyone.items() if keeps(each)}
    trained_again = confirmed(everyone, confirmation)
    finals = [each for each in trained_again if keeps(each)]
    case = reasons.Case(
        candidates=by_key,
        everyone=everyone,
        feasible=feasible,
        trained_again=trained_again,
        finals=finals,
        objective=objective,
        rule=rule,
        ruling=Ruling(),
    )
    choices = offered_choices(feasible, by_key, objective)
    notes: tuple[str, ...] = ()
    if choice is not None:
        case = replace(case, ruling=_asked_for(case, choice, choices, evidence))
    else:
        case, notes = _decided(case, evidence, confirmation, other_rule=other_rule)
    ruling = case.ruling
    first = by_key[ruling.first.key] if ruling.first is not None else None
    finalist = next((each for each in finalists if first is not None and each.candidate == first.key), None)
    if finalist is not None:
        finalist = replace(finalist, estimates=confirmation.estimates.get(finalist.candidate))
    ranked = sorted(feasible.values(), key=lambda each: each.order("score"))
    out = [each for key, each in everyone.items() if key not in feasible]
    out.sort(key=lambda each: (worst_case(each, strict=rule.strict), each.number))
    return Selection(
        winner=first.trial if first is not None else None,
        point=first.made if first is not None else None,
        ranking=tuple(by_key[each.key].trial for each in ranked if not each.made),
        infeasible=tuple(by_key[each.key].trial for each in out if not each.made),
        points=tuple(made for each in ranked if (made := by_key[each.key].made) is not None),
        reason=reasons.taken(case, choice) if choice is not None else reasons.reason(case),
        estimates=evidence.estimates,
        tied=tuple(each.key for each in ruling.tied),
        best=None if ruling.best is None else ruling.best.key,
        finalist=finalist,
        choices=choices,
        notes=notes,
    )


def _asked_for(case: reasons.Case, choice: str, choices: Sequence[Choice], evidence: Evidence) -> Ruling:
    """Return the ruling that takes a choice by its name."""
    taken = next((each for each in choices if each.name == choice), None)
    if taken is None:
        raise ValueError(reasons.no_such_choice(choice, choices))
    asked_for = case.everyone[taken.candidate]
    tied = level(list(case.feasible.values()), asked_for, case.rule.maximise, case.rule, evidence)
    return Ruling(first=asked_for, best=asked_for, tied=tuple(tied))


def _decided(
    case: reasons.Case, evidence: Evidence, confirmation: Evidence, *, other_rule: bool
) -> tuple[reasons.Case, tuple[str, ...]]:
    """Return the case with what the rule says of it, and notes on that."""
    if not case.trained_again:
        return replace(case, ruling=rule_on(list(case.feasible.values()), case.rule, evidence)), ()
    case = replace(case, ruling=rule_on(case.finals, case.rule, confirmation))
    if not (other_rule and _passed(case, evidence)):
        return case, ()
    by_search = _by_search(case, evidence)
    first = by_search.ruling.first
    unsure = first is not None and first.key not in confirmation.estimates
    return by_search, (reasons.offered(case),) if unsure else ()


def _passed(case: reasons.Case, evidence: Evidence) -> bool:
    """Return whether the best on the search split was not confirmed, and lies above all that was."""
    best, sure = rule_on(list(case.feasible.values()), case.rule, evidence).best, case.ruling.best
    if best is None or any(each.key == best.key for each in case.trained_again):
        return False
    return sure is None or best.value(case.rule.maximise) > sure.value(case.rule.maximise)


def _by_search(case: reasons.Case, evidence: Evidence) -> reasons.Case:
    """Return the case as the search split decides it, among all but those that the confirm split refutes."""
    confirmed = {each.key for each in case.finals if each.low(case.rule.maximise) > 0}
    refuted = {each.key for each in case.trained_again} - confirmed
    able = {key: each for key, each in case.feasible.items() if key not in refuted}
    ruling = rule_on(list(able.values()), case.rule, evidence)
    return replace(case, feasible=able, trained_again=(), finals=(), ruling=ruling)
