"""Score: hand-worked numbers, and the laws that make it a comparison with the base."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.objective import Objective

TARGETS, HELD_OUT = ("count", "clock"), ("colour", "shape", "digits")
TASKS = (*TARGETS, *HELD_OUT)
BASE = {"count": 10.0, "clock": 20.0, "colour": 90.0, "shape": 80.0, "digits": 70.0}

Points = dict[str, float]

POINTS = st.floats(0, 100)
VALUES = st.fixed_dictionaries(dict.fromkeys(TASKS, POINTS))


def objective(base: Points = BASE, **changes: Any) -> Objective:
    return Objective(**{"base": base, "targets": TARGETS, "held_out": HELD_OUT} | changes)


class TestByHand:
    # Gains 40 and 10: mean 25. Drops 9, 0 and -3: mean 2, worst 9.
    TUNED = {"count": 50.0, "clock": 30.0, "colour": 81.0, "shape": 80.0, "digits": 73.0}  # noqa: RUF012

    @pytest.mark.parametrize(("weight", "score"), [(1.0, 23.0), (0.0, 25.0), (2.5, 20.0)])
    def test_score(self, weight: float, score: float) -> None:
        got = objective(forgetting_weight=weight).score(self.TUNED)
        assert got.target_gain == 25.0
        assert got.held_out_forgetting == 2.0
        assert got.worst_forgetting == 9.0
        assert got.score == score

    def test_metric_names(self) -> None:
        assert objective().score(self.TUNED).to_metrics() == {
            "score": 23.0,
            "target_gain": 25.0,
            "held_out_forgetting": 2.0,
            "worst_forgetting": 9.0,
        }

    def test_getting_better_at_everything_held_out_is_negative_forgetting(self) -> None:
        got = objective().score(BASE | {"colour": 96.0, "shape": 83.0, "digits": 70.0})
        assert (got.held_out_forgetting, got.worst_forgetting, got.score) == (-3.0, 0.0, 3.0)

    def test_tasks_that_are_neither_do_not_count(self) -> None:
        assert objective().score(self.TUNED | {"other": 0.0}) == objective().score(self.TUNED)


class TestLaws:
    @given(VALUES, st.floats(0, 10))
    def test_doing_nothing_scores_0(self, base: Points, weight: float) -> None:
        got = objective(base, forgetting_weight=weight).score(base)
        assert set(got.to_metrics().values()) == {0.0}

    @given(VALUES, VALUES, st.fixed_dictionaries(dict.fromkeys(TASKS, st.floats(-100, 100))))
    def test_a_shift_of_base_and_tuned_together_changes_nothing(
        self, base: Points, tuned: Points, shift: Points
    ) -> None:
        shifted = objective({task: base[task] + shift[task] for task in TASKS})
        got = shifted.score({task: tuned[task] + shift[task] for task in TASKS}).to_metrics()
        assert got == pytest.approx(objective(base).score(tuned).to_metrics(), abs=1e-9)

    @given(VALUES, VALUES, st.floats(0, 10), st.floats(0, 10))
    def test_the_score_falls_by_forgetting_for_each_unit_of_weight(
        self, base: Points, tuned: Points, first: float, second: float
    ) -> None:
        a = objective(base, forgetting_weight=first).score(tuned)
        b = objective(base, forgetting_weight=second).score(tuned)
        assert a.score - b.score == pytest.approx((second - first) * a.held_out_forgetting, abs=1e-9)
        assert (a.target_gain, a.held_out_forgetting) == (b.target_gain, b.held_out_forgetting)

    @given(VALUES, VALUES)
    def test_the_way_back_has_the_opposite_score(self, base: Points, tuned: Points) -> None:
        there, back = objective(base).score(tuned), objective(tuned).score(base)
        assert there.score == pytest.approx(-back.score, abs=1e-9)

    @given(VALUES, VALUES)
    def test_the_worst_drop_is_at_least_the_mean(self, base: Points, tuned: Points) -> None:
        got = objective(base).score(tuned)
        assert got.worst_forgetting >= got.held_out_forgetting - 1e-9

    @given(VALUES, VALUES, st.permutations(TARGETS), st.permutations(HELD_OUT))
    def test_the_order_of_tasks_does_not_matter(
        self, base: Points, tuned: Points, targets: list[str], held_out: list[str]
    ) -> None:
        other = objective(base, targets=tuple(targets), held_out=tuple(held_out))
        assert other.score(tuned) == objective(base).score(tuned)

    @given(VALUES, VALUES, st.sampled_from(TASKS), st.floats(0.001, 50))
    def test_any_task_better_is_a_better_score(
        self, base: Points, tuned: Points, task: str, more: float
    ) -> None:
        better = tuned | {task: tuned[task] + more}
        assert objective(base).score(better).score > objective(base).score(tuned).score


class TestMissingNumbers:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    @pytest.mark.parametrize("whose", ["base", "tuned"])
    def test_are_never_scored(self, task: str, value: float | None, whose: str) -> None:
        broken = {name: points for name, points in BASE.items() if name != task}
        if value is not None:
            broken[task] = value
        base, tuned = (broken, BASE) if whose == "base" else (BASE, broken)
        with pytest.raises(ValueError, match="missing or not finite") as caught:
            objective(base).score(tuned)
        assert str(caught.value) == f"the {whose} model's value of task {task!r} is missing or not finite"


class TestConstraint:
    @pytest.mark.parametrize(
        ("bound", "forgetting", "violation"),
        [
            (None, 99.0, 0.0),
            (5.0, 5.0, 0.0),
            (5.0, 7.5, 2.5),
            (5.0, -1.0, -6.0),
            (0.0, 0.25, 0.25),
            (-1.0, 0.0, 1.0),
        ],
    )
    def test_violation(self, bound: float | None, forgetting: float, violation: float) -> None:
        assert objective(max_forgetting=bound).violation(forgetting) == violation
