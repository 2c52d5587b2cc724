"""TrialRecorder: the Tune callback that turns events into trial results, the record and the display."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.objective import Score
from search.phases.progress import StudyProgress
from search.records.stored_results import write_trial
from search.results import Rung, TrialResult, TrialState
from search.tracking import StudyTracker
from spaces.recipe import Recipe
from trainables.checkpoint import MANIFEST_FILE


@dataclass
class _Open:
    number: int
    recipe: Recipe
    preset: str | None
    began: float
    started: float
    rungs: list[Rung] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)


class TrialRecorder(Callback):
    """Follows every trial from its start to its end.

    Args:
        recipe: Turns Tune's configuration into a recipe.
        folder: The study's folder.
        tracker: The MLflow record.
        progress: The display.
        reclaim: Takes back what a failed trial's process may have died with, by trial id.
    """

    def __init__(
        self,
        *,
        recipe: Callable[[Mapping[str, Any]], Recipe],
        folder: Path,
        tracker: StudyTracker,
        progress: StudyProgress,
        reclaim: Callable[[str], object],
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._tracker = tracker
        self._progress = progress
        self._reclaim = reclaim
        self._open: dict[str, _Open] = {}
        self._started = 0
        self._ended: dict[str, TrialResult] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to Tune, which saves its callbacks: the record belongs to the running driver."""
        return {}

    @property
    def results(self) -> tuple[TrialResult, ...]:
        """The trials that have ended, in the order in which they were started."""
        return tuple(sorted(self._ended.values(), key=lambda result: result.number))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Open the trial's record; a trial that Tune starts again keeps it."""
        if trial.trial_id in self._open:
            return
        opened = _Open(
            number=self._started,
            recipe=self._recipe(trial.config),
            preset=trial.config.get("preset"),
            began=time.monotonic(),
            started=time.time(),
        )
        self._started += 1
        self._open[trial.trial_id] = opened
        self._tracker.start_trial(trial.trial_id, opened.number, opened.recipe, opened.preset)
        self._progress.trial_started(opened.number, opened.recipe, opened.preset)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a rung."""
        opened = self._open[trial.trial_id]
        rung = _rung(result)
        if not opened.rungs:
            manifest = json.loads(
                (self._folder / "trials" / trial.trial_id / MANIFEST_FILE).read_text("utf-8")
            )
            self._tracker.log_manifest(trial.trial_id, manifest)
        opened.rungs.append(rung)
        opened.nodes.update(result["nodes"])
        self._tracker.log_rung(trial.trial_id, rung.step, rung.metrics)
        self._progress.trial_rung(opened.number, rung.step, rung.score)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record the end of a trial that finished or was stopped by the scheduler."""
        rungs = self._open[trial.trial_id].rungs
        if not rungs:
            self._end(trial, TrialState.FAILED, error="the trial ended before its first rung")
            return
        finished = rungs[-1].progress == 1
        self._end(trial, TrialState.COMPLETE if finished else TrialState.PRUNED)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a failure with its reason; Tune may not even have started the trial."""
        self.on_trial_start(iteration, trials, trial)
        self._reclaim(trial.trial_id)
        self._end(trial, TrialState.FAILED, error=_reason(trial))

    def _end(self, trial: Trial, state: TrialState, error: str | None = None) -> None:
        opened = self._open.pop(trial.trial_id)
        result = TrialResult(
            trial_id=trial.trial_id,
            number=opened.number,
            recipe=opened.recipe,
            state=state,
            rungs=tuple(opened.rungs),
            nodes=tuple(sorted(opened.nodes)),
            preset=opened.preset,
            error=error,
            seconds=time.monotonic() - opened.began,
            started=opened.started,
        )
        self._ended[trial.trial_id] = result
        write_trial(self._folder, result)
        self._tracker.end_trial(result)
        self._progress.trial_ended(result)


def _rung(result: Mapping[str, Any]) -> Rung:
    metrics: dict[str, float] = result["metrics"]
    values = {
        name.partition("/")[2]: value
        for name, value in metrics.items()
        if name.startswith(("target/", "held_out/"))
    }
    return Rung(
        step=result["step"],
        progress=result["progress"],
        score=Score.from_metrics(metrics),
        values=values,
        metrics=metrics,
        weights=result["weights"],
    )


def _reason(trial: Trial) -> str:
    """Return the last line of a trial's error, without the name of the exception's class."""
    # `Trial.get_error` reads the study's storage, where Tune copies the file only later.
    file = trial.error_file
    lines = Path(file).read_text(encoding="utf-8").strip().splitlines() if file else []
    if not lines:
        return "the trial's process ended without a word"
    kind, colon, rest = lines[-1].strip().partition(": ")
    return rest if colon and kind.endswith(("TrialError", "Error")) else lines[-1].strip()
