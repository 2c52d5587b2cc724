"""The rule: who is tied, and what decides among those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from made_study import BASE, config, objective, trial

from search.decision import reasons
from search.decision.candidates import Candidate
from search.decision.evidence import NO_EVIDENCE, Estimate, Estimates, Evidence, Measure
from search.decision.rule import Contender, Ruling, rule_on, worst_case
from search.objective import Score
from search.settings.selection_config import SelectionConfig

RULE = SelectionConfig()


def score(gain: float, forgetting: float, worst: float | None = None) -> Score:
    return Score(
        target_gain=gain,
        held_out_forgetting=forgetting,
        worst_forgetting=forgetting if worst is None else worst,
        score=gain - forgetting,
    )


def around(value: float, reach: float) -> Estimate:
    return Estimate(value=value, low=value - reach, high=value + reach)


def contender(
    number: int, gain: float, forgetting: float = 0.0, *, reach: float = 1.0, cost: float = 1.0, **more: Any
) -> Contender:
    made = score(gain, forgetting)
    estimates = Estimates(
        target_gain=around(made.target_gain, reach),
        held_out_forgetting=around(made.held_out_forgetting, reach),
        worst_forgetting=around(made.worst_forgetting, reach),
        score=around(made.score, reach),
        changes={},
    )
    return Contender(key=f"trial {number}", score=made, estimates=estimates, cost=cost, number=number, **more)


def evidence(*contenders: Contender, noise: Mapping[Measure, float]) -> Evidence:
    """Return evidence by which a measure of two contenders differs within noise up to so many points."""
    by_key = {each.key: each for each in contenders}

    def difference(one: str, other: str, measure: Measure, confidence: float) -> Estimate:
        return around(by_key[one].value(measure) - by_key[other].value(measure), noise.get(measure, 0.0))

    estimates = {key: each.estimates for key, each in by_key.items() if each.estimates is not None}
    return Evidence(estimates=estimates, difference=difference)


def ruled(
    *contenders: Contender, noise: Mapping[Measure, float] | None = None, **rule: Any
) -> tuple[str | None, Ruling]:
    found = rule_on(contenders, SelectionConfig(**rule), evidence(*contenders, noise=noise or {}))
    return (None if found.first is None else found.first.key), found


def test_the_best_wins_where_nothing_is_tied() -> None:
    first, ruling = ruled(contender(0, 9.0), contender(1, 12.0, 2.0))
    assert first == "trial 1"
    assert [each.key for each in ruling.tied] == ["trial 1"]
    assert ruling.decided == ()


def test_a_tie_goes_to_less_forgetting() -> None:
    """Scores 10 and 9 are tied by noise of 2; forgetting 4 and 1 differ beyond noise of 1."""
    noise: dict[Measure, float] = {"score": 2.0, "held_out_forgetting": 1.0}
    first, ruling = ruled(contender(0, 14.0, 4.0), contender(1, 10.0, 1.0), noise=noise)
    assert first == "trial 1"
    assert ruling.best is not None
    assert ruling.best.key == "trial 0"
    assert ruling.decided == ("held_out_forgetting",)
    assert [each.key for each in ruling.tied] == ["trial 0", "trial 1"]


def test_forgetting_that_differs_within_noise_decides_nothing() -> None:
    """Forgetting 4 and 3.9 are level, so that the cost decides, and with equal costs the score."""
    noise: dict[Measure, float] = {"score": 2.0, "held_out_forgetting": 1.0}
    dear = contender(0, 14.0, 4.0, cost=9.0)
    cheap = contender(1, 13.0, 3.9, cost=1.0)
    first, ruling = ruled(dear, cheap, noise=noise)
    assert (first, ruling.decided) == ("trial 1", ("cost",))
    level = contender(1, 13.0, 3.9, cost=9.0)
    first, ruling = ruled(dear, level, noise=noise)
    assert (first, ruling.decided) == ("trial 0", ())


def said(*contenders: Contender, noise: Mapping[Measure, float], **rule: Any) -> str:
    """Return the reason that is given of a ruling, without the chosen one's values."""
    by_key = {each.key: each for each in contenders}
    case = reasons.Case(
        candidates={each.key: Candidate(trial=trial(each.number, [BASE])) for each in contenders},
        everyone=by_key,
        feasible=by_key,
        trained_again=(),
        finals=(),
        objective=objective(config()),
        rule=SelectionConfig(**rule),
        ruling=ruled(*contenders, noise=noise, **rule)[1],
    )
    return reasons.reason(case).partition(": ")[0]


def test_the_reason_names_every_criterion_that_left_somebody_out() -> None:
    """Scores 14, 13.5 and 13: the third forgets 3 more and is out, so its cost of 1 counts for nothing."""
    three = contender(0, 15.0, 1.0, cost=10.0), contender(1, 14.5, 1.0, cost=5.0), contender(2, 17.0, 4.0)
    noise: dict[Measure, float] = {"score": 3.0, "held_out_forgetting": 0.5}
    assert said(*three, noise=noise) == (
        "trial 1 (gate_up at learning rate 0.001) is chosen, by less forgetting, then a lower cost of "
        "training, of the 3 whose score lies within noise of the highest, trial 0's +14.0, "
        "among 3 feasible complete trials"
    )
    assert ", by a lower cost of training, of the 3" in said(*three, noise=noise, ties=["cost"])


