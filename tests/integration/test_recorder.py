"""TrialRecorder: what becomes of trials as Tune tells it, in the study folder and in a real MLflow store."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from tracked_study import RECIPE, SCORE, Store

from search.phases.progress import StudyProgress
from search.phases.recorder import HOPELESS, TrialRecorder
from search.records.ended_weights import EndedWeights
from search.records.open_trials import read_open_trials
from search.results import Rung, TrialState
from search.tracking import StudyTracker
from trainables.checkpoint import MANIFEST_FILE

LOST = "Failure # 1 (occurred at noon)\nThe actor died unexpectedly before finishing this task.\n"
OWN = (
    "Failure # 1 (occurred at noon)\nTraceback\ntrainables.trainable.TrialError: the loss is nan at step 20\n"
)


@dataclass
class Queue:
    """Takes down what the recorder says of trials, by Tune's ids."""

    given_up: list[str] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    taken_up: list[tuple[str, list[Mapping[str, Any]]]] = field(default_factory=list)

    def give_up(self, trial_id: str) -> None:
        self.given_up.append(trial_id)

    def end(self, trial_id: str, last: Rung) -> None:
        self.ended.append((trial_id, last.step))

    def take_up(self, trial_id: str, checkpoints: Sequence[Mapping[str, Any]]) -> None:
        self.taken_up.append((trial_id, list(checkpoints)))


@dataclass
class Study:
    """A recorder with its surroundings."""

    folder: Path
    store: Store
    tracker: StudyTracker
    queue: Queue = field(default_factory=Queue)
    said: io.StringIO = field(default_factory=io.StringIO)
    reclaimed: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)

    def recorder(self, **more: Any) -> TrialRecorder:
        return TrialRecorder(
            recipe=lambda config: RECIPE,
            folder=self.folder,
            tracker=self.tracker,
            progress=StudyProgress(2, Console(file=self.said, width=200)),
            reclaim=self.reclaimed.append,
            queue=self.queue,
            has_stopped=self.stopped.__contains__,
            **{"max_losses": 2, "weights": EndedWeights(), **more},
        )

    def trial(self, tune_id: str, number: int = 0, error: str | None = None) -> Any:
        """Return a trial of Tune's that is the study's of a number."""
        file = self.folder / f"{tune_id}.txt"
        if error is not None:
            file.write_text(error)
        folder = self.folder / "trials" / f"{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_FILE).write_text('{"count": 12}')
        config = {"trial_id": folder.name, "number": number, "preset": None}
        return SimpleNamespace(trial_id=tune_id, config=config, error_file=error and str(file))

    def rung(self, step: int, number: int = 0) -> dict[str, Any]:
        """Return a result as the trainable reports it, whose weights lie in the trial's folder."""
        weights = self.folder / "trials" / f"{number:04d}" / f"step_{step:06d}.safetensors"
        weights.write_bytes(b"tensors")
        return {
            "step": step,
            "progress": step / RECIPE.steps,
            "metrics": SCORE.to_metrics(),
            "weights": str(weights),
            "checkpoint": {"path": str(weights), "sha256": "0" * 64, "step": step},
            "nodes": ["here"],
        }


@pytest.fixture
def study(store: Store, tmp_path: Path) -> Iterator[Study]:
    with store.study() as (tracker, _):
        yield Study(tmp_path, store, tracker)


def test_a_trial_that_is_lost_goes_on_under_another_of_tune_s(study: Study) -> None:
    recorder = study.recorder()
    first = study.trial("one", error=LOST)
    recorder.on_trial_start(0, [], first)
    recorder.on_trial_result(0, [], first, study.rung(10))
    recorder.on_trial_result(0, [], first, study.rung(20))
    recorder.on_trial_error(0, [], first)
    pointers = [study.rung(step)["checkpoint"] for step in (20, 10)]
    assert study.queue.taken_up == [("one", pointers)]
    assert (study.reclaimed, study.queue.given_up, recorder.results) == (["0000"], [], ())
    (left,) = read_open_trials(study.folder).values()
    assert ([rung.step for rung in left.rungs], left.losses) == ([10, 20], 1)
    assert "trial 0  lost, and will be taken up again: The actor died unexpectedly" in study.said.getvalue()

    again = study.trial("two")
    recorder.on_trial_start(0, [], again)
    recorder.on_trial_result(0, [], again, study.rung(40))
    recorder.on_trial_complete(0, [], again)
    (result,) = recorder.results
    assert (result.state, [rung.step for rung in result.rungs]) == (TrialState.COMPLETE, [10, 20, 40])
    assert not read_open_trials(study.folder)
    study.tracker.flush()
    runs = [run for run in study.store.runs() if run.data.tags.get("trial_id") == "0000"]
    assert [run.info.status for run in runs] == ["FINISHED"]


@pytest.mark.parametrize(
    ("step", "state"), [(40, TrialState.COMPLETE), (20, TrialState.PRUNED)], ids=["trained", "stopped"]
)
def test_a_process_that_dies_after_the_last_report_leaves_an_end(
    study: Study, step: int, state: TrialState
) -> None:
    recorder = study.recorder()
    trial = study.trial("one", error=LOST)
    recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], trial, study.rung(step))
    if state is TrialState.PRUNED:
        study.stopped.add("0000")
    recorder.on_trial_error(0, [], trial)
    (result,) = recorder.results
    assert (result.state, result.error) == (state, None)
    assert (study.queue.ended, study.queue.taken_up, study.queue.given_up) == ([("one", step)], [], [])


