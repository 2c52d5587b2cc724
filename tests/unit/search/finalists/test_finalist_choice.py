"""Which candidates are trained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from made_study import config, objective, trial

from search.decision.candidates import Candidate
from search.decision.evidence import NO_EVIDENCE, Estimate, Estimates, Evidence, Measure
from search.finalists.choice import entrant, finalists
from search.results import PointResult
from search.settings.selection_config import Maximised, SelectionConfig
from spaces.points import Identity, Interpolation, Member, Point, Soup, Transform

STEPS = 40


def candidate(number: int, gain: float, forgetting: float) -> Candidate:
    """Return a trial that gains so much on both targets, and loses so much on both held-out tasks."""
    values = {"count": 10 + gain, "clock": 20 + gain, "colour": 90 - forgetting, "shape": 80 - forgetting}
    return Candidate(trial=trial(number, [values]))


def evidence(candidates: Sequence[Candidate], half: float, noise: Mapping[str, float]) -> Evidence:
    """Return intervals of so many points to either side, of forgetting and of differences.

    Args:
        candidates: The candidates.
        half: The half width of the interval of what each forgets.
        noise: Key -> half width of the interval of its difference to any other one.
    """

    def around(value: float, width: float) -> Estimate:
        return Estimate(value=value, low=value - width, high=value + width)

    scores = {each.key: each.rung.score for each in candidates}

    def difference(one: str, other: str, measure: Measure, confidence: float) -> Estimate:
        assert confidence == 0.95, "the rule's"
        return around(getattr(scores[one], measure) - getattr(scores[other], measure), noise[one])

    known = {
        key: Estimates(
            target_gain=around(score.target_gain, half),
            held_out_forgetting=around(score.held_out_forgetting, half),
            worst_forgetting=around(score.worst_forgetting, half),
            score=around(score.score, half),
            changes={},
        )
        for key, score in scores.items()
    }
    return Evidence(estimates=known, difference=difference)


def chosen(
    ranked: Sequence[Candidate],
    known: Evidence,
    *,
    maximise: Maximised = "score",
    bound: float | None = None,
    strict: bool = False,
    most: int = 9,
) -> list[str]:
    goal = objective(config(max_forgetting=bound))
    rule = SelectionConfig(maximise=maximise, strict=strict)
    return [each.key for each in finalists(ranked, goal, known, rule, most)]


def test_those_whose_difference_to_the_best_may_be_noise() -> None:
    """Scores of 20, 17 and 12: with a noise of 3 the second may be as good as the first, the third with 8."""
    ranked = [candidate(4, 20, 0), candidate(2, 19, 2), candidate(7, 12, 0)]
    noise = {"trial 2": 3.0, "trial 7": 7.9}
    assert chosen(ranked, evidence(ranked, 0, noise)) == ["trial 4", "trial 2"]
    assert chosen(ranked, evidence(ranked, 0, noise | {"trial 2": 2.9})) == ["trial 4"]
    assert chosen(ranked, evidence(ranked, 0, noise | {"trial 7": 8})) == ["trial 4", "trial 2", "trial 7"]
    assert chosen(ranked, evidence(ranked, 0, noise | {"trial 7": 8}), most=2) == ["trial 4", "trial 2"]


def test_what_is_no_better_than_the_base_is_not_confirmed() -> None:
    """Scores of 1, 0 and -4; by its gain alone the last one is the best."""
    ranked = [candidate(0, 3, 2), candidate(1, 3, 3), candidate(2, 6, 10)]
    known = evidence(ranked, 0, {each.key: 100.0 for each in ranked})
    assert chosen(ranked, known) == ["trial 0"]
    assert chosen(ranked[1:], known) == []
    assert chosen(ranked[::-1], known, maximise="target_gain") == ["trial 2", "trial 1", "trial 0"]


def test_what_may_keep_the_bound_takes_part_but_what_keeps_it_comes_first() -> None:
    """Of at most 2 points: 4 forgotten with an interval of 2 reach it, and 4.1 do not."""
    ranked = [candidate(0, 30, 4.1), candidate(1, 25, 4), candidate(2, 20, 2), candidate(3, 15, 0)]
    known = evidence(ranked, 2, {each.key: 100.0 for each in ranked})
    assert chosen(ranked, known, bound=2) == ["trial 2", "trial 1", "trial 3"]
    assert chosen(ranked[:2], known, bound=2) == ["trial 1"]
    assert chosen(ranked[:1], known, bound=2) == []


def test_a_strict_bound_lets_the_best_one_come_first_whose_interval_keeps_it() -> None:
    """Of at most 2 points: 1.9 with an interval of 2 may be 3.9, and 0 may be 2."""
    ranked = [candidate(0, 30, 1.9), candidate(1, 25, 0.1), candidate(2, 20, 0)]
    known = evidence(ranked, 2, {each.key: 100.0 for each in ranked})
    assert chosen(ranked, known, bound=2, strict=True, most=2) == ["trial 2", "trial 0"]
    assert chosen(ranked, known, bound=2, most=2) == ["trial 0", "trial 1"]


def test_without_scores_of_each_sample_nothing_is_told_apart() -> None:
    ranked = [candidate(0, 30, 3), candidate(1, 20, 1), candidate(2, 10, 0)]
    assert chosen(ranked, NO_EVIDENCE) == ["trial 0", "trial 1", "trial 2"]
    assert chosen(ranked, NO_EVIDENCE, bound=2) == ["trial 1", "trial 2"]


def variant(number: int, of: Candidate, transform: Transform, gain: float) -> Candidate:
    """Return a point made of a trial that gains so much and forgets nothing."""
    rung = candidate(of.trial.number, gain, 0).rung
    return Candidate(
        trial=of.trial,
        made=PointResult(
            number=number, point=Point(of.trial.number, STEPS, transform), trial=of.trial, rung=rung
        ),
    )


def soup(*members: int) -> Soup:
    return Soup(tuple(Member(number, STEPS) for number in members))


class TestWhatIsMadeOfTheSameWeights:
    """Trials 0 to 3 score 30, 28, 26 and 24; nothing can be told apart."""

    trials = (candidate(0, 30, 0), candidate(1, 28, 0), candidate(2, 26, 0), candidate(3, 24, 0))

    def test_rides_along(self) -> None:
        half = variant(0, self.trials[0], Interpolation(0.5), 29.5)
        most = variant(1, self.trials[0], Interpolation(0.9), 29.8)
        late = variant(2, self.trials[1], Interpolation(0.9), 20)
        other = variant(3, self.trials[3], Interpolation(0.9), 19)
        ranked = [self.trials[0], most, half, *self.trials[1:], late, other]
        assert chosen(ranked, NO_EVIDENCE, most=2) == ["trial 0", "point 1", "point 0", "trial 1", "point 2"]
        assert chosen(ranked, NO_EVIDENCE, most=1) == ["trial 0", "point 1", "point 0"]

    def test_but_only_within_noise(self) -> None:
        half = variant(0, self.trials[0], Interpolation(0.5), 20)
        ranked = [self.trials[0], half]
        assert chosen(ranked, evidence(ranked, 0, {"point 0": 9.9}), most=1) == ["trial 0"]
        assert chosen(ranked, evidence(ranked, 0, {"point 0": 10}), most=1) == ["trial 0", "point 0"]

    def test_a_soup_counts_each_member_that_does_not_take_part(self) -> None:
        """Of trials 0, 1 and 2, behind trials 0 and 1, it needs one more: trial 3 is then the fourth."""
        made = variant(0, self.trials[0], soup(0, 1, 2), 27)
        ranked = [*self.trials[:2], made, *self.trials[2:]]
        assert chosen(ranked, NO_EVIDENCE, most=2) == ["trial 0", "trial 1"]
        assert chosen(ranked, NO_EVIDENCE, most=3) == ["trial 0", "trial 1", "point 0", "trial 2"]

    def test_a_soup_that_is_the_best_takes_part_in_any_case(self) -> None:
        made = variant(0, self.trials[0], soup(0, 1, 2), 31)
        ranked = [made, *self.trials]
        assert chosen(ranked, NO_EVIDENCE, most=1) == ["point 0", "trial 0", "trial 1", "trial 2"]


@pytest.mark.parametrize(
    ("transform", "step", "needs"),
    [
        (Interpolation(0.5), STEPS, {3: STEPS}),
        (Identity(), 10, {3: 10}),
        (Soup((Member(3, STEPS), Member(5, STEPS), Member(3, 10))), STEPS, {3: STEPS, 5: STEPS}),
    ],
)
def test_what_must_be_trained_again(transform: Transform, step: int, needs: dict[int, int]) -> None:
    made = candidate(3, 10, 0)
    point = PointResult(number=8, point=Point(3, step, transform), trial=made.trial, rung=made.rung)
    found = entrant(Candidate(trial=made.trial, made=point))
    assert (found.key, found.needs) == ("point 8", needs)
    assert entrant(made).needs == {3: STEPS}
