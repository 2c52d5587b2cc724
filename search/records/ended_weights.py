"""What a trial that has ended leaves on storage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from search.results import TrialResult, TrialState
from trainables.pointer import TENSORS
from trainables.weights.rung_files import settle


@dataclass(frozen=True, kw_only=True)
class EndedWeights:
    """What of a trial's trained parameters stays when it has ended; its optimiser never does.

    Attributes:
        earlier_rungs: Whether those of rungs before the last stay.
        pruned: Whether those of a trial that was stopped early stay.
    """

    earlier_rungs: bool = True
    pruned: bool = True

    def settle(self, folder: Path, trial: TrialResult) -> TrialResult:
        """Delete what does not stay; return the trial without it.

        Args:
            folder: The study's folder.
            trial: The trial.
        """
        if trial.state is TrialState.FAILED or (trial.state is TrialState.PRUNED and not self.pruned):
            return without_weights(folder, trial)
        settle(folder / "trials" / trial.trial_id, keep_rungs=self.earlier_rungs)
        return trial


def without_weights(folder: Path, trial: TrialResult) -> TrialResult:
    """Delete what a trial left of its weights and of its runs; return it without them.

    Args:
        folder: The study's folder.
        trial: The trial, which has ended.
    """
    home = folder / "trials" / trial.trial_id
    settle(home, keep_rungs=False)
    for path in home.glob(TENSORS):
        path.unlink(missing_ok=True)
    return replace(trial, rungs=tuple(replace(rung, weights=None) for rung in trial.rungs))
