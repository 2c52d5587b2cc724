"""TrialRecorder: the Tune callback that turns events into trial results, the record and the display."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.objective import Score
from search.phases.progress import StudyProgress
from search.records.ended_weights import EndedWeights
from search.records.open_trials import OpenTrial, close_open_trial, write_open_trial
from search.records.stored_results import write_trial
from search.results import Rung, TrialResult, TrialState
from search.tracking import StudyTracker
from spaces.recipe import Recipe
from trainables.checkpoint import MANIFEST_FILE
from trainables.workers.causes import in_short

# Trials that fail before any ends otherwise; what is wrong with so many is wrong with the study.
HOPELESS: Final = 5
_OWN_ERROR = "TrialError"  # what a trial raises that failed by itself


class TrialQueue(Protocol):
    """Who hands trials out, by Tune's ids; see `RecipeSampler`."""

    def give_up(self, trial_id: str) -> None:
        """Take note of a trial that failed by itself."""

    def end(self, trial_id: str, last: Rung) -> None:
        """Take note of a trial that ended at a rung."""

    def take_up(self, trial_id: str, checkpoints: Sequence[Mapping[str, Any]]) -> None:
        """Hand a lost trial out again."""


class TrialRecorder(Callback):
    """Follows every trial from its start to its end, through as many of Tune's as it takes.

    What is recorded is on storage before Tune goes on: how far each trial has come, in `open.json`, and how
    it ended. MLflow is told before that: a driver that dies in between repeats what it told, and no more.

    Args:
        recipe: Turns Tune's configuration into a recipe.
        folder: The study's folder.
        tracker: The MLflow record.
        progress: The display.
        reclaim: Takes back what a failed trial's process may have died with, by trial id.
        queue: Who hands trials out.
        has_stopped: Whether a trial, by its own id, was to be stopped at its last rung.
        weights: What of a trial's weights stays when it has ended.
        max_losses: How often a trial that was lost with its process is handed out again.
        ended: The trials that ended before.
        left_off: The trials that earlier drivers began and did not end, by number.
        make_room: Deletes weights of ended trials where storage is short; returns the trials without them.
    """

    def __init__(
        self,
        *,
        recipe: Callable[[Mapping[str, Any]], Recipe],
        folder: Path,
        tracker: StudyTracker,
        progress: StudyProgress,
        reclaim: Callable[[str], object],
        queue: TrialQueue,
        has_stopped: Callable[[str], bool],
        weights: EndedWeights,
        max_losses: int,
        ended: Iterable[TrialResult] = (),
        left_off: Mapping[int, OpenTrial] | None = None,
        make_room: Callable[[Sequence[TrialResult]], Sequence[TrialResult]] = tuple,
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._tracker = tracker
        self._progress = progress
        self._reclaim = reclaim
        self._queue = queue
        self._has_stopped = has_stopped
        self._max_losses = max_losses
        self._weights = weights
        self._make_room = make_room
        self._left_off = dict(left_off or {})
        self._open: dict[int, OpenTrial] = {}
        self._resumed_at: dict[int, float] = {}  # on a monotonic clock, less what it ran before
        self._ended = {result.number: result for result in ended}
        self._failed_first = 0
        self._succeeded = any(trial.state is not TrialState.FAILED for trial in self._ended.values())
        self._early = set(self._left_off)  # the trials that began before so many had failed

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to Tune, which saves its callbacks: the record belongs to the running driver."""
        return {}

    @property
    def results(self) -> tuple[TrialResult, ...]:
        """The trials that have ended, in the order in which they were started."""
        return tuple(self._ended[number] for number in sorted(self._ended))

    @property
    def failed_first(self) -> int:
        """How many trials failed under this driver; 0 where one of the study's ended otherwise or yet may.

        One that is open may, once it has reached a rung. Of those that began when so many had failed none is
        waited for: where trials take turns, there would always be another.
        """
        begun = {**self._left_off, **self._open}
        may_succeed = any(begun[number].rungs for number in self._early & begun.keys())
        return 0 if self._succeeded or may_succeed else self._failed_first

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Open the trial's record; a trial that is handed out again keeps it."""
        number = trial.config["number"]
        if number in self._open:
            return
        opened = self._left_off.pop(number, None) or OpenTrial(
            trial_id=trial.config["trial_id"],
            number=number,
            recipe=self._recipe(trial.config),
            preset=trial.config["preset"],
            started=time.time(),
        )
        self._open[number] = opened
        if self._failed_first < HOPELESS:
            self._early.add(number)
        self._resumed_at[number] = time.monotonic() - opened.seconds
        self._tracker.start_trial(opened.trial_id, number, opened.recipe, opened.preset)
        self._write(opened)
        step = opened.rungs[-1].step if opened.rungs else 0
        self._progress.trial_started(number, opened.recipe, opened.preset, step)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a rung."""
        opened = self._open[trial.config["number"]]
        rung = _rung(result)
        if not opened.rungs:
            manifest = json.loads(
                (self._folder / "trials" / opened.trial_id / MANIFEST_FILE).read_text("utf-8")
            )
            self._tracker.log_manifest(opened.trial_id, manifest)
        self._tracker.log_rung(opened.trial_id, rung.step, rung.metrics)
        opened.add(rung, result["checkpoint"], result["nodes"])
        self._write(opened)
        self._progress.trial_rung(opened.number, rung.step, rung.score)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record the end of a trial that finished or was stopped by the scheduler."""
        self._end(self._open[trial.config["number"]])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a failure with its reason, or hand out again what was only lost with its process.

        Tune may not even have started the trial.
        """
        self.on_trial_start(iteration, trials, trial)
        opened = self._open[trial.config["number"]]
        self._reclaim(opened.trial_id)
        reason, own = _reason(trial)
        if opened.is_trained or self._has_stopped(opened.trial_id):
            # Its process died after its last report, before Tune took note of the end.
            self._queue.end(trial.trial_id, opened.rungs[-1])
            self._end(opened)
            return
        if not own and opened.losses < self._max_losses:
            opened.losses += 1
            self._write(opened)
            self._progress.trial_lost(opened.number, reason)
            self._queue.take_up(trial.trial_id, opened.checkpoints)
            return
        if not own:
            reason = f"lost {opened.losses + 1} times with its process, the last time: {reason}"
        self._failed_first += 1
        self._end(opened, reason)
        self._queue.give_up(trial.trial_id)

    def _end(self, opened: OpenTrial, error: str | None = None) -> None:
        self._clock(opened)
        del self._open[opened.number], self._resumed_at[opened.number]
        self._ended[opened.number] = record_end(
            opened.ended(error), self._folder, self._weights, self._tracker, self._progress
        )
        self._succeeded = self._succeeded or error is None
        for result in self._make_room(tuple(self._ended.values())):
            self._ended[result.number] = result

    def _write(self, opened: OpenTrial) -> None:
        self._clock(opened)
        write_open_trial(self._folder, opened)

    def _clock(self, opened: OpenTrial) -> None:
        opened.seconds = time.monotonic() - self._resumed_at[opened.number]


def record_end(
    result: TrialResult, folder: Path, weights: EndedWeights, tracker: StudyTracker, progress: StudyProgress
) -> TrialResult:
    """Record how a trial ended; return it without weights that need not stay.

    Args:
        result: The trial.
        folder: The study's folder.
        weights: What of its weights stays.
        tracker: The MLflow record, which is told before the folder: what the folder says is not told again.
        progress: The display.
    """
    tracker.end_trial(result)
    write_trial(folder, result)
    close_open_trial(folder, result.trial_id)
    result = weights.settle(folder, result)
    progress.trial_ended(result)
    return result


def _rung(result: Mapping[str, Any]) -> Rung:
    metrics: dict[str, float] = result["metrics"]
    checkpoint = result["checkpoint"]
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
        sha256=checkpoint["sha256"] if checkpoint is not None else None,
        at=time.time(),
    )


def _reason(trial: Trial) -> tuple[str, bool]:
    """Return why a trial of Tune's ended, in one line, and whether it failed by itself."""
    # `Trial.get_error` reads the study's storage, where Tune copies the file only later.
    file = trial.error_file
    lines = Path(file).read_text(encoding="utf-8").strip().splitlines() if file else []
    if not lines:
        return "the trial's process ended without a word", False
    line = in_short(lines[-1].strip())
    kind, colon, rest = line.partition(": ")
    own = bool(colon) and kind.rpartition(".")[2] == _OWN_ERROR
    return rest if colon and kind.endswith(("Error", "Lost")) else line, own
