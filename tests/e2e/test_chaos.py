"""Studies whose processes are killed beside twins that nothing disturbed: the same results, nothing twice."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from chaos import VICTIMS, check_gone, driver, run_to_its_end, run_with_faults
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_study import write_study

from search.records.stored_study import read_study
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import TrialState

pytestmark = pytest.mark.timeout(1200)

# What depends on how fast and how often something was done, and never on what came out.
MEASURED = re.compile("seconds|energy|co2|peak_memory")
MLFLOW = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAILED: "FAILED"}

# Seconds between faults that progress divides: few, so that a fast machine is not done before the last one.
_BETWEEN = (0.1, 0.5)


def write(folder: Path, base: Path, *, trials: int, steps: int, at_a_time: int = 1) -> Path:
    folder.mkdir()
    return write_study(
        folder,
        base,
        training={"steps": steps, "batch_size": 4},
        search={
            "trials": trials,
            "presets": False,
            "pruning": {"first_rung": steps // 4, "reduction_factor": 2},
        },
        points={"top": 1, "alpha": [0.5], "soup": None, "earlier_rungs": True},
        finalists={"most": 1, "seeds": 2, "budget": 1.0},
        # Faults come faster than rungs.
        resources={"max_concurrent_trials": at_a_time, "max_failures": 20},
    )


def results(record: StudyRecord) -> list[Any]:
    """Return what a study measured, but for what depends on time."""

    def metrics(found: Any) -> dict[str, float]:
        return {name: value for name, value in found.items() if not MEASURED.search(name)}

    trials = [
        (
            trial.number,
            trial.state,
            trial.recipe,
            [(rung.step, rung.score, rung.values, metrics(rung.metrics)) for rung in trial.rungs],
        )
        for trial in record.trials
    ]
    points = [(each.number, each.point, metrics(each.measured.metrics)) for each in record.points]
    finalists = [
        (
            each.candidate,
            [(run.seed, run.rung and metrics(run.rung.metrics), run.confirmed) for run in each.runs],
        )
        for each in record.finalists
    ]
    return [trials, points, finalists]


def runs(study: Path) -> dict[str, Run]:
    """Return the nested runs of a study's one parent run in MLflow, and that itself, by name."""
    client = MlflowClient(f"sqlite:///{study.parent / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "tests"]
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    names = Counter(run.info.run_name for run in found)
    assert set(names.values()) == {1}, f"a run is there twice: {names}"
    return {run.info.run_name: run for run in found}


def histories(study: Path, run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return a run's metrics, each with its whole course, but for what depends on time."""
    client = MlflowClient(f"sqlite:///{study.parent / 'mlflow.db'}")
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if not MEASURED.search(name)
    }


def check_like_twin(study: Path, twin: Path) -> None:
    """Check a study against one that nothing disturbed."""
    folder, other = (StudyFolder(each.parent / "runs" / "made") for each in (study, twin))
    assert results(read_study(folder.root)) == results(read_study(other.root))
    assert _tensors(folder) == _tensors(other)
    ours, theirs = runs(study), runs(twin)
    assert ours.keys() == theirs.keys()
    for name, run in ours.items():
        assert run.info.status == theirs[name].info.status, name
        assert run.data.params == {**theirs[name].data.params, **_paths(run)}, name
        assert histories(study, run) == histories(twin, theirs[name]), name
    check_whole(study)


def check_whole(study: Path) -> None:
    """Check that a study has ended, and that Optuna and MLflow know each of its trials once, as it ended."""
    folder = StudyFolder(study.parent / "runs" / "made")
    record = read_study(folder.root)
    assert record.finished
    assert not list(folder.root.rglob("open.json"))
    assert not list(folder.root.rglob(".*.left.1.1.tmp"))
    assert [trial.number for trial in record.trials] == list(range(record.config.search.trials))
    (known,) = optuna.get_all_study_summaries(_journal(folder))
    trials = optuna.load_study(study_name=known.study_name, storage=_journal(folder)).trials
    states = {TrialState.FAILED: "FAIL"}
    assert [(trial.number, trial.state.name) for trial in trials] == [
        (trial.number, states.get(trial.state, trial.state.value)) for trial in record.trials
    ]

    by_trial = {run.data.tags.get("trial_id"): run for run in runs(study).values()}
    for trial in record.trials:
        assert by_trial[trial.trial_id].info.status == MLFLOW[trial.state]


def _tensors(folder: StudyFolder) -> dict[Path, bytes]:
    return {path.relative_to(folder.root): path.read_bytes() for path in folder.root.rglob("*.safetensors")}


def _journal(folder: StudyFolder) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder.sampler)))


def _paths(run: Run) -> dict[str, str]:
    """Return the parameters that name files: each study has its own."""
    return {name: value for name, value in run.data.params.items() if "/" in value}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random LLaVA."""
    from tiny_models import save_llava

    return save_llava(tmp_path_factory.mktemp("base") / "llava")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A study that nothing disturbs."""
    return undisturbed(tmp_path_factory.mktemp("twin") / "study", base, trials=3, steps=160)