def test_what_is_lost_too_often_has_failed(study: Study) -> None:
    recorder = study.recorder(max_losses=1)
    for tune_id in ("one", "two"):
        recorder.on_trial_error(0, [], study.trial(tune_id, error=LOST))
    (result,) = recorder.results
    assert result.error is not None
    assert result.error.startswith(
        "lost 2 times with its process, the last time: The actor died unexpectedly"
    )
    assert (len(study.queue.taken_up), study.queue.given_up) == (1, ["two"])


def test_what_fails_by_itself_is_not_tried_again(study: Study) -> None:
    recorder = study.recorder()
    failing = study.trial("one", error=OWN)
    recorder.on_trial_start(0, [], failing)
    recorder.on_trial_error(0, [], failing)
    (result,) = recorder.results
    assert (result.state, result.error) == (TrialState.FAILED, "the loss is nan at step 20")
    assert (study.queue.taken_up, study.queue.given_up) == ([], ["one"])


def begin(recorder: TrialRecorder, study: Study, number: int, *steps: int) -> None:
    """Let a trial reach rungs."""
    trial = study.trial(f"t{number}", number)
    recorder.on_trial_start(0, [], trial)
    for step in steps:
        recorder.on_trial_result(0, [], trial, study.rung(step, number))


def fail(recorder: TrialRecorder, study: Study, number: int) -> None:
    recorder.on_trial_error(0, [], study.trial(f"t{number}", number, OWN))


@pytest.mark.parametrize("step", [40, 20], ids=["complete", "stopped early"])
def test_failures_count_as_hopeless_only_until_a_trial_ends_otherwise(study: Study, step: int) -> None:
    recorder = study.recorder()
    for number in range(3):
        fail(recorder, study, number)
    assert recorder.failed_first == 3
    begin(recorder, study, 3, step)
    recorder.on_trial_complete(0, [], study.trial("t3", 3))
    for number in range(4, 10):
        fail(recorder, study, number)
    assert recorder.failed_first == 0


def test_trials_that_all_fail_after_their_first_rung_are_hopeless(study: Study) -> None:
    """Of trials 4 and 5, side by side, the latter is waited for; not so trial 6, which begins after that."""
    recorder = study.recorder()
    for number in range(4):
        begin(recorder, study, number, 10)
        assert recorder.failed_first == 0, "one that reached a rung may end well"
        fail(recorder, study, number)
        assert recorder.failed_first == number + 1
    begin(recorder, study, 4, 10)
    begin(recorder, study, 5, 10)
    fail(recorder, study, 4)
    assert recorder.failed_first == 0
    begin(recorder, study, 6, 10)
    fail(recorder, study, 5)
    assert recorder.failed_first == HOPELESS + 1


def test_a_trial_that_an_earlier_driver_left_at_a_rung_is_waited_for(study: Study) -> None:
    begin(study.recorder(), study, 0, 10)
    recorder = study.recorder(left_off=read_open_trials(study.folder))
    for number in range(1, 6):
        fail(recorder, study, number)
    assert recorder.failed_first == 0
    fail(recorder, study, 0)
    assert recorder.failed_first == HOPELESS + 1


def test_a_study_with_a_trial_that_once_ended_well_is_not_hopeless(study: Study) -> None:
    before = study.recorder()
    trial = study.trial("one")
    before.on_trial_start(0, [], trial)
    before.on_trial_result(0, [], trial, study.rung(40))
    before.on_trial_complete(0, [], trial)
    after = study.recorder(ended=before.results)
    for number in range(1, 7):
        after.on_trial_error(0, [], study.trial(f"t{number}", number, OWN))
    assert after.failed_first == 0


@pytest.mark.parametrize("keep_pruned", [True, False])
def test_the_weights_of_a_trial_that_was_stopped_stay_if_asked_for(study: Study, keep_pruned: bool) -> None:
    recorder = study.recorder(weights=EndedWeights(pruned=keep_pruned))
    stopped = study.trial("one")
    recorder.on_trial_start(0, [], stopped)
    recorder.on_trial_result(0, [], stopped, study.rung(20))
    recorder.on_trial_complete(0, [], stopped)
    (result,) = recorder.results
    assert result.state is TrialState.PRUNED
    assert (result.last.weights is not None) == keep_pruned
    assert bool(list(study.folder.rglob("*.safetensors"))) == keep_pruned


def test_of_a_trial_that_ended_its_last_parameters_stay_and_no_optimiser(study: Study) -> None:
    recorder = study.recorder(weights=EndedWeights(earlier_rungs=False))
    trial = study.trial("one")
    recorder.on_trial_start(0, [], trial)
    folder = study.folder / "trials" / "0000"
    for step in (20, 40):
        recorder.on_trial_result(0, [], trial, study.rung(step))
        (folder / f"step_{step:06d}.optimizer.safetensors").write_bytes(b"moments")
    recorder.on_trial_complete(0, [], trial)
    assert [path.name for path in folder.glob("*.safetensors")] == ["step_000040.safetensors"]


def test_a_trial_that_an_earlier_driver_left_keeps_its_record(study: Study) -> None:
    before = study.recorder()
    trial = study.trial("one")
    before.on_trial_start(0, [], trial)
    before.on_trial_result(0, [], trial, study.rung(10))
    started = json.loads((study.folder / "trials" / "0000" / "open.json").read_text())["started"]

    after = study.recorder(left_off=read_open_trials(study.folder))
    again = study.trial("two")
    after.on_trial_start(0, [], again)
    after.on_trial_result(0, [], again, study.rung(40))
    after.on_trial_complete(0, [], again)
    (result,) = after.results
    assert ([rung.step for rung in result.rungs], result.started) == ([10, 40], started)
    assert "goes on from step 10" in study.said.getvalue()
