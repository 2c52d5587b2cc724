"""A whole study on a tiny model: Tune, Optuna, Ray Train and MLflow, and what they leave behind."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import optuna
import pyarrow.parquet as pq
import pytest
import ray
import torch
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from run_alone import run_alone
from safetensors.torch import load_file
from small_study import write_study

from search import cli
from search.finalists.racing import fresh_seeds
from search.handover.recipe_document import read_recipe
from search.handover.study_files import write_verdict
from search.planning.preparation import prepare
from search.records.stored_study import read_study
from search.records.study_folder import StudyFolder
from search.results import TrialResult, TrialState
from search.runner import Outcome
from search.settings.study_file import load_study
from spaces.points import Identity, Point
from spaces.recipe import Recipe
from trainables.checkpoint import apply_delta
from trainables.model import load_model
from trainables.scoring.evaluation import read_evaluations, rung_file
from trainables.workers.workbench import Workbench

pytestmark = [pytest.mark.usefixtures("_one_thread"), pytest.mark.timeout(300)]

OPTUNA = {TrialState.COMPLETE: "COMPLETE", TrialState.PRUNED: "PRUNED", TrialState.FAILED: "FAIL"}
MLFLOW = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAILED: "FAILED"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A folder with data and a study of four trials, whose first three are the presets.

    `full` has a learning rate that no training survives, `projector` one at which nothing is learnt, and
    `llm` learns the target, whose answer is always the same.
    """
    folder = tmp_path_factory.mktemp("home")
    write_study(
        folder,
        base,
        space={
            "subsets": ["full", "llm", "projector"],
            "learning_rate": [1.0e-2, 3.0e-2],
            "learning_rate_of": {"full": [1e38, 1e38], "projector": [1.0e-6, 1.0e-5]},
        },
        search={"trials": 4, "seed": 0, "pruning": {"first_rung": 8, "reduction_factor": 2}},
        points={"top": 1, "alpha": [0.0, 0.9], "soup": None, "earlier_rungs": True},
        selection={"keep_weights": "all"},
        finalists={"most": 2, "seeds": 2, "budget": 0.5},
    )
    return folder


@pytest.fixture(scope="module")
def outcome(home: Path) -> Outcome:
    done = run_alone(home / "study.yaml")
    assert not ray.is_initialized()
    return done


