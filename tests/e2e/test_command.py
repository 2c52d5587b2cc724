"""The real command on the shipped study at reduced size: what a newcomer runs, sees and gets."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from mlflow_server import free_port

from search.cli import main
from search.records.stored_study import read_study
from trainables.checkpoint import apply_delta
from trainables.workers.jobs import WorkerSetup
from trainables.workers.workbench import Workbench

if TYPE_CHECKING:
    from conftest import Browser

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "examples" / "quickstart.yaml"
TRIALS = 4
REDUCED = (
    f"search.trials={TRIALS}",
    "search.pruning.first_rung=4",
    "space.subsets=[full, sa_proj, gate_up]",
    "training.steps=8",
    "training.samples=100",
    "evaluation.samples=20",
    "evaluation.rung_samples=8",
    "held_out=[digits, textures]",
    "finalists=null",
)


@dataclass(frozen=True)
class Finished:
    """A study that was run by the command, in a folder of its own."""

    folder: Path
    output: str

    @property
    def study(self) -> Path:
        return self.folder / "runs" / "quickstart"

    @property
    def recipe(self) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load((self.study / "recipe.yaml").read_text())
        return document


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "search.cli", *map(str, arguments)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("newcomer")
    done = subprocess.run(
        command("run", STUDY, *REDUCED),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Finished(folder, done.stdout)


def test_the_command_ends_by_saying_what_was_selected_and_where_to_look(finished: Finished) -> None:
    closing = finished.output[-2500:]
    assert "selected recipe" in closing or "keep the base" in closing
    assert "runs/quickstart/report.html" in closing
    assert "recipe-search ui" in closing
    assert f"{TRIALS} of {TRIALS} trials" in finished.output


def test_the_table_has_a_row_for_every_trial_with_scores_that_add_up(finished: Finished) -> None:
    with (finished.study / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == TRIALS
    assert {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
    for row in rows:
        expected = float(row["target_gain"]) - float(row["held_out_forgetting"])
        assert float(row["score"]) == pytest.approx(expected)


def test_selected_weights_on_the_base_give_the_reported_values_exactly(finished: Finished) -> None:
    document = finished.recipe
    if document["recipe"] is None:
        # Nothing beat the base in so few steps: then no weights may be left either.
        assert not (finished.study / "selected").exists()
        return
    from search.data.inputs import load_data
    from search.settings.study_file import load_study

    config = load_study(STUDY, REDUCED)
    workbench = Workbench(
        WorkerSetup(
            model=config.model.path,
            dtype=config.model.dtype,
            tasks=load_data(config).tasks,
            eval_batch_size=config.evaluation.batch_size,
            drift_samples=0,
            threads=1,
        )
    )
    apply_delta(workbench.model, finished.study / "selected")
    evaluations, _ = workbench.evaluator.evaluate()
    reported = {**document["evidence"]["targets"], **document["evidence"]["held_out"]}
    assert {task: evaluation.value for task, evaluation in evaluations.items()} == {
        task: fields["tuned"] for task, fields in reported.items()
    }


def test_every_trial_keeps_its_manifest_and_its_score_of_each_sample(finished: Finished) -> None:
    folders = list((finished.study / "trials").iterdir())
    assert len(folders) == TRIALS
    for folder in folders:
        assert json.loads((folder / "manifest.json").read_text())["trained"] > 0
        scores = [json.loads(file.read_text()) for file in sorted(folder.glob("evaluations_*.json"))]
        assert scores
        for rung, count in zip(scores, (8, 20), strict=False):
            assert all(len(task["scores"]) == count for task in rung.values())


def test_every_rung_is_compared_with_the_base_on_the_same_samples(finished: Finished) -> None:
    record = read_study(finished.study)
    base = {task: evaluation.scores for task, evaluation in record.base.items()}
    kept = {count: fmean(fmean(base[task][:count]) for task in ("digits", "textures")) for count in (8, 20)}
    assert kept[8] != kept[20], "the base must do otherwise on the first samples"
    for trial in record.trials:
        for rung, count in zip(trial.rungs, (8, 20), strict=False):
            learnt = rung.values["counting"] - fmean(base["counting"][:count])
            forgotten = kept[count] - fmean(rung.values[task] for task in ("digits", "textures"))
            assert rung.score.target_gain == pytest.approx(learnt)
            assert rung.score.held_out_forgetting == pytest.approx(forgotten)
            assert rung.metrics["scored_samples"] == 3 * count


def test_the_scores_of_predictions_have_the_reported_means(finished: Finished) -> None:
    evidence = finished.recipe["evidence"]
    tables = {path.stem: pd.read_parquet(path) for path in (finished.study / "predictions").iterdir()}
    assert set(tables) == ({"base", "selected"} if evidence else {"base"})
    assert all(len(table) == 3 * 20 for table in tables.values())
    for task, reported in ({**evidence["targets"], **evidence["held_out"]} if evidence else {}).items():
        for model, name in (("base", "base"), ("selected", "tuned")):
            scores = tables[model][tables[model].task == task].score
            assert scores.mean() == pytest.approx(reported[name], abs=1e-4)
    assert "score otherwise than" not in (finished.study / "report.html").read_text(encoding="utf-8")


def test_mlflow_holds_the_study_its_base_and_every_trial(finished: Finished) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("recipe-search")
    runs = client.search_runs([experiment.experiment_id])
    kinds = sorted(run.data.tags["kind"] for run in runs)
    table = finished.study / "points.csv"
    points = len(table.read_text().splitlines()) - 1 if table.is_file() else 0
    assert kinds == ["base", *["point"] * points, "study", *["trial"] * TRIALS]
    status = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    for run in trials:
        assert run.info.status == status[run.data.tags["state"]]
        assert run.data.metrics["drift/kl_target"] > 0
    # Every warm group's first trial has none before it.
    turn_rounds = [t for run in trials if (t := run.data.metrics.get("cost/turn_round_seconds")) is not None]
    assert TRIALS - 2 <= len(turn_rounds) < TRIALS
    assert all(0 < seconds < 60 for seconds in turn_rounds)


def test_the_report_draws_its_plots_in_a_browser(finished: Finished, browser: Browser) -> None:
    page = browser.dump_dom(finished.study / "report.html")
    assert page.count("main-svg") >= 3
    assert "sa_proj" in page


def test_the_ui_command_serves_mlflow_on_the_studys_store(finished: Finished, browser: Browser) -> None:
    port = free_port()
    # A session of its own: the server starts further processes, which end with it.
    server = subprocess.Popen(
        command("ui", "--port", str(port)),
        cwd=finished.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while True:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not answer"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        assert "<title>MLflow" in browser.dump_dom(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_a_second_run_refuses_to_touch_the_first_ones_results(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished.folder)
    before = (finished.study / "trials.csv").read_bytes()
    assert main(["run", str(STUDY)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (finished.study / "trials.csv").read_bytes() == before


def test_overrides_may_follow_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(STUDY), "search.trials=9", "--json", "training.steps=50"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["trials"], plan["rungs"]) == (9, [25, 50])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.trils=3", "unknown key 'search.trils': did you mean 'trials'?"),
        ("search.trials=many", "search.trials"),
        ("space.subsets=[gate_upp]", "did you mean 'gate_up'?"),
        ("targets=[countin]", "did you mean 'counting'?"),
        ("held_out=[counting]", "also listed as a target"),
        ("resources.cpus_per_worker=4096", "4096 CPU"),
        ("model.path=./no-such-model", "no-such-model"),
        ("tasks={own: {search: gone.jsonl}}", None),
        ("output=/proc/nowhere", "/proc/nowhere"),
        ("name=../elsewhere", "name: must be"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    override: str,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = ["held_out=[own]", "finalists=null"] if override.startswith("tasks=") else []
    assert main(["run", str(STUDY), override, *extra, "tracking.uri=sqlite:///never.db"]) == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    assert (expected or "gone.jsonl") in lines[0]
    # All else that is said is what the command was doing.
    assert set(printed.out.splitlines()) <= {"checking model, data and store", "starting Ray", ""}
    assert [path.name for path in tmp_path.iterdir() if path.name != "never.db"] == []
