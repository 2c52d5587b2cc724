"""Choices: named recipes of the Pareto front, for who would rather gain more or forget less.

Each is the best by gain - weight x forgetting at a weight of its own: the study's for `balanced`, four times
as much for `cautious`, a quarter of it for `bold`. So all lie on the front of gain and forgetting, and from
cautious to bold both never fall. Values are the search split's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from search.decision.candidates import Candidate
from search.decision.evidence import Measure
from search.decision.naming import candidate_name
from search.decision.rule import Contender
from search.objective import Objective

ChoiceName = Literal["cautious", "balanced", "bold"]

NAMES: Final[tuple[ChoiceName, ...]] = get_args(ChoiceName)
_WEIGHTS: Final[Mapping[ChoiceName, float]] = {"cautious": 4.0, "balanced": 1.0, "bold": 0.25}
_TITLES: Final[Mapping[ChoiceName, str]] = {
    "cautious": "Forgets least for what it gains",
    "balanced": "Best by the study's own weight",
    "bold": "Gains most for what it forgets",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A recipe of the front, offered under a name.

    Attributes:
        name: How it is asked for.
        candidate: Its key, such as `trial 3` or `point 5`; see `search.decision.candidates`.
        title: What it is, in a few words.
        sentence: What it gains and what it forgets.
    """

    name: ChoiceName
    candidate: str
    title: str
    sentence: str


def offered_choices(
    feasible: Mapping[str, Contender], candidates: Mapping[str, Candidate], objective: Objective
) -> tuple[Choice, ...]:
    """Return the choices, cautious first; several may be the same recipe.

    A name is missing where at its weight no recipe beats the base, or none gains beyond its noise.

    Args:
        feasible: Who keeps the bound on forgetting, by key.
        candidates: The candidates by key.
        objective: What the study maximises.
    """
    # A study that does not weigh forgetting at all has these choices, too.
    weight = objective.forgetting_weight or 1.0
    gaining = [each for each in feasible.values() if each.low("target_gain") > 0]
    choices: list[Choice] = []
    for name in NAMES:
        of = weight * _WEIGHTS[name]
        best = _best(gaining, of)
        if best is None or _worth(best, of) <= 0:
            continue
        same = next((each.name for each in choices if each.candidate == best.key), None)
        choices.append(
            Choice(
                name=name,
                candidate=best.key,
                title=_TITLES[name],
                sentence=_sentence(best, candidates[best.key], same),
            )
        )
    return tuple(choices)


def _best(contenders: Sequence[Contender], weight: float) -> Contender | None:
    return min(
        contenders,
        key=lambda each: (-_worth(each, weight), *each.order("target_gain")),
        default=None,
    )


def _worth(contender: Contender, weight: float) -> float:
    return contender.score.target_gain - weight * contender.score.held_out_forgetting


def _sentence(contender: Contender, candidate: Candidate, same: str | None) -> str:
    name = candidate_name(candidate)
    forgetting = _points(contender, "held_out_forgetting")
    gains = f"gains {_points(contender, 'target_gain')} points and forgets {forgetting}."
    if same is not None:
        return f"The same as {same}: {name} {gains}"
    return f"{name[0].upper()}{name[1:]} {gains}"


def _points(contender: Contender, measure: Measure) -> str:
    text = f"{contender.value(measure):+.1f}"
    if contender.estimates is None:
        return text
    estimate = contender.estimates.of(measure)
    return f"{text} ({estimate.low:+.1f} to {estimate.high:+.1f})"
