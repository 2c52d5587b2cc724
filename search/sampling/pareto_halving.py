"""ParetoHalving: early stopping of trials that several aims agree to be weak, as a scheduler of Tune's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.sampling.aims import Aim, losses
from search.sampling.pareto import goes_on

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


class ParetoHalving(FIFOScheduler):
    """Asynchronous successive halving by non-dominated rank (MO-ASHA, arXiv 2106.12639).

    A trial is compared at each rung with those that reached it before;
    `search.sampling.pareto.goes_on` is the rule. At its last rung a trial ends by itself.

    Args:
        aims: What is compared, the first of them deciding who leads a front.
        reduction_factor: One in this many trials goes on at each rung.
        violation: Held-out forgetting in points -> how far it exceeds its bound; at most 0 is feasible.
    """

    def __init__(
        self, aims: Sequence[Aim], *, reduction_factor: int, violation: Callable[[float], float]
    ) -> None:
        super().__init__()
        self._aims = tuple(aims)
        self._factor = reduction_factor
        self._violation = violation
        # Step -> trial id -> losses and violation there.
        self._seen: dict[int, dict[str, tuple[tuple[float, ...], float]]] = {}

    def on_trial_result(
        self, tune_controller: TuneController | None, trial: Trial, result: dict[str, Any]
    ) -> str:
        """Decide at a rung; a trial that comes back to one after a failure has passed it."""
        seen = self._seen.setdefault(result["step"], {})
        if trial.trial_id in seen:
            return str(TrialScheduler.CONTINUE)
        new, violation = losses(self._aims, result), self._violation(result["held_out_forgetting"])
        passes = goes_on(
            [before for before, _ in seen.values()],
            new,
            self._factor,
            violations=[before for _, before in seen.values()],
            violation=violation,
        )
        seen[trial.trial_id] = (new, violation)
        return str(TrialScheduler.CONTINUE if passes else TrialScheduler.STOP)

    def debug_string(self) -> str:
        """Return how many trials each rung has seen."""
        rungs = ", ".join(f"{len(seen)} at step {step}" for step, seen in sorted(self._seen.items()))
        return f"Using ParetoHalving: {rungs or 'no trial yet'}"
