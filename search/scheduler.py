"""Early stopping of weak trials at rungs of fixed absolute optimiser steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.results import Rung
from search.sampling.aims import AimName, aims_of, as_result
from search.sampling.pareto_halving import ParetoHalving
from search.settings.search_config import PruningConfig


@dataclass(frozen=True, slots=True)
class _OwnTrial:
    """A trial by the study's own id, which stays when Tune makes another trial of it."""

    trial_id: str


class StudyScheduler(FIFOScheduler):
    """Passes on to another scheduler what becomes of the study's trials, whatever Tune calls them.

    Args:
        inner: Decides.
    """

    def __init__(self, inner: TrialScheduler) -> None:
        super().__init__()
        self._inner = inner
        self._stopped: set[str] = set()

    def has_stopped(self, trial_id: str) -> bool:
        """Return whether a trial of the study, by its own id, was to be stopped at a rung."""
        return trial_id in self._stopped

    def replay(self, rungs: Iterable[tuple[str, Rung]]) -> None:
        """Tell what earlier drivers saw, and decide as they did.

        Args:
            rungs: Id of a trial, and a rung that it reported, in the order in which they were.
        """
        known = set()
        for trial_id, rung in rungs:
            trial = _OwnTrial(trial_id)
            if trial_id not in known:
                self._inner.on_trial_add(None, trial)
                known.add(trial_id)
            self._decide(None, trial, as_result(rung))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Pass on a trial that begins."""
        self._inner.on_trial_add(tune_controller, _own(trial))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass on a rung, and return the decision."""
        return self._decide(tune_controller, _own(trial), result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Pass on a trial's end."""
        self._inner.on_trial_complete(tune_controller, _own(trial), result)

    def _decide(self, tune_controller: Any, trial: _OwnTrial, result: dict[str, Any]) -> str:
        decision = str(self._inner.on_trial_result(tune_controller, trial, result))
        if decision == TrialScheduler.STOP:
            self._stopped.add(trial.trial_id)
        else:
            self._stopped.discard(trial.trial_id)
        return decision

    def debug_string(self) -> str:
        """Say what the other one says."""
        return str(self._inner.debug_string())


def make_scheduler(
    pruning: PruningConfig | None,
    steps: int,
    objectives: Sequence[AimName] = ("score",),
    violation: Callable[[float], float] = lambda forgetting: 0.0,
) -> TrialScheduler:
    """Return asynchronous successive halving, or a plain queue.

    With one objective it is Tune's (arXiv 1810.05934), with more of them ours by non-dominated rank.

    Args:
        pruning: First rung and reduction factor; None never stops a trial.
        steps: Optimiser steps of a whole trial.
        objectives: What trials are compared by.
        violation: Held-out forgetting in points -> how far it exceeds its bound. With one objective it does
            not matter here.
    """
    if pruning is None:
        return FIFOScheduler()
    aims = aims_of(objectives)
    if len(aims) > 1:
        return ParetoHalving(aims, reduction_factor=pruning.reduction_factor, violation=violation)
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric=aims[0].key,
        mode=aims[0].mode,
        grace_period=pruning.first_rung,
        reduction_factor=pruning.reduction_factor,
        max_t=steps,
    )


def _own(trial: Trial) -> _OwnTrial:
    return _OwnTrial(trial.config["trial_id"])
