"""Selection: who wins, who may not, and when nobody does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.decision.naming import done_to
from search.objective import Objective, Score
from search.results import PointResult, Rung, TrialResult, TrialState
from search.selection import Selection, select
from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup, Transform
from spaces.recipe import Recipe

HALF = Interpolation(0.5)


def trial(
    number: int,
    score: float,
    forgetting: float = 0.0,
    parameters: int = 100,
    state: TrialState = TrialState.COMPLETE,
) -> TrialResult:
    points = Score(
        target_gain=score + forgetting,
        held_out_forgetting=forgetting,
        worst_forgetting=forgetting,
        score=score,
    )
    rung = Rung(
        step=40,
        progress=1.0 if state is TrialState.COMPLETE else 0.5,
        score=points,
        values={},
        metrics={**points.to_metrics(), "cost/trainable_parameters": parameters},
    )
    return TrialResult(
        trial_id=f"t_{number}",
        number=number,
        recipe=Recipe(subset="gate_up", learning_rate=1.5e-4, steps=40, batch_size=8),
        state=state,
        rungs=(rung,),
        error="lost" if state is TrialState.FAILED else None,
    )


def selected(*trials: TrialResult, max_forgetting: float | None = None) -> Selection:
    objective = Objective(base={}, targets=("count",), held_out=("colour",), max_forgetting=max_forgetting)
    return select(trials, objective)


def numbers(trials: tuple[TrialResult, ...]) -> list[int]:
    return [each.number for each in trials]


class TestWinner:
    def test_has_the_highest_score(self) -> None:
        verdict = selected(trial(0, 3.0), trial(1, 5.0), trial(2, 4.0))
        assert verdict.winner is not None
        assert verdict.winner.number == 1
        assert numbers(verdict.ranking) == [1, 2, 0]
        assert not verdict.keep_base
        assert verdict.reason == (
            "trial 1 (gate_up at learning rate 0.00015) has the highest score of 3 feasible complete trials: "
            "+5.0 points, a gain of +5.0 for +0.0 of forgetting"
        )

    @pytest.mark.parametrize(
        ("first", "second", "winner"),
        [
            # Less forgetting, before fewer parameters, before the earlier start.
            ({"forgetting": 2.0, "parameters": 1}, {"forgetting": 1.0, "parameters": 9}, 1),
            ({"parameters": 9}, {"parameters": 1}, 1),
            ({"parameters": 1}, {"parameters": 1}, 0),
            ({"forgetting": -1.0}, {"forgetting": 0.0}, 0),
        ],
    )
    def test_of_a_tie(self, first: dict[str, Any], second: dict[str, Any], winner: int) -> None:
        pair = [trial(0, 5.0, **first), trial(1, 5.0, **second)]
        for trials in (pair, pair[::-1]):
            verdict = selected(*trials)
            assert verdict.winner is not None
            assert verdict.winner.number == winner

    @pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAILED])
    def test_was_trained_to_its_end(self, state: TrialState) -> None:
        verdict = selected(trial(0, 9.0, state=state), trial(1, 1.0))
        assert numbers(verdict.ranking) == [1]
        assert verdict.winner is verdict.ranking[0]


def point(
    of: TrialResult, score: float, forgetting: float = 0.0, transform: Transform = HALF, number: int = 0
) -> PointResult:
    rung = trial(0, score, forgetting).last
    return PointResult(number=number, point=Point(of.number, 40, transform), trial=of, rung=rung)


def with_points(
    trials: Sequence[TrialResult], *points: PointResult, max_forgetting: float | None = None
) -> Selection:
    objective = Objective(base={}, targets=("count",), held_out=("colour",), max_forgetting=max_forgetting)
    return select(trials, objective, points)


class TestPoints:
    def test_compete_with_the_trials(self) -> None:
        trials = (trial(0, 3.0), trial(1, 5.0))
        worse, better = point(trials[1], 4.0), point(trials[0], 6.0, 1.0, number=1)
        verdict = with_points(trials, worse, better)
        assert (verdict.winner, verdict.point, verdict.rung) == (trials[0], better, better.rung)
        assert verdict.points == (better, worse)
        assert numbers(verdict.ranking) == [1, 0]
        assert verdict.reason == (
            "trial 0 (gate_up at learning rate 0.00015), interpolated with the base at alpha 0.5, has the "
            "highest score of 2 feasible complete trials and 2 variants made from their weights: "
            "+6.0 points, a gain of +7.0 for +1.0 of forgetting"
        )

    def test_a_trial_wins_a_tie(self) -> None:
        one = trial(0, 5.0)
        verdict = with_points([one], point(one, 5.0))
        assert (verdict.winner, verdict.point, verdict.rung) == (one, None, one.last)

    def test_less_forgetting_wins_a_tie_first(self) -> None:
        one = trial(0, 5.0, forgetting=2.0)
        assert with_points([one], point(one, 5.0, forgetting=1.0)).point is not None

    def test_a_point_may_be_feasible_where_its_trial_is_not(self) -> None:
        one = trial(0, 20.0, forgetting=9.0)
        verdict = with_points([one], point(one, 15.0, forgetting=2.0), max_forgetting=3.0)
        assert (verdict.winner, verdict.ranking, numbers(verdict.infeasible)) == (one, (), [0])
        assert verdict.rung is not None
        assert verdict.rung.score.score == 15.0

    def test_an_infeasible_one_never_wins(self) -> None:
        one = trial(0, 1.0)
        verdict = with_points([one], point(one, 50.0, forgetting=9.0), max_forgetting=3.0)
        assert (verdict.winner, verdict.point, verdict.points) == (one, None, ())

    def test_one_that_failed_is_none(self) -> None:
        one = trial(0, 1.0)
        lost = PointResult(number=0, point=Point(0, 40, HALF), trial=one, error="lost")
        assert with_points([one], lost).points == ()

    def test_the_base_is_kept_where_none_of_them_beats_it(self) -> None:
        one = trial(0, -3.0)
        assert with_points([one], point(one, -1.0)).reason == (
            "keep the base: the best of 1 feasible complete trial and 1 variant made from their weights "
            "scores -1.0 points, and doing nothing scores 0"
        )

    def test_the_nearest_of_all_that_forget_too_much_is_told(self) -> None:
        one = trial(0, 9.0, forgetting=9.0)
        assert with_points([one], point(one, 5.0, forgetting=4.0), max_forgetting=3.0).reason == (
            "keep the base: all 1 complete trial and 1 variant made from their weights forget more than the "
            "allowed 3 points; the nearest, trial 0 (gate_up at learning rate 0.00015), interpolated with "
            "the base at alpha 0.5, forgets 4.0, 1.0 too much"
        )

    @pytest.mark.parametrize(
        ("transform", "words"),
        [
            (Identity(), "trial 0, as it was after 40 steps"),
            (Interpolation(0.9), "trial 0, interpolated with the base at alpha 0.9"),
            (Pruning(0.1), "trial 0, with 10 % of each tensor's changes kept"),
            (Soup((Member(0, 40), Member(4, 40), Member(2, 40))), "the mean of trials 0, 4 and 2"),
        ],
    )
    def test_in_words(self, transform: Transform, words: str) -> None:
        assert done_to(Point(0, 40, transform), whose="trial 0") == words


class TestConstraint:
    def test_an_infeasible_trial_never_wins(self) -> None:
        verdict = selected(trial(0, 50.0, forgetting=5.1), trial(1, 1.0, forgetting=5.0), max_forgetting=5.0)
        assert numbers(verdict.ranking) == [1]
        assert numbers(verdict.infeasible) == [0]

    def test_the_nearest_to_the_bound_comes_first_among_the_infeasible(self) -> None:
        verdict = selected(trial(0, 1.0, 9.0), trial(1, 9.0, 8.0), trial(2, 5.0, 20.0), max_forgetting=2.0)
        assert numbers(verdict.infeasible) == [1, 0, 2]
        assert verdict.keep_base
        assert verdict.reason == (
            "keep the base: all 3 complete trials forget more than the allowed 2 points; "
            "the nearest, trial 1 (gate_up at learning rate 0.00015), forgets 8.0, 6.0 too much"
        )

    def test_without_a_bound_all_are_feasible(self) -> None:
        assert selected(trial(0, 1.0, forgetting=90.0)).infeasible == ()


class TestKeepTheBase:
    @pytest.mark.parametrize("score", [0.0, -0.1, -30.0])
    def test_when_nothing_beats_doing_nothing(self, score: float) -> None:
        verdict = selected(trial(0, score), trial(1, -40.0))
        assert verdict.winner is None
        assert verdict.keep_base
        assert numbers(verdict.ranking) == [0, 1]
        assert verdict.reason == (
            f"keep the base: the best of 2 feasible complete trials scores {score:+.1f} points, "
            "and doing nothing scores 0"
        )

    @pytest.mark.parametrize("trials", [[], [trial(0, 5.0, state=TrialState.FAILED)]])
    def test_when_no_trial_finished(self, trials: list[TrialResult]) -> None:
        assert selected(*trials).reason == "keep the base: no trial finished"


TRIALS = st.lists(
    st.tuples(
        st.integers(-3, 3),
        st.integers(-2, 2),
        st.integers(1, 3),
        st.sampled_from([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED]),
    ),
    max_size=8,
).map(
    lambda rows: [
        trial(number, float(score), float(forgetting), parameters, state)
        for number, (score, forgetting, parameters, state) in enumerate(rows)
    ]
)


@given(TRIALS, st.none() | st.integers(-2, 2), st.randoms(use_true_random=False))
def test_laws(trials: list[TrialResult], bound: float | None, shuffler: random.Random) -> None:
    verdict = selected(*trials, max_forgetting=bound)
    finished = {t.number for t in trials if t.state is TrialState.COMPLETE}
    assert sorted(numbers(verdict.ranking) + numbers(verdict.infeasible)) == sorted(finished)
    if verdict.winner is not None:
        best = verdict.winner.last.score
        assert best.score > 0
        assert bound is None or best.held_out_forgetting <= bound
        assert all(best.score >= t.last.score.score for t in verdict.ranking)
    shuffled = list(trials)
    shuffler.shuffle(shuffled)
    assert selected(*shuffled, max_forgetting=bound).winner is verdict.winner
    # What wins without a bound and keeps it, wins with it.
    free = selected(*trials)
    if free.winner is not None and (bound is None or free.winner.last.score.held_out_forgetting <= bound):
        assert verdict.winner is free.winner
