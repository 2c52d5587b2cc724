"""A study's runs in an MLflow store, for the tests of what records them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from mlflow.tracking import MlflowClient

from search.config import StudyConfig
from search.objective import Score
from search.results import Rung, TrialResult, TrialState
from search.settings.study_file import parse_study
from search.tracking import StudyTracker
from spaces.recipe import Recipe

RECIPE = Recipe(subset="gate_up", learning_rate=3.1e-4, steps=40, batch_size=8)
SCORE = Score(target_gain=12.0, held_out_forgetting=2.0, worst_forgetting=3.0, score=10.0)


def study_config(**changes: Any) -> StudyConfig:
    content = {
        "name": "lesson",
        "model": {"path": "tiny-llava"},
        "targets": ["counting"],
        "held_out": ["colour"],
        "space": {"subsets": ["gate_up", "full"], "learning_rate": [1e-5, 1e-2]},
        "training": {"steps": 40, "batch_size": 8},
        "search": {"trials": 2},
    }
    return parse_study(content | changes, "test")


def ended(
    trial_id: str, number: int, state: TrialState, error: str | None = None, nodes: tuple[str, ...] = ()
) -> TrialResult:
    progress = 1.0 if state is TrialState.COMPLETE else 0.5
    rung = Rung(step=int(40 * progress), progress=progress, score=SCORE, values={}, metrics={})
    return TrialResult(
        trial_id=trial_id,
        number=number,
        recipe=RECIPE,
        state=state,
        rungs=(rung,),
        error=error,
        seconds=1.0,
        nodes=nodes,
    )


@dataclass(frozen=True)
class Store:
    """A prepared store, with an experiment of its own for each test."""

    uri: str
    experiment: str

    @property
    def client(self) -> Any:
        return MlflowClient(self.uri)

    @contextmanager
    def study(self, study_id: str | None = None, **changes: Any) -> Iterator[tuple[StudyTracker, str]]:
        tracker = StudyTracker(self.uri, self.experiment)
        study_id = study_id or uuid4().hex
        run = tracker.start_study(study_config(**changes), tags={}, fingerprints={}, study_id=study_id)
        yield tracker, run
        tracker.close()

    def runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name(self.experiment)
        found: list[Any] = self.client.search_runs([experiment.experiment_id], max_results=1000)
        return found

    def trial(self, trial_id: str) -> Any:
        (run,) = [run for run in self.runs() if run.data.tags.get("trial_id") == trial_id]
        return run
