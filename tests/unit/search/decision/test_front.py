"""The Pareto front of gain and forgetting, by hand."""

from __future__ import annotations

from made_study import trial

from search.decision.candidates import Candidate
from search.decision.front import pareto_front


def at(number: int, gain: float, forgetting: float) -> Candidate:
    """Make a candidate with this gain on each target and this forgetting of each held-out task."""
    values = {"count": 10 + gain, "clock": 20 + gain, "colour": 90 - forgetting, "shape": 80 - forgetting}
    return Candidate(trial=trial(number, [values]))


def test_the_pareto_front_by_hand() -> None:
    """(forgetting, gain): b, c and e stand; a is beaten by b, d by c, and f by the base."""
    a, b, c = at(0, 9, 2), at(1, 10, 2), at(2, 30, 8)
    d, e, f = at(3, 30, 9), at(4, 1, -1), at(5, -1, 1)
    assert pareto_front([a, b, c, d, e, f]) == (e, b, c)


def test_equal_points_are_both_on_the_front() -> None:
    twins = (at(0, 10, 2), at(1, 10, 2))
    assert pareto_front(twins) == twins


def test_a_recipe_that_changes_nothing_ties_with_the_base() -> None:
    same = at(0, 0, 0)
    assert pareto_front([same]) == (same,)
