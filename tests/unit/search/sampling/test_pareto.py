from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search.sampling.pareto import fronts, goes_on, spread

Losses = tuple[float, ...]

# Gain and forgetting as losses: (-gain, forgetting).
CAUTIOUS = (-5.0, 0.0)
MIDDLE = (-10.0, 2.0)
BOLD = (-20.0, 8.0)
BEATEN = (-9.0, 3.0)  # by MIDDLE alone
HOPELESS = (-4.0, 9.0)  # by all of them


def test_fronts_by_hand() -> None:
    assert fronts([HOPELESS, CAUTIOUS, BEATEN, MIDDLE, BOLD]) == [2, 0, 1, 0, 0]
    assert fronts([MIDDLE, MIDDLE]) == [0, 0], "equals do not dominate each other"
    assert fronts([(3.0,), (1.0,), (2.0,), (1.0,)]) == [2, 0, 1, 0]


def test_what_exceeds_the_bound_comes_behind_all_that_keep_it() -> None:
    """BOLD exceeds a bound of 5 by 3 and HOPELESS by 4, whatever they gain."""
    losses = [BOLD, HOPELESS, BEATEN, MIDDLE]
    assert fronts(losses, [3.0, 4.0, -2.0, -3.0]) == [2, 3, 1, 0]
    assert fronts([BOLD, HOPELESS], [3.0, 4.0]) == [0, 1], "even where nothing keeps it"


def test_a_front_is_covered_from_its_first_aim_s_best_to_what_is_farthest() -> None:
    """Scaled to the front: (0, 1), (1, 0), (0.9, 0.1), (0.5, 0.5).

    From the first, (1, 0) is 1.41 away. Then (0.5, 0.5) is 0.71 from both, (0.9, 0.1) 0.14 from the second.
    """
    front = [(-20.0, 10.0), (-10.0, 0.0), (-11.0, 1.0), (-15.0, 5.0)]
    assert spread(front) == [0, 1, 3, 2]
    # An aim in which all are equal does not matter, nor does an aim's unit.
    assert spread([(gain, 7e15, lost * 1e15) for gain, lost in front]) == [0, 1, 3, 2]
    assert spread(front, 2) == [0, 1]


def test_a_rung_by_hand() -> None:
    """Of n seen, at most (n - 1) // 2 may be better."""
    assert goes_on([], HOPELESS, 2), "the first to come has no rival"
    assert goes_on([CAUTIOUS], BOLD, 2), "both on the front, and BOLD gains more"
    assert not goes_on([BOLD], CAUTIOUS, 2)
    assert not goes_on([CAUTIOUS, BOLD], BEATEN, 2)
    # Best to worst: BOLD, CAUTIOUS, MIDDLE; one better is allowed.
    assert not goes_on([CAUTIOUS, BOLD, HOPELESS], MIDDLE, 2)
    assert goes_on([MIDDLE, BOLD, HOPELESS], CAUTIOUS, 2)
    assert not goes_on([MIDDLE, BOLD, HOPELESS], CAUTIOUS, 3)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stops_and_beats_nobody(broken: float) -> None:
    assert not goes_on([CAUTIOUS, BEATEN, HOPELESS], (-99.0, broken), 2)
    assert not goes_on([], (broken, 0.0), 2), "nor as the first"
    assert not goes_on([CAUTIOUS], BOLD, 2, violations=[0.0], violation=broken)
    assert goes_on([(-99.0, broken)], HOPELESS, 2), "it has no rival that counts"
    assert goes_on([BEATEN, (broken, 0.0), HOPELESS], MIDDLE, 2)
    assert not goes_on([BOLD, (broken, 0.0)], MIDDLE, 2), "one of one may not be better"


def test_at_a_rung_a_violated_bound_stops_what_else_would_lead() -> None:
    seen, bound = [CAUTIOUS, MIDDLE], 5.0
    violations = [forgetting - bound for _, forgetting in seen]
    assert goes_on(seen, BOLD, 2)
    assert not goes_on(seen, BOLD, 2, violations=violations, violation=8.0 - bound)