def runs(home: Path, study: str, kind: str = "study") -> tuple[Run, list[Run]]:
    """Return a study's parent run and the runs nested in it."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    found = list(client.search_runs([experiment.experiment_id]))
    (parent,) = (r for r in found if r.data.tags.get("kind") == kind and r.data.tags["study"] == study)
    return parent, [r for r in found if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def test_each_trial_ends_as_it_must(outcome: Outcome) -> None:
    trials = outcome.record.trials
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [trial.preset for trial in trials] == ["paper_full", "paper_llm", "paper_projector", None]
    failed, complete, pruned, _ = trials
    assert (failed.state, failed.error) == (TrialState.FAILED, "loss is nan at step 2")
    assert (complete.state, [rung.step for rung in complete.rungs]) == (TrialState.COMPLETE, [8, 16])
    assert (pruned.state, [rung.step for rung in pruned.rungs]) == (TrialState.PRUNED, [8])
    assert complete.last.score.target_gain == 100.0
    assert outcome.warnings == ()


def test_the_record_optuna_and_mlflow_agree_on_every_trial(outcome: Outcome, home: Path) -> None:
    journal = JournalStorage(JournalFileBackend(str(outcome.folder.sampler)))
    told = optuna.load_study(study_name="made", storage=journal).get_trials(deepcopy=False)
    parent, nested = runs(home, "made")
    recorded = {run.data.tags["trial_id"]: run for run in nested if run.data.tags["kind"] == "trial"}
    trials = outcome.record.trials
    assert len(told) == len(recorded) == len(trials) == 4
    # With one trial at a time Optuna's order is the order of the starts.
    for trial, frozen in zip(trials, told, strict=True):
        run = recorded[trial.trial_id]
        assert frozen.params["subset"] == run.data.params["subset"] == trial.recipe.subset
        assert frozen.params["learning_rate"] == trial.recipe.learning_rate
        assert frozen.state.name == OPTUNA[trial.state]
        assert run.info.status == MLFLOW[trial.state]
        assert run.data.tags["state"] == trial.state.value
        assert run.data.tags.get("error") == trial.error
        assert_scores_agree(trial, frozen.value, run.data.metrics)
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in nested} <= {"FINISHED", "KILLED", "FAILED"}


def assert_scores_agree(trial: TrialResult, value: float | None, metrics: Mapping[str, float]) -> None:
    if trial.state is TrialState.FAILED:
        assert value is None
        assert "score" not in metrics
        return
    assert value == trial.last.score.score == metrics["score"]
    assert trial.last.metrics["target/easy"] == metrics["target/easy"]


def test_the_best_trial_s_points_are_evaluated_and_recorded(outcome: Outcome, home: Path) -> None:
    """At alpha 0 a point is the base, which scores 0; at the first rung it is what the trial was then."""
    best = outcome.record.trials[1]
    early, base, middle = outcome.record.points
    assert [each.point.label for each in outcome.record.points] == ["step 8", "alpha 0", "alpha 0.9"]
    assert {each.trial.number for each in outcome.record.points} == {1}
    assert early.rung == best.rungs[0]
    assert load_file(best.rungs[0].weights)
    values = {task: evaluation.value for task, evaluation in outcome.record.base.items()}
    assert (base.measured.values, base.measured.score.score) == (values, 0.0)
    assert 0 < middle.measured.metrics["drift/kl_target"] < best.last.metrics["drift/kl_target"]
    rows = list(csv.DictReader(outcome.folder.points_table.read_text(encoding="utf-8").splitlines()))
    recorded = {r.data.tags["point"]: r for r in runs(home, "made")[1] if r.data.tags["kind"] == "point"}
    assert len(rows) == len(recorded) == 3
    for result, row in zip(outcome.record.points, rows, strict=True):
        run = recorded[str(result.number)]
        assert (run.info.status, run.data.params["trial"]) == ("FINISHED", "1")
        assert run.data.params["transform"] == row["transform"] == result.point.transform.name
        assert run.data.params.get("alpha", "") == row["alpha"]
        assert run.data.params["subset"] == row["subset"] == "llm"
        assert run.data.metrics["score"] == float(row["score"]) == result.measured.score.score
    document = yaml.safe_load(outcome.folder.recipe.read_text(encoding="utf-8"))
    chosen = outcome.selection.point
    assert outcome.selection.winner == best
    assert Point.from_dict(document["point"]) == (chosen.point if chosen else Point(1, 16, Identity()))


def test_every_file_is_there(outcome: Outcome, home: Path) -> None:
    folder = home / "runs" / "made"
    assert outcome.folder.root == folder
    names = {path.name for path in folder.iterdir()}
    assert {"study.yaml", "trials.csv", "recipe.yaml", "report.html", "selected", "trials"} <= names
    rows = list(csv.DictReader((folder / "trials.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["state"] for row in rows] == [trial.state.value for trial in outcome.record.trials]
    assert load_study(folder / "study.yaml") == outcome.record.config
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


def test_the_recipe_file_names_the_winner(outcome: Outcome) -> None:
    document = yaml.safe_load(outcome.folder.recipe.read_text(encoding="utf-8"))
    winner = outcome.selection.winner
    assert winner is not None
    assert document["verdict"] == "use this recipe"
    assert Recipe.from_dict(document["recipe"]) == winner.recipe
    assert outcome.selection.rung is not None
    assert document["evidence"]["score"] == pytest.approx(outcome.selection.rung.score.score, abs=1e-4)
    assert sum(document["trials"].values()) == 4


def test_the_selected_weights_reproduce_the_reported_scores(outcome: Outcome) -> None:
    config = outcome.record.config
    bench = Workbench(prepare(config).setup)
    evaluations, _ = bench.evaluator.evaluate()
    assert evaluations == outcome.record.base
    apply_delta(bench.model, outcome.folder.selected)
    evaluations, _ = bench.evaluator.evaluate()
    run = outcome.selection.run
    assert run is not None, "what is handed over was trained on a new seed"
    assert run.rung is not None
    assert {name: evaluation.value for name, evaluation in evaluations.items()} == run.rung.values
    assert evaluations == read_evaluations(outcome.folder.root / run.folder / "evaluations.json")
    untouched = load_model(config.model.path, dtype=torch.float32)
    changed = {
        name
        for name, tensor in untouched.state_dict().items()
        if not torch.equal(tensor, bench.model.state_dict()[name])
    }
    assert changed
    assert all(name.startswith(("model.language_model.", "lm_head.")) for name in changed)


def test_points_are_had_without_ray(outcome: Outcome, tmp_path: Path) -> None:
    """Their weights were written while the pool ran; what is copied scores what was measured of the point.

    A point that was trained again has its run's weights instead.
    """
    root = tmp_path / "made"
    shutil.copytree(outcome.folder.root, root, ignore=shutil.ignore_patterns("ray"))
    again = read_study(root)
    best = again.trials[1].last.metrics
    trained_again = {each.candidate for each in again.finalists if each.run is not None}
    points = [each for each in again.points[1:] if f"point {each.number}" not in trained_again]
    assert points, "at alpha 0 nothing is gained, so that this one was not"
    for point in points:
        home = root / "points" / str(point.number)
        assert point.measured.weights == str(home / "weights.safetensors")
        for name in ("cost/stored_bytes", "cost/full_stored_bytes"):
            assert point.measured.metrics[name] == best[name]
        selection = replace(outcome.selection, winner=again.trials[1], point=point, finalist=None)
        said = " ".join(write_verdict(StudyFolder(root), again, selection).notes)
        assert "weights of this recipe" not in said
        bench = Workbench(prepare(outcome.record.config).setup)
        apply_delta(bench.model, root / "selected")
        assert bench.evaluator.evaluate()[0] == read_evaluations(home / "evaluations.json")


def test_finalists_are_trained_on_new_seeds_and_confirmed(outcome: Outcome, home: Path) -> None:
    """The best trial and points of its weights share its runs: two of 16 steps, as the budget allows."""
    record, folder = outcome.record, outcome.folder
    assert not any("has not finished" in note for note in outcome.selection.notes)
    first, *others = record.finalists
    assert first.candidate == "trial 1"
    assert not first.dropped
    assert all(each.candidate.startswith("point ") for each in others)
    assert record.config.finalist_steps == 32
    trained = sorted(path.parent.name for path in folder.finalists.glob("trained/*/training.json"))
    seeds = fresh_seeds(0, 2)
    assert trained == sorted(f"trial_1_seed_{seed}" for seed in seeds)
    prepared = prepare(record.config)
    assert prepared.confirm is not None
    bench = Workbench(prepared.confirm.setup(prepared.setup))
    base, _ = bench.evaluator.evaluate()
    assert {task: evaluation.n for task, evaluation in base.items()} == {"easy": 7, "kept": 4}
    assert record.confirm_base == base
    for finalist in (each for each in record.finalists if not each.dropped):
        assert [run.seed for run in finalist.runs] == list(seeds)
        assert finalist.estimates is not None
        scores = [run.confirmed.score for run in finalist.runs if run.confirmed is not None]
        assert finalist.estimates.score.value == pytest.approx(statistics.fmean(scores))
        for run in finalist.runs:
            assert run.confirmed is not None
            values = {task: run.confirm[task].value for task in ("easy", "kept")}
            gain, kept = values["easy"] - base["easy"].value, base["kept"].value - values["kept"]
            assert run.confirmed.score == pytest.approx(gain - kept)
    # What is handed over scores on the confirm split what was confirmed of it.
    run = outcome.selection.run
    assert run is not None
    apply_delta(bench.model, folder.selected)
    assert bench.evaluator.evaluate()[0] == run.confirm
    again = read_study(folder.root)
    assert (again.finalists, again.confirm_base) == (record.finalists, record.confirm_base)


def test_what_was_confirmed_is_told_in_the_recipe_and_in_mlflow(outcome: Outcome, home: Path) -> None:
    document = yaml.safe_load(outcome.folder.recipe.read_text(encoding="utf-8"))
    finalist, run = outcome.selection.finalist, outcome.selection.run
    assert finalist is not None
    assert finalist.estimates is not None
    assert run is not None
    confirm = document["evidence"]["confirm"]
    assert (confirm["seeds"], confirm["handed_over"]) == ([each.seed for each in finalist.runs], run.seed)
    score = finalist.estimates.score
    assert confirm["score"] == {name: round(getattr(score, name), 4) for name in ("value", "low", "high")}
    assert (confirm["targets"]["easy"]["n"], confirm["held_out"]["kept"]["n"]) == (7, 4)
    assert run.rung is not None
    assert document["evidence"]["selected"] == {
        "seed": run.seed,
        "search": {task: round(value, 4) for task, value in run.rung.values.items()},
        "confirm": {task: round(evaluation.value, 4) for task, evaluation in run.confirm.items()},
    }
    parent, nested = runs(home, "made")
    assert parent.data.metrics["confirm/score"] == score.value
    recorded = {r.data.tags["finalist"]: r for r in nested if r.data.tags["kind"] == "finalist"}
    assert len(recorded) == sum(len(each.runs) for each in outcome.record.finalists)
    for each in outcome.record.finalists:
        for result in each.runs:
            found = recorded[f"{each.candidate} seed {result.seed}"]
            assert result.rung is not None
            assert (found.info.status, found.data.params["seed"]) == ("FINISHED", str(result.seed))
            assert found.data.metrics["score"] == result.rung.score.score
            assert found.data.tags["dropped"] == str(each.dropped).lower()
            assert ("confirm/score" in found.data.metrics) == (not each.dropped)
            if result.confirmed is not None:
                assert found.data.metrics["confirm/score"] == result.confirmed.score
                assert found.data.metrics["confirm/target/easy"] == result.confirm["easy"].value


def test_every_sample_s_prediction_lies_beside_its_score(outcome: Outcome, home: Path) -> None:
    """What was asked after the selection scores as it did before, sample by sample."""
    run = outcome.selection.run
    assert run is not None
    assert run.rung is not None
    assert outcome.record.predictions.warnings == ()
    assert outcome.record.predictions.seconds > 0
    recorded = {
        "base": outcome.record.base,
        "selected": read_evaluations(outcome.folder.root / run.folder / "evaluations.json"),
    }
    values = {"base": outcome.record.objective.base, "selected": run.rung.values}
    files = {path.stem: path for path in outcome.folder.predictions.iterdir()}
    finalists = [each.candidate.replace(" ", "_") for each in outcome.record.finalists if not each.dropped]
    assert sorted(files) == sorted(["base", "selected", *finalists])
    assert outcome.selection.finalist is not None
    own = outcome.selection.finalist.candidate.replace(" ", "_")
    assert files[own].read_bytes() == files["selected"].read_bytes()
    for model, file in ((model, files[model]) for model in recorded):
        rows = pq.read_table(file).to_pylist()
        assert [row["task"] for row in rows] == ["easy"] * 6 + ["kept"] * 5
        for task in ("easy", "kept"):
            scores = [row["score"] for row in rows if row["task"] == task]
            assert scores == list(recorded[model][task].scores)
            assert statistics.fmean(scores) == values[model][task]
        # Exactly what is right is the reference, as the model writes it.
        assert all((row["prediction"] in row["references"]) == (row["score"] == 100) for row in rows)
    # All six of the target are won: the recipe learnt its one answer, which the base did not know.
    assert "of 6 samples, 6 won, 0 lost, 0 the same" in outcome.folder.report.read_text(encoding="utf-8")
    parent, _ = runs(home, "made")
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    artifacts = {artifact.path for artifact in client.list_artifacts(parent.info.run_id, "predictions")}
    assert artifacts == {f"predictions/{name}.parquet" for name in files}


@pytest.mark.slow
def test_a_second_study_takes_the_base_from_the_cache_and_may_keep_it(
    outcome: Outcome, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No recipe can forget less than -1000 points, so none is feasible: that is a verdict, not a failure."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status = cli.main(
        [
            "run",
            str(home / "study.yaml"),
            "name=second",
            "search.trials=1",
            "space.subsets=[llm]",
            "space.learning_rate_of={}",
            "objective.max_forgetting=-1000",
            "points.earlier_rungs=false",
            "evaluation.rung_samples=4",
            "selection.keep_weights=selected",
        ]
    )
    assert status == 0
    output = capsys.readouterr()
    assert "keep the base" in output.out
    assert output.err == ""
    document = yaml.safe_load((home / "runs" / "second" / "recipe.yaml").read_text(encoding="utf-8"))
    assert document["verdict"] == "keep the base"
    assert document["recipe"] is None
    assert document["trials"]["FAILED"] == 0
    for nothing in ("selected", "finalists", "confirm_base.json"):
        assert not (home / "runs" / "second" / nothing).exists()
    assert not list((home / "runs" / "second" / "trials").rglob("*.safetensors"))
    assert (home / "runs" / "second" / "report.html").is_file()
    # The base's answers are as they were; there is nothing selected to ask.
    first, again = (home / "runs" / name / "predictions" for name in ("made", "second"))
    assert [path.name for path in again.iterdir()] == ["base.parquet"]
    assert pq.read_table(again / "base.parquet").equals(pq.read_table(first / "base.parquet"))

    cached = {}
    for study in ("made", "second"):
        (run,) = (r for r in runs(home, study)[1] if r.data.tags["kind"] == "base")
        cached[study] = (run.data.tags["cached"], run.data.metrics["held_out/kept"])
    value = outcome.record.base["kept"].value
    assert cached == {"made": ("false", value), "second": ("true", value)}
    assert_first_samples_alone_before_the_last_rung(outcome, home)


def assert_first_samples_alone_before_the_last_rung(outcome: Outcome, home: Path) -> None:
    """Of 6 and 5 samples 4 and 4; each rung is compared with the base on the samples that it has."""
    (run,) = (r for r in runs(home, "second")[1] if r.data.tags["kind"] == "trial")
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    logged = {
        name: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        for name in ("scored_samples", "target_gain", "held_out_forgetting")
    }
    base, expected = outcome.record.base, {}
    for step, (easy, kept) in {8: (4, 4), 16: (6, 5)}.items():
        trial = home / "runs" / "second" / "trials" / run.data.tags["trial_id"]
        tuned = read_evaluations(trial / rung_file(step))
        assert (tuned["easy"].n, tuned["kept"].n) == (easy, kept)
        gain = statistics.fmean(tuned["easy"].scores) - statistics.fmean(base["easy"].scores[:easy])
        lost = statistics.fmean(base["kept"].scores[:kept]) - statistics.fmean(tuned["kept"].scores)
        expected[step] = (easy + kept, gain, lost)
    assert {step: tuple(found[step] for found in logged.values()) for step in (8, 16)} == expected


def test_a_study_whose_every_trial_fails_has_failed_and_says_why(
    outcome: Outcome,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status = cli.main(
        [
            "run",
            str(home / "study.yaml"),
            "name=broken",
            "search.trials=1",
            "space.subsets=[full]",
            "space.learning_rate_of={full: [1.0e+38, 1.0e+38]}",
        ]
    )
    assert status == 1
    error = capsys.readouterr().err
    assert error == "error: every trial failed; the first one: loss is nan at step 2\n"
    assert [record for record in caplog.records if record.name.startswith("ray.tune")] == []
    parent, nested = runs(home, "broken")
    assert parent.info.status == "FAILED"
    assert sorted(r.info.status for r in nested) == ["FAILED", "FINISHED"]


def test_the_recipe_applied_to_the_same_data_gives_the_same_numbers(
    outcome: Outcome, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same seed, model, data and placement: the weights are the study's bit for bit, so are the scores."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cli.main(["apply", str(outcome.folder.root), str(home / "study.yaml")]) == 0
    assert "was found under other circumstances" not in capsys.readouterr().out
    applied = home / "runs" / "made-applied"
    ours, theirs = (
        load_file(each / "selected" / "delta.safetensors") for each in (applied, outcome.folder.root)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    run = outcome.selection.run
    assert run is not None
    assert run.rung is not None
    assert "on the confirm split" in (applied / "selected" / "README.md").read_text()
    document = read_recipe(applied)
    assert document.seed == run.seed
    assert document.recipe == read_recipe(outcome.folder.root).recipe
    assert document.applied is not None
    assert document.applied["caveats"] == []
    evidence = document.evidence
    assert evidence is not None
    assert evidence["score"] == pytest.approx(run.rung.score.score, abs=1e-4)
    confirmed = {task: round(each.value, 4) for task, each in run.confirm.items()}
    for found, values in ((evidence, run.rung.values), (evidence["confirm"], confirmed)):
        tuned = {task: each["tuned"] for task, each in (found["targets"] | found["held_out"]).items()}
        assert tuned == {task: pytest.approx(value, abs=1e-4) for task, value in values.items()}

    parent, nested = runs(home, "made-applied", kind="apply")
    assert parent.info.status == "FINISHED"
    assert [each.data.tags["kind"] for each in nested] == ["base"]
    assert parent.data.metrics["score"] == run.rung.score.score

    # What is scored afterwards is what was recorded, with the base beside it.
    study = str(home / "study.yaml")
    assert cli.main(["evaluate", str(applied), study, "--split", "confirm", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    base = outcome.record.confirm_base
    assert {task: (each["base"], each["tuned"], each["n"]) for task, each in scored["tasks"].items()} == {
        task: (base[task].value, each.value, each.n) for task, each in run.confirm.items()
    }
    assert scored["target_gain"]["low"] <= scored["target_gain"]["value"] <= scored["target_gain"]["high"]
    assert not [path for path in (home / "runs" / ".cache").iterdir() if path.name.startswith("evaluate-")]
