"""Finalists' runs under a driver that dies and another that goes on: nothing is done twice."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_study import BASE, config, evaluation, record, trial
from rich.console import Console

from search.finalists import retraining, runs
from search.finalists.finalist_search import with_finalists
from search.finalists.racing import fresh_seeds
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult
from search.settings.selection_config import FinalistsConfig
from spaces.points import Interpolation, Point
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest
from trainables.pointer import Pointer
from trainables.scoring.evaluation import evaluations_json, rung_file
from trainables.weights.rung_files import parameters_file
from trainables.workers.execution import Execution, GroupShape
from trainables.workers.jobs import ConfirmData, ConfirmJob, Report, TrainJob

SEEDS = fresh_seeds(config().search.seed, 2)
STUDY = config().model_copy(update={"finalists": FinalistsConfig(most=1, seeds=2, budget=1.0)})
MANIFEST = TrainableManifest(model_type="tiny", family="tiny", subset="gate_up", parameters=(), total=9)
# The trial gains 10 points in the mean, the point 30, and the latter loses nothing either.
TRIAL = trial(0, [{**BASE, "count": 20.0, "clock": 30.0}])
BETTER = {**BASE, "count": 40.0, "clock": 50.0}
POINT = PointResult(
    number=0, point=Point(0, 40, Interpolation(0.5)), trial=TRIAL, rung=trial(1, [BETTER]).last
)


class Killed(BaseException):
    """Stands for the end of the driver."""


class Groups:
    """Stands for worker groups: what they are asked, and when their driver dies."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dies_at = ""

    def run_jobs(
        self, pool: object, jobs: Mapping[Any, tuple[GroupShape, Any]], *, at_a_time: int
    ) -> Iterator[tuple[Any, Report]]:
        for key, (_, job) in jobs.items():
            report = Report(
                step=40,
                done=True,
                evaluations={task: evaluation(task, value, 100) for task, value in BETTER.items()},
                manifest=MANIFEST.to_dict(),
            )
            if isinstance(job, TrainJob):
                told, target = f"train {job.seed}", Path(job.folder, parameters_file(40))
            elif isinstance(job, ConfirmJob):
                told, target = f"confirm {self._seed(job)}", None
            elif job.write_to is not None:
                told, target = f"write {self._seed(job)}", Path(job.write_to)
            else:
                told, target = f"evaluate {self._seed(job)}", None
            if told == self.dies_at:
                raise Killed
            self.asked.append(told)
            if target is not None:
                write_atomically(target, b"tensors")
                report = replace(report, checkpoint=Pointer(str(target), "0" * 64, 40))
            yield key, report

    def _seed(self, job: Any) -> int:
        return int(Path(job.members[0].path).parent.name.rpartition("_")[2])


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    made = Groups()
    monkeypatch.setattr(retraining, "run_jobs", made.run_jobs)
    monkeypatch.setattr(runs, "run_jobs", made.run_jobs)
    return made


def raced(folder: Path) -> StudyRecord:
    """Let the point, which is better than its trial, be trained on two seeds and confirmed."""
    for file, values in (
        (folder / "trials" / TRIAL.trial_id / rung_file(40), TRIAL.last.values),
        (folder / "points" / "0" / "evaluations.json", BETTER),
    ):
        found = {task: evaluation(task, value, 100) for task, value in values.items()}
        write_atomically(file, evaluations_json(found))
    placement = SimpleNamespace(
        concurrency=1,
        executions={TRIAL.recipe.variant: Execution(shape=GroupShape())},
        shape_for=lambda variants: GroupShape(),
    )
    run: Any = SimpleNamespace(
        config=STUDY,
        prepared=SimpleNamespace(confirm=ConfirmData(tasks=())),
        folder=StudyFolder(folder),
        console=Console(file=io.StringIO()),
        pool=None,
        placement=placement,
        base_on_confirm=lambda *_: {task: evaluation(task, value, 100) for task, value in BASE.items()},
        tracker=SimpleNamespace(log_finalist=lambda *_, **__: None),
    )
    return with_finalists(run, replace(record([TRIAL], study=STUDY), points=(POINT,)))


def told(*what: str, seeds: tuple[int, ...] = SEEDS) -> list[str]:
    return [f"{each} {seed}" for each in what for seed in seeds]


def test_a_driver_that_dies_while_finalists_are_confirmed_leaves_what_was_done(
    tmp_path: Path, groups: Groups
) -> None:
    undisturbed = raced(tmp_path / "undisturbed").finalists
    one, two = SEEDS
    rounds = [*told("train", "evaluate", seeds=(one,)), *told("train", "evaluate", seeds=(two,))]
    assert groups.asked == [*rounds, *told("write", "confirm")]
    assert [finalist.candidate for finalist in undisturbed] == ["point 0"]

    groups.dies_at = f"confirm {two}"
    with pytest.raises(Killed):
        raced(tmp_path / "study")
    # It dies once more, before anything that is new was measured.
    groups.asked, groups.dies_at = [], f"write {two}"
    with pytest.raises(Killed):
        raced(tmp_path / "study")
    assert groups.asked == []
    stored = json.loads(
        (tmp_path / "study" / "finalists" / "point_0" / f"seed_{one}" / "run.json").read_text()
    )
    assert stored["confirmed"] is not None
    groups.dies_at = ""
    resumed = raced(tmp_path / "study").finalists
    assert groups.asked == [f"write {two}", f"confirm {two}"]
    assert [[run.confirm for run in each.runs] for each in resumed] == [
        [run.confirm for run in each.runs] for each in undisturbed
    ]
    assert [each.estimates for each in resumed] == [each.estimates for each in undisturbed]


def test_a_point_of_weights_that_were_trained_anew_is_evaluated_anew(tmp_path: Path, groups: Groups) -> None:
    raced(tmp_path)
    (tmp_path / "finalists" / "trained" / f"trial_0_seed_{SEEDS[1]}" / parameters_file(40)).unlink()
    groups.asked = []
    raced(tmp_path)
    assert groups.asked == told("train", "evaluate", "write", seeds=SEEDS[1:])