aims = st.integers(1, 4)
number = st.integers(-8, 8).map(float)


@st.composite
def rung(draw: st.DrawFn) -> list[Losses]:
    width = draw(aims)
    return draw(st.lists(st.tuples(*[number] * width), min_size=1, max_size=12))


@settings(deadline=None)
@given(seen=rung(), factor=st.integers(2, 5), ahead=st.data())
def test_what_dominates_all_that_a_rung_has_seen_is_never_stopped(
    seen: list[Losses], factor: int, ahead: st.DataObject
) -> None:
    best = [min(column) for column in zip(*seen, strict=True)]
    steps = ahead.draw(st.lists(st.integers(0, 3), min_size=len(best), max_size=len(best)))
    assert goes_on(seen, [value - step for value, step in zip(best, steps, strict=True)], factor)


@settings(deadline=None)
@given(seen=rung(), factor=st.integers(2, 5))
def test_what_all_that_a_rung_has_seen_dominate_is_stopped(seen: list[Losses], factor: int) -> None:
    worst = [max(column) + 1 for column in zip(*seen, strict=True)]
    assert not goes_on(seen, worst, factor)


@settings(deadline=None)
@given(losses=rung())
def test_a_front_holds_what_only_fronts_before_it_dominate(losses: list[Losses]) -> None:
    ranks = fronts(losses)
    for one, rank in zip(losses, ranks, strict=True):
        above = [
            other_rank
            for other, other_rank in zip(losses, ranks, strict=True)
            if other != one and all(a <= b for a, b in zip(other, one, strict=True))
        ]
        assert rank == (max(above) + 1 if above else 0)
    assert sorted(spread(losses)) == list(range(len(losses)))


@settings(deadline=None)
@given(losses=rung(), scales=st.lists(st.sampled_from([0.25, 1.0, 1024.0]), min_size=4, max_size=4))
def test_no_unit_matters(losses: list[Losses], scales: list[float]) -> None:
    scaled = [tuple(v * s for v, s in zip(each, scales, strict=False)) for each in losses]
    assert fronts(scaled) == fronts(losses)
    assert spread(scaled) == spread(losses)


@settings(deadline=None)
@given(seen=st.lists(number, min_size=1, max_size=15), new=number, factor=st.integers(2, 5))
def test_with_one_aim_the_rule_is_asha_s(seen: list[float], new: float, factor: int) -> None:
    """ASHA's cutoff is a quantile; where it falls between two results, ours is the better of them.

    Of n results by rising score it stands at (n - 1) (1 - 1 / factor), here rounded up.
    """
    cutoff = sorted(seen)[-(-(len(seen) - 1) * (factor - 1) // factor)]
    assert goes_on([(-score,) for score in seen], (-new,), factor) == (new >= cutoff)


@settings(deadline=None)
@given(scores=st.lists(st.integers(-50, 50), min_size=1, max_size=12), factor=st.sampled_from([2, 4]))
def test_with_one_aim_tune_s_own_asha_decides_alike(scores: list[int], factor: int) -> None:
    """As long as its quantile falls on a result: after 1, 1 + factor, 1 + 2 factor ... trials.

    A third has no exact number: Tune then stops what equals the cutoff.
    """
    asha = AsyncHyperBandScheduler(
        time_attr="step", metric="score", mode="max", grace_period=25, reduction_factor=factor, max_t=100
    )
    for place, score in enumerate(scores):
        trial: Any = SimpleNamespace(trial_id=f"t{place}")
        asha.on_trial_add(None, trial)  # type: ignore[arg-type]
        theirs = asha.on_trial_result(None, trial, {"step": 25, "score": score})  # type: ignore[arg-type]
        if place == 0 or (place - 1) % factor == 0:
            ours = goes_on([(-float(s),) for s in scores[:place]], (-float(score),), factor)
            assert (theirs == TrialScheduler.CONTINUE) == ours
