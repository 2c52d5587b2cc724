"""Early stopping of weak trials at rungs of fixed absolute optimiser steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.sampling.aims import AimName, aims_of
from search.sampling.pareto_halving import ParetoHalving
from search.settings.search_config import PruningConfig


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
