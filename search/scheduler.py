"""Early stopping of weak trials at rungs of fixed absolute optimiser steps."""

from __future__ import annotations

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.config import PruningConfig


def make_scheduler(pruning: PruningConfig | None, steps: int) -> TrialScheduler:
    """Return asynchronous successive halving (arXiv 1810.05934) on the score, or a plain queue.

    Args:
        pruning: First rung and reduction factor; None never stops a trial.
        steps: Optimiser steps of a whole trial.
    """
    if pruning is None:
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="score",
        mode="max",
        grace_period=pruning.first_rung,
        reduction_factor=pruning.reduction_factor,
        max_t=steps,
    )
