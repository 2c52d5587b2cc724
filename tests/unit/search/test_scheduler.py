from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_study import config
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.config import StudyConfig, TrainingConfig
from search.objective import Score
from search.results import Rung
from search.sampling.aims import AimName, as_result
from search.scheduler import StudyScheduler, make_scheduler
from search.settings.search_config import PruningConfig, SearchConfig


def study(first_rung: int, factor: int, steps: int) -> StudyConfig:
    pruning = PruningConfig(first_rung=first_rung, reduction_factor=factor)
    return config().model_copy(
        update={
            "training": TrainingConfig(steps=steps, batch_size=8),
            "search": SearchConfig(trials=4, pruning=pruning),
        }
    )


def milestones(scheduler: TrialScheduler) -> list[int]:
    assert isinstance(scheduler, AsyncHyperBandScheduler)
    (bracket,) = scheduler._brackets
    return sorted(step for step, _ in bracket._rungs)


def test_rungs_by_hand() -> None:
    assert study(25, 2, 100).rungs == (25, 50, 100)
    assert study(25, 2, 90).rungs == (25, 50, 90)
    assert study(10, 3, 100).rungs == (10, 30, 90, 100)
    assert study(100, 2, 100).rungs == (100,)


@given(first=st.integers(1, 60), factor=st.integers(2, 5), more=st.integers(0, 3000))
def test_decides_at_the_rungs_that_are_evaluated(first: int, factor: int, more: int) -> None:
    made = study(first, factor, first + more)
    assert made.search.pruning is not None
    decided = milestones(make_scheduler(made.search.pruning, made.training.steps))
    # At the last step a trial ends anyway, whether or not it is a milestone too.
    assert [step for step in decided if step < made.training.steps] == list(made.rungs[:-1])


def test_without_pruning_nothing_is_stopped() -> None:
    assert type(make_scheduler(None, 100)) is FIFOScheduler


def rung(step: int, value: float) -> Rung:
    score = Score(target_gain=value, held_out_forgetting=0.0, worst_forgetting=0.0, score=value)
    return Rung(step=step, progress=step / 100, score=score, values={}, metrics={"target_gain": value})


def tune_trial(name: str, own: str) -> Any:
    """Return a trial of Tune's that is one of the study's."""
    return SimpleNamespace(trial_id=name, config={"trial_id": own})


OBJECTIVES: tuple[tuple[AimName, ...], ...] = (("score",), ("target_gain", "held_out_forgetting"))


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=["one", "several"])
def test_what_is_replayed_is_decided_as_it_was(objectives: tuple[AimName, ...]) -> None:
    """The driver of three trials dies after `c` has reached step 50, and before it is told to stop."""
    seen = [("a", 25, 1.0), ("b", 25, -1.0), ("c", 25, 2.0), ("a", 50, 5.0), ("c", 50, 4.0)]
    scheduler = StudyScheduler(make_scheduler(PruningConfig(first_rung=25), 100, objectives))
    scheduler.replay((own, rung(step, value)) for own, step, value in seen)
    assert [own for own in "abcd" if scheduler.has_stopped(own)] == ["b", "c"]
    # `a` goes on under another of Tune's ids: it has passed step 50, and is not judged there again.
    again = tune_trial("z9", "a")
    scheduler.on_trial_add(None, again)
    assert scheduler.on_trial_result(None, again, as_result(rung(50, -9.0))) == TrialScheduler.CONTINUE
    new = tune_trial("z8", "d")
    scheduler.on_trial_add(None, new)
    assert scheduler.on_trial_result(None, new, as_result(rung(25, 0.0))) == TrialScheduler.STOP
    assert scheduler.has_stopped("d")


class FakeTrial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def decision(scheduler: TrialScheduler, trial: str, step: int, score: float) -> str:
    result: dict[str, Any] = {"step": step, "score": score, "training_iteration": 1, "time_total_s": 1.0}
    fake: Any = FakeTrial(trial)
    if step == 25:
        scheduler.on_trial_add(None, fake)  # type: ignore[arg-type]
    return str(scheduler.on_trial_result(None, fake, result))  # type: ignore[arg-type]


def test_stops_the_worse_half_at_a_rung_and_a_higher_score_is_better() -> None:
    """ASHA keeps what is at or above the median of what a rung has seen so far."""
    scheduler = make_scheduler(PruningConfig(first_rung=25, reduction_factor=2), 100)
    assert decision(scheduler, "a", 25, 1.0) == TrialScheduler.CONTINUE
    assert decision(scheduler, "b", 25, -1.0) == TrialScheduler.STOP
    assert decision(scheduler, "c", 25, 2.0) == TrialScheduler.CONTINUE
    assert decision(scheduler, "a", 50, 5.0) == TrialScheduler.CONTINUE
    assert decision(scheduler, "c", 50, 4.0) == TrialScheduler.STOP
    assert decision(scheduler, "a", 100, 6.0) == TrialScheduler.STOP


@pytest.mark.parametrize("score", [-100.0, 0.0])
def test_a_first_trial_is_never_stopped_early(score: float) -> None:
    scheduler = make_scheduler(PruningConfig(first_rung=25, reduction_factor=4), 400)
    assert decision(scheduler, "a", 25, score) == TrialScheduler.CONTINUE
