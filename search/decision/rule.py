"""The rule: which of some candidates is chosen, by what is maximised, what is allowed and what breaks a tie.

1. Allowed is what keeps the bound on forgetting; if `strict`, with its interval's upper end.
2. Of these count those that beat the base: whose interval of what is maximised lies above 0.
3. The best of them has the highest value, and tied with it are those whose paired difference to it has an
   interval that holds 0; it covers `tie_confidence`, by default one standard error (the one-standard-error
   rule: Breiman et al., Classification and Regression Trees, 1984). At 95 % a recipe that is most likely
   worse by several points would often be chosen for what it saves.
4. The criteria of `ties` follow one another: each keeps, of those that are left, the best by it and all whose
   paired difference to that one holds 0, so a difference that may be noise decides nothing. Cost has no
   noise: only the cheapest are kept.
5. Of those still left the highest value wins; of equal ones that which forgets less, then costs less, then
   was trained as it is, then was started first.

Where the scores of samples are not known, a value itself stands for its interval, and only equals are tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.decision.evidence import Estimates, Evidence, Measure
from search.objective import Score
from search.settings.selection_config import SelectionConfig, TieBreak

Order = tuple[float, float, float, bool, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A candidate as the rule sees it.

    Attributes:
        key: Its key; see `search.decision.candidates`.
        score: What it is worth.
        estimates: The same with intervals; None where they are not known.
        cost: What its training costs, in FLOPs or trained parameters.
        made: Whether it was made of trained weights, rather than trained.
        number: Its number among its kind.
    """

    key: str
    score: Score
    estimates: Estimates | None = None
    cost: float = 0.0
    made: bool = False
    number: int = 0

    def value(self, measure: Measure) -> float:
        """Return a measure's value."""
        value: float = getattr(self.score, measure)
        return value

    def low(self, measure: Measure) -> float:
        """Return the lower end of a measure's interval, or its value."""
        return self.value(measure) if self.estimates is None else self.estimates.of(measure).low

    def order(self, measure: Measure) -> Order:
        """Return what sorts the best first, noise or not."""
        return (-self.value(measure), self.score.held_out_forgetting, self.cost, self.made, self.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """What the rule says of some contenders.

    Attributes:
        first: The chosen one; None where none beats the base.
        best: The one with the highest value of those that beat the base; None where none does.
        tied: Those within noise of the best, itself among them, highest value first.
        left: Those of them that no criterion left out, highest value first.
        decided: The criteria that left somebody out, in their order; none where the best is chosen.
    """

    first: Contender | None = None
    best: Contender | None = None
    tied: tuple[Contender, ...] = ()
    left: tuple[Contender, ...] = ()
    decided: tuple[TieBreak, ...] = ()


def worst_case(contender: Contender, *, strict: bool) -> float:
    """Return the forgetting that must keep the bound; if `strict` and its interval is unknown, infinite."""
    return bounded(contender.score.held_out_forgetting, contender.estimates, strict=strict)


def bounded(forgetting: float, known: Estimates | None, *, strict: bool) -> float:
    """Return what must keep the bound, of a mean forgetting and its interval; see `worst_case`."""
    if not strict:
        return forgetting
    return float("inf") if known is None else known.held_out_forgetting.high


def rule_on(contenders: Sequence[Contender], rule: SelectionConfig, evidence: Evidence) -> Ruling:
    """Choose among contenders that all keep the bound on forgetting.

    Args:
        contenders: Who may be chosen.
        rule: How.
        evidence: How they differ.
    """
    measure = rule.maximise
    able = sorted(
        (each for each in contenders if each.low(measure) > 0), key=lambda each: each.order(measure)
    )
    if not able:
        return Ruling()
    best = able[0]
    tied = level(able, best, measure, rule, evidence)
    left, decided = tied, list[TieBreak]()
    for criterion in rule.ties:
        kept = _kept(left, criterion, rule, evidence)
        if len(kept) < len(left):
            decided.append(criterion)
        left = kept
    if left[0] is best:
        decided.clear()
    return Ruling(first=left[0], best=best, tied=tuple(tied), left=tuple(left), decided=tuple(decided))


def _kept(
    left: Sequence[Contender], criterion: TieBreak, rule: SelectionConfig, evidence: Evidence
) -> list[Contender]:
    if criterion == "cost":
        cheapest = min(each.cost for each in left)
        return [each for each in left if each.cost == cheapest]
    if criterion == "target_gain":
        return level(left, max(left, key=lambda each: each.score.target_gain), criterion, rule, evidence)
    return level(left, min(left, key=lambda each: each.value(criterion)), criterion, rule, evidence)


def level(
    contenders: Sequence[Contender],
    best: Contender,
    measure: Measure,
    rule: SelectionConfig,
    evidence: Evidence,
) -> list[Contender]:
    """Return those whose measure equals the best one's, or differs from it within noise."""
    return [
        each
        for each in contenders
        if each.value(measure) == best.value(measure)
        or evidence.tied(best.key, each.key, measure, rule.tie_confidence)
    ]
