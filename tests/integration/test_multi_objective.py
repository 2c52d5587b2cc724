"""A study of several objectives: through Tune's own loop without training, and whole on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console

from benchmarks.noop_study import NoopStudy
from search.planning.preparation import prepare
from search.results import Rung, TrialResult, TrialState
from search.runner import run_study
from search.sampling.pareto import fronts, goes_on
from search.settings.study_file import load_study
from search.tracking import prepare_store

ALL = ["target_gain", "held_out_forgetting", "cost"]
OPTUNA = {TrialState.COMPLETE: "COMPLETE", TrialState.PRUNED: "PRUNED", TrialState.FAILED: "FAIL"}


def values(rung: Rung) -> tuple[float, float, float]:
    """Return gain, forgetting and the whole run's FLOPs."""
    flops = rung.metrics["cost/train_flops"] / rung.progress
    return rung.score.target_gain, rung.score.held_out_forgetting, flops


def losses(rung: Rung) -> tuple[float, float, float]:
    gain, forgetting, flops = values(rung)
    return -gain, forgetting, flops


def told(folder: Path, study: str) -> optuna.Study:
    journal = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name=study, storage=journal)


def assert_optuna_knows(trials: Sequence[TrialResult], study: optuna.Study) -> None:
    """Optuna's record of each trial, and its front, are those of the study."""
    assert study.metric_names == ALL
    for trial, frozen in zip(trials, study.trials, strict=True):
        assert frozen.params["learning_rate"] == trial.recipe.learning_rate
        assert frozen.state.name == OPTUNA[trial.state]
        whole = trial.state is TrialState.COMPLETE
        assert frozen.values == (list(values(trial.last)) if whole else None)
        known = trial.rungs[:-1] if whole else trial.rungs
        assert frozen.user_attrs.get("preset") == trial.preset
        assert {name: frozen.user_attrs[name] for name in frozen.user_attrs if name != "preset"} == {
            f"rung {rung.step}": dict(zip(ALL, values(rung), strict=True)) for rung in known
        }
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    ranks = fronts([losses(trial.last) for trial in complete])
    front = [trial.number for trial, rank in zip(complete, ranks, strict=True) if rank == 0]
    assert [trial.number for trial in study.best_trials] == front


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_tune_drives_it_one_trial_at_a_time(sampler: str, tmp_path: Path) -> None:
    """With one trial at a time each rung's decisions can be made again by hand."""
    search = {"objectives": ALL, "sampler": sampler}
    study = NoopStudy(tmp_path, trials=24, concurrency=1, search=search)
    study.ours()
    assert len(study.trials) == 24
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for step in (25, 50):
        seen: list[tuple[float, ...]] = []
        for trial in study.trials:
            for rung in trial.rungs:
                if rung.step == step:
                    assert goes_on(seen, losses(rung), 2) == (rung is not trial.rungs[-1])
                    seen.append(losses(rung))
        assert len(seen) > 4
    assert_optuna_knows(study.trials, told(tmp_path, "noop"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_one_thread")
def test_the_shipped_study_runs_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shipped but for sizes; its trials are what Optuna was told, and MLflow has them all."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = load_study(
        Path(__file__).resolve().parents[2] / "examples" / "pareto.yaml",
        [
            *("search.trials=7", "training.steps=8", "search.pruning.first_rung=4", "training.batch_size=4"),
            *("evaluation.samples=10", "evaluation.batch_size=10", "evaluation.drift_samples=4"),
            *("resources.max_concurrent_trials=1", f"tracking.uri={uri}", f"output={tmp_path / 'runs'}"),
        ],
    )
    prepare_store(uri)
    outcome = run_study(prepare(config), Console(quiet=True))
    trials = outcome.record.trials
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert_optuna_knows(trials, told(outcome.folder.root, "pareto"))
    # A whole run's cost, projected from a rung, is what it then was.
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            early, last = (values(rung)[2] for rung in trial.rungs)
            assert early == pytest.approx(last, rel=0.1)
    runs = MlflowClient(uri).search_runs(["1"], filter_string="tags.kind = 'trial'")
    assert len(runs) == len(trials) == 7