@pytest.fixture(scope="module")
def long_twin(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A longer one."""
    return undisturbed(tmp_path_factory.mktemp("long") / "study", base, trials=5, steps=320)


def undisturbed(folder: Path, base: Path, *, trials: int, steps: int) -> Path:
    study = write(folder, base, trials=trials, steps=steps)
    run_to_its_end(["run", str(study)], folder / "log")
    return study


def disturbed(
    folder: Path,
    base: Path,
    *,
    trials: int,
    steps: int,
    seed: int,
    faults: int,
    victims: Sequence[str],
    pause: tuple[float, float],
    progress: int = 0,
    since: str | None = None,
    at_a_time: int = 1,
) -> Path:
    """Run a study while its processes are killed; return it."""
    study = write(folder, base, trials=trials, steps=steps, at_a_time=at_a_time)
    done = run_with_faults(
        study,
        folder / "log",
        seed=seed,
        victims=victims,
        faults=faults,
        pause=pause,
        progress=progress,
        since=since,
    )
    if folder_of_records := os.environ.get("CHAOS_RECORDS"):
        record = {"seed": seed, "progress": progress, "faults": [dataclasses.asdict(fault) for fault in done]}
        Path(folder_of_records, f"seed_{seed}.json").write_text(json.dumps(record, indent=1) + "\n")
    assert len(done) == faults
    return study


def test_a_study_whose_processes_are_killed_ends_like_its_twin(
    twin: Path, base: Path, tmp_path: Path
) -> None:
    study = disturbed(
        tmp_path / "study",
        base,
        trials=3,
        steps=160,
        seed=12,
        faults=4,
        victims=["driver", "worker", "notice"],
        pause=_BETWEEN,
        progress=8,
    )
    check_like_twin(study, twin)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "progress"), [*((seed, 0) for seed in range(1, 5)), (5, 8), (6, 8), (7, 8)])
def test_a_longer_study_survives_ten_faults(
    long_twin: Path, base: Path, tmp_path: Path, seed: int, progress: int
) -> None:
    """Faults that come faster than anything recovers meet its start; those between progress, all of it."""
    study = disturbed(
        tmp_path / "study",
        base,
        trials=5,
        steps=320,
        seed=seed,
        faults=10,
        victims=["driver", "driver", "notice", *VICTIMS],
        pause=_BETWEEN if progress else (0.5, 4.0),
        progress=progress,
    )
    check_like_twin(study, long_twin)


@pytest.mark.slow
def test_points_and_finalists_survive_faults(base: Path, tmp_path: Path) -> None:
    """Its finalists take long enough for all faults."""
    size = {"trials": 2, "steps": 2400}
    twin = undisturbed(tmp_path / "twin", base, **size)
    study = disturbed(
        tmp_path / "study",
        base,
        **size,
        seed=9,
        faults=8,
        victims=["driver", "notice", "worker", "group", "controller", "pool"],
        pause=_BETWEEN,
        progress=1,
        since="points",
    )
    check_like_twin(study, twin)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_trials_at_a_time_are_neither_lost_nor_done_twice(base: Path, tmp_path: Path) -> None:
    """Which ends first depends on time, and with it what the next one draws: so there is no twin."""
    study = disturbed(
        tmp_path / "study",
        base,
        trials=6,
        steps=320,
        seed=8,
        faults=10,
        victims=["driver", "driver", "notice", *VICTIMS],
        pause=_BETWEEN,
        progress=8,
        at_a_time=2,
    )
    check_whole(study)


@pytest.mark.slow
def test_notice_to_the_driver_loses_no_step(base: Path, tmp_path: Path) -> None:
    """Rungs are far apart; what is trained is saved between two, of a trial and of a finalist."""
    steps, first = 2400, 600
    twin = undisturbed(tmp_path / "twin", base, trials=1, steps=steps)
    study = write(tmp_path / "study", base, trials=1, steps=steps)
    for home in ("trials", "finalists"):
        with driver(["run", str(study)], study.parent / "log") as running:
            running.wait_for_work(study.parent, f"runs/made/{home}/**/step_{first:06d}.safetensors", 1.0)
            running.terminate()
        ((_, step),) = [
            each.stem.split("_") for each in study.parent.glob(f"runs/made/{home}/**/between_*.json")
        ]
        assert first < int(step) < steps
        check_gone(running.started)
    run_to_its_end(["run", str(study)], study.parent / "log")
    assert not list(study.parent.rglob("between_*"))
    check_like_twin(study, twin)


@pytest.mark.slow
def test_a_study_whose_every_trial_fails_stops_early_and_says_why(base: Path, tmp_path: Path) -> None:
    """At such a learning rate the loss is no number."""
    study = write_study(
        tmp_path,
        base,
        space={"subsets": ["full"], "learning_rate": [1e37, 1e38]},
        search={"trials": 40, "presets": False},
    )
    with driver(["run", str(study)], tmp_path / "log") as running:
        running.wait_for_end()
        assert running.process.returncode == 1, running.text
    assert re.search(r"error: the first [56] trials all failed, so the search was stopped", running.text)
    assert "loss is " in running.lines[-1]
    assert "Traceback" not in running.text