def test_the_reason_names_the_score_where_it_decides_among_those_left() -> None:
    """Scores 10, 9 and 8: the first forgets most; of the others, level by noise, the second scores higher."""
    three = contender(0, 15.0, 5.0), contender(1, 10.0, 1.0), contender(2, 8.9, 0.9)
    noise: dict[Measure, float] = {"score": 3.0, "held_out_forgetting": 0.5}
    assert " is chosen, by less forgetting, then the higher score, of the 3 " in said(*three, noise=noise)
    # The highest score needs no criterion, although one left trial 2 out.
    assert "trial 0 (gate_up at learning rate 0.001) has the highest score of 3" in said(
        contender(0, 15.0, 1.0), contender(1, 14.0, 1.0), contender(2, 17.0, 4.0), noise=noise
    )


def test_the_order_of_the_criteria_is_the_user_s() -> None:
    noise: dict[Measure, float] = {"score": 5.0}
    mild, cheap = contender(0, 10.0, 1.0, cost=9.0), contender(1, 12.0, 4.0, cost=1.0)
    assert ruled(mild, cheap, noise=noise, ties=("held_out_forgetting", "cost"))[0] == "trial 0"
    assert ruled(mild, cheap, noise=noise, ties=("cost", "held_out_forgetting"))[0] == "trial 1"
    assert ruled(mild, cheap, noise=noise, ties=("target_gain",))[0] == "trial 1"
    assert ruled(mild, cheap, noise=noise, ties=("worst_forgetting",))[0] == "trial 0"


def test_what_hardly_differs_from_the_base_wins_no_tie() -> None:
    """Its score of 0.5 +- 1 is tied with 3 by noise of 4, but does not lie above 0 itself."""
    best, trivial = contender(0, 6.0, 3.0, reach=2.0), contender(1, 0.5, 0.0)
    assert ruled(best, trivial, noise={"score": 4.0})[0] == "trial 0"


def test_the_base_is_kept_where_no_interval_lies_above_0() -> None:
    assert ruled(contender(0, 1.0, reach=1.0), contender(1, -3.0))[0] is None
    # Of a larger gain with a wide interval and a sure one, the sure one counts.
    assert ruled(contender(0, 5.0, reach=6.0), contender(1, 2.0, reach=1.0))[0] == "trial 1"


def test_what_is_maximised_is_what_must_beat_the_base() -> None:
    forgetful = contender(0, 9.0, 12.0)
    assert ruled(forgetful)[0] is None
    assert ruled(forgetful, maximise="target_gain")[0] == "trial 0"


def test_a_strict_bound_takes_the_interval_s_end() -> None:
    each = contender(0, 9.0, 2.0, reach=1.5)
    assert worst_case(each, strict=False) == 2.0
    assert worst_case(each, strict=True) == 3.5
    unknown = Contender(key="trial 1", score=score(9.0, 2.0))
    assert worst_case(unknown, strict=True) == float("inf")


ROWS = st.lists(
    st.tuples(st.integers(-4, 8), st.integers(-3, 4), st.integers(1, 3), st.booleans()),
    max_size=7,
)
NOISE = st.fixed_dictionaries({"score": st.integers(0, 3), "held_out_forgetting": st.integers(0, 2)})


def made_of(rows: list[tuple[int, int, int, bool]]) -> list[Contender]:
    return [
        contender(number, float(gain), float(forgetting), cost=float(cost), made=made)
        for number, (gain, forgetting, cost, made) in enumerate(rows)
    ]


@given(ROWS, NOISE, st.permutations(range(7)))
def test_laws(rows: list[tuple[int, int, int, bool]], noise: dict[Measure, float], order: list[int]) -> None:
    found = made_of(rows)
    known = evidence(*found, noise=noise)
    ruling = rule_on(found, RULE, known)
    shuffled = [found[place] for place in order if place < len(found)]
    # The order in which contenders come does not matter.
    assert rule_on(shuffled, RULE, known) == ruling
    if ruling.first is None or ruling.best is None:
        assert all(each.low("score") <= 0 for each in found)
        return
    first, best = ruling.first, ruling.best
    assert first in ruling.tied
    assert best in ruling.tied
    assert first.low("score") > 0
    # No tied one is better in all that the rule looks at, and nobody beats the best.
    assert all(each.score.score <= best.score.score for each in found if each.low("score") > 0)
    for each in ruling.tied:
        ahead = (
            each.score.score > first.score.score
            and each.score.held_out_forgetting < first.score.held_out_forgetting
            and each.cost < first.cost
        )
        assert not ahead
    assert (not ruling.decided) == (first is best)


@given(ROWS)
def test_without_evidence_the_highest_value_wins(rows: list[tuple[int, int, int, bool]]) -> None:
    found = [
        Contender(key=each.key, score=each.score, cost=each.cost, made=each.made, number=each.number)
        for each in made_of(rows)
    ]
    ruling = rule_on(found, RULE, NO_EVIDENCE)
    assert (ruling.first is None) == (max((each.score.score for each in found), default=0) <= 0)
    if ruling.first is not None:
        assert ruling.first.score.score == max(each.score.score for each in found)
