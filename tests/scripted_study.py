"""A study that is only recorded: what a driver tells its tracker, call by call, over any number of lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from tracked_study import RECIPE, ended, study_config

from search.decision.candidates import Candidate
from search.decision.evidence import FinalistRun
from search.objective import Objective
from search.results import PointResult, TrialState
from search.tracking import StudyTracker
from spaces.points import Interpolation, Point
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation

TRIALS = 5
RUNGS = (10, 20, 30, 40)
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE)
CONFIRM = Objective(base={"counting": 50.0, "colour": 90.0}, targets=("counting",), held_out=("colour",))
ALL_CALLS = 39
_FILE = "mlflow-spool.db"

Call = Callable[[StudyTracker], object]


def record_life(uri: str, experiment: str, folder: Path, calls: Any = None) -> None:
    """Record what is not recorded yet: a life of the driver, which may end anywhere.

    Like the real one, it notes in the study's folder what has ended, and does the rest of a unit of work
    again that was not: a trial goes on from its last checkpoint and reports steps for the second time.

    Args:
        uri: The MLflow store.
        experiment: The experiment.
        folder: The study's folder, whose name is the study's id.
        calls: A counter that another process watches, to kill this one; None hurries.
    """
    done = folder / "done"
    ended = int(done.read_text()) if done.exists() else 0
    tracker = StudyTracker(uri, experiment, folder / _FILE)
    with tracker:
        data = {"a/train": "ab" * 32}
        tracker.start_study(study_config(), tags={"version": "1"}, fingerprints=data, study_id=folder.name)
        for number, unit in enumerate(_units(folder)):
            if number < ended:
                continue
            for call in unit:
                call(tracker)
                if calls is not None:
                    calls.value += 1
                    time.sleep(0.01)
            write_atomically(done, str(number + 1).encode())
        tracker.finish(True, {"score": 10.0}, {"selected": "t_0"})
        if calls is not None:
            calls.value = ALL_CALLS
    assert tracker.warnings == []


def _units(folder: Path) -> Iterator[list[Call]]:
    base = {"counting": Evaluation(task="counting", scores=(100.0, 0.0))}
    yield [lambda tracker: tracker.log_base(base, cached=False)]
    yield from (_trial(number) for number in range(TRIALS))
    best = ended("t_0", 0, TrialState.COMPLETE)
    rung = replace(best.last, metrics={"score": 10.0, "drift/kl_target": 0.5})
    for number, alpha in enumerate((0.9, 0.7, 0.5)):
        point = PointResult(number=number, point=Point(0, 40, Interpolation(alpha)), trial=best, rung=rung)
        yield [partial(StudyTracker.log_point, result=point)]
    for seed in (1, 2):
        confirm = {
            "counting": Evaluation(task="counting", scores=(100.0, 50.0)),
            "colour": Evaluation(task="colour", scores=(90.0,)),
        }
        run = FinalistRun(seed=seed, rung=rung, confirm=confirm, confirmed=best.last.score, folder="")
        yield [
            partial(
                StudyTracker.log_finalist,
                candidate=Candidate(trial=best),
                result=run,
                confirm=CONFIRM,
                dropped=False,
            )
        ]
    (folder / "selected").mkdir(exist_ok=True)
    for file in (folder / "report.html", folder / "selected" / "weights", folder / "selected" / "card"):
        write_atomically(file, f"what {file.name} says".encode())
    yield [lambda tracker: tracker.log_artifacts([folder / "report.html", folder / "selected"])]


def _trial(number: int) -> list[Call]:
    name, state = f"t_{number}", STATES[number]
    calls: list[Call] = [
        lambda tracker: tracker.start_trial(name, number, RECIPE, "preset" if number == 0 else None),
        lambda tracker: tracker.log_manifest(name, {"count": 3 + number, "names": ["a", "b"]}),
    ]
    for step in RUNGS if state is TrialState.COMPLETE else RUNGS[:2]:
        metrics = {"score": number + step / 10, "held_out/colour": 90.0 - step, "train/loss": 1 / step}
        if step == 20 and number == 2:
            metrics["drift/kl_target"] = float("nan")
        calls.append(partial(StudyTracker.log_rung, trial_id=name, step=step, metrics=metrics))
    error = "loss is NaN" if state is TrialState.FAILED else None
    calls.append(partial(StudyTracker.end_trial, result=ended(name, number, state, error, ("node-1",))))
    return calls


def recorded(uri: str, study_id: str) -> list[dict[str, Any]]:
    """Return everything MLflow has of a study but ids and times, so that two of them can be compared.

    Args:
        uri: The MLflow store.
        study_id: The study.
    """
    client = MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    parents = client.search_runs(experiments, f"tags.study_id = '{study_id}'")
    found = [_run(client, run) for run in parents]
    for parent in parents:
        query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        found += [_run(client, run) for run in client.search_runs(experiments, query)]
    return sorted(found, key=lambda run: (run["name"], str(run)))


def _run(client: MlflowClient, run: Any) -> dict[str, Any]:
    tags = {
        name: value
        for name, value in run.data.tags.items()
        if name not in ("study_id", "mlflow.parentRunId", "mlflow.runName")
    }
    run_id = run.info.run_id
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "ended": run.info.end_time is not None,
        "params": run.data.params,
        "tags": tags,
        "metrics": {
            key: sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))
            for key in run.data.metrics
        },
        "artifacts": sorted(_artifacts(client, run_id)),
        "data": sorted(each.dataset.name for each in run.inputs.dataset_inputs),
    }


def _artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[tuple[str, int]]:
    for each in client.list_artifacts(run_id, folder):
        if each.is_dir:
            yield from _artifacts(client, run_id, each.path)
        else:
            yield each.path, each.file_size
