from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.objective import Objective
from search.sampling.aims import AimName
from search.sampling.pareto_halving import ParetoHalving
from search.scheduler import make_scheduler
from search.settings.search_config import PruningConfig

PRUNING = PruningConfig(first_rung=25, reduction_factor=2)
ALL: tuple[AimName, ...] = ("target_gain", "held_out_forgetting", "cost")


def scheduler(objectives: tuple[AimName, ...] = ALL, max_forgetting: float | None = None) -> ParetoHalving:
    objective = Objective(base={}, targets=(), held_out=(), max_forgetting=max_forgetting)
    made = make_scheduler(PRUNING, 100, objectives, objective.violation)
    assert isinstance(made, ParetoHalving)
    return made


def stops(made: ParetoHalving, trial: str, step: int, gain: float, lost: float, flops: float = 1.0) -> bool:
    """Report a rung; `flops` are those of the whole run."""
    fake: Any = SimpleNamespace(trial_id=trial)
    result = {
        "step": step,
        "progress": step / 100,
        "score": gain - lost,
        "held_out_forgetting": lost,
        "metrics/target_gain": gain,
        "metrics/cost/train_flops": flops * step / 100,
    }
    return made.on_trial_result(None, fake, result) == TrialScheduler.STOP


def test_which_scheduler_a_study_gets() -> None:
    assert type(make_scheduler(None, 100, ALL)) is FIFOScheduler
    assert type(make_scheduler(PRUNING, 100, ALL)) is ParetoHalving
    assert type(make_scheduler(PRUNING, 100, ("target_gain",))) is AsyncHyperBandScheduler


def test_stops_what_others_dominate_at_its_rung() -> None:
    made = scheduler(("target_gain", "held_out_forgetting"))
    assert not stops(made, "a", 25, gain=10, lost=2)
    assert stops(made, "b", 25, gain=9, lost=3), "a gains more and forgets less"
    assert not stops(made, "c", 25, gain=20, lost=8), "on a front with a, and gains more"
    assert not stops(made, "d", 25, gain=12, lost=0), "ahead of a and b"
    assert not stops(made, "a", 50, gain=11, lost=4), "the first at this rung"
    assert stops(made, "c", 50, gain=10, lost=9)
    assert "4 at step 25, 2 at step 50" in made.debug_string()


def test_of_recipes_that_are_equal_otherwise_the_cheaper_one_goes_on() -> None:
    made = scheduler()
    assert not stops(made, "full", 25, gain=10, lost=2, flops=8e15)
    assert stops(made, "same for more", 25, gain=10, lost=2, flops=9e15)
    assert not stops(made, "same for less", 25, gain=10, lost=2, flops=1e15)


def test_of_one_subset_all_cost_the_same_at_a_rung_and_the_other_aims_decide() -> None:
    with_cost, without = scheduler(), scheduler(("target_gain", "held_out_forgetting"))
    reports = [(10.0, 2.0), (9.0, 3.0), (20.0, 8.0), (12.0, 0.0), (15.0, 4.0), (1.0, 9.0)]
    for number, (gain, lost) in enumerate(reports):
        same = {"trial": f"t{number}", "step": 25, "gain": gain, "lost": lost}
        assert stops(with_cost, **same) == stops(without, **same)


def test_recipes_beyond_the_bound_on_forgetting_lose_to_those_within_it() -> None:
    made = scheduler(("target_gain", "cost"), max_forgetting=5.0)
    assert not stops(made, "a", 25, gain=1, lost=4, flops=2)
    assert stops(made, "b", 25, gain=50, lost=6, flops=1)
    assert not stops(scheduler(("target_gain", "cost")), "b", 25, gain=50, lost=6, flops=1)


def test_a_trial_that_comes_back_to_a_rung_after_a_failure_has_passed_it() -> None:
    made = scheduler()
    stops(made, "a", 25, gain=10, lost=0)
    assert stops(made, "b", 25, gain=1, lost=1)
    assert not stops(made, "a", 25, gain=-10, lost=10)
    # And is counted once, as it came first.
    assert stops(made, "c", 25, gain=5, lost=1)


def test_a_result_without_an_aim_is_an_error() -> None:
    with pytest.raises(KeyError):
        scheduler().on_trial_result(None, SimpleNamespace(trial_id="a"), {"step": 25})  # type: ignore[arg-type]
