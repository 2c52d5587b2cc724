"""A training of a finalist's seed that is taken up again: what of its folder is believed, what is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_study import BASE, config, evaluation, objective, trial

from search.finalists import retraining
from search.finalists.retraining import _Training, retrain
from search.phases.study_failed import WorkersLost
from search.records.stored_training import TRAINING_FILE, training_name
from trainables.files import DamagedFile, write_atomically
from trainables.manifest import TrainableManifest
from trainables.pointer import Pointer
from trainables.weights.rung_files import parameters_file
from trainables.workers.execution import Execution, GroupShape
from trainables.workers.jobs import Report, TrainJob

WHOLE: dict[str, Any] = {"path": "step_000002.safetensors", "sha256": "00", "step": 2}


def begun(folder: Path, **fields: Any) -> _Training:
    stored = {"trial": 1, "seed": 2, "metrics": {}, "rungs": [], "checkpoints": [], "error": None}
    own = folder / training_name(1, 2)
    own.mkdir()
    (own / TRAINING_FILE).write_text(json.dumps(stored | fields))
    return _Training.begun(own, 1, 2)


def test_its_checkpoints_lie_in_its_folder(tmp_path: Path) -> None:
    (checkpoint,) = begun(tmp_path, checkpoints=[WHOLE]).checkpoints
    assert checkpoint["path"] == str(tmp_path / "trial_1_seed_2" / WHOLE["path"])


@pytest.mark.parametrize(
    "checkpoints",
    [
        [1],
        {"path": "a"},
        [{**WHOLE, "step": "2"}],
        [{**WHOLE, "path": "/etc/passwd"}],
        [{**WHOLE, "optimizer": ".."}],
        None,
    ],
)
def test_a_damaged_pointer_is_refused_with_the_file_s_name(tmp_path: Path, checkpoints: object) -> None:
    with pytest.raises(DamagedFile, match=TRAINING_FILE):
        begun(tmp_path, checkpoints=checkpoints)


class Groups:
    """Stand for worker groups: what each job reports, one after another, and what was handed out."""

    def __init__(self) -> None:
        self.handed_out: list[TrainJob] = []
        self.report: list[Report] = []

    def run_jobs(
        self, pool: object, jobs: Mapping[int, tuple[GroupShape, TrainJob]], *, at_a_time: int
    ) -> Iterator[tuple[int, Report]]:
        for number, (_, job) in jobs.items():
            self.handed_out.append(job)
            for report in self.report:
                if report.error is None:
                    weights = Path(job.folder, parameters_file(report.step))
                    write_atomically(weights, b"tensors")
                    report = replace(report, checkpoint=Pointer(str(weights), "0" * 64, report.step))
                yield number, report


RECIPE = trial(1, [{}]).recipe
MANIFEST = TrainableManifest(model_type="tiny", family="tiny", subset="gate_up", parameters=(), total=9)
RUNG = Report(
    step=20,
    done=False,
    evaluations={task: evaluation(task, value, 100) for task, value in BASE.items()},
    metrics={"drift/kl_target": 0.5},
    manifest=MANIFEST.to_dict(),
)
LAST = replace(RUNG, step=40, done=True)
LOST = Report(step=0, done=True, error="its workers died 4 times", lost=True)
OWN = Report(step=0, done=True, error="the loss is nan at step 30")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    made = Groups()
    monkeypatch.setattr(retraining, "run_jobs", made.run_jobs)
    return made


def trained(folder: Path) -> list[retraining.Retrained]:
    executions = {RECIPE.variant: Execution(shape=GroupShape())}
    run: Any = SimpleNamespace(pool=None, placement=SimpleNamespace(executions=executions, concurrency=1))
    return list(retrain(run, objective(config()), {1: (RECIPE, (20, 40))}, seed=2, folder=folder))


def test_what_is_lost_with_its_machines_has_not_failed_and_is_gone_on_with(
    tmp_path: Path, groups: Groups
) -> None:
    groups.report = [RUNG, LOST]
    with pytest.raises(WorkersLost, match="one after another, the last time: its workers died 4 times"):
        trained(tmp_path)
    groups.report = [LAST]
    (ended,) = trained(tmp_path)
    assert (ended.error, [rung.step for rung in ended.rungs]) == (None, [20, 40])
    assert [[pointer.step for pointer in job.resume] for job in groups.handed_out] == [[], [20]]


def test_what_failed_by_itself_is_not_trained_again(tmp_path: Path, groups: Groups) -> None:
    groups.report = [RUNG, OWN]
    for _ in range(2):
        (ended,) = trained(tmp_path)
        assert (ended.error, ended.rungs) == (OWN.error, ())
    assert len(groups.handed_out) == 1
